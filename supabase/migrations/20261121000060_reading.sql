-- Reading: pages of messages and of conversations, each with one query.

-- The conversation of a message of WhatsApp: its phone in one spelling for all numbers of the line,
-- or the hidden id (`<digits>@lid`) while the phone is unknown. Null: rows of the CRM, senders that
-- cannot be read.
alter table public.chat_messages add column if not exists wpp_chat text;

create index if not exists wpp_messages_of_chat
  on public.chat_messages (organization_id, wpp_chat, created_at desc, id desc)
  where wpp_chat is not null;
create index if not exists wpp_unread_messages
  on public.chat_messages (organization_id, wpp_chat)
  where wpp_chat is not null and not is_outgoing and not is_read;

-- The conversations of organizations, by the time of their newest message. Rows of deleted messages
-- stay: readers look for the newest message that is there.
create table if not exists wpp.conversations (
  organization_id uuid not null references public.organizations (id) on delete cascade,
  chat text not null,
  at timestamptz not null,
  primary key (organization_id, chat)
);
create index if not exists conversations_by_time
  on wpp.conversations (organization_id, at desc, chat desc);
alter table wpp.conversations enable row level security;
grant all on wpp.conversations to service_role;

-- Let conversations have the times of their messages.
create or replace function wpp.touch_conversations(ids uuid[]) returns void
language sql set search_path = '' as $$
  insert into wpp.conversations as v (organization_id, chat, at)
  select c.organization_id, c.wpp_chat, max(c.created_at)
  from public.chat_messages c where c.id = any (ids) and c.wpp_chat is not null
  group by c.organization_id, c.wpp_chat order by 1, 2
  on conflict (organization_id, chat) do update set at = excluded.at where v.at < excluded.at
$$;

-- The conversation that a phone or a hidden id names.
create or replace function wpp.chat_of(phone text, lid text) returns text
language sql stable set search_path = '' as $$
  select coalesce((select min(t) from unnest(wpp.phone_twins(nullif(phone, ''))) as t), lid)
$$;

-- Which conversation a message is in, only the pipeline decides.
create or replace function wpp.keep_chat() returns trigger
language plpgsql set search_path = '' as $$
begin
  if current_user in ('anon', 'authenticated') then
    new.wpp_chat := case when tg_op = 'UPDATE' then old.wpp_chat end;
  end if;
  return new;
end
$$;
create or replace trigger wpp_keep_chat before update on public.chat_messages
  for each row when (new.wpp_chat is distinct from old.wpp_chat) execute function wpp.keep_chat();
create or replace trigger wpp_keep_new_chat before insert on public.chat_messages
  for each row when (new.wpp_chat is not null) execute function wpp.keep_chat();

-- The clients whose phone this is, further numbers included.
create or replace function wpp.clients_of_phone(organization uuid, digits text) returns uuid[]
language sql stable set search_path = '' as $$
  select array(
    select c.client_id
    from wpp.phone_twins(digits) as t (twins)
    left join public.wpp_policies p on p.organization_id = organization
    join wpp.dialing_rules home on home.region = coalesce(p.region, 'RU')
    left join lateral (
      select r.country_code, r.trunk_prefixes from wpp.dialing_rules r
      where r.country_code = any (array[left(digits, 1), left(digits, 2), left(digits, 3)])
      order by r.region <> home.region, r.region limit 1
    ) plan on true
    cross join lateral wpp.contact_candidates(organization, digits, wpp.phone_variants(
      t.twins, plan.country_code, plan.trunk_prefixes, home.country_code,
      home.international_prefix)) c
    where c.client_id is not null)
$$;

-- What a reader sees of messages, in the order of their ids in the list.
create or replace function wpp.describe_messages(organization uuid, ids uuid[]) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
    'id', c.id, 'direction', case when c.is_outgoing then 'outgoing' else 'incoming' end,
    'chat', c.wpp_chat, 'phone', d.metadata ->> 'phone',
    'client_id', c.client_id, 'teacher_id', c.teacher_id, 'integration_id', c.integration_id,
    'sender_name', c.sender_name, 'kind', coalesce(d.metadata ->> 'content', 'text'),
    'text', c.message_text, 'is_read', case when not c.is_outgoing then c.is_read end,
    'file_name', c.file_name, 'file_type', c.file_type,
    'has_file', c.file_url is not null or c.file_name is not null,
    'media_state', d.metadata ->> 'media_state', 'status', c.message_status,
    'reason', d.metadata ->> 'error', 'code', h.code,
    'reactions', d.metadata -> 'reactions',
    'reply_to', d.metadata ->> 'reply_to',
    'reply_id', coalesce(r.message_id::text, d.metadata ->> 'reply_to_id'),
    'edited_at', wpp.to_time(d.metadata ->> 'edited_at'), 'created_at', c.created_at,
    'send_at', wpp.to_time(d.metadata ->> 'send_at'), 'sent_at', h.sent_at, 'delivered_at', greatest(h.delivered_at, h.sent_at),
    'read_at', greatest(h.read_at, h.delivered_at, h.sent_at)
  )) order by i.n), '[]')
  from unnest(ids) with ordinality as i (id, n)
  join public.chat_messages c on c.id = i.id and c.organization_id = organization
  cross join lateral (select wpp.to_object(c.metadata) as metadata) d
  left join lateral (
    select min(h.at) filter (where h.status = 'sent') as sent_at,
           min(h.at) filter (where h.status = 'delivered' and h.event <> 'received')
             as delivered_at,
           min(h.at) filter (where h.status = 'read') as read_at,
           (array_agg(h.code order by h.id desc)
              filter (where h.status = 'failed' and c.message_status = 'failed'))[1] as code
    from public.wpp_message_history h where h.message_id = c.id
  ) h on true
  left join lateral (
    select i.message_id
    from public.wpp_accounts k
    join public.wpp_message_ids i on i.organization_id = organization and i.account = k.account
      and i.external_id = wpp.message_key(d.metadata ->> 'reply_to')
    where k.integration_id = c.integration_id and d.metadata ->> 'reply_to' is not null
    limit 1
  ) r on true
$$;

-- A page of an organization's messages of WhatsApp: a JSON array, at most `max_rows`.
--   filters  each of its keys is a condition: "chat" (of `wpp.chat_of`) with "phone", "client_id",
--            "teacher_id", "integration_id", "outgoing", "status", "kind", "since" (inclusive),
--            "until" (exclusive)
--   after    [created_at, id] of the last message of the page before
-- The query has the given conditions only, so that Postgres can choose the index for them. With a
-- client or a teacher it compares organizations as text: it shall not walk the organization.
create or replace function public.wpp_list_messages(
  organization uuid, filters jsonb, after jsonb, ascending boolean, max_rows integer
) returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, public, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  is_of_person boolean := filters ?| array['client_id', 'teacher_id'];
  wanted text := concat_ws(' and ',
    case when is_of_person then 'c.organization_id::text = $1::text'
         else 'c.organization_id = $1' end,
    'c.messenger_type = ''whatsapp''',
    case when filters ? 'client_id' then 'c.client_id = ($2 ->> ''client_id'')::uuid' end,
    case when filters ? 'teacher_id' then 'c.teacher_id = ($2 ->> ''teacher_id'')::uuid' end,
    case when filters ? 'integration_id'
         then 'c.integration_id = ($2 ->> ''integration_id'')::uuid' end,
    case when filters ? 'outgoing' then 'c.is_outgoing = ($2 ->> ''outgoing'')::boolean' end,
    case when filters ? 'status'
         then 'c.message_status = ($2 ->> ''status'')::public.message_status' end,
    case when filters ? 'kind'
         then 'coalesce(c.metadata ->> ''content'', ''text'') = $2 ->> ''kind''' end,
    case when filters ? 'since' then 'c.created_at >= ($2 ->> ''since'')::timestamptz' end,
    case when filters ? 'until' then 'c.created_at < ($2 ->> ''until'')::timestamptz' end,
    case when after is not null then format(
      'c.created_at %1$s= ($3 ->> 0)::timestamptz '
      'and (c.created_at, c.id) %1$s (($3 ->> 0)::timestamptz, ($3 ->> 1)::uuid)',
      case when ascending then '>' else '<' end) end);
  direction text := case when ascending then 'asc' else 'desc' end;
  page text := 'select c.id, c.created_at from public.chat_messages c where ' || wanted;
  ending text := format(' order by created_at %1$s, id %1$s limit $4', direction);
  ids uuid[];
begin
  if filters ? 'chat' then -- rows from before the pipeline are known by their client
    page := format(
      '(%1$s and c.wpp_chat = $2 ->> ''chat'' %2$s) union all '
      '(%3$s and c.wpp_chat is null and c.client_id = any ($5) %2$s)',
      page, ending, replace(page, 'c.organization_id = $1', 'c.organization_id::text = $1::text'));
  end if;
  execute format('select array(select p.id from (%s) p %s)', page, ending)
    into ids using organization, filters, after, max_rows,
      case when filters ? 'chat' and filters ? 'phone'
           then wpp.clients_of_phone(organization, filters ->> 'phone') end;
  return wpp.describe_messages(organization, ids);
end
$$;

-- The conversation of a phone, or of a hidden id (`<digits>@lid`).
create or replace function public.wpp_find_chat(phone text) returns text
language sql stable security definer set search_path = '' as $$
  select case when phone like '%@lid' then phone else wpp.chat_of(phone, null) end
$$;

-- A page of an organization's conversations, the one with the newest message first: a JSON array,
-- at most `max_rows`, each with its last message and `place`. `unread` counts to 1,000 at most.
--   after  the `place` of the last conversation of the page before
create or replace function public.wpp_list_conversations(
  organization uuid, after jsonb, max_rows integer
) returns jsonb
language sql stable security definer
set search_path = pg_catalog, public, pg_temp set enable_seqscan = off set jit = off
as $$
  with page as materialized (
    select v.chat, v.at from wpp.conversations v
    where v.organization_id = organization
      and (v.at, v.chat) < (coalesce((after ->> 0)::timestamptz, 'infinity'),
                            coalesce(after ->> 1, ''))
    order by v.at desc, v.chat desc limit max_rows
  ), found as materialized (
    select p.chat, p.at, c.id, c.client_id, c.teacher_id, c.integration_id
    from page p
    left join lateral (
      select c.id, c.client_id, c.teacher_id, c.integration_id from public.chat_messages c
      where c.organization_id = organization and c.wpp_chat = p.chat
      order by c.created_at desc, c.id desc limit 1
    ) c on true
  ), described as materialized (
    select (d.message ->> 'id')::uuid as id, d.message
    from jsonb_array_elements(wpp.describe_messages(organization, array(
      select f.id from found f where f.id is not null))) as d (message)
  )
  select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
    'place', jsonb_build_array(f.at, f.chat),
    'chat', f.chat, 'client_id', f.client_id, 'teacher_id', f.teacher_id,
    'name', coalesce(k.name, nullif(concat_ws(' ', t.first_name, t.last_name), '')),
    'integration_id', f.integration_id, 'unread', u.unread, 'last_message', d.message
  )) order by f.at desc, f.chat desc), '[]')
  from found f
  left join described d on d.id = f.id
  left join public.clients k on k.id = f.client_id and k.organization_id = organization
  left join public.teachers t on t.id = f.teacher_id and t.organization_id = organization
  cross join lateral (
    select count(*) as unread from (
      select from public.chat_messages m
      where m.organization_id = organization and m.wpp_chat = f.chat
        and not m.is_outgoing and not m.is_read limit 1000) m
  ) u
$$;

revoke execute on function wpp.chat_of(text, text), wpp.keep_chat(),
  wpp.clients_of_phone(uuid, text), wpp.describe_messages(uuid, uuid[]),
  wpp.touch_conversations(uuid[]),
  public.wpp_list_messages(uuid, jsonb, jsonb, boolean, integer),
  public.wpp_list_conversations(uuid, jsonb, integer), public.wpp_find_chat(text)
  from public, anon, authenticated;
grant execute on function public.wpp_list_messages(uuid, jsonb, jsonb, boolean, integer),
  public.wpp_list_conversations(uuid, jsonb, integer), public.wpp_find_chat(text)
  to service_role;
