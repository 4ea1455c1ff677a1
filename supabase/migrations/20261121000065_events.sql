-- Events: what happens to the messages and numbers of an organization, in one order, for streams
-- and callbacks.
--
-- An event is noted when its change is stored, in the same transaction, by triggers on the
-- histories. Whoever writes a history holds the lock of the organization (`wpp.lock_organization`)
-- until the end of its transaction, so within an organization a greater id is never visible before
-- a smaller one: who has read up to an id has missed nothing.
--
-- An event refers to its message. The content is read with it: it is that of the moment of reading.

create table if not exists wpp.events (
  organization_id uuid not null, -- no foreign key: its check would cost as much as the row
  id bigint generated always as identity,
  type text not null, -- message.<event of the history>, number.<state>
  message_id uuid,
  integration_id uuid, -- of a number's event
  at timestamptz not null,
  detail jsonb, -- what the message's row does not tell
  recorded_at timestamptz not null default now(),
  primary key (organization_id, id)
);
-- A status is reported several times, with different times: the first report is the event.
create unique index if not exists events_once on wpp.events (message_id, type)
  where type not in ('message.failed', 'message.unknown', 'message.edited', 'message.reaction');

-- The last event of an organization that was deleted for its age: an older position has a gap.
create table if not exists wpp.event_floors (
  organization_id uuid primary key,
  id bigint not null
);

alter table wpp.events enable row level security;
alter table wpp.event_floors enable row level security;
revoke all on wpp.events, wpp.event_floors from public, anon, authenticated;
grant all on wpp.events, wpp.event_floors to service_role;

-- `wpp.begin_history` says what happened before: it is no news.
create or replace function wpp.note_statuses() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if current_setting('wpp.is_no_news', true) = 'yes' then
    return null;
  end if;
  insert into wpp.events (organization_id, type, message_id, at, detail)
  select n.organization_id,
         'message.' || case n.event when 'reaction_removed' then 'reaction' else n.event end,
         n.message_id, n.at,
         case when n.event in ('reaction', 'reaction_removed')
              then jsonb_build_object('emoji', nullif(n.detail, ''), 'by', n.actor)
              when n.error is not null
              then jsonb_build_object('error', n.error, 'code', n.code) end
  from noted as n where n.event <> 'attempt' order by n.id
  on conflict do nothing;
  return null;
end
$$;
create or replace trigger wpp_note_statuses after insert on public.wpp_message_history
  referencing new table as noted for each statement execute function wpp.note_statuses();

create or replace function wpp.note_states() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into wpp.events (organization_id, type, integration_id, at, detail)
  select n.organization_id, 'number.' || n.status, n.integration_id, n.at,
         jsonb_strip_nulls(jsonb_build_object(
           'account', n.account, 'status', n.status, 'reason', n.reason, 'error', n.error))
  from noted as n order by n.id;
  return null;
end
$$;
create or replace trigger wpp_note_states after insert on public.wpp_session_history
  referencing new table as noted for each statement execute function wpp.note_states();

-- What an event tells, for clients. Users may write any value into their organization's
-- messages.
create or replace function wpp.describe_event(e wpp.events, m public.chat_messages) returns jsonb
language sql stable set search_path = '' as $$
  select jsonb_build_object(
    'id', e.id,
    'type', e.type,
    'timestamp', e.at,
    'data', case when e.message_id is null
      then jsonb_build_object('integration_id', e.integration_id) || coalesce(e.detail, '{}')
      else jsonb_strip_nulls(jsonb_build_object(
        'message_id', m.id,
        'integration_id', coalesce(m.integration_id::text, m.metadata ->> 'integration_id'),
        'phone', m.metadata ->> 'phone',
        'is_outgoing', coalesce(m.is_outgoing, false),
        'status', m.message_status,
        'content', coalesce(m.metadata ->> 'content', 'text'),
        'text', m.message_text,
        'file_url', m.file_url, 'file_name', m.file_name, 'file_type', m.file_type,
        'sender_name', m.sender_name, 'client_id', m.client_id, 'teacher_id', m.teacher_id
      )) || coalesce(e.detail, '{}') end)
$$;

-- The events of an organization after a position, the oldest first: at most `max_rows`, and a
-- megabyte of text. Without a position none: it answers where the organization's events end.
-- Returns {"events": […], "last": the position after these events, "floor": positions below it have
-- a gap, "more": whether more events follow}. Events of messages that were deleted since are left
-- out.
create or replace function public.wpp_read_events(
  organization_id uuid, after bigint, max_rows integer
) returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, public, pg_temp set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  found_floor bigint := coalesce((select f.id from wpp.event_floors f
    where f.organization_id = wpp_read_events.organization_id), 0);
  answer jsonb;
begin
  if after is null then
    return jsonb_build_object('events', '[]'::jsonb, 'floor', found_floor, 'more', false,
      'last', greatest(found_floor, (
        select e.id from wpp.events e where e.organization_id = wpp_read_events.organization_id
        order by e.id desc limit 1)));
  end if;
  select jsonb_build_object(
    'events', coalesce(jsonb_agg(p.told order by p.id) filter (where p.told is not null), '[]'),
    'last', coalesce(max(p.id), greatest(after, found_floor)), 'floor', found_floor)
  into answer
  from (
    select e.id, row_number() over (order by e.id) as n,
           sum(coalesce(length(m.message_text), 0)) over (order by e.id) as size,
           case when e.message_id is null or m.id is not null
                then wpp.describe_event(e, m) end as told
    from (
      select * from wpp.events o
      where o.organization_id = wpp_read_events.organization_id and o.id > after
      order by o.id limit max_rows
    ) e
    left join public.chat_messages m
      on m.id = e.message_id and m.organization_id = e.organization_id
  ) p
  where p.n = 1 or p.size <= 1000000;
  return answer || jsonb_build_object('more',
    exists (select from wpp.events o
            where o.organization_id = wpp_read_events.organization_id
              and o.id > (answer ->> 'last')::bigint));
end
$$;

-- Delete events that were noted before a time, at most `max_rows` of each organization.
create or replace function public.wpp_prune_events(older_than timestamptz, max_rows integer)
returns integer
language plpgsql security definer set search_path = '' as $$
declare
  pruned integer;
begin
  with recursive owners as ( -- each organization that has events, by steps through the index
    (select e.organization_id from wpp.events e order by e.organization_id limit 1)
    union all
    select (select e.organization_id from wpp.events e
            where e.organization_id > o.organization_id order by e.organization_id limit 1)
    from owners o where o.organization_id is not null
  ), old as (
    select f.organization_id, f.id from owners o
    cross join lateral (
      select e.organization_id, e.id, e.recorded_at from wpp.events e
      where e.organization_id = o.organization_id order by e.id limit max_rows) f
    where f.recorded_at < older_than
  ), gone as (
    delete from wpp.events e using old
    where e.organization_id = old.organization_id and e.id = old.id
    returning e.organization_id, e.id
  ), floors as (
    insert into wpp.event_floors as f (organization_id, id)
    select g.organization_id, max(g.id) from gone g group by 1 order by 1
    on conflict (organization_id) do update set id = greatest(f.id, excluded.id)
  )
  select count(*) into pruned from gone;
  return pruned;
end
$$;

do $$
declare
  own_function regprocedure;
begin
  for own_function in
    select p.oid from pg_proc p
    where (p.pronamespace = 'wpp'::regnamespace
           and p.proname in ('note_statuses', 'note_states', 'describe_event'))
       or (p.pronamespace = 'public'::regnamespace
           and p.proname in ('wpp_read_events', 'wpp_prune_events'))
  loop
    execute format('revoke execute on function %s from public, anon, authenticated', own_function);
    execute format('grant execute on function %s to service_role', own_function);
  end loop;
end
$$;
