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

create index if not exists wpp_clients_by_phone on public.clients (organization_id, public.wpp_phone(phone));
create index if not exists wpp_teachers_by_phone on public.teachers (organization_id, public.wpp_phone(phone));
create index if not exists wpp_numbers_by_phone on public.client_phone_numbers (public.wpp_phone(phone));

-- Everybody whom a phone could mean, best first: active before deleted, teacher before client before further number,
-- newest first. Deleted teachers are left out: who left doesn't come back by writing.
create or replace function public.wpp_candidates(organization uuid, digits text)
returns table (client_id uuid, teacher_id uuid, active boolean, kind integer, since timestamptz)
language sql stable set search_path = '' as $$
  select null::uuid, t.id, true, 1, t.created_at
  from public.teachers t
  where t.organization_id = organization and public.wpp_phone(t.phone) = digits and coalesce(t.is_active, true)
  union all
  select c.id, null, coalesce(c.is_active, true), 2, c.created_at
  from public.clients c
  where c.organization_id = organization and public.wpp_phone(c.phone) = digits
  union all
  select c.id, null, coalesce(c.is_active, true), 3, c.created_at
  from public.client_phone_numbers n join public.clients c on c.id = n.client_id
  where public.wpp_phone(n.phone) = digits and c.organization_id = organization
  order by 3 desc, 4, 5 desc nulls last, 1, 2
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
  insert into public.clients (organization_id, name, is_active) values (organization, named, true) returning id into made;
  insert into public.client_phone_numbers (client_id, phone, is_primary, is_whatsapp_enabled)
  values (made, digits, true, true);
  return made;
exception when integrity_constraint_violation then
  return null;
end
$$;

-- The contact of one phone, made or revived where needed. `flag` says what an operator should look at:
-- `ambiguous` (several active ones of the same kind; the newest was taken) or `conflict` (none could be made).
create or replace function public.wpp_contact(
  organization uuid, digits text, named text, out client_id uuid, out teacher_id uuid, out flag text
) language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  best record;
begin
  select c.*, count(*) filter (where c.active) over (partition by c.kind) as rivals into best
  from public.wpp_candidates(organization, digits) c
  order by c.active desc, c.kind, c.since desc nulls last, c.client_id, c.teacher_id limit 1;
  if not found then
    client_id := public.wpp_make_client(organization, digits, coalesce(nullif(trim(named), ''), digits));
    flag := case when client_id is null then 'conflict' end;
    return;
  end if;
  client_id := best.client_id;
  teacher_id := best.teacher_id;
  flag := case when best.rivals > 1 then 'ambiguous' end;
  begin
    if not best.active then
      update public.clients c set is_active = true where c.id = best.client_id;
    end if;
    if nullif(trim(named), '') is not null and best.client_id is not null then -- so far named by its phone
      update public.clients c set name = trim(named) where c.id = best.client_id and c.name = digits;
    end if;
  exception when unique_violation then
    flag := 'conflict'; -- the CRM minds another organisation's client: the message is filed all the same
  end;
end
$$;
