-- The door of the recorder.

-- One batch as a whole.
create or replace function public.wpp_apply_whole(batch jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  placed jsonb := public.wpp_place(batch);
  touched uuid[];
begin
  if exists (select from jsonb_array_elements(placed) o where public.wpp_lacks_something(o)) then
    raise exception 'not an outcome: its type is unknown, or it lacks what each of its type has'
      using errcode = 'invalid_parameter_value';
  end if;
  if exists (select from jsonb_array_elements(placed) o where o ->> 'owner' <> o ->> 'organization_id') then
    raise exception 'this account belongs to another organization' using errcode = 'WP001';
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

  return jsonb_build_object('changed', coalesce((
    select jsonb_agg(distinct jsonb_build_object('organization_id', c.organization_id,
                                                 'integration_id', c.integration_id, 'what', c.what))
    from (
      select m.organization_id, m.integration_id, 'message' as what
      from public.chat_messages m where m.id = any (touched)
      union
      select (o ->> 'organization_id')::uuid, (o ->> 'integration_id')::uuid, 'session'
      from jsonb_array_elements(placed) as o where o ->> 'type' = 'session'
    ) c), '[]'));
end
$$;

-- Whether an outcome lacks what every one of its type has (shared/outcomes.py): then no table needs to be asked.
create or replace function public.wpp_lacks_something(o jsonb) returns boolean
language sql immutable set search_path = '' as $$
  select o ->> 'at' is null or t.required is null
      or exists (select from unnest(t.required) as f (name) where o ->> f.name is null)
  from (select case o ->> 'type'
    when 'message' then array['id', 'outgoing', 'phone', 'text', 'status']
    when 'status' then array['account', 'external_ids', 'status']
    when 'reaction' then array['account', 'external_ids', 'outgoing', 'phone']
    when 'edit' then array['account', 'external_ids', 'text']
    when 'session' then array['account', 'status', 'reason']
    when 'log' then array['id', 'account', 'event_type', 'payload', 'became']
    when 'dead_letter' then array['id', 'kind', 'lane', 'reason', 'detail', 'attempts', 'accepted_at', 'event']
  end as required) t
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

-- Whether an error is an outcome's own fault. Everything else is the database's, and no row may be lost for it: a
-- missing or renamed column, a broken trigger, a right that is not there, no space. So is a NOT NULL in a table of the
-- CRM: what we know of is given, so the column is one that we don't know of.
create or replace function public.wpp_blames_row(code text, named_table text) returns boolean
language sql immutable set search_path = '' as $$
  select code ~ '^(20|21|22|23|27|44|54|P0|WP0)' and not (code = '23502' and named_table in (
    'clients', 'client_phone_numbers', 'chat_messages', 'message_reactions', 'whatsapp_sessions',
    'messenger_integrations'))
$$;

-- Apply a batch of outcomes (a JSON array of shared/outcomes.py, as `model_dump(mode="json")` gives them).
-- Answers {"changed": [{"organization_id", "integration_id", "what": "session" | "message"}, …],
--          "refused": [{"row", "why"}, …], "busy": [row, …]}, a row being an index into the batch from 0.
-- What is refused is a dead letter by then. What is busy waits for a lock that somebody else holds: try it again later.
-- An error means that nothing was applied and no row is to blame; so it is if each of several is refused for the same
-- reason, unless `all_wrong` says that they are to blame even then.
--
-- Batches are small and tables large, whatever the statistics say (a fresh database has none): always the index.
create or replace function public.wpp_apply(batch jsonb, all_wrong boolean default false) returns jsonb
language plpgsql security definer set search_path = pg_catalog, public, pg_temp set lock_timeout = '2s'
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
  one jsonb;
  index integer;
  code text;
  why text;
  named_table text;
  changed jsonb := '[]';
  refused jsonb := '[]';
  busy jsonb := '[]';
begin
  begin
    return public.wpp_apply_whole(batch) || '{"refused": [], "busy": []}';
  exception
    when lock_not_available then
      perform set_config('lock_timeout', '200ms', true); -- now each row asks for itself, and all within one statement
    when others then
      get stacked diagnostics code = returned_sqlstate, why = message_text, named_table = table_name;
      if not public.wpp_blames_row(code, named_table) then
        raise exception '%', why using errcode = case code when '23502' then 'WPPDB' else code end;
      end if;
  end;
  for one, index in select o.value, o.n - 1 from jsonb_array_elements(batch) with ordinality as o (value, n) loop
    begin
      changed := changed || (public.wpp_apply_whole(jsonb_build_array(one)) -> 'changed');
    exception
      when lock_not_available then
        busy := busy || to_jsonb(index);
      when others then
        get stacked diagnostics code = returned_sqlstate, why = message_text, named_table = table_name;
        if not public.wpp_blames_row(code, named_table) then
          raise exception '%', why using errcode = case code when '23502' then 'WPPDB' else code end;
        end if;
        refused := refused || jsonb_build_object('row', index, 'why', code || ': ' || why, 'outcome', one);
    end;
  end loop;
  if not all_wrong and jsonb_array_length(refused) > 1 and jsonb_array_length(refused) = jsonb_array_length(batch)
     and (select count(distinct r ->> 'why') from jsonb_array_elements(refused) as r) = 1 then
    raise exception 'each of % outcomes is refused for the same reason: %', jsonb_array_length(batch), code || ': ' || why
      using errcode = 'WPPDB';
  end if;
  perform public.wpp_bury(refused);
  return jsonb_build_object(
    'changed', (select coalesce(jsonb_agg(distinct c), '[]') from jsonb_array_elements(changed) as c),
    'refused', (select coalesce(jsonb_agg(r - 'outcome'), '[]') from jsonb_array_elements(refused) as r),
    'busy', busy);
end
$$;

-- Keep outcomes that were refused as dead letters, whole, each once.
create or replace function public.wpp_bury(refused jsonb) returns void
language sql set search_path = '' as $$
  insert into public.wpp_dead_letters as d
    (id, organization_id, account, kind, lane, reason, detail, attempts, accepted_at, at, event)
  select distinct on (1) md5(r ->> 'outcome')::uuid, case when a.organization_id <> c.organization_id then null
                                     else coalesce(a.organization_id, c.organization_id) end,
         r -> 'outcome' ->> 'account', 'outcome', 'outbox', 'refused', r ->> 'why', 1, now(), now(), r -> 'outcome'
  from jsonb_array_elements(refused) as r
  left join public.wpp_accounts a on a.account = r -> 'outcome' ->> 'account',
  lateral (select case when r -> 'outcome' ->> 'organization_id' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                       then (r -> 'outcome' ->> 'organization_id')::uuid end as organization_id) c
  on conflict (id) do update -- it was replayed and refused again
  set detail = excluded.detail, attempts = d.attempts + 1, at = excluded.at, replayed_at = null
$$;

-- Apply what had arrived for accounts before anybody knew whose they are, the oldest first: of one account, or of every
-- one that somebody has by now (a batch may have parked its rows while that was being saved). Answers how many.
create or replace function public.wpp_apply_parked(max_rows integer, named_account text default null) returns integer
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  ids uuid[];
  waiting jsonb;
  answer jsonb;
begin
  select coalesce(array_agg(p.id order by p.parked_at, p.id), '{}'),
         coalesce(jsonb_agg(p.outcome order by p.parked_at, p.id), '[]') into ids, waiting
  from (
    select * from public.wpp_parked_outcomes p
    where p.awaits = 'account' and (named_account is null or p.account = named_account)
      and exists (select from public.wpp_accounts a where a.account = p.account)
    order by p.parked_at, p.id limit max_rows for update skip locked) p;
  answer := public.wpp_apply(waiting, all_wrong => true);
  delete from public.wpp_parked_outcomes p
  where p.id in (select i.id from unnest(ids) with ordinality as i (id, n) where not answer -> 'busy' @> to_jsonb(i.n - 1));
  return cardinality(ids) - jsonb_array_length(answer -> 'busy');
end
$$;

-- Let what was parked too long become dead letters, the oldest first. Answers how many.
create or replace function public.wpp_expire_parked(parked_before timestamptz, max_rows integer) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  expired integer;
begin
  with old as (
    delete from public.wpp_parked_outcomes p where p.id in (
      select o.id from public.wpp_parked_outcomes o where o.parked_at < parked_before
      order by o.parked_at limit max_rows for update skip locked)
    returning *
  )
  insert into public.wpp_dead_letters as d
    (id, organization_id, account, kind, lane, reason, detail, attempts, accepted_at, at, event)
  select o.id, o.organization_id, o.account, 'outcome', 'outbox',
         case o.awaits when 'message' then 'message_never_came' else 'account_unknown' end,
         case o.awaits when 'message' then 'no message with id ' || array_to_string(o.external_ids, ', ')
                       else 'no integration has account ' || o.account end,
         1, o.parked_at, now(), o.outcome
  from old o
  on conflict (id) do update -- it was replayed, and waited in vain again
  set attempts = d.attempts + 1, at = excluded.at, replayed_at = null;
  get diagnostics expired = row_count;
  return expired;
end
$$;

-- Drop what is only kept for reference and is older than that, the oldest first: raw logs, dead letters that were
-- replayed, changes of a session but for its latest one. At most so many of each. Answers how many.
create or replace function public.wpp_prune(older_than timestamptz, max_rows integer) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  logs integer;
  letters integer;
  changes integer;
begin
  delete from public.wpp_webhook_log l where l.id in (
    select o.id from public.wpp_webhook_log o where o.recorded_at < older_than
    order by o.recorded_at limit max_rows for update skip locked);
  get diagnostics logs = row_count;
  delete from public.wpp_dead_letters d where d.id in (
    select o.id from public.wpp_dead_letters o where o.replayed_at < older_than
    order by o.replayed_at limit max_rows for update skip locked);
  get diagnostics letters = row_count;
  delete from public.wpp_session_history h where h.id in (
    select o.id from public.wpp_session_history o
    where o.at < older_than
      and exists (select from public.wpp_session_history n where n.account = o.account and n.at > o.at)
    order by o.at limit max_rows for update skip locked);
  get diagnostics changes = row_count;
  return logs + letters + changes;
end
$$;
