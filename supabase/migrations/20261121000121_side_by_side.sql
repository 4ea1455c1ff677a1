-- Batches of one organization are applied side by side. Each locks what it is about, the
-- conversations and the ids of messages that its outcomes name, and not the organization as a whole:
-- a batch that waits for a row of the CRM holds up its own conversations only.
--
-- The locks of a batch, in this order, each kind sorted, so that batches do not deadlock:
--   the organization       shared; alone where what a batch is about cannot be told from its outcomes
--   conversations and ids  alone
--   the order of history   alone, for the last part of the batch until it commits: ids of the history
--                          and of events rise in the order of commits

do $$
begin
  if to_regtype('wpp.stored_messages') is null then
    create type wpp.stored_messages as (
      messages wpp.message_outcome[], -- each with its row
      inserted uuid[], -- the rows that are new
      touched uuid[]
    );
  end if;
end
$$;

-- Wait for the locks of a batch. It has its organizations for itself where it changes the state of a
-- number, has hidden ids, messages of an unknown phone or echoes, which may become part of other
-- messages, where it names many messages, and while outcomes are tried one by one ('wpp.is_alone').
create or replace function wpp.lock_batch(typed wpp.typed_batch) returns void
language plpgsql set search_path = '' as $$
declare
  most_keys constant integer := 400; -- a lock takes a place in memory that all transactions share
  renumbered text[] := array(select distinct c.country_code from wpp.numbering_changes c);
  keys bigint[];
begin
  if current_setting('wpp.is_alone', true) is distinct from 'yes'
     and cardinality(typed.sessions) = 0
     and not exists (select from unnest(typed.messages) as m
                     where m.lid is not null or m.phone = '' or (m.arrived and m.outgoing)) then
    keys := array(
      select distinct hashtextextended('wpp:' || k.organization_id || ' ' || k.name, 0)
      from (
        select m.organization_id, e.name
        from unnest(typed.messages) as m,
        lateral (values
          (case when array[left(m.phone, 2), left(m.phone, 3)] && renumbered
                then wpp.chat_of(m.phone, null) else m.phone end),
          (m.task_id), (m.key)) as e (name)
        union all
        select u.organization_id, i.id from unnest(typed.updates) as u, unnest(u.ids) as i (id)
        where strpos(i.id, '@') = 0 or not split_part(i.id, '_', 3) = any (u.ids)
      ) k
      where k.name is not null order by 1);
  end if;
  if keys is null or cardinality(keys) > most_keys then
    perform wpp.lock_organization(o.id) from unnest(typed.organizations) as o (id);
    return;
  end if;
  perform pg_advisory_xact_lock_shared(hashtextextended('wpp:' || o.id, 0))
  from unnest(typed.organizations) as o (id);
  perform pg_advisory_xact_lock(k.key) from unnest(keys) as k (key);
end
$$;

-- Let one transaction at a time write the history of each of these organizations, until it commits.
create or replace function wpp.lock_history(organizations uuid[]) returns void
language plpgsql set search_path = '' as $$
declare
  lock_timeout text := current_setting('lock_timeout');
begin
  perform set_config('lock_timeout', '2s', true);
  perform pg_advisory_xact_lock(hashtextextended('wpp:history:' || o.id, 0))
  from (select distinct id from unnest(organizations) as id order by 1) o;
  perform set_config('lock_timeout', lock_timeout, true);
end
$$;

-- Insert or update messages, without their history.
create or replace function wpp.store_messages(messages wpp.message_outcome[])
returns wpp.stored_messages
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  inserted uuid[];
  identified wpp.message_outcome[];
begin
  if cardinality(messages) = 0 then
    return row('{}', '{}', '{}')::wpp.stored_messages;
  end if;
  messages := wpp.add_hidden_phones(messages);
  -- A message that arrived with a known id is that message; our own messages keep their own id.
  messages := array(
    select case when s.message_id = (s.m).message_id then s.m
                else wpp.with_message(s.m, s.message_id) end
    from (
      select k.m, k.n, case when (k.m).arrived then coalesce(f.message_id, k.first_id)
                            else (k.m).id end as message_id
      from (
        select k.m, k.n, first_value(k.id) over (
          partition by k.organization_id, k.account, k.key, k.outgoing,
                       coalesce(k.phone, k.any_phone, k.lid)
          order by k.arrived, k.n) as first_id
        from (
          select k.*, min(k.phone) over (
            partition by k.organization_id, k.account, k.key, k.outgoing) as any_phone
          from (
            select m, m.n, m.id, m.organization_id, m.account, m.outgoing, m.arrived, m.lid,
                   coalesce(m.key, m.task_id, 'id:' || m.id) as key,
                   nullif(m.phone, '') as phone
            from unnest(messages) as m
          ) k
        ) k
      ) k
      left join lateral wpp.find_message((k.m).organization_id, (k.m).account, (k.m).ids,
        (k.m).outgoing, nullif((k.m).phone, ''), (k.m).lid) f on (k.m).arrived
    ) s
    order by s.n);
  inserted := wpp.insert_messages(messages);
  -- Checked after the insert: the other row may have come at the same moment.
  if exists (
    select from unnest(messages) as m join public.chat_messages c on c.id = m.message_id
    where c.organization_id <> m.organization_id
  ) then
    raise exception 'this message belongs to another organization' using errcode = 'WP001';
  end if;
  perform wpp.link_external_ids(array(
    select row(m.organization_id, m.account, e.id, m.message_id)::wpp.message_link
    from unnest(messages) as m,
    lateral (values (m.task_id), (m.key)) as e (id)
    where e.id is not null and m.account is not null));
  perform wpp.merge_messages(messages, inserted);
  identified := wpp.identify_senders(messages, inserted);
  perform wpp.update_clients(messages || identified);
  return row(messages, inserted, array(
    select distinct m.message_id from unnest(messages || identified) as m))::wpp.stored_messages;
end
$$;

-- Apply the updates whose message is known and park the rest; then apply the parked updates that
-- waited for a message of this batch (`new_ids`: the ids of its messages). `batch` holds the
-- outcomes as they came. Returns the updates that were applied, without having written their history.
create or replace function wpp.store_updates(
  updates wpp.message_update[], new_ids text[], batch jsonb
) returns wpp.message_update[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  known_ids text[] := new_ids;
  stored wpp.message_update[] := '{}';
begin
  updates := wpp.match_updates(updates);
  if exists (select from unnest(updates) as u where u.message_id is null) then
    insert into wpp.parked_outcomes (id, awaits, account, organization_id, external_ids, outcome)
    select md5(concat(u.organization_id, batch -> (u.n - 1)))::uuid, 'message', u.account,
           u.organization_id, u.ids, batch -> (u.n - 1)
    from unnest(updates) as u where u.message_id is null
    on conflict do nothing;
    updates := array(select u from unnest(updates) as u where u.message_id is not null);
  end if;
  loop -- an id that an update adds to a message may be the id that a parked update waits for
    if cardinality(updates) > 0 then
      if wpp.link_external_ids(array(
        select distinct row(u.organization_id, u.account, i.id, u.message_id)::wpp.message_link
        from unnest(updates) as u, unnest(u.ids) as i (id)
        where strpos(i.id, '@') = 0 or i.id = wpp.message_key(i.id))) then
        updates := wpp.match_updates(updates); -- two rows were merged
        stored := wpp.match_updates(stored);
      end if;
      perform wpp.update_messages(updates);
      stored := stored || updates;
    end if;
    known_ids := known_ids || array(select unnest(u.ids) from unnest(updates) as u);
    exit when cardinality(known_ids) = 0;
    updates := wpp.match_updates(array(
      select jsonb_populate_record(null::wpp.message_update,
        p.outcome || wpp.message_reference(p.outcome) || jsonb_build_object(
          'account', p.account, 'organization_id', p.organization_id, 'parked_id', p.id))
      from wpp.parked_outcomes p where p.awaits = 'message' and p.external_ids && known_ids));
    updates := array(select u from unnest(updates) as u where u.message_id is not null);
    exit when cardinality(updates) = 0;
    delete from wpp.parked_outcomes p
    where p.id in (select u.parked_id from unnest(updates) as u);
  end loop;
  return stored;
end
$$;

-- Let the rows of messages have what updates say: further ids, edits, reactions.
create or replace function wpp.update_messages(updates wpp.message_update[]) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  types text[] := array(select distinct u.type from unnest(updates) as u);
begin
  update public.chat_messages c
  set external_message_id = coalesce(c.external_message_id, a.external_id),
      metadata = a.metadata || wpp.to_object(c.metadata)
  from (
    select u.message_id as id,
           min(case when m.is_outgoing and not coalesce(m.metadata ? 'echo', false)
                    then u.task_id else u.wa_message_id end) as external_id,
           jsonb_strip_nulls(jsonb_build_object(
             'taskId', min(u.task_id), 'waMessageId', min(u.wa_message_id))) as metadata
    from unnest(updates) as u join public.chat_messages m on m.id = u.message_id
    where u.task_id is not null or u.wa_message_id is not null
    group by 1
  ) a
  where c.id = a.id and (c.external_message_id, c.metadata) is distinct from (
    coalesce(c.external_message_id, a.external_id), a.metadata || wpp.to_object(c.metadata));
  if 'edit' = any (types) then
    perform wpp.apply_edits(updates);
  end if;
  if 'reaction' = any (types) then
    perform wpp.apply_reactions(updates);
  end if;
end
$$;

-- Write the history of messages and updates. `inserted` are the rows that are new: they have none.
create or replace function wpp.write_history(
  messages wpp.message_outcome[], inserted uuid[], updates wpp.message_update[]
) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  older uuid[] := array(
    select m.message_id from unnest(messages) as m
    union select u.message_id from unnest(updates) as u
    except select unnest(inserted));
begin
  perform wpp.lock_history(array(
    select m.organization_id from unnest(messages) as m
    union select u.organization_id from unnest(updates) as u));
  if cardinality(older) > 0 then
    perform wpp.begin_history(older);
  end if;
  insert into public.wpp_message_history (message_id, organization_id, event, status, source, at,
                                          arrived_at, started_at, attempt, code, error, actor,
                                          detail)
  select h.message_id, h.organization_id, h.event, h.status, h.source, h.at, h.arrived_at,
         h.started_at, h.attempt, h.code, h.error, h.actor, h.detail
  from (
    select 1 as part, m.n, m.message_id, m.organization_id,
           coalesce(m.event, case when m.arrived and not m.outgoing then 'received'
                                  else m.status::text end) as event,
           case when m.event is null then m.status end as status,
           case when m.arrived then 'platform' else 'own' end as source, m.at,
           coalesce(m.arrived_at, case when m.arrived then clock_timestamp() else m.at end)
             as arrived_at,
           m.started_at, m.attempt, m.code, m.error, '' as actor, null as detail
    from unnest(messages) as m
    union all
    select 2, u.n, u.message_id, u.organization_id,
           case u.type when 'status' then u.status::text
                       when 'edit' then 'edited'
                       else case when u.emoji <> '' then 'reaction' else 'reaction_removed' end end,
           u.status, case when u.own then 'own' else 'platform' end, u.at,
           coalesce(u.arrived_at, case when u.own then u.at else clock_timestamp() end),
           null, null, u.code, u.error,
           case when u.type <> 'reaction' then '' when u.outgoing then 'self' else u.phone end,
           u.emoji
    from unnest(updates) as u
  ) h
  order by h.part, h.n
  on conflict (message_id, event, source, at, actor) do nothing;
end
$$;

-- Apply a batch as a whole. Returns what changed, as `wpp_apply` does.
create or replace function wpp.apply_batch(batch jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  typed wpp.typed_batch;
  stored wpp.stored_messages;
  updates wpp.message_update[];
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
  -- What no other outcome depends on is stored before the locks, in the order of ids.
  if cardinality(typed.unowned) > 0 then
    perform wpp.park_outcomes(batch, typed.unowned);
  end if;
  if cardinality(typed.log) > 0 then
    perform wpp.insert_log(typed.log);
  end if;
  if cardinality(typed.letters) > 0 then
    perform wpp.insert_dead_letters(typed.letters);
  end if;
  -- Contacts, ids and sessions are never created twice, and two recorders cannot deadlock. Only the
  -- pipeline takes these locks, and not for long: they are worth a longer wait than those of the CRM.
  perform set_config('lock_timeout', '2s', true);
  perform wpp.lock_batch(typed);
  perform set_config('lock_timeout', lock_timeout, true);

  if cardinality(typed.sessions) > 0 then
    perform wpp.apply_session_states(typed.sessions);
  end if;
  stored := wpp.store_messages(typed.messages);
  touched := stored.touched;
  if exists (select from unnest(stored.messages) as m where m.arrived and m.outgoing) then
    -- An update may let an echo become part of another message, with the history that it has.
    perform wpp.write_history(stored.messages, stored.inserted, '{}');
    stored.messages := '{}';
    stored.inserted := '{}';
  end if;
  updates := wpp.store_updates(
    typed.updates, array(select unnest(m.ids) from unnest(typed.messages) as m), batch);
  if cardinality(stored.messages) > 0 or cardinality(updates) > 0 then
    perform wpp.write_history(stored.messages, stored.inserted, updates);
  end if;
  touched := touched || array(select distinct u.message_id from unnest(updates) as u);
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
  -- Locks of a batch are taken in an order, which those of outcomes one by one have not.
  perform set_config('wpp.is_alone', 'yes', true);
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

-- Store ids of messages. An id stays with its message of a chat and a direction, except in one
-- case: an echo of our own message that came before its waMessageId and our taskId were known to be
-- of the same message. The echo's row becomes part of our own. Returns whether that was so.
create or replace function wpp.link_external_ids(links wpp.message_link[]) returns boolean
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  twin record;
  has_merged boolean := false;
  has_others boolean;
  unknown wpp.message_link[];
begin
  select coalesce(bool_or(i.message_id <> l.message_id), false),
         coalesce(array_agg(l) filter (where i.message_id is null), '{}')
  into has_others, unknown
  from unnest(links) as l
  left join lateral (
    select i.message_id from public.wpp_message_ids i
    where i.organization_id = l.organization_id and i.account = l.account
      and i.external_id = l.external_id offset 0
  ) i on true;
  if not has_others then -- as nearly always, no other message has these ids
    if cardinality(unknown) > 0 then
      insert into public.wpp_message_ids (organization_id, account, external_id, message_id)
      select l.organization_id, l.account, l.external_id, l.message_id
      from unnest(unknown) as l order by 1, 2, 3, 4
      on conflict do nothing;
    end if;
    return false;
  end if;
  for twin in
    select distinct echo.id as echo, own.id as own
    from unnest(links) as l
    join public.chat_messages own on own.id = l.message_id
    join public.wpp_message_ids i on i.organization_id = l.organization_id
      and i.account = l.account and i.external_id = l.external_id
      and i.message_id <> l.message_id
    join public.chat_messages echo
      on echo.id = i.message_id and echo.organization_id = own.organization_id
    where echo.metadata ? 'echo' and own.is_outgoing and not own.metadata ? 'echo'
      and wpp.is_same_chat(echo.is_outgoing, echo.metadata, own.is_outgoing,
                           own.metadata ->> 'phone', own.metadata ->> 'chat')
  loop
    perform wpp.lock_history(array(select k.organization_id from unnest(links) as k));
    perform wpp.merge_echo(twin.echo, twin.own);
    has_merged := true;
  end loop;
  insert into public.wpp_message_ids (organization_id, account, external_id, message_id)
  select l.organization_id, l.account, l.external_id, l.message_id
  from unnest(links) as l join public.chat_messages c on c.id = l.message_id
  where not exists (
    select from public.wpp_message_ids i join public.chat_messages o
      on o.id = i.message_id and o.organization_id = c.organization_id
    where i.organization_id = l.organization_id and i.account = l.account
      and i.external_id = l.external_id and i.message_id <> l.message_id
      and wpp.is_same_chat(o.is_outgoing, o.metadata, c.is_outgoing, c.metadata ->> 'phone',
                           c.metadata ->> 'chat'))
  order by 1, 2, 3, 4
  on conflict do nothing;
  return has_merged;
end
$$;

drop function if exists wpp.upsert_messages(wpp.message_outcome[]),
  wpp.apply_updates(wpp.message_update[], text[], jsonb),
  wpp.apply_matched_updates(wpp.message_update[]);

do $$
declare
  own_function regprocedure;
begin
  for own_function in
    select p.oid from pg_proc p
    where p.pronamespace = 'wpp'::regnamespace
      and p.proname in ('lock_batch', 'lock_history', 'store_messages', 'store_updates',
                        'update_messages', 'write_history')
  loop
    execute format('revoke execute on function %s from public, anon, authenticated', own_function);
    execute format('grant execute on function %s to service_role', own_function);
  end loop;
end
$$;
