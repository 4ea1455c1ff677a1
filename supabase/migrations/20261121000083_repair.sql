-- What operators repair: dead letters that were dropped, and lists with filters that stay fast.

-- A letter that was dropped is closed as one that was replayed: `replayed_at` is when. It keeps who
-- closed it and, if it was dropped, why. One that dies again is open again.
alter table public.wpp_dead_letters add column if not exists closed_by text;
alter table public.wpp_dead_letters add column if not exists dropped_why text;

-- Open letters, the newest first, by what operators ask for; and in the order of their replay.
create index if not exists wpp_dead_letters_open
  on public.wpp_dead_letters (at desc, id) where replayed_at is null;
create index if not exists wpp_dead_letters_open_of_organization
  on public.wpp_dead_letters (organization_id, at desc, id) where replayed_at is null;
create index if not exists wpp_dead_letters_open_by_kind
  on public.wpp_dead_letters (kind, at desc, id) where replayed_at is null;
create index if not exists wpp_dead_letters_open_by_reason
  on public.wpp_dead_letters (reason, at desc, id) where replayed_at is null;
create index if not exists wpp_dead_letters_open_of_account
  on public.wpp_dead_letters (account, at desc, id) where replayed_at is null;
create index if not exists wpp_dead_letters_open_of_number
  on public.wpp_dead_letters ((event ->> 'integration_id'), at desc, id) where replayed_at is null;
create index if not exists wpp_dead_letters_open_in_order
  on public.wpp_dead_letters (accepted_at, id) where replayed_at is null;
create index if not exists wpp_dead_letters_by_phone
  on public.wpp_dead_letters ((event ->> 'to'), at desc) where event ->> 'to' is not null;

-- Webhooks of an organization and of a type. Of results, only the rare ones are looked for.
create index if not exists wpp_webhook_log_of_organization
  on public.wpp_webhook_log (organization_id, at desc, id);
create index if not exists wpp_webhook_log_by_type
  on public.wpp_webhook_log (event_type, at desc, id);
create index if not exists wpp_webhook_log_dead
  on public.wpp_webhook_log (at desc, id) where became = 'dead';

-- Close open letters without a replay; return those that were closed by this call.
create or replace function public.wpp_drop_dead_letters(ids uuid[], who text, why text)
returns setof uuid
language sql security definer set search_path = '' as $$
  update public.wpp_dead_letters d
  set replayed_at = now(), closed_by = who, dropped_why = why
  where d.id = any (ids) and d.replayed_at is null
  returning d.id
$$;
revoke execute on function public.wpp_drop_dead_letters(uuid[], text, text)
  from public, anon, authenticated;
grant execute on function public.wpp_drop_dead_letters(uuid[], text, text) to service_role;

-- What a text that an operator searches for names, of any organization: a JSON array of
-- {"kind", "id", "organization_id", "organization", "title", "at"}.
--   words   a part of an organization's name, or the platform's id of a message or an account
--   named   the id that the text is, if it is one
--   phone   the phone that the text is, if it is one: international digits
create or replace function public.wpp_search(
  words text, named uuid, phone text, max_rows integer
) returns jsonb
language sql stable security definer
set search_path = pg_catalog, public, pg_temp set enable_seqscan = off set jit = off as $$
  with chats as materialized (
    select case when phone is not null then wpp.chat_of(phone, null) end as chat
  ), hits as (
    (select 1 as rank, 'message' as kind, c.id::text as id, c.organization_id, c.wpp_chat as title,
            c.created_at as at
     from public.chat_messages c where c.id = named)
    union all
    (select 2, 'message', c.id::text, c.organization_id, c.wpp_chat, c.created_at
     from public.wpp_accounts a
     cross join lateral (
       select i.message_id from public.wpp_message_ids i
       where i.organization_id = a.organization_id and i.account = a.account
         and i.external_id = wpp.message_key(words) limit 5) i
     join public.chat_messages c on c.id = i.message_id
     where length(words) >= 4)
    union all
    (select 3, 'dead_letter', d.id::text, d.organization_id, d.reason, d.at
     from public.wpp_dead_letters d where d.id = named)
    union all
    (select 4, 'webhook', l.id::text, l.organization_id, l.event_type, l.at
     from public.wpp_webhook_log l where l.id = named)
    union all
    (select 5, 'callback', b.id::text, b.organization_id, b.url, b.created_at
     from public.wpp_callbacks b where b.id = named)
    union all
    (select 6, 'organization', o.id::text, o.id, o.name, null
     from public.organizations o where o.id = named)
    union all
    (select 6, 'organization', o.id::text, o.id, o.name, null
     from public.organizations o
     where length(words) >= 2 and strpos(lower(o.name), lower(words)) > 0
     order by o.name, o.id limit max_rows)
    union all
    (select 7, 'number', n.id::text, n.organization_id, n.name, n.created_at
     from public.messenger_integrations n where n.id = named)
    union all
    (select 7, 'number', a.integration_id::text, a.organization_id, n.name, a.claimed_at
     from public.wpp_accounts a join public.messenger_integrations n on n.id = a.integration_id
     where a.account = words or a.phone = any (wpp.phone_twins(wpp_search.phone)))
    union all
    (select 8, 'conversation', v.chat, o.id, v.chat, v.at
     from chats, public.organizations o
     cross join lateral (
       select v.chat, v.at from wpp.conversations v
       where v.organization_id = o.id and v.chat = chats.chat limit 1) v
     order by v.at desc limit max_rows)
    union all
    (select 9, 'dead_letter', d.id::text, d.organization_id, d.reason, d.at
     from public.wpp_dead_letters d
     where phone is not null and d.event ->> 'to' = phone
     order by d.at desc limit 20)
  )
  select coalesce(jsonb_agg(to_jsonb(f) - 'rank' order by f.rank, f.at desc nulls last, f.id), '[]')
  from (
    select h.rank, h.kind, h.id, h.organization_id, o.name as organization, h.title, h.at
    from (select distinct on (kind, id, organization_id) * from hits
          order by kind, id, organization_id, rank) h
    left join public.organizations o on o.id = h.organization_id
    order by h.rank, h.at desc nulls last, h.id limit max_rows
  ) f
$$;
revoke execute on function public.wpp_search(text, uuid, text, integer)
  from public, anon, authenticated;
grant execute on function public.wpp_search(text, uuid, text, integer) to service_role;
