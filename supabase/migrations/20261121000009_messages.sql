-- Messages: rows of chat_messages, the ids that they have, and their effect on clients.

-- The metadata of a message's row.
create or replace function wpp.message_metadata(m wpp.message_outcome) returns jsonb
language sql stable as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'integration_id', m.integration_id, 'phone', nullif(m.phone, ''),
    'sender_name', m.sender_name, 'content', nullif(m.content, 'text'),
    'media_state', nullif(m.media_state, 'none'), 'taskId', m.task_id,
    'waMessageId', m.wa_message_id,
    'echo', case when m.arrived and m.outgoing then true end
  )) || coalesce(m.metadata, '{}')
$$;

-- Users may write any value into any column of their organization's rows, `metadata` included. So
-- these rows are read through functions that accept any value, and joined by organization.
create or replace function wpp.to_object(value jsonb) returns jsonb
language sql immutable as $$
  select case jsonb_typeof(value) when 'object' then value else '{}' end
$$;

create or replace function wpp.to_array(value jsonb) returns jsonb
language sql immutable as $$
  select case jsonb_typeof(value) when 'array' then value else '[]' end
$$;

create or replace function wpp.to_time(value text) returns timestamptz
language plpgsql stable set search_path = '' as $$
begin
  return value::timestamptz;
exception when data_exception then
  return null;
end
$$;

-- When the echo of our own message came.
create or replace function wpp.echoed_at(metadata jsonb) returns timestamptz
language sql stable as $$
  select case when metadata ? 'echoed' then wpp.to_time(metadata ->> 'echoed') end
$$;

-- The rank of a media state: a higher rank replaces a lower rank.
create or replace function wpp.media_rank(media_state text) returns integer
language sql immutable
return array_position(array['none', 'pending', 'refused', 'stored'], media_state);

-- Merge objects; the first value of a key counts.
create or replace function wpp.merge_json(objects jsonb[]) returns jsonb
language sql immutable set search_path = '' as $$
  select coalesce(jsonb_object_agg(e.key, e.value order by o.n desc), '{}')
  from unnest(objects) with ordinality as o (value, n), lateral jsonb_each(o.value) as e
$$;

-- The message that has any of these ids, or null. Older rows of the CRM are known by their
-- external_message_id only: they count while no account has named them, and unless they belong to
-- another account, because ids are unique within an account. Where an echo and our own message
-- share ids, it is our own message.
--
-- Postgres inlines this function because it sets no search path. `offset 0` and `::text` make it
-- look up ids: it may believe that the tables are empty, and walk a whole account or organization.
create or replace function wpp.find_message(organization uuid, named_account text, named_ids text[])
returns table (message_id uuid) language sql stable as $$
  select coalesce(
    (select c.id
     from unnest(named_ids) as e (id),
     lateral (select i.message_id from public.wpp_message_ids i
              where i.organization_id = organization and i.account = named_account
                and i.external_id = e.id offset 0) i
     join public.chat_messages c on c.id = i.message_id
     order by coalesce(c.metadata ? 'echo', false), c.created_at, c.id limit 1),
    (select c.id
     from unnest(named_ids) as e (id),
     lateral (select c.id, c.created_at from public.chat_messages c
              where c.external_message_id = e.id and c.organization_id::text = organization::text
                and not exists (select from public.wpp_message_ids i where i.message_id = c.id)
                and not exists (
                  select from public.wpp_accounts k
                  where k.account <> named_account and k.integration_id::text
                    = coalesce(c.integration_id::text, c.metadata ->> 'integration_id'))
              offset 0) c
     order by c.created_at, c.id limit 1))
$$;

-- Begin the history of messages that are older than this table, with the status that they have.
create or replace function wpp.begin_history(message_ids uuid[]) returns void
language plpgsql set search_path = '' as $$
begin
  insert into public.wpp_message_history (message_id, organization_id, status, source, at)
  select c.id, c.organization_id, coalesce(c.message_status, 'sent'), 'own',
         coalesce(c.created_at, now())
  from public.chat_messages c
  where c.id = any (message_ids)
    and not exists (select from public.wpp_message_history h where h.message_id = c.id);
end
$$;

-- Insert or update messages. Returns the ids of their rows.
create or replace function wpp.upsert_messages(messages wpp.message_outcome[]) returns uuid[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  inserted uuid[];
begin
  if cardinality(messages) = 0 then
    return '{}';
  end if;
  -- A message that arrived with a known id is that message; our own messages keep their own id.
  messages := array(
    select jsonb_populate_record(s.m, jsonb_build_object('message_id',
      case when (s.m).arrived then coalesce(s.found_id, s.first_id) else (s.m).id end))
    from (
      select m, f.message_id as found_id, m.n, first_value(m.id) over (
        partition by m.organization_id, m.account,
                     coalesce(m.wa_message_id, m.task_id, 'id:' || m.id)
        order by m.arrived, m.n) as first_id
      from unnest(messages) as m
      cross join lateral wpp.find_message(m.organization_id, m.account, m.ids) f
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
    from unnest(messages) as m, lateral (values (m.task_id), (m.wa_message_id)) as e (id)
    where e.id is not null and m.account is not null));
  perform wpp.merge_messages(messages, inserted);
  perform wpp.begin_history(array(
    select m.message_id from unnest(messages) as m except select unnest(inserted)));
  insert into public.wpp_message_history (message_id, organization_id, status, source, at, error)
  select m.message_id, m.organization_id, m.status,
         case when m.arrived then 'platform' else 'own' end, m.at, m.error
  from unnest(messages) as m
  on conflict do nothing;
  perform wpp.update_clients(messages);
  return array(select distinct m.message_id from unnest(messages) as m);
end
$$;

-- Insert the messages that have no row yet, with their contacts. Returns the ids of the new rows.
create or replace function wpp.insert_messages(messages wpp.message_outcome[]) returns uuid[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  fresh wpp.message_outcome[];
  contacts wpp.contact[];
begin
  -- Several outcomes of a message: our own counts. A client or teacher that the sender named
  -- counts if it belongs to this organization.
  fresh := array(
    select jsonb_populate_record(s.m, jsonb_build_object(
      'client_id', c.id, 'teacher_id', t.id,
      'contact', case when c.id is null and t.id is null and (s.m).phone ~ '^\d{5,}$'
                      then dense_rank() over (
                        order by (c.id is null and t.id is null and (s.m).phone ~ '^\d{5,}$') desc,
                                 (s.m).organization_id, (s.m).phone) end))
    from (
      select distinct on (m.message_id) m
      from unnest(messages) as m
      where not exists (select from public.chat_messages c where c.id = m.message_id)
      order by m.message_id, m.arrived, m.n
    ) s
    left join public.clients c
      on c.id = (s.m).client_id and c.organization_id = (s.m).organization_id
    left join public.teachers t
      on t.id = (s.m).teacher_id and t.organization_id = (s.m).organization_id);
  if cardinality(fresh) = 0 then
    return '{}';
  end if;

  perform wpp.learn_own_phones(fresh);
  contacts := wpp.resolve_contacts(array(
    select row(m.organization_id, m.phone,
      (array_agg(m.peer_name order by m.n)
         filter (where not m.outgoing and m.peer_name is not null))[1],
      null, null, null, null, null, null)::wpp.contact
    from unnest(fresh) as m where m.contact is not null
    group by m.contact, m.organization_id, m.phone order by m.contact));
  fresh := array(
    select jsonb_populate_record(m, jsonb_build_object(
      'client_id', coalesce(m.client_id, x.client_id),
      'teacher_id', coalesce(m.teacher_id, x.teacher_id),
      'metadata', wpp.message_metadata(m) || jsonb_strip_nulls(jsonb_build_object(
        'contact', case when m.contact is not null then x.flag
                        when coalesce(m.client_id, m.teacher_id) is null then 'no_phone' end,
        'teacher_id', coalesce(m.teacher_id, x.teacher_id)))))
    from unnest(fresh) as m,
    lateral (select (contacts[m.contact]).client_id, (contacts[m.contact]).teacher_id,
                    (contacts[m.contact]).flag) x);
  begin
    return wpp.insert_rows(fresh);
  exception when unique_violation then -- a trigger of the CRM refuses a contact
    return array(select unnest(wpp.insert_without_client(m)) from unnest(fresh) as m);
  end;
end
$$;

create or replace function wpp.insert_rows(messages wpp.message_outcome[]) returns uuid[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  ids uuid[];
begin
  with inserted as (
    insert into public.chat_messages (
      id, organization_id, client_id, teacher_id, integration_id, message_text, message_type,
      messenger_type, is_outgoing, is_read, message_status, external_message_id, file_url,
      file_name, file_type, sender_name, metadata, created_at)
    select m.message_id, m.organization_id, m.client_id, m.teacher_id, m.integration_id, m.text,
           case when m.outgoing then 'manager' else 'client' end, 'whatsapp',
           m.outgoing, m.outgoing, m.status,
           case when m.outgoing and not m.arrived then m.task_id
                else coalesce(m.wa_message_id, m.task_id) end,
           m.file_url, m.file_name, m.file_type, m.sender_name, m.metadata, m.at
    from unnest(messages) as m order by m.message_id
    on conflict (id) do nothing returning id
  )
  select coalesce(array_agg(i.id), '{}') into ids from inserted i;
  return ids;
end
$$;

-- Insert a message. Where a trigger of the CRM refuses its client, it has none, with the flag
-- `conflict` in its metadata, and gets the client afterwards where the trigger only watches
-- inserts.
create or replace function wpp.insert_without_client(m wpp.message_outcome) returns uuid[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  refused_client uuid := m.client_id;
  inserted uuid[];
begin
  return wpp.insert_rows(array[m]);
exception when unique_violation then
  m.client_id := null;
  m.metadata := m.metadata
    || jsonb_build_object('contact', 'conflict', 'client_id', refused_client);
  inserted := wpp.insert_rows(array[m]);
  begin
    update public.chat_messages c set client_id = refused_client where c.id = any (inserted);
  exception when unique_violation then
    null;
  end;
  return inserted;
end
$$;

-- Store ids of messages. An id stays with its message, except in one case: an echo of our own
-- message that came before its waMessageId and our taskId were known to be of the same message. The
-- echo's row becomes part of our own. Returns whether that was so.
create or replace function wpp.link_external_ids(links wpp.message_link[]) returns boolean
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  twin record;
  linked integer;
  has_merged boolean := false;
begin
  insert into public.wpp_message_ids (organization_id, account, external_id, message_id)
  select l.organization_id, l.account, l.external_id, l.message_id
  from unnest(links) as l order by 1, 2, 3
  on conflict do nothing;
  get diagnostics linked = row_count;
  if linked = cardinality(links) then
    return false; -- all ids are new
  end if;
  for twin in
    select distinct i.message_id as echo, own.id as own
    from unnest(links) as l
    join public.wpp_message_ids i on i.organization_id = l.organization_id
      and i.account = l.account and i.external_id = l.external_id
      and i.message_id <> l.message_id
    join public.chat_messages own on own.id = l.message_id
    join public.chat_messages echo
      on echo.id = i.message_id and echo.organization_id = own.organization_id
    where echo.metadata ? 'echo' and own.is_outgoing and not own.metadata ? 'echo'
  loop
    perform wpp.merge_echo(twin.echo, twin.own);
    has_merged := true;
  end loop;
  return has_merged;
end
$$;

-- Move all that belongs to an echo to our own message, and delete the echo.
create or replace function wpp.merge_echo(echo_id uuid, own_id uuid) returns void
language sql set search_path = pg_catalog, public, pg_temp as $$
  update public.wpp_message_ids i set message_id = own_id where i.message_id = echo_id;
  insert into public.wpp_message_history (message_id, organization_id, status, source, at, error)
  select own_id, h.organization_id, h.status, h.source, h.at, h.error
  from public.wpp_message_history h where h.message_id = echo_id
  on conflict do nothing;
  delete from public.message_reactions r using public.message_reactions o
  where r.message_id = echo_id and o.message_id = own_id
    and (r.client_id = o.client_id or r.user_id = o.user_id);
  update public.message_reactions r set message_id = own_id where r.message_id = echo_id;
  update public.chat_messages own
  set metadata = (wpp.to_object(echo.metadata) - 'echo') || wpp.to_object(own.metadata)
        || case when echo.metadata ? 'reactions' then jsonb_build_object('reactions',
                  wpp.to_object(echo.metadata -> 'reactions')
                  || wpp.to_object(own.metadata -> 'reactions'))
                else '{}' end
        || jsonb_build_object('echoed',
             greatest(wpp.echoed_at(own.metadata), echo.created_at)),
      message_text = case when echo.metadata ? 'edited_at' and not own.metadata ? 'edited_at'
                          then echo.message_text else own.message_text end
  from public.chat_messages echo where own.id = own_id and echo.id = echo_id;
  delete from public.chat_messages c where c.id = echo_id;
$$;

-- Merge several outcomes of a message into its row: the earliest time, every id, the furthest
-- media state. A text that contradicts the row is kept in metadata.conflicts, another file in
-- metadata.other_files. Our own message does not become an echo: `echoed` is when its echo came.
create or replace function wpp.merge_messages(messages wpp.message_outcome[], inserted uuid[])
returns void language plpgsql set search_path = pg_catalog, public, pg_temp as $$
begin
  if not exists (
    select from unnest(messages) as m
    group by m.message_id having count(*) > 1 or not m.message_id = any (inserted)
  ) then
    return;
  end if;
  with a as (
    select m.message_id as id, m.organization_id, min(m.at) as at,
           (array_agg(m.task_id order by m.n) filter (where m.task_id is not null))[1] as task_id,
           (array_agg(m.wa_message_id order by m.n)
              filter (where m.wa_message_id is not null))[1] as wa_message_id,
           (array_agg(m order by wpp.media_rank(m.media_state) desc, m.n))[1] as best,
           max(wpp.media_rank(m.media_state)) as media,
           (array_agg(m.sender_name order by m.n)
              filter (where m.sender_name is not null))[1] as sender_name,
           array_agg(wpp.message_metadata(m) - 'media_state' order by m.n) as metadata,
           max(m.at) filter (where m.arrived and m.outgoing) as echoed,
           array_agg(distinct m.text) as texts,
           array_agg(distinct m.metadata ->> 'media_path')
             filter (where m.metadata ->> 'media_path' is not null) as files
    from unnest(messages) as m
    group by m.message_id, m.organization_id
    having count(*) > 1 or not m.message_id = any (inserted)
  ), merged as (
    select a.id, least(c.created_at, a.at) as created_at,
           coalesce(c.external_message_id,
             case when c.is_outgoing and not c.metadata ? 'echo' then a.task_id
                  else coalesce(a.wa_message_id, a.task_id) end) as external_message_id,
           coalesce(c.sender_name, a.sender_name) as sender_name,
           case when r.is_further then (a.best).file_url else c.file_url end as file_url,
           case when r.is_further then (a.best).file_name else c.file_name end as file_name,
           case when r.is_further then (a.best).file_type else c.file_type end as file_type,
           case when r.is_echo then r.metadata else r.metadata - 'echo' end
             || wpp.to_object(c.metadata)
             || case when r.is_echo or a.echoed is null then '{}'
                     else jsonb_build_object('echoed',
                       greatest(wpp.echoed_at(c.metadata), a.echoed)) end
             || case when r.is_further
                     then jsonb_build_object('media_state', (a.best).media_state) else '{}' end
             || case when d.texts is null then '{}'
                     else jsonb_build_object('conflicts', d.texts) end
             || case when f.files is null then '{}'
                     else jsonb_build_object('other_files', f.files) end as metadata
    from a join public.chat_messages c
      on c.id = a.id and c.organization_id = a.organization_id,
    lateral (select
      not c.is_outgoing or coalesce(c.metadata ? 'echo', false) as is_echo,
      case when cardinality(a.metadata) = 1 then a.metadata[1]
           else wpp.merge_json(a.metadata) end as metadata,
      a.media > coalesce(wpp.media_rank(c.metadata ->> 'media_state'), 1) as is_further) r,
    lateral (select jsonb_agg(t order by t) as texts from (
      select unnest(a.texts) as t
      union select jsonb_array_elements_text(wpp.to_array(c.metadata -> 'conflicts'))
      except select coalesce(c.metadata ->> 'original_text', c.message_text)) as t) d,
    lateral (select jsonb_agg(t order by t) as files from (
      select unnest(a.files) as t
      union select jsonb_array_elements_text(wpp.to_array(c.metadata -> 'other_files'))
      except select coalesce(c.metadata ->> 'media_path', (a.best).metadata ->> 'media_path')
    ) as t) f
  )
  update public.chat_messages c
  set created_at = m.created_at, external_message_id = m.external_message_id,
      sender_name = m.sender_name, file_url = m.file_url, file_name = m.file_name,
      file_type = m.file_type, metadata = m.metadata
  from merged m
  where c.id = m.id
    and (c.created_at, c.external_message_id, c.sender_name, c.file_url, c.file_name,
         c.file_type, c.metadata)
      is distinct from (m.created_at, m.external_message_id, m.sender_name, m.file_url,
                        m.file_name, m.file_type, m.metadata);
end
$$;

-- Update the clients of messages: the time of their last message, and what an answer from the phone
-- marks as read, which is all that came before it.
create or replace function wpp.update_clients(messages wpp.message_outcome[]) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  activities wpp.client_activity[] := array(
    select row(
      c.organization_id, c.id, max(o.at),
      greatest(max(m.created_at) filter (where m.metadata ? 'echo'),
               max(wpp.echoed_at(m.metadata))),
      min(m.created_at) filter (where not m.is_outgoing and not m.is_read))::wpp.client_activity
    from (
      select m.message_id as id, max(m.at) as at from unnest(messages) as m group by 1
    ) o
    join public.chat_messages m on m.id = o.id
    join public.clients c on c.id = m.client_id and c.organization_id = m.organization_id
    group by c.id order by c.id);
begin
  begin
    perform wpp.touch_clients(activities);
  exception when unique_violation then -- a trigger of the CRM refuses a client: row by row, then
    for i in 1 .. cardinality(activities) loop
      begin
        perform wpp.touch_clients(activities[i:i]);
      exception when unique_violation then
        null; -- its messages are stored
      end;
    end loop;
  end;
  -- An answer may have been recorded before the message that it answers. (`::text`: Postgres shall
  -- look up the client and not walk the organization.)
  update public.chat_messages m set is_read = true
  from (
    select a.organization_id, a.client_id,
           greatest(a.answered_at, case when a.unread_from is not null then (
      select max(coalesce(wpp.echoed_at(m.metadata), m.created_at))
      from public.chat_messages m
      where m.client_id = a.client_id and m.organization_id::text = a.organization_id::text
        and m.created_at >= greatest(a.unread_from, '1970-01-02') - interval '1 day'
        and ((m.metadata ? 'echo' and m.created_at >= a.unread_from)
             or wpp.echoed_at(m.metadata) >= a.unread_from)
    ) end) as answered_at
    from unnest(activities) as a offset 0
  ) a
  where m.client_id = a.client_id and m.organization_id::text = a.organization_id::text
    and not m.is_outgoing and not m.is_read
    and m.created_at <= a.answered_at;
end
$$;

create or replace function wpp.touch_clients(activities wpp.client_activity[]) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
begin
  update public.clients c set last_message_at = a.last_message_at
  from unnest(activities) as a
  where c.id = a.client_id and c.organization_id = a.organization_id
    and (c.last_message_at is null or c.last_message_at < a.last_message_at);
end
$$;
