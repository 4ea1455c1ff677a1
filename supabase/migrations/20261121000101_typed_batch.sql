-- The batch function reads its outcomes once: JSON becomes typed records in one statement, which
-- resolves owners and names messages on the way. Before, each outcome was built anew as JSON, read
-- back, and filled into its record.

do $$
begin
  if to_regtype('wpp.outcome') is null then
    -- The fields of all kinds of outcomes, as shared/outcomes.py has them.
    create type wpp.outcome as (
      type text, at timestamptz, id uuid, organization_id uuid, integration_id uuid, account text,
      task_id text, wa_message_id text, external_ids text[], target_outgoing boolean, lid text,
      outgoing boolean, status text, error text, code text, own boolean, arrived_at timestamptz,
      phone text, own_phone text, peer_name text, client_id uuid, teacher_id uuid,
      sender_name text, content text, text text, file_url text, file_name text, file_type text,
      media_state text, metadata jsonb, attempt integer, started_at timestamptz, emoji text,
      qr text, reason text, event_type text, payload jsonb, became text,
      kind text, lane text, detail text, attempts integer, accepted_at timestamptz,
      event jsonb -- of a message a name, of a dead letter an object
    );
  end if;
  if to_regtype('wpp.typed_batch') is null then
    -- The outcomes of a batch by their kind, each in their order, and what is wrong with them.
    create type wpp.typed_batch as (
      messages wpp.message_outcome[], updates wpp.message_update[], sessions wpp.session_outcome[],
      log wpp.log_outcome[], letters wpp.dead_letter_outcome[],
      organizations uuid[], -- sorted; of all outcomes but log entries and dead letters
      unowned integer[], -- numbers of the outcomes whose account no integration has yet
      is_foreign boolean -- an account belongs to another organization
    );
  end if;
end
$$;

-- The numbers of the outcomes whose account no integration has yet. They are parked as they are: a
-- value that fits no type is found when they are applied.
create or replace function wpp.find_unowned(batch jsonb) returns integer[]
language plpgsql stable set search_path = '' as $$
declare
  unknown text[] := array(
    select a.account from (
      select distinct o.value ->> 'account' as account from jsonb_array_elements(batch) as o (value)
    ) a
    where a.account is not null
      and not exists (select from public.wpp_accounts k where k.account = a.account));
begin
  return array(
    select o.n::integer from jsonb_array_elements(batch) with ordinality as o (value, n)
    where o.value ->> 'organization_id' is null and o.value ->> 'type' not in ('log', 'dead_letter')
      and case when o.value ->> 'account' is not null then o.value ->> 'account' = any (unknown)
               else not exists (select from public.wpp_accounts k
                                where k.integration_id = (o.value ->> 'integration_id')::uuid) end
    order by o.n);
end
$$;

-- The typed records of a batch. What names its message, and its organization and integration, are
-- those that the outcome or its account has.
create or replace function wpp.read_batch(batch jsonb) returns wpp.typed_batch
language plpgsql stable set search_path = '' set plan_cache_mode = force_generic_plan as $$
declare
  typed wpp.typed_batch;
  unowned integer[] := wpp.find_unowned(batch);
begin
  if cardinality(unowned) > 0 then
    batch := (
      select jsonb_agg(case when o.n = any (unowned) then '{}' else o.value end order by o.n)
      from jsonb_array_elements(batch) with ordinality as o (value, n));
  end if;
  with given as materialized (
    select o.*, o.ordinality::integer as n, coalesce(o.account, o.integration_id::text) as owner_key
    from jsonb_populate_recordset(null::wpp.outcome, batch) with ordinality as o
  ), owners as materialized (
    select r.owner_key, k.account, k.organization_id, k.integration_id
    from (
      select distinct g.owner_key, g.account, case when g.account is null then g.integration_id end
        as integration_id
      from given g
    ) r
    cross join lateral (
      select * from public.wpp_accounts k
      where k.account = r.account or k.integration_id = r.integration_id
      order by k.claimed_at desc limit 1
    ) k
  ), outcomes as materialized (
    select g.*, coalesce(g.account, w.account) as its_account,
           coalesce(g.organization_id, w.organization_id) as its_organization,
           coalesce(g.integration_id, w.integration_id) as its_integration,
           w.organization_id <> g.organization_id as is_foreign,
           case when g.type in ('message', 'status', 'reaction', 'edit')
                then wpp.name_message(g.task_id, g.wa_message_id, g.external_ids,
                                      g.target_outgoing, g.phone, g.lid) end as name
    from given g left join owners w on w.owner_key = g.owner_key
  )
  select
    array(
      select row(o.n, o.at, o.id, o.its_organization, o.its_integration, o.its_account,
                 o.account is not null, (o.name).ids, o.task_id, o.wa_message_id, o.outgoing,
                 o.status, o.error, o.phone, o.own_phone, o.peer_name, o.client_id, o.teacher_id,
                 o.sender_name, o.content, o.text, o.file_url, o.file_name, o.file_type,
                 o.media_state, o.metadata, (o.name).lid, o.event #>> '{}', o.attempt, o.started_at,
                 o.arrived_at, o.code, (o.name).key, null, null)::wpp.message_outcome
      from outcomes o where o.type = 'message' and o.its_organization is not null order by o.n),
    array(
      select row(o.n, o.type, o.at, o.its_organization, o.its_account, (o.name).ids, o.task_id,
                 o.wa_message_id, o.status, o.error, o.own, o.arrived_at, o.code, o.outgoing,
                 o.phone, o.emoji, o.text, (o.name).target_outgoing, (o.name).peer_phone,
                 (o.name).lid, null, null)::wpp.message_update
      from outcomes o
      where o.type in ('status', 'reaction', 'edit') and o.its_organization is not null
      order by o.n),
    array(
      select row(o.n, o.at, o.its_organization, o.its_integration, o.its_account, o.status, o.qr,
                 o.reason, o.error)::wpp.session_outcome
      from outcomes o where o.type = 'session' and o.its_organization is not null order by o.n),
    array(
      select row(o.n, o.at, o.id, o.its_organization, o.its_account, o.event_type, o.payload,
                 o.became, o.error)::wpp.log_outcome
      from outcomes o where o.type = 'log' order by o.n),
    array(
      select row(o.n, o.at, o.id, o.its_organization, o.its_account, o.kind, o.lane, o.reason,
                 o.detail, o.attempts, o.accepted_at, o.event)::wpp.dead_letter_outcome
      from outcomes o where o.type = 'dead_letter' order by o.n),
    array(select distinct o.its_organization from outcomes o
          where o.its_organization is not null and o.type not in ('log', 'dead_letter')
          order by 1),
    unowned,
    exists (select from outcomes o where o.is_foreign)
  into typed;
  return typed;
end
$$;

-- Park the outcomes of accounts that no integration has yet: those with these numbers.
create or replace function wpp.park_outcomes(batch jsonb, numbers integer[]) returns void
language sql set search_path = '' as $$
  insert into wpp.parked_outcomes (id, awaits, account, outcome)
  select distinct on (1) md5(p.outcome::text)::uuid, 'account', p.outcome ->> 'account', p.outcome
  from (select batch -> (n - 1) as outcome from unnest(numbers) as n) p
  on conflict do nothing
$$;

-- Apply a batch as a whole. Returns what changed, as `wpp_apply` does.
create or replace function wpp.apply_batch(batch jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  typed wpp.typed_batch;
  touched uuid[];
  lock_timeout text := current_setting('lock_timeout');
begin
  if exists (select from jsonb_array_elements(batch) as o (value)
             where wpp.is_malformed(o.value)) then
    raise exception 'not an outcome: its type is unknown, or it lacks a field of its type'
      using errcode = 'invalid_parameter_value';
  end if;
  typed := wpp.read_batch(batch);
  if exists (select from unnest(typed.unowned) as n
             where batch -> (n - 1) ->> 'type' = 'message'
               and batch -> (n - 1) ->> 'account' is null) then
    raise exception 'a message needs its organization or its account'
      using errcode = 'invalid_parameter_value';
  end if;
  if typed.is_foreign then
    raise exception 'this account belongs to another organization' using errcode = 'WP001';
  end if;
  -- What no other outcome depends on is stored before the lock, in the order of ids.
  if cardinality(typed.unowned) > 0 then
    perform wpp.park_outcomes(batch, typed.unowned);
  end if;
  if cardinality(typed.log) > 0 then
    perform wpp.insert_log(typed.log);
  end if;
  if cardinality(typed.letters) > 0 then
    perform wpp.insert_dead_letters(typed.letters);
  end if;
  -- One batch at a time for each organization: contacts, ids and sessions are never created twice,
  -- and two recorders cannot deadlock. Only the pipeline takes this lock, and not for long: it is
  -- worth a longer wait than the locks of the CRM.
  perform set_config('lock_timeout', '2s', true);
  perform wpp.lock_organization(l.id) from unnest(typed.organizations) as l (id);
  perform set_config('lock_timeout', lock_timeout, true);

  if cardinality(typed.sessions) > 0 then
    perform wpp.apply_session_states(typed.sessions);
  end if;
  touched := wpp.upsert_messages(typed.messages);
  touched := touched || wpp.apply_updates(
    typed.updates, array(select unnest(m.ids) from unnest(typed.messages) as m), batch);
  perform wpp.recompute_statuses(touched);

  return jsonb_build_object('changed', coalesce((
    select jsonb_agg(jsonb_build_object('organization_id', c.organization_id,
                                        'integration_id', c.integration_id, 'what', c.what))
    from (
      select m.organization_id, m.integration_id, 'message' as what
      from public.chat_messages m where m.id = any (touched)
      union
      select s.organization_id, s.integration_id, 'session' from unnest(typed.sessions) as s
    ) c), '[]'));
end
$$;

drop function if exists wpp.resolve_owners(jsonb), wpp.park_unknown_accounts(jsonb, jsonb);
do $$
begin
  revoke execute on function wpp.find_unowned(jsonb), wpp.read_batch(jsonb),
    wpp.park_outcomes(jsonb, integer[]) from public, anon, authenticated;
  grant execute on function wpp.find_unowned(jsonb), wpp.read_batch(jsonb),
    wpp.park_outcomes(jsonb, integer[]) to service_role;
end
$$;
