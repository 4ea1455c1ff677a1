-- wpp_apply(batch): the other half of shared/outcomes.py. Any order, any duplicates, one transaction.
--
-- A batch is placed (whose is it?), then its messages are filed, then what is said about messages (status, reaction,
-- edit) is applied or parked, then the current status of every message touched is computed from its history.

-- Each outcome with its number in the batch, its organisation, integration and account.
create or replace function public.wpp_place(batch jsonb) returns jsonb
language plpgsql stable set search_path = '' as $$
begin
  return (
    select coalesce(jsonb_agg(o.value || jsonb_build_object(
      'n', o.n,
      'arrived', o.value ? 'account' and o.value ->> 'account' is not null,
      'account', coalesce(o.value ->> 'account', a.account),
      'organization_id', coalesce((o.value ->> 'organization_id')::uuid, a.organization_id),
      'integration_id', coalesce((o.value ->> 'integration_id')::uuid, a.integration_id),
      'owner', a.organization_id,
      'ids', to_jsonb(array(
        select jsonb_array_elements_text(coalesce(o.value -> 'external_ids', '[]'))
        union select o.value ->> 'task_id' where o.value ->> 'task_id' is not null
        union select o.value ->> 'wa_message_id' where o.value ->> 'wa_message_id' is not null
      order by 1))
    ) order by o.n), '[]')
    from jsonb_array_elements(batch) with ordinality as o (value, n)
    left join lateral (
      select * from public.wpp_accounts k
      where k.account = o.value ->> 'account'
         or (o.value ->> 'account' is null and k.integration_id = (o.value ->> 'integration_id')::uuid)
      order by k.claimed_at desc limit 1
    ) a on true
  );
end
$$;

-- Each item with `message_id`: the message that any of its `ids` names, or null. The CRM's older rows are known by
-- their external_message_id only: while nothing has named one by an account, and unless it is known to be of another one,
-- for ids are an account's own. Where an echo and our own message share ids, ours is meant.
create or replace function public.wpp_resolve(items jsonb) returns jsonb
language plpgsql stable set search_path = '' as $$
begin
  -- `offset 0` and `::text` keep the planner, which may know an empty table only, from walking a whole account or
  -- organisation and comparing each row with the ids.
  return (
    select coalesce(jsonb_agg(o || jsonb_build_object('message_id', coalesce(
      (select (array_agg(c.id order by coalesce(c.metadata ? 'echo', false), c.created_at, c.id))[1]
       from jsonb_array_elements_text(o -> 'ids') as e (id),
       lateral (select i.message_id from public.wpp_message_ids i
                where i.organization_id = (o ->> 'organization_id')::uuid and i.account = o ->> 'account'
                  and i.external_id = e.id offset 0) i
       join public.chat_messages c on c.id = i.message_id),
      (select (array_agg(c.id order by c.created_at, c.id))[1]
       from jsonb_array_elements_text(o -> 'ids') as e (id),
       lateral (select c.id, c.created_at from public.chat_messages c
                where c.external_message_id = e.id and c.organization_id::text = o ->> 'organization_id'
                  and not exists (select from public.wpp_message_ids i where i.message_id = c.id)
                  and not exists (
                    select from public.wpp_accounts k where k.account <> o ->> 'account'
                      and k.integration_id::text = coalesce(c.integration_id::text, c.metadata ->> 'integration_id'))
                offset 0) c)
    ))), '[]')
    from jsonb_array_elements(items) as o
  );
end
$$;
create index if not exists wpp_messages_by_external_id on public.chat_messages (external_message_id)
  where external_message_id is not null;

-- A row older than this history: what it says is the first that was said.
create or replace function public.wpp_begin_history(ids uuid[]) returns void
language sql set search_path = '' as $$
  insert into public.wpp_message_history (message_id, organization_id, status, source, at)
  select c.id, c.organization_id, coalesce(c.message_status, 'sent'), 'own', c.created_at
  from public.chat_messages c
  where c.id = any (ids) and not exists (select from public.wpp_message_history h where h.message_id = c.id)
$$;

-- File messages. Returns the ids of the messages touched.
create or replace function public.wpp_file_messages(placed jsonb) returns uuid[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  filed jsonb;
  made uuid[];
begin
  select coalesce(jsonb_agg(o), '[]') into filed from jsonb_array_elements(placed) as o where o ->> 'type' = 'message';
  -- What arrived under an id that is known already is that message; what we sent keeps its own id.
  select coalesce(jsonb_agg(m.o || jsonb_build_object('message_id', case
    when (m.o ->> 'arrived')::bool then coalesce(m.o ->> 'message_id', m.first_id) else m.o ->> 'id' end)), '[]')
  into filed
  from (
    select o, first_value(o ->> 'id') over (
      partition by o ->> 'organization_id', o ->> 'account',
                   coalesce(o ->> 'wa_message_id', o ->> 'task_id', 'id:' || (o ->> 'id'))
      order by (o ->> 'arrived')::bool, (o ->> 'n')::int) as first_id
    from jsonb_array_elements(public.wpp_resolve(filed)) as o
  ) m;

  if exists (
    select from jsonb_array_elements(filed) o join public.chat_messages c on c.id = (o ->> 'message_id')::uuid
    where c.organization_id <> (o ->> 'organization_id')::uuid
  ) then
    raise exception 'this message belongs to another organization' using errcode = 'WP001';
  end if;

  made := public.wpp_insert_messages(filed);
  perform public.wpp_learn(coalesce(jsonb_agg(jsonb_build_object(
    'message_id', o -> 'message_id', 'organization_id', o -> 'organization_id', 'account', o -> 'account',
    'external_id', e.external_id)), '[]'))
  from jsonb_array_elements(filed) as o, lateral (values (o ->> 'task_id'), (o ->> 'wa_message_id')) as e (external_id)
  where e.external_id is not null and o ->> 'account' is not null;
  perform public.wpp_merge_messages(filed, made);

  perform public.wpp_begin_history(array(
    select (o ->> 'message_id')::uuid from jsonb_array_elements(filed) as o
    except select unnest(made)));
  insert into public.wpp_message_history (message_id, organization_id, status, source, at, error)
  select (o ->> 'message_id')::uuid, (o ->> 'organization_id')::uuid, (o ->> 'status')::public.message_status,
         case when (o ->> 'arrived')::bool then 'platform' else 'own' end, (o ->> 'at')::timestamptz, o ->> 'error'
  from jsonb_array_elements(filed) as o
  on conflict do nothing;
  perform public.wpp_touch_clients(filed);
  return array(select distinct (o ->> 'message_id')::uuid from jsonb_array_elements(filed) as o);
end
$$;

-- What a message's metadata says of itself.
create or replace function public.wpp_metadata(o jsonb) returns jsonb
language sql immutable as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'integration_id', o ->> 'integration_id', 'phone', nullif(o ->> 'phone', ''), 'sender_name', o ->> 'sender_name',
    'content', nullif(o ->> 'content', 'text'), 'media_state', nullif(o ->> 'media_state', 'none'),
    'taskId', o ->> 'task_id', 'waMessageId', o ->> 'wa_message_id',
    'echo', case when (o ->> 'arrived')::bool and (o ->> 'outgoing')::bool then true end
  )) || coalesce(o -> 'metadata', '{}')
$$;

-- Insert those messages that have no row yet, with their contacts. Returns the ids inserted.
create or replace function public.wpp_insert_messages(filed jsonb) returns uuid[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  fresh jsonb;
  contacts jsonb;
  made uuid[];
begin
  select coalesce(jsonb_agg(f.o || jsonb_build_object('client_id', c.id, 'teacher_id', t.id,
    'contact', case when c.id is null and t.id is null and f.o ->> 'phone' ~ '^\d{5,}$'
                    then (f.o ->> 'organization_id') || ':' || (f.o ->> 'phone') end)
  ), '[]') into fresh
  from (
    select distinct on (o ->> 'message_id') o
    from jsonb_array_elements(filed) as o
    where not exists (select from public.chat_messages c where c.id = (o ->> 'message_id')::uuid)
    order by o ->> 'message_id', (o ->> 'arrived')::bool, (o ->> 'n')::int -- what we sent is ours, whatever its echo says
  ) f -- whom the sender named is taken if it is one of this organisation
  left join public.clients c on c.id = (f.o ->> 'client_id')::uuid
    and c.organization_id = (f.o ->> 'organization_id')::uuid
  left join public.teachers t on t.id = (f.o ->> 'teacher_id')::uuid
    and t.organization_id = (f.o ->> 'organization_id')::uuid;

  select public.wpp_contacts(coalesce(jsonb_agg(w), '[]')) into contacts from (
    select jsonb_build_object('organization_id', o ->> 'organization_id', 'phone', o ->> 'phone', 'name',
      (array_agg(o ->> 'peer_name' order by (o ->> 'n')::int)
         filter (where not (o ->> 'outgoing')::bool and o ->> 'peer_name' is not null))[1]) as w
    from jsonb_array_elements(fresh) as o where o ->> 'contact' is not null
    group by o ->> 'organization_id', o ->> 'phone') w;

  select coalesce(jsonb_agg(o || jsonb_build_object(
    'metadata', public.wpp_metadata(o) || jsonb_strip_nulls(jsonb_build_object(
      'contact', case when x.c is not null then x.c ->> 'flag'
                      when coalesce(o ->> 'client_id', o ->> 'teacher_id') is null then 'no_phone' end,
      'teacher_id', coalesce(o ->> 'teacher_id', x.c ->> 'teacher_id')))
  ) || case when x.c is null then '{}'
            else jsonb_build_object('client_id', x.c -> 'client_id', 'teacher_id', x.c -> 'teacher_id') end
  ), '[]') into fresh
  from jsonb_array_elements(fresh) as o, lateral (select contacts -> (o ->> 'contact') as c) x;

  begin
    return public.wpp_insert_rows(fresh);
  exception when unique_violation then
    -- A trigger of the CRM minds one of these contacts. One by one; the one it minds is filed without a client.
    made := '{}';
    for i in 0 .. jsonb_array_length(fresh) - 1 loop
      made := made || public.wpp_insert_minded(fresh -> i);
    end loop;
    return made;
  end;
end
$$;

create or replace function public.wpp_insert_rows(fresh jsonb) returns uuid[]
language sql set search_path = pg_catalog, public, pg_temp as $$
  with made as (
    insert into public.chat_messages (
      id, organization_id, client_id, teacher_id, integration_id, message_text, message_type, messenger_type,
      is_outgoing, is_read, message_status, external_message_id, file_url, file_name, file_type, sender_name, metadata,
      created_at)
    select (o ->> 'message_id')::uuid, (o ->> 'organization_id')::uuid, (o ->> 'client_id')::uuid,
           (o ->> 'teacher_id')::uuid, (o ->> 'integration_id')::uuid, o ->> 'text',
           case when (o ->> 'outgoing')::bool then 'manager' else 'client' end, 'whatsapp',
           (o ->> 'outgoing')::bool, (o ->> 'outgoing')::bool,
           (o ->> 'status')::public.message_status,
           case when (o ->> 'outgoing')::bool and not (o ->> 'arrived')::bool then o ->> 'task_id'
                else coalesce(o ->> 'wa_message_id', o ->> 'task_id') end,
           o ->> 'file_url', o ->> 'file_name', o ->> 'file_type', o ->> 'sender_name', o -> 'metadata',
           (o ->> 'at')::timestamptz
    from jsonb_array_elements(fresh) as o order by 1
    on conflict (id) do nothing returning id
  )
  select coalesce(array_agg(id), '{}') from made
$$;

create or replace function public.wpp_insert_minded(o jsonb) returns uuid[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  made uuid[];
begin
  return public.wpp_insert_rows(jsonb_build_array(o));
exception when unique_violation then
  made := public.wpp_insert_rows(jsonb_build_array(o || jsonb_build_object('client_id', null,
    'metadata', (o -> 'metadata') || jsonb_build_object('contact', 'conflict', 'client_id', o -> 'client_id'))));
  begin -- the trigger may mind only the insert
    update public.chat_messages c set client_id = (o ->> 'client_id')::uuid where c.id = any (made);
  exception when unique_violation then
    null;
  end;
  return made;
end
$$;

-- Ids are learned once and never rebound, but for one case: an echo of what we sent ourselves, which came before
-- anybody knew that its waMessageId and our taskId are one message. That row becomes part of ours.
create or replace function public.wpp_learn(pairs jsonb) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  twin record;
  learned integer;
begin
  insert into public.wpp_message_ids (organization_id, account, external_id, message_id)
  select (p ->> 'organization_id')::uuid, p ->> 'account', p ->> 'external_id', (p ->> 'message_id')::uuid
  from jsonb_array_elements(pairs) as p order by 1, 2, 3
  on conflict do nothing;
  get diagnostics learned = row_count;
  if learned = jsonb_array_length(pairs) then
    return; -- none was known before
  end if;
  for twin in
    select distinct i.message_id as echo, own.id as own
    from jsonb_array_elements(pairs) as p
    join public.wpp_message_ids i on i.organization_id = (p ->> 'organization_id')::uuid
      and i.account = p ->> 'account' and i.external_id = p ->> 'external_id'
    join public.chat_messages own on own.id = (p ->> 'message_id')::uuid and own.id <> i.message_id
    join public.chat_messages echo on echo.id = i.message_id
    where echo.metadata ? 'echo' and own.is_outgoing and not own.metadata ? 'echo'
  loop
    update public.wpp_message_ids i set message_id = twin.own where i.message_id = twin.echo;
    insert into public.wpp_message_history (message_id, organization_id, status, source, at, error)
    select twin.own, h.organization_id, h.status, h.source, h.at, h.error
    from public.wpp_message_history h where h.message_id = twin.echo
    on conflict do nothing;
    delete from public.message_reactions r using public.message_reactions o
    where r.message_id = twin.echo and o.message_id = twin.own and (r.client_id = o.client_id or r.user_id = o.user_id);
    update public.message_reactions r set message_id = twin.own where r.message_id = twin.echo;
    update public.chat_messages own
    set metadata = (echo.metadata - 'echo') || coalesce(own.metadata, '{}') || case
          when echo.metadata ? 'reactions' then jsonb_build_object(
            'reactions', (echo.metadata -> 'reactions') || coalesce(own.metadata -> 'reactions', '{}'))
          else '{}' end || jsonb_build_object(
            'echoed', greatest((own.metadata ->> 'echoed')::timestamptz, echo.created_at)),
        message_text = case when echo.metadata ? 'edited_at' and not own.metadata ? 'edited_at' then echo.message_text
                            else own.message_text end
    from public.chat_messages echo where own.id = twin.own and echo.id = twin.echo;
    delete from public.chat_messages c where c.id = twin.echo;
  end loop;
end
$$;

-- Many objects as one; where two say different, the first one counts.
create or replace function public.wpp_fold(objects jsonb[]) returns jsonb
language sql immutable set search_path = '' as $$
  select coalesce(jsonb_object_agg(e.key, e.value order by o.n desc), '{}')
  from unnest(objects) with ordinality as o (value, n), lateral jsonb_each(o.value) as e
$$;

-- Bring together what several outcomes say of one message: the earliest time, every id, the furthest media.
-- A text that contradicts the row is kept beside it, in metadata.conflicts; another file in metadata.other_files. What
-- we sent ourselves is no echo for having one: `echoed` is when it came.
create or replace function public.wpp_merge_messages(filed jsonb, made uuid[]) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
begin
  with o as (
    select (o ->> 'message_id')::uuid as id, (o ->> 'n')::int as n, (o ->> 'at')::timestamptz as at, o,
           array_position(array['none', 'pending', 'refused', 'stored'], o ->> 'media_state') as media
    from jsonb_array_elements(filed) as o
  ), a as (
    select o.id, min(o.at) as at,
           (array_agg(o.o ->> 'task_id' order by o.n) filter (where o.o ->> 'task_id' is not null))[1] as task_id,
           (array_agg(o.o ->> 'wa_message_id' order by o.n)
              filter (where o.o ->> 'wa_message_id' is not null))[1] as wa_message_id,
           (array_agg(o.o order by o.media desc, o.n))[1] as best, max(o.media) as media,
           (array_agg(o.o ->> 'sender_name' order by o.n)
              filter (where o.o ->> 'sender_name' is not null))[1] as sender_name,
           array_agg(public.wpp_metadata(o.o) - 'media_state' order by o.n) as metadata,
           max(o.at) filter (where (o.o ->> 'arrived')::bool and (o.o ->> 'outgoing')::bool) as echoed,
           array_agg(distinct o.o ->> 'text') as texts,
           array_agg(distinct o.o #>> '{metadata,media_path}')
             filter (where o.o #>> '{metadata,media_path}' is not null) as files
    from o group by o.id having count(*) > 1 or not o.id = any (made)
  ), merged as (
    select a.id, least(c.created_at, a.at) as created_at,
           coalesce(c.external_message_id,
             case when c.is_outgoing and not c.metadata ? 'echo' then a.task_id
                  else coalesce(a.wa_message_id, a.task_id) end) as external_message_id,
           coalesce(c.sender_name, a.sender_name) as sender_name, m.further,
           case when m.further then a.best ->> 'file_url' else c.file_url end as file_url,
           case when m.further then a.best ->> 'file_name' else c.file_name end as file_name,
           case when m.further then a.best ->> 'file_type' else c.file_type end as file_type,
           case when e.is_echo then public.wpp_fold(a.metadata) else public.wpp_fold(a.metadata) - 'echo' end
             || coalesce(c.metadata, '{}')
             || case when e.is_echo or a.echoed is null then '{}' else jsonb_build_object(
                  'echoed', greatest((c.metadata ->> 'echoed')::timestamptz, a.echoed)) end
             || case when m.further then jsonb_build_object('media_state', a.best ->> 'media_state') else '{}' end
             || case when d.texts is null then '{}' else jsonb_build_object('conflicts', d.texts) end
             || case when f.files is null then '{}' else jsonb_build_object('other_files', f.files) end as metadata
    from a join public.chat_messages c on c.id = a.id,
    lateral (select not c.is_outgoing or coalesce(c.metadata ? 'echo', false) as is_echo) e,
    lateral (select a.media > coalesce(array_position(array['none', 'pending', 'refused', 'stored'],
                                                      c.metadata ->> 'media_state'), 1) as further) m,
    lateral (select jsonb_agg(t order by t) as texts from (
      select unnest(a.texts) as t
      union select jsonb_array_elements_text(coalesce(c.metadata -> 'conflicts', '[]'))
      except select coalesce(c.metadata ->> 'original_text', c.message_text)) as t) d,
    lateral (select jsonb_agg(t order by t) as files from (
      select unnest(a.files) as t
      union select jsonb_array_elements_text(coalesce(c.metadata -> 'other_files', '[]'))
      except select coalesce(c.metadata ->> 'media_path', a.best #>> '{metadata,media_path}')) as t) f
  )
  update public.chat_messages c
  set created_at = m.created_at, external_message_id = m.external_message_id, sender_name = m.sender_name,
      file_url = m.file_url, file_name = m.file_name, file_type = m.file_type, metadata = m.metadata
  from merged m
  where c.id = m.id and (c.created_at, c.external_message_id, c.sender_name, c.file_url, c.file_name, c.file_type,
                         c.metadata)
    is distinct from (m.created_at, m.external_message_id, m.sender_name, m.file_url, m.file_name, m.file_type,
                      m.metadata);
end
$$;

-- What a message means for its client: the time of the last one; an answer from the phone marks what came before it
-- as read.
create or replace function public.wpp_touch_clients(filed jsonb) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  client record;
begin
  for client in
    select c.id, max(o.at) as at,
           greatest(max(m.created_at) filter (where m.metadata ? 'echo'),
                    max((m.metadata ->> 'echoed')::timestamptz)) as answered_at,
           min(m.created_at) filter (where not m.is_outgoing and not m.is_read) as unread_from
    from (
      select (o ->> 'message_id')::uuid as id, max((o ->> 'at')::timestamptz) as at
      from jsonb_array_elements(filed) as o group by 1
    ) o
    join public.chat_messages m on m.id = o.id join public.clients c on c.id = m.client_id
    group by c.id order by c.id
  loop
    begin
      update public.clients c set last_message_at = client.at
      where c.id = client.id and (c.last_message_at is null or c.last_message_at < client.at);
    exception when unique_violation then
      null; -- a trigger of the CRM minds this client's phone; its messages are filed
    end;
    if client.unread_from is not null then -- an answer may have been recorded before what it answers
      select greatest(client.answered_at, max(coalesce((m.metadata ->> 'echoed')::timestamptz, m.created_at)))
      into client.answered_at from public.chat_messages m
      where m.client_id = client.id and m.created_at >= client.unread_from - interval '1 day' and (
        (m.metadata ? 'echo' and m.created_at >= client.unread_from)
        or (m.metadata ->> 'echoed')::timestamptz >= client.unread_from);
    end if;
    if client.answered_at is not null then
      update public.chat_messages m set is_read = true
      where m.client_id = client.id and not m.is_outgoing and not m.is_read and m.created_at <= client.answered_at;
    end if;
  end loop;
end
$$;
