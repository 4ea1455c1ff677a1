-- `wpp_apply(batch)`: applies the outcomes of shared/outcomes.py in any order, any number of times.
--
-- A batch is a transaction: the owners of the outcomes are resolved, JSON becomes typed records
-- (outcome_types), messages are stored, updates of messages are applied or parked, and the status
-- of each message is recomputed from its history.

-- The outcomes with the fields that outcome_types describes, and `owner`, the organization of their
-- account.
create or replace function wpp.resolve_owners(batch jsonb) returns jsonb
language plpgsql stable set search_path = '' as $$
declare
  outcomes jsonb;
begin
  with outcomes as materialized (
    select o.value, o.n, o.value ->> 'account' as account,
           (o.value ->> 'organization_id')::uuid as organization_id,
           (o.value ->> 'integration_id')::uuid as integration_id
    from jsonb_array_elements(batch) with ordinality as o (value, n)
  ), owners as materialized (
    select k.*, r.account as by_account, r.integration_id as by_integration
    from (
      select distinct o.account, case when o.account is null then o.integration_id end
        as integration_id
      from outcomes o
    ) r
    cross join lateral (
      select * from public.wpp_accounts k
      where k.account = r.account or k.integration_id = r.integration_id
      order by k.claimed_at desc limit 1
    ) k
  )
  select coalesce(jsonb_agg(o.value || jsonb_build_object(
    'n', o.n,
    'arrived', o.account is not null,
    'account', coalesce(o.account, w.account),
    'organization_id', coalesce(o.organization_id, w.organization_id),
    'integration_id', coalesce(o.integration_id, w.integration_id),
    'owner', w.organization_id,
    'ids', case when o.value ?| array['external_ids', 'task_id', 'wa_message_id'] then array(
      select distinct e.id from jsonb_array_elements_text(
        coalesce(o.value -> 'external_ids', '[]')
        || jsonb_build_array(o.value -> 'task_id', o.value -> 'wa_message_id')) as e (id)
      where e.id is not null order by 1) else '{}' end
  ) order by o.n), '[]')
  into outcomes
  from outcomes o
  left join owners w on w.by_account = o.account
    or (o.account is null and w.by_integration = o.integration_id);
  return outcomes;
end
$$;

-- Whether an outcome lacks a field that all of its type have (shared/outcomes.py), or has an
-- unknown type.
create or replace function wpp.is_malformed(o jsonb) returns boolean
language sql immutable
return (o ->> 'at') is null or case o ->> 'type'
  when 'message' then num_nulls(o ->> 'id', o ->> 'outgoing', o ->> 'phone', o ->> 'text',
                                o ->> 'status') > 0
  when 'status' then num_nulls(o ->> 'account', o ->> 'external_ids', o ->> 'status') > 0
  when 'reaction' then num_nulls(o ->> 'account', o ->> 'external_ids', o ->> 'outgoing',
                                 o ->> 'phone') > 0
  when 'edit' then num_nulls(o ->> 'account', o ->> 'external_ids', o ->> 'text') > 0
  when 'session' then num_nulls(o ->> 'account', o ->> 'status', o ->> 'reason') > 0
  when 'log' then num_nulls(o ->> 'id', o ->> 'account', o ->> 'event_type', o -> 'payload',
                            o ->> 'became') > 0
  when 'dead_letter' then num_nulls(o ->> 'id', o ->> 'kind', o ->> 'lane', o ->> 'reason',
                                    o ->> 'detail', o ->> 'attempts', o ->> 'accepted_at',
                                    o -> 'event') > 0
  else true
end;

-- Park the outcomes of accounts that no integration has yet.
create or replace function wpp.park_unknown_accounts(outcomes jsonb, batch jsonb) returns void
language plpgsql set search_path = '' as $$
begin
  insert into wpp.parked_outcomes (id, awaits, account, outcome)
  select distinct on (1) md5(p.outcome::text)::uuid, 'account', p.account, p.outcome
  from (
    select o ->> 'account' as account, batch -> ((o ->> 'n')::integer - 1) as outcome
    from jsonb_array_elements(outcomes) as o
    where o ->> 'organization_id' is null and o ->> 'type' not in ('log', 'dead_letter')
  ) p
  on conflict do nothing;
end
$$;

-- Record webhooks. An event that ended as a dead letter and was replayed has the later result.
create or replace function wpp.insert_log(entries wpp.log_outcome[]) returns void
language plpgsql set search_path = '' as $$
begin
  insert into public.wpp_webhook_log as l
    (id, organization_id, account, event_type, payload, became, error, at)
  select distinct on (e.id)
         e.id, e.organization_id, e.account, e.event_type, e.payload, e.became, e.error, e.at
  from unnest(entries) as e
  order by e.id, e.at desc, e.became = 'dead', e.became, e.error
  on conflict (id) do update
  set became = excluded.became, error = excluded.error, at = excluded.at
  where excluded.at > l.at or l.became = 'dead';
end
$$;

-- Record dead letters. A letter that was replayed and died again is open again.
create or replace function wpp.insert_dead_letters(letters wpp.dead_letter_outcome[]) returns void
language plpgsql set search_path = '' as $$
begin
  insert into public.wpp_dead_letters as d
    (id, organization_id, account, kind, lane, reason, detail, attempts, accepted_at, at, event)
  select distinct on (l.id)
         l.id, l.organization_id, l.account, l.kind, l.lane, l.reason, l.detail, l.attempts,
         l.accepted_at, l.at, l.event
  from unnest(letters) as l
  order by l.id, l.at desc, l.reason, l.detail
  on conflict (id) do update
  set reason = excluded.reason, detail = excluded.detail, attempts = excluded.attempts,
      at = excluded.at,
      replayed_at = case when excluded.at > d.replayed_at then null else d.replayed_at end
  where excluded.at > d.at;
end
$$;

-- Apply a batch as a whole. Returns what changed, as `wpp_apply` does.
create or replace function wpp.apply_batch(batch jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  outcomes jsonb := wpp.resolve_owners(batch);
  messages wpp.message_outcome[];
  updates wpp.message_update[];
  sessions wpp.session_outcome[];
  log wpp.log_outcome[];
  letters wpp.dead_letter_outcome[];
  touched uuid[];
begin
  if exists (select from jsonb_array_elements(outcomes) as o where wpp.is_malformed(o)) then
    raise exception 'not an outcome: its type is unknown, or it lacks a field of its type'
      using errcode = 'invalid_parameter_value';
  end if;
  if exists (select from jsonb_array_elements(outcomes) as o
             where o ->> 'type' = 'message'
               and o ->> 'organization_id' is null and o ->> 'account' is null) then
    raise exception 'a message needs its organization or its account'
      using errcode = 'invalid_parameter_value';
  end if;
  if exists (select from jsonb_array_elements(outcomes) as o
             where o ->> 'owner' <> o ->> 'organization_id') then
    raise exception 'this account belongs to another organization' using errcode = 'WP001';
  end if;
  -- One batch at a time for each organization: contacts, ids and sessions are never created twice,
  -- and two recorders cannot deadlock.
  perform wpp.lock_organization(l.id) from (
    select distinct (o ->> 'organization_id')::uuid as id from jsonb_array_elements(outcomes) as o
    where o ->> 'organization_id' is not null order by 1) l;

  perform wpp.park_unknown_accounts(outcomes, batch);
  select
    coalesce(array_agg(jsonb_populate_record(null::wpp.message_outcome, o.value) order by o.n)
      filter (where o.type = 'message' and o.is_owned), '{}'),
    coalesce(array_agg(jsonb_populate_record(null::wpp.message_update, o.value) order by o.n)
      filter (where o.type in ('status', 'reaction', 'edit') and o.is_owned), '{}'),
    coalesce(array_agg(jsonb_populate_record(null::wpp.session_outcome, o.value) order by o.n)
      filter (where o.type = 'session' and o.is_owned), '{}'),
    coalesce(array_agg(jsonb_populate_record(null::wpp.log_outcome, o.value) order by o.n)
      filter (where o.type = 'log'), '{}'),
    coalesce(array_agg(jsonb_populate_record(null::wpp.dead_letter_outcome, o.value) order by o.n)
      filter (where o.type = 'dead_letter'), '{}')
  into messages, updates, sessions, log, letters
  from (
    select o.value, o.n, o.value ->> 'type' as type,
           o.value ->> 'organization_id' is not null as is_owned
    from jsonb_array_elements(outcomes) with ordinality as o (value, n)
  ) o;

  perform wpp.insert_log(log);
  perform wpp.insert_dead_letters(letters);
  perform wpp.apply_session_states(sessions);
  touched := wpp.upsert_messages(messages);
  touched := touched || wpp.apply_updates(
    updates, array(select unnest(m.ids) from unnest(messages) as m), batch);
  perform wpp.recompute_statuses(touched);

  return jsonb_build_object('changed', coalesce((
    select jsonb_agg(jsonb_build_object('organization_id', c.organization_id,
                                        'integration_id', c.integration_id, 'what', c.what))
    from (
      select m.organization_id, m.integration_id, 'message' as what
      from public.chat_messages m where m.id = any (touched)
      union select s.organization_id, s.integration_id, 'session' from unnest(sessions) as s
    ) c), '[]'));
end
$$;

-- Whether an error is the fault of an outcome. Every further error is the database's, and no
-- outcome may be lost for them: a missing or renamed column, a broken trigger, a missing right, no
-- space. A NOT NULL in a table of the CRM belongs to these, because the pipeline fills all columns
-- that it knows.
create or replace function wpp.is_row_error(code text, named_table text) returns boolean
language sql immutable set search_path = '' as $$
  select code ~ '^(20|21|22|23|27|44|54|P0|WP0)' and not (code = '23502' and named_table in (
    'clients', 'client_phone_numbers', 'chat_messages', 'message_reactions', 'whatsapp_sessions',
    'messenger_integrations'))
$$;

-- Apply a batch of outcomes: a JSON array of shared/outcomes.py (`model_dump(mode="json")`).
-- Returns {"changed": [{"organization_id", "integration_id", "what": "session" | "message"}, …],
--          "refused": [{"row", "why"}, …], "busy": [row, …]}, a row being an index from 0.
-- Refused outcomes are dead letters by then. Busy outcomes wait for the lock of another
-- transaction: apply them later. An error means that no outcome was applied and no outcome is at
-- fault; that is also so when each of several outcomes is refused for the same reason, unless
-- `all_wrong` says that they are.
--
-- Batches are small and tables large, also where a fresh database has no statistics:
-- Postgres always uses the indexes.
create or replace function public.wpp_apply(batch jsonb, all_wrong boolean default false)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp set lock_timeout = '2s'
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  outcome jsonb;
  index integer;
  code text;
  why text;
  named_table text;
  changed jsonb := '[]';
  refused jsonb := '[]';
  busy jsonb := '[]';
begin
  begin
    return wpp.apply_batch(batch) || '{"refused": [], "busy": []}';
  exception
    when lock_not_available then -- row by row, within the statement's time limit
      perform set_config('lock_timeout', '200ms', true);
    when others then
      get stacked diagnostics
        code = returned_sqlstate, why = message_text, named_table = table_name;
      if not wpp.is_row_error(code, named_table) then
        raise exception '%', why
          using errcode = case code when '23502' then 'WPPDB' else code end;
      end if;
  end;
  for outcome, index in
    select o.value, o.n - 1 from jsonb_array_elements(batch) with ordinality as o (value, n)
  loop
    begin
      changed := changed || (wpp.apply_batch(jsonb_build_array(outcome)) -> 'changed');
    exception
      when lock_not_available then
        busy := busy || to_jsonb(index);
      when others then
        get stacked diagnostics
          code = returned_sqlstate, why = message_text, named_table = table_name;
        if not wpp.is_row_error(code, named_table) then
          raise exception '%', why
            using errcode = case code when '23502' then 'WPPDB' else code end;
        end if;
        refused := refused
          || jsonb_build_object('row', index, 'why', code || ': ' || why, 'outcome', outcome);
    end;
  end loop;
  if not all_wrong and jsonb_array_length(refused) > 1
     and jsonb_array_length(refused) = jsonb_array_length(batch)
     and (select count(distinct r ->> 'why') from jsonb_array_elements(refused) as r) = 1 then
    raise exception 'each of % outcomes is refused for the same reason: %',
      jsonb_array_length(batch), code || ': ' || why using errcode = 'WPPDB';
  end if;
  perform wpp.insert_refused(refused);
  return jsonb_build_object(
    'changed', (select coalesce(jsonb_agg(distinct c), '[]')
                from jsonb_array_elements(changed) as c),
    'refused', (select coalesce(jsonb_agg(r - 'outcome'), '[]')
                from jsonb_array_elements(refused) as r),
    'busy', busy);
end
$$;

-- Record refused outcomes as dead letters, each once. A letter that was replayed and refused again
-- is open again.
create or replace function wpp.insert_refused(refused jsonb) returns void
language sql set search_path = '' as $$
  insert into public.wpp_dead_letters as d
    (id, organization_id, account, kind, lane, reason, detail, attempts, accepted_at, at, event)
  select distinct on (1) md5(r ->> 'outcome')::uuid,
         case when a.organization_id <> c.organization_id then null
              else coalesce(a.organization_id, c.organization_id) end,
         r -> 'outcome' ->> 'account', 'outcome', 'outbox', 'refused', r ->> 'why', 1, now(), now(),
         r -> 'outcome'
  from jsonb_array_elements(refused) as r
  left join public.wpp_accounts a on a.account = r -> 'outcome' ->> 'account',
  lateral (
    select case when r -> 'outcome' ->> 'organization_id'
                     ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                then (r -> 'outcome' ->> 'organization_id')::uuid end as organization_id
  ) c
  on conflict (id) do update
  set detail = excluded.detail, attempts = d.attempts + 1, at = excluded.at, replayed_at = null
$$;
