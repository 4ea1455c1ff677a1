-- The person that a phone belongs to: a teacher, else a client, else a client by a further number.
-- Unknown phones become new clients, deleted clients are revived.
--
-- Functions that write to the CRM's tables have the search path `pg_catalog, public, pg_temp`, and
-- not the empty one: the CRM's triggers name tables and functions without a schema.

-- All people whom a phone may mean, except deleted teachers: they stay deleted when they write.
-- `kind` is 1 for a teacher, 2 for a client, 3 for a client by a further number; `is_unnamed` says
-- that a client has its phone for a name.
--
-- Postgres inlines this function because it sets no search path. It compares organizations as text
-- so that Postgres looks up phones and does not walk an organization.
create or replace function wpp.contact_candidates(organization uuid, digits text, variants text[])
returns table (client_id uuid, teacher_id uuid, is_active boolean, kind integer,
               is_unnamed boolean, since timestamptz)
language sql stable as $$
  select null::uuid, t.id, true, 1, false, t.created_at
  from public.teachers t
  where wpp.stored_numbers(t.phone) && variants
    and t.organization_id::text = organization::text and coalesce(t.is_active, true)
  union all
  select c.id, null, coalesce(c.is_active, true), 2, c.name = digits, c.created_at
  from public.clients c
  where wpp.stored_numbers(c.phone) && variants
    and c.organization_id::text = organization::text
  union all
  select distinct c.id, null::uuid, coalesce(c.is_active, true), 3, c.name = digits, c.created_at
  from public.client_phone_numbers n join public.clients c on c.id = n.client_id
  where wpp.stored_numbers(n.phone) && variants
    and c.organization_id::text = organization::text
$$;

-- Remember the phones of our own accounts, as the platform's events name them.
create or replace function wpp.learn_own_phones(messages wpp.message_outcome[]) returns void
language plpgsql set search_path = '' as $$
begin
  update public.wpp_accounts k set phone = s.own_phone
  from (
    select distinct on (m.account) m.account, m.own_phone
    from unnest(messages) as m where m.arrived and m.own_phone ~ '^[1-9][0-9]{6,14}$'
    order by m.account, m.at desc
  ) s
  where k.account = s.account and k.phone is distinct from s.own_phone;
end
$$;

-- The contacts of phones, in the order of organization and phone; each phone is given once. Missing
-- clients are created, deleted clients revived, unnamed clients named. The best candidate counts:
-- active before deleted, teacher before client before further number, newest first. For a phone of
-- our own no client is created: the contact has the flag `own_number`.
create or replace function wpp.resolve_contacts(wanted wpp.contact[]) returns wpp.contact[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  contacts wpp.contact[] := array(
    select row(
      w.organization_id, w.phone, w.name,
      -- Another country's number keeps its plus, so that it is not read as one of this country.
      case when starts_with(w.phone, w.country_code) then w.phone else '+' || w.phone end,
      case when best.kind is null and not w.is_own then gen_random_uuid()
           else best.client_id end,
      best.teacher_id,
      case when best.rivals > 1 then 'ambiguous'
           when best.kind is null and w.is_own then 'own_number' end,
      best.kind is null and not w.is_own,
      not best.is_active or (best.is_unnamed and w.name is not null)
    )::wpp.contact
    from (
      select c.organization_id, c.phone, nullif(trim(c.name), '') as name, home.country_code,
             wpp.phone_variants(t.twins, plan.country_code, plan.trunk_prefixes,
                                home.country_code, home.international_prefix) as variants,
             exists (select from public.wpp_accounts k
                     where k.phone = any (t.twins)
                       and k.organization_id::text = c.organization_id::text) as is_own
      from unnest(wanted) as c
      left join public.wpp_policies p on p.organization_id = c.organization_id
      join wpp.dialing_rules home on home.region = coalesce(p.region, 'RU')
      cross join lateral (select wpp.phone_twins(c.phone) as twins offset 0) t
      left join lateral (
        select r.country_code, r.trunk_prefixes from wpp.dialing_rules r
        where r.country_code = any (array[left(c.phone, 1), left(c.phone, 2), left(c.phone, 3)])
        order by r.region <> home.region, r.region limit 1
      ) plan on true
      offset 0
    ) w
    left join lateral (
      select c.*, count(*) filter (where c.is_active) over (partition by c.kind) as rivals
      from wpp.contact_candidates(w.organization_id, w.phone, w.variants) c
      order by c.is_active desc, c.kind, c.since desc nulls last, c.client_id, c.teacher_id limit 1
    ) best on true
    order by w.organization_id, w.phone);
begin
  if exists (select from unnest(contacts) as c where c.is_new) then
    begin
      perform wpp.create_clients(contacts);
    exception when unique_violation or check_violation or foreign_key_violation
        or exclusion_violation then -- a rule of the CRM forbids a client: row by row, then
      contacts := array(
        select case when c.is_new then wpp.create_client(c) else c end from unnest(contacts) as c);
    end;
  end if;
  if exists (select from unnest(contacts) as c where c.needs_change) then
    contacts := array(
      select case when c.needs_change then wpp.change_client(c) else c end
      from unnest(contacts) as c);
  end if;
  return contacts;
end
$$;

-- Create the clients of all new contacts. Raises unique_violation, too, where a trigger of the CRM
-- stored another phone or no row.
create or replace function wpp.create_clients(contacts wpp.contact[]) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  stored text[];
begin
  with created as (
    insert into public.clients (id, organization_id, name, phone, is_active)
    select c.client_id, c.organization_id, coalesce(c.name, c.phone), c.stored_phone, true
    from unnest(contacts) as c where c.is_new
    returning phone
  )
  select array_agg(wpp.digits(c.phone) order by wpp.digits(c.phone)) into stored from created c;
  if stored is distinct from array(
      select c.phone from unnest(contacts) as c where c.is_new order by 1) then
    raise exception 'a trigger changed a new client' using errcode = 'unique_violation';
  end if;
end
$$;

-- Create a client as far as the CRM's rules allow it. The CRM allows a phone once among all
-- organizations: where another organization has it, the client carries it as a further number.
-- Where even that is forbidden, the contact has no client and the flag `conflict`.
create or replace function wpp.create_client(contact wpp.contact) returns wpp.contact
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  organization uuid := contact.organization_id;
  digits text := contact.phone;
  client_name text := coalesce(contact.name, contact.phone);
begin
  begin
    insert into public.clients (organization_id, name, phone, is_active)
    values (organization, client_name, contact.stored_phone, true)
    returning id into contact.client_id;
  exception when unique_violation then
    -- The CRM compares the last ten digits only: it may mean a client of this organization whose
    -- phone is unreadable. A complete number of another country is a different person.
    contact.client_id := null;
    select c.id into contact.client_id from public.clients c
    where c.organization_id = organization
      and right(wpp.digits(c.phone), 10) = right(digits, 10)
      and wpp.digits(c.phone) !~ '^[1-9]\d{10,14}$'
    order by coalesce(c.is_active, true) desc, c.created_at desc nulls last limit 1;
    if contact.client_id is null then
      insert into public.clients (organization_id, name, is_active)
      values (organization, client_name, true) returning id into contact.client_id;
      insert into public.client_phone_numbers (client_id, phone, is_primary, is_whatsapp_enabled)
      values (contact.client_id, contact.stored_phone, true, true);
    end if;
  end;
  if contact.client_id is null then -- a trigger of the CRM kept the row out
    contact.flag := 'conflict';
  elsif exists (select from public.clients c
                where c.id = contact.client_id and wpp.digits(c.phone) <> digits) then
    contact.flag := 'ambiguous';
  end if;
  return contact;
exception when unique_violation or check_violation or foreign_key_violation
    or exclusion_violation then -- not for a NOT NULL: an operator has to mend an unknown column
  contact.client_id := null;
  contact.flag := 'conflict';
  return contact;
end
$$;

-- Revive a client, and name it where it has no name yet. Where the CRM refuses the update because
-- of another organization's client, the client stays as it is, with the flag `conflict`.
create or replace function wpp.change_client(contact wpp.contact) returns wpp.contact
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
begin
  update public.clients c
  set is_active = true,
      name = case when c.name = contact.phone then coalesce(contact.name, c.name) else c.name end
  where c.id = contact.client_id;
  return contact;
exception when unique_violation then
  contact.flag := 'conflict';
  return contact;
end
$$;

-- Hidden ids: WhatsApp shows `<digits>@lid` (a LID) in place of the phones of some people.
--
-- Once an account has seen a LID beside its phone, all its messages of that LID have the phone's
-- contact, the earlier messages included.

-- Remember the phones of LIDs. A pair that an event shows overrides a pair that a quote suggests.
-- Returns the pairs that are new or changed.
create or replace function wpp.remember_hidden_ids(seen wpp.hidden_id[]) returns wpp.hidden_id[]
language plpgsql set search_path = '' as $$
declare
  changed wpp.hidden_id[];
begin
  with stored as (
    insert into wpp.hidden_ids as h (organization_id, account, lid, phone, is_quoted, seen_at)
    select distinct on (s.organization_id, s.account, s.lid) s.*
    from unnest(seen) as s
    order by s.organization_id, s.account, s.lid, s.is_quoted, s.seen_at desc
    on conflict (organization_id, account, lid) do update
    set phone = excluded.phone, is_quoted = excluded.is_quoted, seen_at = excluded.seen_at
    where (not excluded.is_quoted or h.is_quoted) and excluded.seen_at >= h.seen_at
      and (excluded.phone, excluded.is_quoted) is distinct from (h.phone, h.is_quoted)
    returning h.organization_id, h.account, h.lid, h.phone, h.is_quoted, h.seen_at
  )
  select coalesce(array_agg(row(s.*)::wpp.hidden_id), '{}') into changed from stored s;
  return changed;
end
$$;

-- The same messages, each with the phone of its LID where that is known. A message that quotes our
-- message to a phone is in that phone's chat.
create or replace function wpp.add_hidden_phones(messages wpp.message_outcome[])
returns wpp.message_outcome[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
begin
  if not exists (select from unnest(messages) as m where m.lid is not null) then
    return messages;
  end if;
  perform wpp.remember_hidden_ids(array(
    select row(m.organization_id, m.account, m.lid, m.phone, false, m.at)::wpp.hidden_id
    from unnest(messages) as m
    where m.lid is not null and m.phone <> '' and m.account is not null
  ) || array(
    select row(m.organization_id, m.account, m.lid, c.metadata ->> 'phone', true,
               m.at)::wpp.hidden_id
    from unnest(messages) as m
    cross join lateral wpp.find_message(m.organization_id, m.account,
      array[wpp.message_key(m.metadata ->> 'reply_to')], true, null, null) f
    join public.chat_messages c
      on c.id = f.message_id and c.organization_id = m.organization_id
    where m.lid is not null and m.phone = '' and m.account is not null
      and c.metadata ->> 'phone' is not null
      and coalesce(c.metadata ->> 'chat', m.lid) = m.lid));
  return array(
    select case when m.lid is not null and m.phone = ''
                then jsonb_populate_record(m, jsonb_build_object('phone', coalesce(h.phone, '')))
                else m end
    from unnest(messages) as m
    left join wpp.hidden_ids h on h.organization_id = m.organization_id
      and h.account = m.account and h.lid = m.lid
    order by m.n);
end
$$;

-- Give messages without a contact the contact of their phone: those that another outcome brought a
-- phone for, and the earlier messages of the LIDs of this batch. Returns them, for the clients'
-- activity.
create or replace function wpp.identify_senders(messages wpp.message_outcome[], inserted uuid[])
returns wpp.message_outcome[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  found_messages wpp.message_outcome[];
  contacts wpp.contact[];
begin
  if not exists (
    select from unnest(messages) as m where m.lid is not null or not m.message_id = any (inserted)
  ) and cardinality(messages) = cardinality(inserted) then
    return '{}';
  end if;
  found_messages := array(
    select jsonb_populate_record(null::wpp.message_outcome, jsonb_build_object(
      'organization_id', f.organization_id, 'phone', f.phone, 'peer_name', f.peer_name,
      'message_id', f.id, 'at', f.created_at))
    from (
      select distinct on (c.id) c.id, c.created_at, m.organization_id, m.phone, m.peer_name
      from unnest(messages) as m,
      lateral (
        select c.id, c.created_at, c.client_id, c.teacher_id, c.metadata
        from public.chat_messages c
        where c.id = m.message_id and c.client_id is null and c.teacher_id is null
        union all
        select c.id, c.created_at, c.client_id, c.teacher_id, c.metadata
        from public.chat_messages c
        where m.lid is not null and c.metadata ->> 'chat' = m.lid
          and c.metadata ->> 'contact' = 'no_phone'
          and c.organization_id::text = m.organization_id::text
          and c.integration_id::text = m.integration_id::text
      ) c
      where m.phone ~ '^\d{5,}$' and c.client_id is null and c.teacher_id is null
        and c.metadata ->> 'contact' = 'no_phone'
      order by c.id, m.peer_name
    ) f);
  if cardinality(found_messages) = 0 then
    return '{}';
  end if;
  contacts := wpp.resolve_contacts(array(
    select row(m.organization_id, m.phone, min(m.peer_name),
               null, null, null, null, null, null)::wpp.contact
    from unnest(found_messages) as m group by m.organization_id, m.phone
    order by m.organization_id, m.phone));
  begin
    perform wpp.set_contacts(found_messages, contacts);
  exception when unique_violation then -- a trigger of the CRM refuses one: one by one, then
    for i in 1 .. cardinality(found_messages) loop
      begin
        perform wpp.set_contacts(found_messages[i:i], contacts);
      exception when unique_violation then
        null; -- the message stays without a contact
      end;
    end loop;
  end;
  return found_messages;
end
$$;

create or replace function wpp.set_contacts(messages wpp.message_outcome[], contacts wpp.contact[])
returns void language plpgsql set search_path = pg_catalog, public, pg_temp as $$
begin
  update public.chat_messages c
  set client_id = x.client_id, teacher_id = x.teacher_id, wpp_chat = wpp.chat_of(m.phone, null),
      metadata = c.metadata - 'contact' || jsonb_strip_nulls(jsonb_build_object(
        'phone', m.phone, 'contact', x.flag, 'teacher_id', x.teacher_id))
  from unnest(messages) as m
  join unnest(contacts) as x on x.organization_id = m.organization_id and x.phone = m.phone
  where c.id = m.message_id;
  perform wpp.touch_conversations(array(select m.message_id from unnest(messages) as m));
end
$$;

create index if not exists wpp_messages_of_hidden_id
  on public.chat_messages ((metadata ->> 'chat')) where metadata ->> 'contact' = 'no_phone';

alter table wpp.hidden_ids enable row level security;
grant all on wpp.hidden_ids to service_role;
