-- Callbacks: addresses of clients, to which the events of an organization are posted.

create table if not exists public.wpp_callbacks (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  name text not null default '' check (length(name) <= 100),
  url text not null check (length(url) between 8 and 2048),
  types text[] not null default '{}', -- empty: all
  integration_id uuid, -- null: of all numbers
  secret text not null,
  previous_secret text, -- signs as well until `previous_until`
  previous_until timestamptz,
  is_enabled boolean not null default true,
  disabled_reason text,
  position bigint not null, -- events up to this one are in the lanes, or were posted
  generation integer not null default 0, -- grows with each rewind: events are posted once in each
  failing_since timestamptz, -- since then no delivery has succeeded
  last_success_at timestamptz,
  created_at timestamptz not null default now()
);
create index if not exists wpp_callbacks_of_organization
  on public.wpp_callbacks (organization_id, created_at);

-- Each attempt at a delivery.
create table if not exists public.wpp_callback_deliveries (
  id bigint generated always as identity primary key,
  organization_id uuid not null,
  callback_id uuid not null references public.wpp_callbacks (id) on delete cascade,
  event_id bigint, -- null: a test
  webhook_id text not null,
  type text not null,
  attempt integer not null,
  outcome text not null check (outcome in ('delivered', 'failed', 'given_up')),
  status integer, -- of the answer; null: none came
  duration_ms integer,
  error text,
  at timestamptz not null default now()
);
create index if not exists wpp_callback_deliveries_of_callback
  on public.wpp_callback_deliveries (callback_id, id);

-- The secrets must be readable by workers, so they are stored as they are, for nobody else.
alter table public.wpp_callbacks enable row level security;
alter table public.wpp_callback_deliveries enable row level security;
revoke all on public.wpp_callbacks, public.wpp_callback_deliveries
  from public, anon, authenticated;
grant all on public.wpp_callbacks, public.wpp_callback_deliveries to service_role;

-- Create a callback that begins with the next event; the same id again changes nothing. Returns
-- nothing when the organization has `max_callbacks` already.
create or replace function public.wpp_create_callback(callback jsonb, max_callbacks integer)
returns setof public.wpp_callbacks
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  given public.wpp_callbacks := jsonb_populate_record(null::public.wpp_callbacks, callback);
begin
  perform wpp.lock_organization(given.organization_id);
  if not exists (select from public.wpp_callbacks c where c.id = given.id)
     and (select count(*) from public.wpp_callbacks c
          where c.organization_id = given.organization_id) < max_callbacks then
    insert into public.wpp_callbacks
      (id, organization_id, name, url, types, integration_id, secret, position)
    values (given.id, given.organization_id, given.name, given.url, given.types,
            given.integration_id, given.secret,
            (public.wpp_read_events(given.organization_id, null, 0) ->> 'last')::bigint);
  end if;
  return query select * from public.wpp_callbacks c
    where c.id = given.id and c.organization_id = given.organization_id;
end
$$;

-- The next events of callbacks that have any: at most `max_callbacks`, those that wait longest.
-- Not of the organizations `busy`, and of `strained` none for a callback that fails.
-- Returns {"callbacks": how many are enabled, "batches": [{"callback", "page"}, …]}.
create or replace function public.wpp_callback_events(
  max_callbacks integer, max_rows integer, busy uuid[], strained uuid[]
) returns jsonb
language sql stable security definer
set search_path = pg_catalog, public, pg_temp set enable_seqscan = off as $$
  select jsonb_build_object(
    'callbacks', (select count(*) from public.wpp_callbacks c where c.is_enabled),
    'batches', coalesce((
      select jsonb_agg(jsonb_build_object(
        'callback', to_jsonb(d) - 'next_id',
        'page', public.wpp_read_events(d.organization_id, d.position, max_rows)) order by d.next_id)
      from (
        select c.*, n.id as next_id
        from public.wpp_callbacks c
        cross join lateral (
          select e.id from wpp.events e
          where e.organization_id = c.organization_id and e.id > c.position
          order by e.id limit 1) n
        where c.is_enabled and c.organization_id <> all (busy)
          and not (c.failing_since is not null and c.organization_id = any (strained))
        order by n.id, c.id limit max_callbacks
      ) d), '[]'))
$$;

-- Move the position of a callback on, unless another process or a rewind has moved it.
create or replace function public.wpp_advance_callback(
  callback_id uuid, seen bigint, seen_generation integer, reached bigint
) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  update public.wpp_callbacks c set position = reached
  where c.id = callback_id and c.position = seen and c.generation = seen_generation;
  return found;
end
$$;

-- Post again what was noted since a time. Returns whether there is such a callback.
create or replace function public.wpp_rewind_callback(
  callback_id uuid, organization_id uuid, since timestamptz
) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  update public.wpp_callbacks c
  set generation = c.generation + 1,
      position = least(c.position, coalesce((
        select min(e.id) - 1 from wpp.events e
        where e.organization_id = c.organization_id and e.recorded_at >= since), c.position))
  where c.id = callback_id and c.organization_id = wpp_rewind_callback.organization_id;
  return found;
end
$$;

-- Record an attempt and what it says about the callback. A callback is disabled when its receiver
-- says that it is gone (410), or when nothing was delivered for `patience`.
-- Returns {"failing_since", "disabled": why it was disabled by this attempt, or null}; null when the
-- callback was deleted.
create or replace function public.wpp_record_delivery(delivery jsonb, patience interval)
returns jsonb
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  given public.wpp_callback_deliveries :=
    jsonb_populate_record(null::public.wpp_callback_deliveries, delivery);
  current public.wpp_callbacks;
  why text;
begin
  select * into current from public.wpp_callbacks c
  where c.id = given.callback_id and c.organization_id = given.organization_id;
  if not found then
    return null;
  end if;
  insert into public.wpp_callback_deliveries (organization_id, callback_id, event_id, webhook_id,
    type, attempt, outcome, status, duration_ms, error)
  values (given.organization_id, given.callback_id, given.event_id, given.webhook_id, given.type,
    given.attempt, given.outcome, given.status, given.duration_ms, given.error);
  if given.outcome = 'delivered' then
    update public.wpp_callbacks c set failing_since = null, last_success_at = now()
    where c.id = given.callback_id and (c.failing_since is not null
      or c.last_success_at is null or c.last_success_at < now() - interval '1 minute');
    return '{"failing_since": null, "disabled": null}';
  end if;
  current.failing_since := coalesce(current.failing_since, now());
  why := case when not current.is_enabled then null
              when given.status = 410 then 'the receiver answers 410: it is gone'
              when current.failing_since < now() - patience
              then concat('nothing was delivered since ', current.failing_since::timestamp(0)) end;
  update public.wpp_callbacks c
  set failing_since = current.failing_since, is_enabled = c.is_enabled and why is null,
      disabled_reason = coalesce(why, c.disabled_reason)
  where c.id = given.callback_id
    and (c.failing_since is null or why is not null);
  return jsonb_build_object('failing_since', current.failing_since, 'disabled', why);
end
$$;

-- Delete attempts that are older than a time, at most `max_rows`.
create or replace function public.wpp_prune_deliveries(older_than timestamptz, max_rows integer)
returns integer
language plpgsql security definer set search_path = '' as $$
declare
  pruned integer;
begin
  delete from public.wpp_callback_deliveries d where d.id in (
    select o.id from (
      select f.id, f.at from public.wpp_callback_deliveries f order by f.id limit max_rows) o
    where o.at < older_than);
  get diagnostics pruned = row_count;
  return pruned;
end
$$;

do $$
declare
  own_function regprocedure;
begin
  for own_function in
    select p.oid from pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and p.proname in ('wpp_create_callback', 'wpp_callback_events', 'wpp_advance_callback',
                        'wpp_rewind_callback', 'wpp_record_delivery', 'wpp_prune_deliveries')
  loop
    execute format('revoke execute on function %s from public, anon, authenticated', own_function);
    execute format('grant execute on function %s to service_role', own_function);
  end loop;
end
$$;
