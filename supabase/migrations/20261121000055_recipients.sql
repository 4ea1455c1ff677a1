-- Who receives messages of an organization: the phones of clients and teachers, and the number on
-- which each of them wrote last.

-- The latest message that a contact wrote to a number is one step of these indexes.
create index if not exists wpp_arrived_of_client
  on public.chat_messages (client_id, created_at desc)
  where is_outgoing = false and integration_id is not null and client_id is not null;
create index if not exists wpp_arrived_of_teacher
  on public.chat_messages (teacher_id, created_at desc)
  where is_outgoing = false and integration_id is not null and teacher_id is not null;

-- What `wpp.stored_numbers` may hold for a phone (international digits) in an organization.
create or replace function wpp.phone_spellings(organization uuid, phone text) returns text[]
language sql stable set search_path = '' as $$
  select wpp.phone_variants(wpp.phone_twins(phone), plan.country_code, plan.trunk_prefixes,
                            home.country_code, home.international_prefix)
  from wpp.dialing_rules home
  left join lateral (
    select r.country_code, r.trunk_prefixes from wpp.dialing_rules r
    where r.country_code = any (array[left(phone, 1), left(phone, 2), left(phone, 3)])
    order by r.region <> home.region, r.region limit 1
  ) plan on true
  where home.region = coalesce(
    (select p.region from public.wpp_policies p where p.organization_id = organization), 'RU')
$$;

-- Look up recipients: for each of `wanted` ({n, client_id, teacher_id, phone, wants_last}) whether
-- the organization has such a client and such a teacher, the phone that is stored for them, and,
-- where `wants_last`, the integration on which this contact wrote last. A contact that no id names
-- is the one of the phone (international digits). A phone of dashes is none: a further number of
-- the client is taken. A new table without statistics is not read as a whole for each of them.
create or replace function public.wpp_find_recipients(organization uuid, wanted jsonb)
returns table (n integer, has_client boolean, has_teacher boolean, phone text,
               last_integration_id uuid)
language sql stable set search_path = '' set enable_seqscan = off as $$
  select w.n, c.id is not null, t.id is not null,
         coalesce(nullif(btrim(c.phone, '- '), ''), further.phone, nullif(btrim(t.phone), '')),
         latest.integration_id
  from jsonb_to_recordset(wanted)
    as w (n integer, client_id uuid, teacher_id uuid, phone text, wants_last boolean)
  -- `offset 0`: each is looked up by its id, whatever the planner takes the tables for.
  left join lateral (
    select k.id, k.phone from public.clients k
    where k.id = w.client_id and k.organization_id::text = organization::text offset 0
  ) c on true
  left join lateral (
    select k.id, k.phone from public.teachers k
    where k.id = w.teacher_id and k.organization_id::text = organization::text offset 0
  ) t on true
  left join lateral (
    select p.phone from public.client_phone_numbers p
    where p.client_id = c.id and nullif(btrim(c.phone, '- '), '') is null
    order by p.is_whatsapp_enabled desc nulls last, p.is_primary desc nulls last, p.id limit 1
  ) further on true
  left join lateral (
    select a.integration_id from (
      select c.id as client_id, t.id as teacher_id
      where c.id is not null or t.id is not null
      union all
      select k.client_id, k.teacher_id
      from wpp.contact_candidates(organization, w.phone,
                                  wpp.phone_spellings(organization, w.phone)) k
      where w.client_id is null and w.teacher_id is null and w.phone is not null
    ) contact
    cross join lateral (
      (select m.integration_id, m.created_at from public.chat_messages m
       where m.client_id = contact.client_id and m.is_outgoing = false
         and m.integration_id is not null and m.organization_id::text = organization::text
       order by m.created_at desc limit 1)
      union all
      (select m.integration_id, m.created_at from public.chat_messages m
       where m.teacher_id = contact.teacher_id and m.is_outgoing = false
         and m.integration_id is not null and m.organization_id::text = organization::text
       order by m.created_at desc limit 1)
    ) a
    order by a.created_at desc limit 1
  ) latest on w.wants_last
  order by w.n
$$;
revoke execute on function wpp.phone_spellings(uuid, text),
  public.wpp_find_recipients(uuid, jsonb) from public, anon, authenticated;
grant execute on function wpp.phone_spellings(uuid, text),
  public.wpp_find_recipients(uuid, jsonb) to service_role;
