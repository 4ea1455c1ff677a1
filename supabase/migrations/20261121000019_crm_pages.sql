-- What the CRM's pages read and write by themselves, beside the functions that they call.

-- Columns that the chat names in its query, and the unique index that it upserts a reaction on.
alter table public.chat_messages
  add column if not exists system_type text,
  add column if not exists call_duration text,
  add column if not exists sender_id uuid;
do $$
begin
  create unique index if not exists wpp_one_reaction_of_user
    on public.message_reactions (message_id, user_id);
exception when unique_violation then
  raise notice 'left out because of duplicates: unique (message_id, user_id) of message_reactions';
end
$$;

-- The chat listens to changes of messages, where the project has Realtime.
do $$
begin
  if exists (select from pg_publication where pubname = 'supabase_realtime')
     and not exists (select from pg_publication p where p.pubname = 'supabase_realtime'
                     and p.puballtables)
     and not exists (select from pg_publication_tables t where t.pubname = 'supabase_realtime'
                     and t.schemaname = 'public' and t.tablename = 'chat_messages') then
    alter publication supabase_realtime add table public.chat_messages;
  end if;
exception when insufficient_privilege then
  raise notice 'add chat_messages to the publication supabase_realtime as its owner';
end
$$;

-- The old table of settings: the chat asks it before each message.
create table if not exists public.messenger_settings (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  messenger_type text not null,
  is_enabled boolean not null default false,
  provider text,
  settings jsonb not null default '{}',
  webhook_url text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (organization_id, messenger_type)
);
alter table public.messenger_settings enable row level security;
do $$
begin
  if not exists (select from pg_policy where polrelid = 'public.messenger_settings'::regclass) then
    create policy wpp_own_organization on public.messenger_settings to authenticated
      using (organization_id = (select wpp.my_organization()))
      with check (organization_id = (select wpp.my_organization()));
  end if;
end
$$;
grant select, insert, update on public.messenger_settings to authenticated;
grant all on public.messenger_settings to service_role;

-- Let the settings of WhatsApp say what the organization's primary integration is. The marks for
-- address and key are no secrets: the chat only asks whether they are there. Where this table of
-- the CRM refuses them, the integration is saved all the same.
create or replace function wpp.mirror_settings() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  organization uuid := case when tg_op = 'DELETE' then old.organization_id
                            else new.organization_id end;
  main public.messenger_integrations;
  marks jsonb;
begin
  select * into main from public.messenger_integrations i
  where i.organization_id = organization and i.messenger_type = 'whatsapp'
  order by i.is_primary desc nulls last, i.created_at, i.id limit 1;
  if main.id is not null and main.provider <> 'wpp' then
    return null; -- the CRM's own business
  end if;
  marks := case when main.id is null then '{}' else jsonb_strip_nulls(jsonb_build_object(
    'wppBaseUrl', 'pipeline', 'wppApiKey', coalesce(main.settings ->> 'wppApiKey', '••••••••'),
    'wppSession', main.settings ->> 'wppAccountNumber')) end;
  update public.messenger_settings s
  set provider = 'wpp', is_enabled = main.id is not null and coalesce(main.is_enabled, true),
      settings = coalesce(s.settings, '{}') || marks, updated_at = now()
  where s.organization_id = organization and s.messenger_type::text = 'whatsapp'
    and (main.id is not null or s.provider = 'wpp');
  if not found and main.id is not null then
    insert into public.messenger_settings
      (organization_id, messenger_type, provider, is_enabled, settings)
    values (organization, 'whatsapp', 'wpp', coalesce(main.is_enabled, true), marks);
  end if;
  return null;
exception when others then
  raise warning 'messenger_settings of organization % was not changed: %', organization, sqlerrm;
  return null;
end
$$;
create or replace trigger wpp_mirror_settings
  after insert or update of is_primary, is_enabled, is_active, provider, settings
  on public.messenger_integrations for each row
  when (new.provider = 'wpp') execute function wpp.mirror_settings();
create or replace trigger wpp_mirror_removed_settings
  after delete on public.messenger_integrations for each row
  when (old.provider = 'wpp') execute function wpp.mirror_settings();
update public.messenger_integrations i set is_enabled = i.is_enabled where i.provider = 'wpp';

-- A page reads the metadata of a message, changes its own keys and writes it as a whole: what the
-- pipeline has written meanwhile, or before, stays. What the pipeline decides by, only the pipeline
-- adds: whether a message is an echo, whose it is, its ids, its file. A row without a history is the
-- page's own.
create or replace function wpp.keep_metadata() returns trigger
language plpgsql set search_path = '' as $$
declare
  written jsonb := case jsonb_typeof(new.metadata) when 'object' then new.metadata else '{}' end;
  stored jsonb := case jsonb_typeof(old.metadata) when 'object' then old.metadata else '{}' end;
begin
  if current_user = 'authenticated' and exists (
      select from public.wpp_message_history h where h.message_id = old.id) then
    new.metadata := (written - array[
        'echo', 'echoed', 'phone', 'chat', 'contact', 'stand_in', 'taskId', 'waMessageId',
        'reactions', 'media_state', 'media_path', 'conflicts', 'other_files', 'content',
        'substitutes', 'reply_to', 'reply_to_id'])
      || (stored - array['sender_name', 'is_edited', 'edited_at']);
  end if;
  return new;
end
$$;
create or replace trigger wpp_keep_metadata before update of metadata on public.chat_messages
  for each row when (new.metadata is distinct from old.metadata)
  execute function wpp.keep_metadata();

-- Show a message as deleted: the CRM's pages know that by its text. False: not found.
create or replace function public.wpp_mark_deleted(message_id uuid, organization_id uuid)
returns boolean
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
  update public.chat_messages c
  set message_text = '[Сообщение удалено]',
      metadata = wpp.to_object(c.metadata) || jsonb_build_object('original_text',
        coalesce(c.metadata ->> 'original_text', c.message_text))
  where c.id = wpp_mark_deleted.message_id
    and c.organization_id = wpp_mark_deleted.organization_id;
  return found;
end
$$;

-- The organization of the only active contact that has a phone: servers of the CRM send reminders
-- to a phone and name nobody else. Null: no contact, or contacts of several organizations.
create or replace function public.wpp_find_organization_by_phone(digits text) returns uuid
language sql stable security definer set search_path = '' as $$
  with spellings as (
    select digits as phone
    union select prefix || right(digits, 10) from unnest(array['', '7', '8']) as prefix
    where length(digits) between 10 and 11
  )
  select case when count(distinct c.organization_id) = 1 then min(c.organization_id::text)::uuid end
  from (
    select c.organization_id from spellings s
    join public.clients c on wpp.digits(c.phone) = s.phone and coalesce(c.is_active, true)
    union all
    select t.organization_id from spellings s
    join public.teachers t on wpp.digits(t.phone) = s.phone and coalesce(t.is_active, true)
  ) c
$$;

revoke execute on function wpp.keep_secrets(), wpp.forget_secrets(), wpp.mirror_settings(),
  wpp.keep_metadata(), public.wpp_find_organization_by_phone(text), public.wpp_mark_deleted(uuid, uuid)
  from public, anon, authenticated;
grant execute on function public.wpp_find_organization_by_phone(text),
  public.wpp_mark_deleted(uuid, uuid) to service_role;
