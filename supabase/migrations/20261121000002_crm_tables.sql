-- The CRM's tables that the pipeline reads and writes. Missing tables are created in the form of
-- the CRM's self-hosted database. Existing tables get the missing columns; the CRM's cloud version
-- has different names for the same columns. No column is dropped, no row is changed.

create table if not exists public.organizations (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  created_at timestamptz not null default now()
);

create table if not exists public.profiles (
  id uuid primary key, -- the user's id in auth.users
  organization_id uuid references public.organizations (id) on delete set null
);
alter table public.profiles add column if not exists email text;

create table if not exists public.clients (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  name text not null
);
alter table public.clients
  add column if not exists phone text,
  add column if not exists is_active boolean default true,
  add column if not exists last_message_at timestamptz,
  add column if not exists created_at timestamptz default now(),
  add column if not exists updated_at timestamptz default now();

create table if not exists public.client_phone_numbers (
  id uuid primary key default gen_random_uuid(),
  client_id uuid not null references public.clients (id) on delete cascade,
  phone text not null
);
alter table public.client_phone_numbers
  add column if not exists phone_type text,
  add column if not exists is_primary boolean default false,
  add column if not exists is_whatsapp_enabled boolean default false,
  add column if not exists whatsapp_chat_id text,
  add column if not exists created_at timestamptz default now();

create table if not exists public.teachers (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid references public.organizations (id) on delete cascade,
  first_name text not null
);
alter table public.teachers
  add column if not exists last_name text,
  add column if not exists phone text,
  add column if not exists is_active boolean default true,
  add column if not exists created_at timestamptz default now();

create table if not exists public.messenger_integrations (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  messenger_type text not null check (messenger_type in ('whatsapp', 'telegram', 'max')),
  provider text not null,
  name text not null,
  webhook_key text unique not null default replace(gen_random_uuid()::text, '-', ''),
  settings jsonb not null default '{}'
);
alter table public.messenger_integrations
  add column if not exists is_primary boolean default false,
  add column if not exists is_enabled boolean default true,
  add column if not exists is_active boolean default true,
  add column if not exists priority integer default 100,
  add column if not exists phone_label text,
  add column if not exists last_error text,
  add column if not exists last_error_at timestamptz,
  add column if not exists created_at timestamptz default now(),
  add column if not exists updated_at timestamptz default now();

create table if not exists public.whatsapp_sessions (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  session_name text not null,
  status text not null default 'disconnected'
);
alter table public.whatsapp_sessions
  add column if not exists last_qr_b64 text,
  add column if not exists last_qr_at timestamptz,
  add column if not exists created_at timestamptz default now(),
  add column if not exists updated_at timestamptz default now(),
  add column if not exists status_at timestamptz, -- an older status never overwrites a newer one
  add column if not exists status_reason text,
  add column if not exists last_error text;

create table if not exists public.chat_messages (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  client_id uuid references public.clients (id) on delete cascade,
  message_text text not null,
  message_type text not null check (message_type in ('client', 'manager', 'system', 'comment'))
);
alter table public.chat_messages
  add column if not exists message_text text,
  add column if not exists message_type text,
  add column if not exists teacher_id uuid,
  add column if not exists phone_number_id uuid
    references public.client_phone_numbers (id) on delete set null,
  add column if not exists messenger_type public.messenger_type,
  add column if not exists is_outgoing boolean default false,
  add column if not exists is_read boolean default false,
  add column if not exists message_status public.message_status,
  add column if not exists external_message_id text,
  add column if not exists file_url text,
  add column if not exists file_name text,
  add column if not exists file_type text,
  add column if not exists metadata jsonb,
  add column if not exists integration_id uuid,
  add column if not exists sender_name text,
  add column if not exists created_at timestamptz default now();

-- A teacher's messages have no client, and unknown columns (`content`, `direction`) stay empty in
-- the pipeline's rows.
do $$
declare
  needed name;
begin
  for needed in
    select a.attname from pg_attribute a
    where a.attrelid = 'public.chat_messages'::regclass and a.attnum > 0 and not a.attisdropped
      and a.attnotnull and not a.atthasdef and a.attidentity = ''
      and a.attname not in ('id', 'organization_id', 'message_text', 'message_type')
  loop
    execute format('alter table public.chat_messages alter column %I drop not null', needed);
  end loop;
end
$$;

create table if not exists public.message_reactions (
  id uuid primary key default gen_random_uuid(),
  message_id uuid not null references public.chat_messages (id) on delete cascade,
  emoji text not null
);
alter table public.message_reactions
  add column if not exists user_id uuid,
  add column if not exists client_id uuid references public.clients (id) on delete cascade,
  add column if not exists created_at timestamptz default now();

-- The CRM's CHECK lacks `starting`, `degraded` and `error`: a wider CHECK replaces it.
do $$
declare
  narrow name;
begin
  for narrow in
    select c.conname from pg_constraint c
    where c.conrelid = 'public.whatsapp_sessions'::regclass and c.contype = 'c'
      and pg_get_constraintdef(c.oid) ~ '\mstatus\M'
  loop
    execute format('alter table public.whatsapp_sessions drop constraint %I', narrow);
  end loop;
  alter table public.whatsapp_sessions add constraint whatsapp_sessions_status_check
    check (status in ('starting', 'qr_issued', 'pairing', 'connected', 'degraded', 'disconnected',
                      'error')) not valid;
end
$$;

-- The pipeline works without these unique indexes where old duplicates forbid them.
create or replace function pg_temp.try_unique_index(statement text) returns void
language plpgsql as $$
begin
  execute statement;
exception when unique_violation then
  raise notice 'left out because of duplicates: %', statement;
end
$$;

select pg_temp.try_unique_index(statement) from unnest(array[
  'create unique index if not exists wpp_one_primary
   on public.messenger_integrations (organization_id, messenger_type) where is_primary',
  'create unique index if not exists wpp_one_session on public.whatsapp_sessions (session_name)',
  'create unique index if not exists wpp_one_reaction
   on public.message_reactions (message_id, client_id) where client_id is not null'
]) as statement;

create index if not exists wpp_messages_of_client
  on public.chat_messages (client_id, created_at desc);
create index if not exists wpp_messages_of_teacher
  on public.chat_messages (teacher_id, created_at desc) where teacher_id is not null;
create index if not exists wpp_messages_of_organization
  on public.chat_messages (organization_id, created_at desc);
create index if not exists wpp_messages_by_external_id
  on public.chat_messages (external_message_id) where external_message_id is not null;
