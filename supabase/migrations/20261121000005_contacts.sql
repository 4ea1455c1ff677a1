-- Who a phone belongs to: teacher, then client, then a client's further number; made or revived where nobody is found.
--
-- Functions that write to the CRM's tables have the search path `pg_catalog, public, pg_temp` and not the empty one:
-- the CRM's own triggers on these tables name tables and functions without a schema and would fail. Everything of
-- ours is qualified all the same.

-- A stored phone in one spelling, as shared/phones.py writes it: "+7 (999) 000-11-22", "8 999 0001122" and
-- "9990001122" are "79990001122".
create or replace function public.wpp_phone(stored text) returns text
language sql immutable parallel safe set search_path = '' as $$
  select case
    when digits ~ '^8\d{10}$' then '7' || substr(digits, 2)
    when digits ~ '^9\d{9}$' then '7' || digits
    when digits ~ '^00' then substr(digits, 3)
    else digits
  end
  from (select regexp_replace(stored, '\D', '', 'g') as digits) d
$$;

create index if not exists wpp_clients_by_phone on public.clients (public.wpp_phone(phone));
create index if not exists wpp_teachers_by_phone on public.teachers (public.wpp_phone(phone));
create index if not exists wpp_numbers_by_phone on public.client_phone_numbers (public.wpp_phone(phone));

-- Everybody whom a phone could mean. Deleted teachers are left out: who left doesn't come back by writing.
-- `kind` is 1 for a teacher, 2 for a client, 3 for a client by a further number; `unnamed` says that a client has its
-- phone for a name. Without a search path of its own, so that Postgres can inline it; organisations are compared as
-- text, so that it looks phones up and doesn't walk an organisation.
create or replace function public.wpp_candidates(organization uuid, digits text)
returns table (client_id uuid, teacher_id uuid, active boolean, kind integer, unnamed boolean, since timestamptz)
language sql stable as $$
  select null::uuid, t.id, true, 1, false, t.created_at
  from public.teachers t
  where public.wpp_phone(t.phone) = digits and t.organization_id::text = organization::text
    and coalesce(t.is_active, true)
  union all
  select c.id, null, coalesce(c.is_active, true), 2, c.name = digits, c.created_at
  from public.clients c
  where public.wpp_phone(c.phone) = digits and c.organization_id::text = organization::text
  union all
  select c.id, null, coalesce(c.is_active, true), 3, c.name = digits, c.created_at
  from public.client_phone_numbers n join public.clients c on c.id = n.client_id
  where public.wpp_phone(n.phone) = digits and c.organization_id::text = organization::text
$$;

-- Make a client. The CRM allows a phone once among all organisations: where it is taken by another organisation, the
-- client carries it as a further number instead. Null when the CRM's rules forbid even that.
create or replace function public.wpp_make_client(organization uuid, digits text, named text) returns uuid
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  made uuid;
begin
  begin
    insert into public.clients (organization_id, name, phone, is_active)
    values (organization, named, digits, true) returning id into made;
    return made;
  exception when unique_violation then
    null;
  end;
  -- The CRM compares the last ten digits only: perhaps it means somebody of this very organisation.
  select c.id into made from public.clients c
  where c.organization_id = organization and right(public.wpp_phone(c.phone), 10) = right(digits, 10)
  order by coalesce(c.is_active, true) desc, c.created_at desc nulls last limit 1;
  if made is not null then
    return made;
  end if;
  insert into public.clients (organization_id, name, is_active) values (organization, named, true)
  returning id into made;
  insert into public.client_phone_numbers (client_id, phone, is_primary, is_whatsapp_enabled)
  values (made, digits, true, true);
  return made;
exception when integrity_constraint_violation then
  return null;
end
$$;

-- Bring one contact into being, back, or to its name. `entry` is its entry in wpp_contacts; so is the answer.
create or replace function public.wpp_settle_contact(entry jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  digits text := entry ->> 'phone';
  named text := nullif(trim(entry ->> 'name'), '');
  made uuid;
begin
  if entry ->> 'client_id' is null then
    made := public.wpp_make_client((entry ->> 'organization_id')::uuid, digits, coalesce(named, digits));
    return entry || jsonb_build_object('client_id', made, 'flag', case when made is null then 'conflict' end);
  end if;
  update public.clients c
  set is_active = true, name = case when c.name = digits then coalesce(named, c.name) else c.name end
  where c.id = (entry ->> 'client_id')::uuid;
  return entry;
exception when unique_violation then
  return entry || '{"flag": "conflict"}'; -- the CRM minds another organisation's client: filed all the same
end
$$;

-- The contacts of many phones, made or revived where needed: {"<organization>:<phone>": {"client_id", "teacher_id",
-- "flag"}}. Best first: active before deleted, teacher before client before further number, newest first. `flag` says
-- what an operator should look at: `ambiguous` (several active ones of one kind) or `conflict` (none could be made).
-- `wanted` is an array of {"organization_id", "phone", "name"}, each phone once.
create or replace function public.wpp_contacts(wanted jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  contacts jsonb;
begin
  select coalesce(jsonb_object_agg((w ->> 'organization_id') || ':' || (w ->> 'phone'), w || jsonb_build_object(
    'client_id', best.client_id, 'teacher_id', best.teacher_id,
    'flag', case when best.rivals > 1 then 'ambiguous' end,
    'unsettled', best.active is not true or (best.unnamed and nullif(trim(w ->> 'name'), '') is not null)
  )), '{}') into contacts
  from jsonb_array_elements(wanted) as w
  left join lateral (
    select c.*, count(*) filter (where c.active) over (partition by c.kind) as rivals
    from public.wpp_candidates((w ->> 'organization_id')::uuid, w ->> 'phone') c
    order by c.active desc, c.kind, c.since desc nulls last, c.client_id, c.teacher_id limit 1
  ) best on true;
  return contacts || (
    select coalesce(jsonb_object_agg(e.key, public.wpp_settle_contact(e.value)), '{}')
    from (select * from jsonb_each(contacts) as c where (c.value ->> 'unsettled')::bool order by c.key) e
  );
end
$$;
