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
    'owner', w.organization_id
  ) || wpp.message_reference(o.value) order by o.n), '[]')
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

-- Record webhooks. An event that ended as a dead letter, or was not understood, and was replayed
-- has the later result.
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
  where excluded.at > l.at or l.became = 'dead'
    or (wpp.is_unrecognized(l.became) and not wpp.is_unrecognized(excluded.became));
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
  lock_timeout text := current_setting('lock_timeout');
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
  -- and two recorders cannot deadlock. Only the pipeline takes this lock, and not for long: it is
  -- worth a longer wait than the locks of the CRM.
  perform set_config('lock_timeout', '2s', true);
  perform wpp.lock_organization(l.id) from (
    select distinct (o ->> 'organization_id')::uuid as id from jsonb_array_elements(outcomes) as o
    where o ->> 'organization_id' is not null order by 1) l;
  perform set_config('lock_timeout', lock_timeout, true);

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

-- Apply a batch in a subtransaction. Returns what `apply_batch` does; on an error
-- {"failure", "code", "why"}, where `failure` tells what to do about it:
--   locked  another transaction has locked the rows: wait
--   row     an outcome is at fault
--   schema  the database is at fault, and no outcome may be lost for it: a missing or renamed
--           column, a broken trigger, a missing right. So is a NOT NULL in a table of the CRM,
--           because the pipeline fills all columns that it knows.
-- Raises errors that concern all organizations alike: no space, read-only, shutting down.
create or replace function wpp.try_batch(batch jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  code text;
  why text;
  named_table text;
begin
  return wpp.apply_batch(batch);
exception when others then
  get stacked diagnostics
    code = returned_sqlstate, why = message_text, named_table = table_name;
  if code ~ '^(08|25|28|53|57|58|F0|XX)' then
    raise;
  end if;
  return jsonb_build_object('code', code, 'why', why, 'failure', case
    when code in ('55P03', '40P01', '40001') then 'locked'
    when code = '23502' and named_table in (
      'clients', 'client_phone_numbers', 'chat_messages', 'message_reactions',
      'whatsapp_sessions', 'messenger_integrations') then 'schema'
    when code ~ '^(20|21|22|23|27|44|54|P0|WP0)' then 'row'
    else 'schema' end);
end
$$;

-- The outcomes of a batch with their indexes (from 0) and owners. The owner takes the blame for an
-- error: the organization, or the account where no organization has it.
create or replace function wpp.find_owners(batch jsonb) returns wpp.owned_outcome[]
language plpgsql stable set search_path = '' as $$
begin
  return array(
    select row(o.n - 1, coalesce(lower(o.value ->> 'organization_id'), a.organization_id::text,
                                 o.value ->> 'account', ''), o.value)::wpp.owned_outcome
    from jsonb_array_elements(batch) with ordinality as o (value, n)
    left join public.wpp_accounts a on a.account = o.value ->> 'account'
    order by o.n);
end
$$;

-- Whether an owner is an organization that does not exist, or does no longer.
create or replace function wpp.is_deleted(owner text) returns boolean
language sql stable set search_path = '' as $$
  select case when owner ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then not exists (
    select from public.organizations o where o.id = owner::uuid) else false end
$$;

-- Whether it is right to refuse outcomes of an owner that the CRM refuses all for the same reason.
-- The rule may be wrong and be mended: they wait for five minutes, and for as long as a further
-- owner waits for that reason.
create or replace function wpp.may_refuse_all(blamed text, reason text) returns boolean
language sql stable set search_path = '' as $$
  select exists (select from wpp.set_aside s where s.owner = blamed and s.why = reason
                   and s.since < clock_timestamp() - interval '5 minutes')
    and not exists (select from wpp.set_aside s where s.owner <> blamed and s.why = reason)
$$;

-- Apply the outcomes of one owner: together, else one by one until `deadline`.
-- Returns {"changed": …, "refused": [{"n", "why", "reason", "outcome"}, …], "left": [n, …], "code",
-- "why"}. The outcomes in `left` have to wait because of `code` and `why`.
create or replace function wpp.apply_for_owner(
  owned wpp.owned_outcome[], deadline timestamptz
) returns jsonb
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  blamed text := (owned[1]).owner;
  o wpp.owned_outcome;
  answer jsonb;
  failure jsonb;
  changed jsonb := '[]';
  refused jsonb := '[]';
  left_over integer[] := '{}';
  applied integer := 0;
begin
  if wpp.is_deleted(blamed) then -- what remains of it needs no organization
    refused := (
      select coalesce(jsonb_agg(jsonb_build_object('n', d.n, 'outcome', d.outcome,
        'why', 'the organization was deleted', 'reason', 'organization_deleted')), '[]')
      from unnest(owned) as d 
      where coalesce(d.outcome ->> 'type', '') not in ('log', 'dead_letter'));
    owned := array(select d from unnest(owned) as d
                   where d.outcome ->> 'type' in ('log', 'dead_letter'));
  end if;
  answer := wpp.try_batch((
    select coalesce(jsonb_agg(d.outcome order by d.n), '[]') from unnest(owned) as d));
  if answer ? 'changed' then
    return answer || jsonb_build_object('refused', refused, 'left', left_over);
  end if;
  failure := answer;
  perform set_config('lock_timeout', '20ms', true);
  foreach o in array owned loop
    if failure ->> 'failure' = 'schema' or clock_timestamp() > deadline then
      left_over := left_over || o.n;
      continue;
    end if;
    answer := wpp.try_batch(jsonb_build_array(o.outcome));
    if answer ? 'changed' then
      changed := changed || (answer -> 'changed');
      applied := applied + 1;
    elsif answer ->> 'failure' = 'row' then
      refused := refused || jsonb_build_object(
        'n', o.n, 'why', concat(answer ->> 'code', ': ', answer ->> 'why'), 'outcome', o.outcome);
    else
      left_over := left_over || o.n;
      failure := answer;
    end if;
  end loop;
  if applied = 0 and jsonb_array_length(refused) > 1
     and (select count(distinct r ->> 'why') from jsonb_array_elements(refused) as r) = 1
     and not wpp.may_refuse_all(blamed, failure ->> 'why') then
    left_over := array(select d.n from unnest(owned) as d);
    refused := '[]';
  end if;
  return failure || jsonb_build_object(
    'changed', changed, 'refused', refused, 'left', left_over);
end
$$;

-- Whether an outcome of the owner failed and waits to be tried again. (Not whether any waits: those
-- that were put behind it are still being applied when new ones can be applied at once.)
create or replace function wpp.is_in_trouble(named_owner text) returns boolean
language sql stable set search_path = '' as $$
  select exists (select from wpp.set_aside_outcomes o where o.owner = named_owner and o.failed)
$$;

-- Set outcomes of one owner aside, to be tried again by `wpp_apply_set_aside`. Returns {"owner",
-- "code", "why", "retry_at"}.
create or replace function wpp.put_aside(
  owned wpp.owned_outcome[], failed_code text, reason text
) returns jsonb
language plpgsql set search_path = '' as $$
declare
  blamed text := (owned[1]).owner;
  retry_at timestamptz := clock_timestamp() + interval '1 second';
begin
  insert into wpp.set_aside as s (owner, code, why, retry_at)
  values (blamed, failed_code, reason, retry_at)
  on conflict (owner) do update
  set code = excluded.code, why = excluded.why, retry_at = excluded.retry_at,
      since = clock_timestamp(), attempts = 0
  where not wpp.is_in_trouble(blamed);
  insert into wpp.set_aside_outcomes (owner, outcome, failed)
  select blamed, o.outcome, true from unnest(owned) as o order by o.n;
  return jsonb_build_object(
    'owner', blamed, 'code', failed_code, 'why', reason, 'retry_at', retry_at);
end
$$;

-- Apply a batch of outcomes: a JSON array of shared/outcomes.py (`model_dump(mode="json")`).
-- Returns {"changed": [{"organization_id", "integration_id", "what": "session" | "message"}, …],
--          "refused": [{"row", "why", "reason"}, …], a row being an index from 0,
--          "set_aside": [{"owner", "code", "why", "retry_at"}, …], "waiting": number of outcomes}.
-- Refused outcomes are dead letters by then. An organization whose outcomes cannot be applied is
-- set aside: these outcomes and its further ones wait in wpp.set_aside_outcomes, so that no other
-- organization waits for it. An error means that no outcome was applied and none is at fault.
--
-- Time: the batch waits 400 ms for a lock, then each organization 200 ms at most; outcomes are
-- tried one by one for 900 ms from the start.
--
-- Batches are small and tables large, also where a fresh database has no statistics:
-- Postgres always uses the indexes.
create or replace function public.wpp_apply(batch jsonb) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp set lock_timeout = '400ms'
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  deadline timestamptz := clock_timestamp() + interval '900 milliseconds';
  todo wpp.owned_outcome[];
  owned wpp.owned_outcome[];
  aside text[];
  answer jsonb;
  changed jsonb := '[]';
  refused jsonb := '[]';
  newly_aside jsonb := '[]';
  waiting integer := 0;
begin
  if exists (select from wpp.set_aside) then
    todo := wpp.find_owners(batch);
    -- The lock keeps `wpp_claim_set_aside` from ending the set-aside at this moment.
    aside := array(
      select s.owner from wpp.set_aside s
      where s.owner in (select o.owner from unnest(todo) as o) and wpp.is_in_trouble(s.owner)
      for key share skip locked);
    insert into wpp.set_aside_outcomes (owner, outcome, failed)
    select o.owner, o.outcome, false from unnest(todo) as o
    where o.owner = any (aside) order by o.n;
    get diagnostics waiting = row_count;
    if waiting > 0 then
      todo := array(select o from unnest(todo) as o where o.owner <> all (aside));
      batch := (select coalesce(jsonb_agg(o.outcome order by o.n), '[]') from unnest(todo) as o);
    end if;
  end if;
  answer := wpp.try_batch(batch);
  if answer ? 'changed' then
    return answer || jsonb_build_object(
      'refused', '[]'::jsonb, 'set_aside', '[]'::jsonb, 'waiting', waiting);
  end if;

  for owned in
    select array_agg(o order by o.n) from unnest(coalesce(todo, wpp.find_owners(batch))) as o
    group by o.owner order by count(*), o.owner
  loop
    perform set_config('lock_timeout', wpp.lock_patience(deadline), true);
    answer := wpp.apply_for_owner(owned, deadline);
    changed := changed || (answer -> 'changed');
    refused := refused || (answer -> 'refused');
    owned := array(select o from unnest(owned) as o where answer -> 'left' @> to_jsonb(o.n));
    if cardinality(owned) > 0 then
      newly_aside := newly_aside
        || wpp.put_aside(owned, answer ->> 'code', answer ->> 'why');
      waiting := waiting + cardinality(owned);
    end if;
  end loop;
  perform wpp.insert_refused(refused);
  return jsonb_build_object(
    'changed', (select coalesce(jsonb_agg(distinct c), '[]')
                from jsonb_array_elements(changed) as c),
    'refused', (select coalesce(jsonb_agg(jsonb_build_object(
                  'row', r -> 'n', 'why', r -> 'why', 'reason', coalesce(r ->> 'reason', 'refused')
                ) order by r -> 'n'), '[]')
                from jsonb_array_elements(refused) as r),
    'set_aside', newly_aside, 'waiting', waiting);
end
$$;

-- How long the next organization may wait for a lock: half of the time that is left.
create or replace function wpp.lock_patience(deadline timestamptz) returns text
language sql volatile set search_path = '' as $$
  select round(greatest(10, least(200,
    extract(epoch from deadline - clock_timestamp()) * 500)))::text || 'ms'
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
         r -> 'outcome' ->> 'account', 'outcome', 'outbox', coalesce(r ->> 'reason', 'refused'),
         r ->> 'why', 1, now(), now(), r -> 'outcome'
  from jsonb_array_elements(refused) as r
  left join public.wpp_accounts a on a.account = r -> 'outcome' ->> 'account',
  lateral (
    select case when r -> 'outcome' ->> 'organization_id'
                     ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                then (r -> 'outcome' ->> 'organization_id')::uuid end as organization_id
  ) c
  on conflict (id) do update
  set reason = excluded.reason, detail = excluded.detail, attempts = d.attempts + 1,
      at = excluded.at, replayed_at = null
$$;
