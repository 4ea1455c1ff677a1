-- Pauses: when a number was paused and when it was resumed, by the API or by the CRM itself, for the
-- history of the number and as events.

create table if not exists wpp.pauses (
  id bigint generated always as identity primary key,
  organization_id uuid not null references public.organizations (id) on delete cascade,
  integration_id uuid not null,
  account text,
  is_paused boolean not null,
  at timestamptz not null default clock_timestamp(),
  is_told boolean not null default false -- whether its event is noted
);
create index if not exists pauses_of_integration on wpp.pauses (integration_id, at desc);
create index if not exists pauses_of_organization on wpp.pauses (organization_id);
create index if not exists pauses_to_tell on wpp.pauses (organization_id, id) where not is_told;
alter table wpp.pauses enable row level security;
revoke all on wpp.pauses from public, anon, authenticated;
grant all on wpp.pauses to service_role;

-- Note the events of an organization's pauses. The caller holds the lock of the organization.
create or replace function wpp.tell_pauses(organization uuid) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  told integer;
begin
  with due as (
    update wpp.pauses p set is_told = true
    where p.organization_id = organization and not p.is_told returning p.*
  )
  insert into wpp.events (organization_id, type, integration_id, at, detail)
  select d.organization_id, case when d.is_paused then 'number.paused' else 'number.resumed' end,
         d.integration_id, d.at,
         jsonb_strip_nulls(jsonb_build_object('account', d.account, 'is_enabled', not d.is_paused))
  from due d order by d.id;
  get diagnostics told = row_count;
  return told;
end
$$;

-- Whoever notes an event holds the lock of its organization. It is not waited for here: whoever has
-- it may wait for the row that this transaction has changed. `wpp_tell_pauses` notes the event then.
-- Of a number, the latest hundred remain.
create or replace function wpp.note_pause() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into wpp.pauses (organization_id, integration_id, account, is_paused)
  values (new.organization_id, new.id, new.settings ->> 'wppAccountNumber',
          not coalesce(new.is_enabled, true));
  delete from wpp.pauses p where p.integration_id = new.id and p.is_told and p.id <= (
    select o.id from wpp.pauses o where o.integration_id = new.id
    order by o.at desc, o.id desc offset 100 limit 1);
  if pg_try_advisory_xact_lock(hashtextextended('wpp:' || new.organization_id, 0)) then
    perform wpp.tell_pauses(new.organization_id);
  end if;
  return null;
exception when others then -- the number is paused all the same
  raise warning 'a pause of number % was not noted: %', new.id, sqlerrm;
  return null;
end
$$;
create or replace trigger wpp_note_pause
  after update of is_enabled, is_active on public.messenger_integrations for each row
  when (new.provider = 'wpp' and
        coalesce(new.is_enabled, true) is distinct from coalesce(old.is_enabled, true))
  execute function wpp.note_pause();

-- Note the events of pauses that could not be noted at once, of at most 100 organizations; return
-- how many.
create or replace function public.wpp_tell_pauses() returns integer
language plpgsql security definer set search_path = '' as $$
declare
  organization uuid;
  told integer := 0;
begin
  for organization in
    select distinct p.organization_id from wpp.pauses p where not p.is_told
    order by p.organization_id limit 100
  loop
    perform wpp.lock_organization(organization);
    told := told + wpp.tell_pauses(organization);
  end loop;
  return told;
end
$$;

-- The history of a number, the latest change first: states of its session, pauses and resumptions.
create or replace function public.wpp_number_history(
  integration_id uuid, organization_id uuid, max_rows integer, until timestamptz default null
) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_agg(to_jsonb(f) - 'id' order by f.at desc, f.id desc), '[]')
  from (
    (select h.status, h.reason, h.error, h.account, h.at, h.id
     from public.wpp_session_history h
     where h.integration_id = wpp_number_history.integration_id
       and h.organization_id = wpp_number_history.organization_id
       and (until is null or h.at < until)
     order by h.at desc, h.id desc limit max_rows)
    union all
    (select s.status, s.status, null, coalesce(p.account, ''), p.at, p.id
     from wpp.pauses p
     cross join lateral (
       select case when p.is_paused then 'paused' else 'resumed' end as status) s
     where p.integration_id = wpp_number_history.integration_id
       and p.organization_id = wpp_number_history.organization_id
       and (until is null or p.at < until)
     order by p.at desc, p.id desc limit max_rows)
    order by at desc, id desc limit max_rows
  ) f
$$;

do $$
declare
  own_function regprocedure;
begin
  for own_function in
    select p.oid from pg_proc p
    where (p.pronamespace = 'wpp'::regnamespace and p.proname in ('tell_pauses', 'note_pause'))
       or (p.pronamespace = 'public'::regnamespace
           and p.proname in ('wpp_tell_pauses', 'wpp_number_history'))
  loop
    execute format('revoke execute on function %s from public, anon, authenticated', own_function);
    execute format('grant execute on function %s to service_role', own_function);
  end loop;
end
$$;
