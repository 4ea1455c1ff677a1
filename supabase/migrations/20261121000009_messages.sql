-- Messages: rows of chat_messages, the ids that they have, and their effect on clients.

-- The parts of WhatsApp's id of a message, `true_79990001122@c.us_3EB0…`, which may end with a
-- participant, and `in` or `out`: whether it is our own ('true' or 'false'), its chat, its key.
-- Null for an id that is not entirely of this spelling: a part of it could be the same in two
-- messages.
create or replace function wpp.message_id_parts(id text) returns text[]
language sql immutable parallel safe
return case when strpos(id, '@') > 0 then
  regexp_match(id, '^(?:(true|false)_)?([^_@\s]+@[A-Za-z.]+)_([^_@\s]+)'
                   '(?:_[^_@\s]+@[A-Za-z.]+)?(?:_(?:in|out))?$') end;

-- The key of a message in WhatsApp's id: `3EB0…`. Any other id is its own key.
create or replace function wpp.message_key(id text) returns text
language sql immutable parallel safe
return coalesce((wpp.message_id_parts(id))[3], id);

-- What an outcome says about its message, as wpp.message_update describes it. WhatsApp's ids name
-- the direction and the chat.
create or replace function wpp.message_reference(outcome jsonb) returns jsonb
language plpgsql immutable set search_path = '' as $$
declare
  task text := outcome ->> 'task_id';
  whatsapp text := outcome ->> 'wa_message_id';
  others jsonb := outcome -> 'external_ids';
  own_parts text[] := wpp.message_id_parts(whatsapp);
  parts text[] := own_parts;
  ids text[] := array_remove(array[task, whatsapp, own_parts[3]], null);
  id text;
  id_parts text[];
  chat text;
begin
  if others is not null then
    for i in 0 .. jsonb_array_length(others) - 1 loop
      id := others ->> i;
      continue when id is null or id = any (ids);
      id_parts := wpp.message_id_parts(id);
      parts := coalesce(parts, id_parts);
      ids := ids || id;
      if id_parts is not null and not id_parts[3] = any (ids) then
        ids := ids || id_parts[3];
      end if;
    end loop;
  end if;
  if cardinality(ids) = 0 then
    return '{"ids": []}';
  end if;
  chat := lower(parts[2]);
  return jsonb_build_object(
    'ids', ids,
    'key', coalesce(own_parts[3], whatsapp),
    'target_outgoing', coalesce(parts[1]::boolean, (outcome ->> 'target_outgoing')::boolean),
    'peer_phone', coalesce(nullif(outcome ->> 'phone', ''), substring(
      chat from '^(\d{7,15})(?::\d+)?@(?:c\.us|s\.whatsapp\.net)$')),
    'lid', coalesce(outcome ->> 'lid', substring(chat from '^\d+@lid$')));
end
$$;

-- Whether a message of this direction and metadata is in the chat that `phone` and `lid` name, and
-- has the direction `outgoing`, as far as all of these are known.
create or replace function wpp.is_same_chat(
  is_outgoing boolean, metadata jsonb, outgoing boolean, phone text, lid text)
returns boolean language sql stable
return coalesce(is_outgoing = outgoing, true) and coalesce(
  case when metadata ->> 'phone' = phone then true
       when metadata ->> 'phone' is not null then phone = any (wpp.phone_twins(metadata ->> 'phone'))
       end,
  metadata ->> 'chat' = lid,
  true);

-- The metadata of a message's row.
create or replace function wpp.message_metadata(m wpp.message_outcome) returns jsonb
language sql stable as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'integration_id', m.integration_id, 'phone', nullif(m.phone, ''),
    'sender_name', m.sender_name, 'content', nullif(m.content, 'text'),
    'media_state', nullif(m.media_state, 'none'), 'taskId', m.task_id,
    'waMessageId', m.wa_message_id, 'chat', m.lid,
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

-- How much a text says, since the best one of a message is shown: 3 words; 2 the label of a refused
-- file; 1 no text, beside a file; 0 a label in place of words that may still come (a stand-in).
create or replace function wpp.text_rank(text text, metadata jsonb, media_state text)
returns integer language sql immutable
return case when coalesce(metadata ? 'stand_in', false)
              then case media_state when 'refused' then 2 else 0 end
            when text = '' then 1 else 3 end;

-- How much the content type of a message says: 3 with a file, 2 with words, 1 of a stand-in, 0 of a
-- message that could not be decrypted yet.
create or replace function wpp.content_rank(file_name text, metadata jsonb) returns integer
language sql immutable
return case when file_name is not null then 3
            when not coalesce(metadata ? 'stand_in', false) then 2
            when metadata ->> 'kind' = 'ciphertext' then 0 else 1 end;

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

-- The message that has any of these ids, or null. WhatsApp's ids recur: `outgoing`, `phone` and
-- `lid` tell messages of the same id apart, as far as they are known. Older rows of the CRM are
-- known by their external_message_id only: they count while no account has named them, and unless
-- they belong to another account, because ids are unique within an account. Where an echo and our
-- own message share ids, it is our own message.
--
-- Postgres inlines this function because it sets no search path. `offset 0` and `::text` make it
-- look up ids: it may believe that the tables are empty, and walk a whole account or organization.
drop function if exists wpp.find_message(uuid, text, text[]);
create or replace function wpp.find_message(
  organization uuid, named_account text, named_ids text[], outgoing boolean, phone text, lid text)
returns table (message_id uuid) language sql stable as $$
  select coalesce(
    (select c.id
     from unnest(named_ids) as e (id),
     lateral (select i.message_id from public.wpp_message_ids i
              where i.organization_id = organization and i.account = named_account
                and i.external_id = e.id offset 0) i
     join public.chat_messages c on c.id = i.message_id
     where wpp.is_same_chat(c.is_outgoing, c.metadata, outgoing, phone, lid)
     order by not coalesce(c.is_outgoing, false), coalesce(c.metadata ? 'echo', false),
              c.created_at, c.id limit 1),
    (select c.id
     from unnest(named_ids) as e (id),
     lateral (select c.id, c.created_at from public.chat_messages c
              where c.external_message_id = e.id and c.organization_id::text = organization::text
                and wpp.is_same_chat(null, c.metadata, null, phone, lid)
                and not exists (select from public.wpp_message_ids i where i.message_id = c.id)
                and not exists (
                  select from public.wpp_accounts k
                  where k.account <> named_account and k.integration_id::text
                    = coalesce(c.integration_id::text, c.metadata ->> 'integration_id'))
              offset 0) c
     order by c.created_at, c.id limit 1))
$$;

-- Begin the history of messages that are older than this table, with the status that they have.
-- The triggers on the history are told that it is no news.
create or replace function wpp.begin_history(message_ids uuid[]) returns void
language plpgsql set search_path = '' as $$
begin
  perform set_config('wpp.is_no_news', 'yes', true);
  insert into public.wpp_message_history
    (message_id, organization_id, event, status, source, at, arrived_at)
  select c.id, c.organization_id, s.status, s.status, 'own', s.at, s.at
  from public.chat_messages c,
  lateral (select coalesce(c.message_status, 'sent') as status,
                  coalesce(c.created_at, now()) as at) s
  where c.id = any (message_ids)
    and not exists (select from public.wpp_message_history h where h.message_id = c.id);
  perform set_config('wpp.is_no_news', 'no', true);
end
$$;

-- Insert or update messages. Returns the ids of their rows.
create or replace function wpp.upsert_messages(messages wpp.message_outcome[]) returns uuid[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  inserted uuid[];
  identified wpp.message_outcome[];
begin
  if cardinality(messages) = 0 then
    return '{}';
  end if;
  messages := wpp.add_hidden_phones(messages);
  -- A message that arrived with a known id is that message; our own messages keep their own id.
  messages := array(
    select jsonb_populate_record(s.m, jsonb_build_object('message_id',
      case when (s.m).arrived then coalesce(f.message_id, s.first_id) else (s.m).id end))
    from (
      select k.m, first_value((k.m).id) over (
        partition by (k.m).organization_id, (k.m).account, k.key, (k.m).outgoing,
                     coalesce(k.phone, k.any_phone, (k.m).lid)
        order by (k.m).arrived, (k.m).n) as first_id
      from (
        select k.*, min(k.phone) over (
          partition by (k.m).organization_id, (k.m).account, k.key, (k.m).outgoing) as any_phone
        from (
          select m, coalesce(m.key, m.task_id, 'id:' || m.id) as key,
                 nullif(m.phone, '') as phone
          from unnest(messages) as m
        ) k
      ) k
    ) s
    cross join lateral wpp.find_message((s.m).organization_id, (s.m).account, (s.m).ids,
      (s.m).outgoing, nullif((s.m).phone, ''), (s.m).lid) f
    order by (s.m).n);
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
    from unnest(messages) as m,
    lateral (values (m.task_id), (m.key)) as e (id)
    where e.id is not null and m.account is not null));
  perform wpp.merge_messages(messages, inserted);
  identified := wpp.identify_senders(messages, inserted);
  perform wpp.begin_history(array(
    select m.message_id from unnest(messages) as m except select unnest(inserted)));
  insert into public.wpp_message_history (message_id, organization_id, event, status, source, at,
                                          arrived_at, started_at, attempt, code, error)
  select m.message_id, m.organization_id,
         coalesce(m.event, case when m.arrived and not m.outgoing then 'received'
                                else m.status::text end),
         case when m.event is null then m.status end,
         case when m.arrived then 'platform' else 'own' end, m.at,
         coalesce(m.arrived_at, case when m.arrived then clock_timestamp() else m.at end),
         m.started_at, m.attempt, m.code, m.error
  from unnest(messages) as m order by m.n
  on conflict do nothing;
  perform wpp.update_clients(messages || identified);
  return array(select distinct m.message_id from unnest(messages || identified) as m);
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
  renumbered text[] := array(select distinct c.country_code from wpp.numbering_changes c);
begin
  with inserted as (
    insert into public.chat_messages (
      id, organization_id, client_id, teacher_id, integration_id, message_text, message_type,
      messenger_type, is_outgoing, is_read, message_status, external_message_id, file_url,
      file_name, file_type, sender_name, metadata, created_at, wpp_chat)
    select m.message_id, m.organization_id, m.client_id, m.teacher_id, m.integration_id, m.text,
           case when m.outgoing then 'manager' else 'client' end, 'whatsapp',
           m.outgoing, m.outgoing, m.status,
           case when m.outgoing and not m.arrived then m.task_id
                else coalesce(m.wa_message_id, m.task_id) end,
           m.file_url, m.file_name, m.file_type, m.sender_name, m.metadata, m.at,
           case when array[left(m.phone, 2), left(m.phone, 3)] && renumbered
                then wpp.chat_of(m.phone, m.lid) else coalesce(nullif(m.phone, ''), m.lid) end
    from unnest(messages) as m order by m.message_id
    on conflict (id) do nothing returning id
  )
  select coalesce(array_agg(i.id), '{}') into ids from inserted i;
  perform wpp.touch_conversations(ids);
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

-- Store ids of messages. An id stays with its message of a chat and a direction, except in one
-- case: an echo of our own message that came before its waMessageId and our taskId were known to be
-- of the same message. The echo's row becomes part of our own. Returns whether that was so.
create or replace function wpp.link_external_ids(links wpp.message_link[]) returns boolean
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  twin record;
  has_merged boolean := false;
begin
  if not exists (
    select from unnest(links) as l, lateral (
      select from public.wpp_message_ids i
      where i.organization_id = l.organization_id and i.account = l.account
        and i.external_id = l.external_id and i.message_id <> l.message_id offset 0) i
  ) then -- as nearly always, no other message has these ids
    insert into public.wpp_message_ids (organization_id, account, external_id, message_id)
    select l.organization_id, l.account, l.external_id, l.message_id
    from unnest(links) as l order by 1, 2, 3, 4
    on conflict do nothing;
    return false;
  end if;
  for twin in
    select distinct echo.id as echo, own.id as own
    from unnest(links) as l
    join public.chat_messages own on own.id = l.message_id
    join public.wpp_message_ids i on i.organization_id = l.organization_id
      and i.account = l.account and i.external_id = l.external_id
      and i.message_id <> l.message_id
    join public.chat_messages echo
      on echo.id = i.message_id and echo.organization_id = own.organization_id
    where echo.metadata ? 'echo' and own.is_outgoing and not own.metadata ? 'echo'
      and wpp.is_same_chat(echo.is_outgoing, echo.metadata, own.is_outgoing,
                           own.metadata ->> 'phone', own.metadata ->> 'chat')
  loop
    perform wpp.merge_echo(twin.echo, twin.own);
    has_merged := true;
  end loop;
  insert into public.wpp_message_ids (organization_id, account, external_id, message_id)
  select l.organization_id, l.account, l.external_id, l.message_id
  from unnest(links) as l join public.chat_messages c on c.id = l.message_id
  where not exists (
    select from public.wpp_message_ids i join public.chat_messages o
      on o.id = i.message_id and o.organization_id = c.organization_id
    where i.organization_id = l.organization_id and i.account = l.account
      and i.external_id = l.external_id and i.message_id <> l.message_id
      and wpp.is_same_chat(o.is_outgoing, o.metadata, c.is_outgoing, c.metadata ->> 'phone',
                           c.metadata ->> 'chat'))
  order by 1, 2, 3, 4
  on conflict do nothing;
  return has_merged;
end
$$;

-- Move all that belongs to an echo to our own message, and delete the echo.
create or replace function wpp.merge_echo(echo_id uuid, own_id uuid) returns void
language sql set search_path = pg_catalog, public, pg_temp as $$
  update public.wpp_message_ids i set message_id = own_id where i.message_id = echo_id;
  insert into public.wpp_message_history (message_id, organization_id, event, status, source, at,
                                          arrived_at, code, error, actor, detail)
  select own_id, h.organization_id, h.event, h.status, h.source, h.at, h.arrived_at, h.code,
         h.error, h.actor, h.detail
  from public.wpp_message_history h where h.message_id = echo_id order by h.id
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
-- A stand-in (see wpp.text_rank) yields to the words, the file and the content that come later.
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
           (array_agg(m.file_type order by m.n)
              filter (where m.file_type is not null and m.outgoing))[1] as file_type,
           (array_agg(m.sender_name order by m.n)
              filter (where m.sender_name is not null))[1] as sender_name,
           array_agg(wpp.message_metadata(m) - 'media_state' order by m.n) as metadata,
           max(m.at) filter (where m.arrived and m.outgoing) as echoed,
           array_agg(distinct m.text) filter (
             where m.text <> '' and not coalesce(m.metadata ? 'stand_in', false)) as texts,
           (array_agg(m order by wpp.text_rank(m.text, m.metadata, m.media_state) desc, m.n))[1]
             as worded,
           (array_agg(m order by wpp.content_rank(m.file_name, m.metadata) desc, m.n))[1]
             as typed,
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
           case when r.is_further then (a.best).file_type
                else coalesce(c.file_type, a.file_type) end as file_type,
           case when y.text is not null and c.metadata ->> 'original_text' is null then y.text
                else c.message_text end as message_text,
           (case when r.is_echo then r.metadata else r.metadata - 'echo' end
             || wpp.to_object(c.metadata) - y.outdated
             || y.metadata
             || case when r.is_echo or a.echoed is null then '{}'
                     else jsonb_build_object('echoed',
                       greatest(wpp.echoed_at(c.metadata), a.echoed)) end
             || case when r.is_further
                     then jsonb_build_object('media_state', (a.best).media_state) else '{}' end
             || case when d.texts is null then '{}'
                     else jsonb_build_object('conflicts', d.texts) end
             || case when f.files is null then '{}'
                     else jsonb_build_object('other_files', f.files) end)
             - case when y.is_stand_in then '' else 'stand_in' end as metadata
    from a join public.chat_messages c
      on c.id = a.id and c.organization_id = a.organization_id,
    lateral (select
      not c.is_outgoing or coalesce(c.metadata ? 'echo', false) as is_echo,
      case when cardinality(a.metadata) = 1 then a.metadata[1]
           else wpp.merge_json(a.metadata) end as metadata,
      a.media > coalesce(wpp.media_rank(c.metadata ->> 'media_state'), 1) as is_further,
      wpp.text_rank(coalesce(c.metadata ->> 'original_text', c.message_text), c.metadata,
                    c.metadata ->> 'media_state') as text_rank,
      wpp.text_rank((a.worded).text, (a.worded).metadata, (a.worded).media_state) as new_text_rank,
      wpp.content_rank((a.typed).file_name, (a.typed).metadata)
        > wpp.content_rank(c.file_name, c.metadata) as is_retyped) r,
    lateral (select
      case when r.is_echo and r.new_text_rank > r.text_rank then (a.worded).text end as text,
      greatest(r.text_rank, r.new_text_rank) in (0, 2) as is_stand_in,
      case when r.is_echo and r.is_retyped then array['content', 'kind'] else '{}' end as outdated,
      case when r.is_echo and r.is_retyped then jsonb_strip_nulls(jsonb_build_object(
             'content', nullif((a.typed).content, 'text'),
             'kind', (a.typed).metadata ->> 'kind')) else '{}' end
        || case when r.is_echo and r.new_text_rank > r.text_rank
                     and c.metadata ->> 'original_text' is not null
                then jsonb_build_object('original_text', (a.worded).text) else '{}' end
        as metadata) y,
    lateral (select jsonb_agg(t order by t) as texts from (
      select unnest(a.texts) as t
      union select jsonb_array_elements_text(wpp.to_array(c.metadata -> 'conflicts'))
      except select coalesce(y.text, c.metadata ->> 'original_text', c.message_text)) as t) d,
    lateral (select jsonb_agg(t order by t) as files from (
      select unnest(a.files) as t
      union select jsonb_array_elements_text(wpp.to_array(c.metadata -> 'other_files'))
      except select coalesce(c.metadata ->> 'media_path', (a.best).metadata ->> 'media_path')
    ) as t) f
  )
  update public.chat_messages c
  set created_at = m.created_at, external_message_id = m.external_message_id,
      message_text = m.message_text, sender_name = m.sender_name, file_url = m.file_url,
      file_name = m.file_name, file_type = m.file_type, metadata = m.metadata
  from merged m
  where c.id = m.id
    and (c.created_at, c.external_message_id, c.message_text, c.sender_name, c.file_url,
         c.file_name, c.file_type, c.metadata)
      is distinct from (m.created_at, m.external_message_id, m.message_text, m.sender_name,
                        m.file_url, m.file_name, m.file_type, m.metadata);
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
