-- Reports change a message's row in place: its pages have room for the next version, and no index
-- reads the column that they change. Seven of eight reports entered each index of the table anew.

-- Reports of a message come within minutes, for half of the messages three.
alter table public.chat_messages set (fillfactor = 70);
alter table public.clients set (fillfactor = 85);
alter table public.wpp_integration_activity set (fillfactor = 50);

-- The ids of a message belong to its organization: they are deleted with the message. A check of
-- the organization for each id looked up what the check of the message implies.
alter table public.wpp_message_ids drop constraint if exists wpp_message_ids_organization_id_fkey;

-- `wpp_chat` says what both indexes on `metadata` said: the phone, or the hidden id without one.
create index if not exists wpp_messages_without_contact on public.chat_messages (wpp_chat)
  where client_id is null and teacher_id is null and wpp_chat is not null;
drop index if exists public.wpp_messages_of_hidden_id, public.wpp_unread_without_contact;

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
        where m.lid is not null and c.wpp_chat = m.lid and c.metadata ->> 'chat' = m.lid
          and c.client_id is null and c.teacher_id is null
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

-- Returns how many messages were unread. `digits` is international, without a plus. The contacts
-- come first and organizations are compared as text, so that Postgres looks up contacts and does
-- not walk the organization.
create or replace function public.wpp_mark_read(organization_id uuid, digits text) returns integer
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  twins text[] := wpp.phone_twins(digits);
  clients uuid[];
  teachers uuid[];
  marked integer;
  unlinked integer;
begin
  select array_agg(c.client_id) filter (where c.client_id is not null),
         array_agg(c.teacher_id) filter (where c.teacher_id is not null)
  into clients, teachers
  from (select coalesce((select p.region from public.wpp_policies p
                         where p.organization_id = wpp_mark_read.organization_id), 'RU') as region) o
  join wpp.dialing_rules home on home.region = o.region
  left join lateral (
    select r.country_code, r.trunk_prefixes from wpp.dialing_rules r
    where r.country_code = any (array[left(digits, 1), left(digits, 2), left(digits, 3)])
    order by r.region <> home.region, r.region limit 1
  ) plan on true
  cross join lateral wpp.contact_candidates(wpp_mark_read.organization_id, digits,
    wpp.phone_variants(twins, plan.country_code, plan.trunk_prefixes,
                       home.country_code, home.international_prefix)) c;
  update public.chat_messages m set is_read = true
  where (m.client_id = any (clients) or m.teacher_id = any (teachers))
    and m.organization_id::text = wpp_mark_read.organization_id::text
    and not m.is_outgoing and not m.is_read;
  get diagnostics marked = row_count;
  update public.chat_messages m set is_read = true
  where m.wpp_chat = (select min(t) from unnest(twins) as t)
    and m.organization_id::text = wpp_mark_read.organization_id::text
    and m.client_id is null and m.teacher_id is null and not m.is_outgoing and not m.is_read;
  get diagnostics unlinked = row_count;
  return marked + unlinked;
end
$$;
