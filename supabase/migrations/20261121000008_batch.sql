-- The door of the recorder.

-- One batch as a whole.
create or replace function public.wpp_apply_whole(batch jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  placed jsonb := public.wpp_place(batch);
  touched uuid[];
  answer jsonb;
begin
  if exists (
    select from jsonb_array_elements(placed) o
    where o ->> 'type' not in ('message', 'status', 'reaction', 'edit', 'session', 'log', 'dead_letter')
       or o ->> 'type' is null or o ->> 'at' is null
  ) then
    raise exception 'not an outcome: it needs a known type and its time' using errcode = 'invalid_parameter_value';
  end if;
  if exists (select from jsonb_array_elements(placed) o where o ->> 'owner' <> o ->> 'organization_id') then
    raise exception 'this account belongs to another organization' using errcode = 'insufficient_privilege';
  end if;
  -- One batch at a time per organisation: its contacts, ids and sessions are found or made, never doubled, and two
  -- recorders can't deadlock.
  perform pg_advisory_xact_lock(l.key) from (
    select distinct hashtextextended('wpp:' || (o ->> 'organization_id'), 0) as key
    from jsonb_array_elements(placed) as o where o ->> 'organization_id' is not null order by 1) l;
  placed := public.wpp_hold_strangers(placed);
  perform public.wpp_keep_records(placed);
  perform public.wpp_note_sessions(placed);
  touched := public.wpp_file_messages(placed);
  touched := touched || public.wpp_follow(placed);
  perform public.wpp_settle_statuses(touched);

  select jsonb_build_object(
    'changed', coalesce((
      select jsonb_agg(distinct jsonb_build_object('organization_id', c.organization_id,
                                                   'integration_id', c.integration_id, 'what', c.what))
      from (
        select m.organization_id, m.integration_id, 'message' as what
        from public.chat_messages m where m.id = any (touched)
        union
        select (o ->> 'organization_id')::uuid, (o ->> 'integration_id')::uuid, 'session'
        from jsonb_array_elements(placed) as o where o ->> 'type' = 'session'
      ) c), '[]'),
    'unknown_accounts', coalesce((
      select jsonb_agg(distinct o.value -> 'account') from jsonb_array_elements(batch) as o
      where o.value ->> 'account' is not null
        and not exists (select from public.wpp_accounts a where a.account = o.value ->> 'account')), '[]')
  ) into answer;
  return answer;
end
$$;

-- Park what names an account that no integration has (yet), and leave it out of the batch.
create or replace function public.wpp_hold_strangers(placed jsonb) returns jsonb
language plpgsql set search_path = '' as $$
begin
  if exists (
    select from jsonb_array_elements(placed) o
    where o ->> 'type' = 'message' and o ->> 'organization_id' is null and o ->> 'account' is null
  ) then
    raise exception 'a message needs its organization or its account' using errcode = 'invalid_parameter_value';
  end if;
  insert into public.wpp_parked_outcomes (id, awaits, account, outcome)
  select distinct on (1) md5((o - 'n')::text)::uuid, 'account', o ->> 'account', o - 'n'
  from jsonb_array_elements(placed) as o
  where o ->> 'organization_id' is null and o ->> 'type' not in ('log', 'dead_letter')
  on conflict do nothing;
  return (
    select coalesce(jsonb_agg(o order by (o ->> 'n')::int), '[]') from jsonb_array_elements(placed) as o
    where o ->> 'organization_id' is not null or o ->> 'type' in ('log', 'dead_letter'));
end
$$;

-- Apply a batch of outcomes (a JSON array of shared/outcomes.py, as `model_dump(mode="json")` gives them).
-- Answers {"changed": [{"organization_id", "integration_id", "what": "session" | "message"}, …],
--          "unknown_accounts": [account, …]}.
-- A row that can't be applied fails the whole batch; the error's DETAIL is its index from 0.
--
-- Batches are small and tables large, whatever the statistics say (a fresh database has none): always the index.
create or replace function public.wpp_apply(batch jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, public, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
  one jsonb;
  index integer;
  changed jsonb := '[]';
  unknown jsonb := '[]';
begin
  begin
    return public.wpp_apply_whole(batch);
  exception
    when transaction_rollback or operator_intervention or insufficient_resources or lock_not_available then
      raise; -- nothing is wrong with the rows: the same batch may be tried again
    when others then
      null;
  end;
  for one, index in select o.value, o.n - 1 from jsonb_array_elements(batch) with ordinality as o (value, n) loop
    begin
      one := public.wpp_apply_whole(jsonb_build_array(one));
    exception
      when transaction_rollback or operator_intervention or insufficient_resources or lock_not_available then
        raise;
      when others then
        raise exception 'outcome %: %', index, sqlerrm using errcode = sqlstate, detail = index::text;
    end;
    changed := changed || (one -> 'changed');
    unknown := unknown || (one -> 'unknown_accounts');
  end loop;
  return jsonb_build_object(
    'changed', (select coalesce(jsonb_agg(distinct c), '[]') from jsonb_array_elements(changed) as c),
    'unknown_accounts', (select coalesce(jsonb_agg(distinct u), '[]') from jsonb_array_elements(unknown) as u));
end
$$;
