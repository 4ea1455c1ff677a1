-- Pacing: how fast numbers may write, and to how many new people a day (shared/pacing.py).

-- The settings of an organization (without an integration), and of single numbers of it. A setting
-- that is missing has the value of the organization, then that of the deployment.
create table if not exists public.wpp_pacing (
  organization_id uuid not null references public.organizations (id) on delete cascade,
  integration_id uuid,
  settings jsonb not null check (jsonb_typeof(settings) = 'object')
);
create unique index if not exists wpp_pacing_of_organization
  on public.wpp_pacing (organization_id) where integration_id is null;
create unique index if not exists wpp_pacing_of_integration
  on public.wpp_pacing (organization_id, integration_id) where integration_id is not null;

alter table public.wpp_pacing enable row level security;
drop policy if exists wpp_pacing_own on public.wpp_pacing;
create policy wpp_pacing_own on public.wpp_pacing for select to authenticated
  using (organization_id = (select wpp.my_organization()));
revoke all on public.wpp_pacing from public, anon, authenticated;
grant select on public.wpp_pacing to authenticated;
grant all on public.wpp_pacing to service_role;

-- When each number was connected for the first time: its warm-up begins then. Null: before this
-- table existed, so it has none. A number without a row was not connected yet.
do $$
begin
  if to_regclass('wpp.first_connections') is null then
    create table wpp.first_connections (
      integration_id uuid primary key,
      at timestamptz
    );
    insert into wpp.first_connections (integration_id)
    select i.id from public.messenger_integrations i where i.provider = 'wpp';
  end if;
end
$$;
alter table wpp.first_connections enable row level security;
grant all on wpp.first_connections to service_role;

create or replace function wpp.note_first_connection() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into wpp.first_connections (integration_id, at) values (new.integration_id, new.at)
  on conflict do nothing;
  return null;
end
$$;
create or replace trigger wpp_note_first_connection
  after insert on public.wpp_session_history for each row
  when (new.status = 'connected') execute function wpp.note_first_connection();

-- The pacing of all numbers, or of an organization's, as one array: a project limits the rows of an
-- answer. Numbers that differ in nothing are left out. `settings` are those of the number over those
-- of its organization. `warm_up_from`: when its warm-up began; null: it has none. A number that was
-- not connected yet begins now.
create or replace function public.wpp_pacing_of(organization_id uuid default null) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'integration_id', i.id, 'own', coalesce(n.settings, '{}'),
    'settings', coalesce(o.settings, '{}') || coalesce(n.settings, '{}'),
    'warm_up_from', case when f.integration_id is null then now() else f.at end)), '[]')
  from public.messenger_integrations i
  left join public.wpp_pacing o
    on o.organization_id = i.organization_id and o.integration_id is null
  left join public.wpp_pacing n
    on n.organization_id = i.organization_id and n.integration_id = i.id
  left join wpp.first_connections f on f.integration_id = i.id
  where i.provider = 'wpp'
    and (wpp_pacing_of.organization_id is null
         or i.organization_id = wpp_pacing_of.organization_id)
    and (o.settings is not null or n.settings is not null
         or f.integration_id is null or f.at is not null)
$$;

-- Change settings of an organization, or of one of its numbers; null takes a setting back. Returns
-- the settings, or null if the organization, or its number, does not exist.
create or replace function public.wpp_set_pacing(
  organization_id uuid, integration_id uuid default null, changes jsonb default '{}')
returns jsonb
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
#variable_conflict use_column
declare
  stored jsonb;
begin
  perform wpp.lock_organization(wpp_set_pacing.organization_id);
  if not exists (
    select from public.organizations o where o.id = wpp_set_pacing.organization_id
  ) or (wpp_set_pacing.integration_id is not null and not exists (
    select from public.messenger_integrations i
    where i.id = wpp_set_pacing.integration_id and i.provider = 'wpp'
      and i.organization_id = wpp_set_pacing.organization_id)) then
    return null;
  end if;
  delete from public.wpp_pacing p
  where p.organization_id = wpp_set_pacing.organization_id
    and p.integration_id is not distinct from wpp_set_pacing.integration_id
  returning p.settings into stored;
  stored := jsonb_strip_nulls(coalesce(stored, '{}') || changes);
  if stored <> '{}' then
    insert into public.wpp_pacing (organization_id, integration_id, settings)
    values (wpp_set_pacing.organization_id, wpp_set_pacing.integration_id, stored);
  end if;
  return stored;
end
$$;

-- What a number knows of a person: when they wrote to it last (ms since 1970), `known` if it wrote
-- to them only, else `stranger`. The person is each contact of the organization with this phone.
create or replace function public.wpp_acquaintance(integration_id uuid, phone text) returns text
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
  with person as materialized (
    select c.client_id, c.teacher_id
    from public.messenger_integrations i
    left join public.wpp_policies p on p.organization_id = i.organization_id
    join wpp.dialing_rules home on home.region = coalesce(p.region, 'RU')
    cross join lateral (select wpp.phone_twins(wpp_acquaintance.phone) as twins offset 0) t
    left join lateral (
      select r.country_code, r.trunk_prefixes from wpp.dialing_rules r
      where r.country_code = any (array[left(phone, 1), left(phone, 2), left(phone, 3)])
      order by r.region <> home.region, r.region limit 1
    ) plan on true
    cross join lateral wpp.contact_candidates(
      i.organization_id, wpp_acquaintance.phone,
      wpp.phone_variants(t.twins, plan.country_code, plan.trunk_prefixes,
                         home.country_code, home.international_prefix)) c
    where i.id = wpp_acquaintance.integration_id
  ), spoken as (
    select m.is_outgoing, m.created_at
    from person p cross join lateral (
      select m.is_outgoing, m.created_at, m.integration_id, m.message_status
      from public.chat_messages m where m.client_id = p.client_id
      union all
      select m.is_outgoing, m.created_at, m.integration_id, m.message_status
      from public.chat_messages m where m.teacher_id = p.teacher_id
    ) m
    where m.integration_id = wpp_acquaintance.integration_id
      and (not m.is_outgoing or m.message_status in ('sent', 'delivered', 'read', 'unknown'))
  )
  select coalesce(
    (extract(epoch from max(s.created_at) filter (where not s.is_outgoing)) * 1000)::bigint::text,
    case when count(*) > 0 then 'known' else 'stranger' end)
  from spoken s
$$;

do $$
declare
  own_function regprocedure;
begin
  foreach own_function in array array[
    'wpp.note_first_connection()', 'public.wpp_pacing_of(uuid)',
    'public.wpp_set_pacing(uuid, uuid, jsonb)', 'public.wpp_acquaintance(uuid, text)'
  ]::regprocedure[] loop
    execute format('revoke execute on function %s from public, anon, authenticated', own_function);
    execute format('grant execute on function %s to service_role', own_function);
  end loop;
end
$$;
