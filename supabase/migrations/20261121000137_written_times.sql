-- Times that users have written break no page. `created_at` may be null, `infinity` or of a year
-- that programs cannot hold: such a message stands where its time says, one without a time is the
-- oldest, and pages go on after it.

-- Let conversations have the times of their messages.
create or replace function wpp.touch_conversations(ids uuid[]) returns void
language sql set search_path = '' as $$
  insert into wpp.conversations as v (organization_id, chat, at)
  select c.organization_id, c.wpp_chat, coalesce(max(c.created_at), '-infinity')
  from public.chat_messages c where c.id = any (ids) and c.wpp_chat is not null
  group by c.organization_id, c.wpp_chat order by 1, 2
  on conflict (organization_id, chat) do update set at = excluded.at where v.at < excluded.at
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
                  case when c.created_at between '1970-01-01' and now() then c.created_at
                       else now() end as at) s
  where c.id = any (message_ids)
    and not exists (select from public.wpp_message_history h where h.message_id = c.id);
  perform set_config('wpp.is_no_news', 'no', true);
end
$$;

-- A page of an organization's messages of WhatsApp: a JSON array, at most `max_rows`.
--   filters  each of its keys is a condition: "chat" (of `wpp.chat_of`) with "phone", "client_id",
--            "teacher_id", "integration_id", "outgoing", "status", "kind", "since" (inclusive),
--            "until" (exclusive)
--   after    [created_at, id] of the last message of the page before
-- The query has the given conditions only, so that Postgres can choose the index for them. With a
-- client or a teacher it compares organizations as text: it shall not walk the organization.
-- Messages without a time are the oldest: a query of their own, so that both use the same index.
create or replace function public.wpp_list_messages(
  organization uuid, filters jsonb, after jsonb, ascending boolean, max_rows integer
) returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, public, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  is_of_person boolean := filters ?| array['client_id', 'teacher_id'];
  after_time timestamptz := wpp.to_time(after ->> 0);
  after_id uuid := (after ->> 1)::uuid;
  beyond text := case when ascending then '>' else '<' end;
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
         then 'coalesce(c.metadata ->> ''content'', ''text'') = $2 ->> ''kind''' end);
  dated text := concat_ws(' and ',
    case when filters ? 'since' then 'c.created_at >= ($2 ->> ''since'')::timestamptz' end,
    case when filters ? 'until' then 'c.created_at < ($2 ->> ''until'')::timestamptz' end,
    case when after_time is null then 'c.created_at is not null'
         else format('c.created_at %1$s= $3 and (c.created_at, c.id) %1$s ($3, $4)', beyond) end);
  undated text := concat_ws(' and ', 'c.created_at is null',
    case when after is not null and after_time is null then format('c.id %s $4', beyond) end);
  parts text[] := case
    when filters ? 'since' then array[dated]
    when ascending then case when after_time is null then array[undated, dated]
                             else array[dated] end
    else case when after is not null and after_time is null then array[undated]
              else array[dated, undated] end end;
  ending text := format(' order by created_at %1$s, id %1$s limit $5',
                        case when ascending then 'asc' else 'desc' end);
  clients uuid[] := case when filters ? 'chat' and filters ? 'phone'
                         then wpp.clients_of_phone(organization, filters ->> 'phone') end;
  part text;
  page text;
  found_ids uuid[];
  ids uuid[] := '{}';
begin
  foreach part in array parts loop
    exit when cardinality(ids) >= max_rows;
    page := format('select c.id, c.created_at from public.chat_messages c where %s and %s',
                   wanted, part);
    if filters ? 'chat' then -- rows from before the pipeline are known by their client
      page := format(
        '(%1$s and c.wpp_chat = $2 ->> ''chat'' %2$s) union all '
        '(%3$s and c.wpp_chat is null and c.client_id = any ($6) %2$s)',
        page, ending,
        replace(page, 'c.organization_id = $1', 'c.organization_id::text = $1::text'));
    end if;
    execute format('select array(select p.id from (%s) p %s)', page, ending)
      into found_ids
      using organization, filters, after_time, after_id, max_rows - cardinality(ids), clients;
    ids := ids || found_ids;
  end loop;
  return wpp.describe_messages(organization, ids);
end
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
      and (v.at, v.chat) < (coalesce(wpp.to_time(after ->> 0), 'infinity'),
                            coalesce(after ->> 1, 'z')) -- chats begin with a digit
    order by v.at desc, v.chat desc limit max_rows
  ), found as materialized (
    select p.chat, p.at, c.id, c.client_id, c.teacher_id, c.integration_id
    from page p
    left join lateral (
      select c.id from public.chat_messages c
      where c.organization_id = organization and c.wpp_chat = p.chat and c.created_at is not null
      order by c.created_at desc, c.id desc limit 1
    ) dated on true
    left join lateral (
      select c.id from public.chat_messages c
      where dated.id is null
        and c.organization_id = organization and c.wpp_chat = p.chat and c.created_at is null
      order by c.created_at desc, c.id desc limit 1
    ) undated on true
    left join public.chat_messages c on c.id = coalesce(dated.id, undated.id)
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
