-- A CRM's database before this pipeline, as wpp-platform.md section 3 describes it: narrower enums
-- and checks, missing columns, a phone allowed once among all organizations, triggers that name
-- tables without a schema, and duplicates.

create schema auth;
create function auth.uid() returns uuid language sql stable as $$
  select nullif(current_setting('request.jwt.claims', true)::jsonb ->> 'sub', '')::uuid
$$;
grant usage on schema auth to anon, authenticated, service_role;

create type messenger_type as enum ('whatsapp', 'telegram', 'system');
create type message_status as enum ('queued', 'sent', 'delivered', 'read', 'failed', 'noAccount');

create table organizations (
  id uuid primary key default gen_random_uuid(), name text not null, slug text
);
create table profiles (
  id uuid primary key, organization_id uuid references organizations, first_name text
);
create table clients (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references organizations on delete cascade,
  name text not null,
  phone text,
  client_number text,
  is_active boolean default true,
  last_message_at timestamptz,
  created_at timestamptz default now()
);
create table client_phone_numbers (
  id uuid primary key default gen_random_uuid(),
  client_id uuid not null references clients on delete cascade,
  phone text not null,
  is_primary boolean default false
);
create table teachers (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid references organizations on delete cascade,
  first_name text not null,
  phone text,
  is_active boolean default true,
  created_at timestamptz default now()
);
create table messenger_integrations (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references organizations on delete cascade,
  messenger_type text not null check (messenger_type in ('whatsapp', 'telegram', 'max')),
  provider text not null,
  name text not null,
  is_primary boolean default false,
  is_enabled boolean default true,
  webhook_key text unique not null,
  settings jsonb not null default '{}',
  created_at timestamptz default now()
);
create table whatsapp_sessions (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references organizations on delete cascade,
  session_name text not null,
  status text not null default 'disconnected'
    check (status in ('connected', 'disconnected', 'qr_issued', 'pairing')),
  last_qr_b64 text
);
create table chat_messages (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references organizations on delete cascade,
  client_id uuid not null references clients on delete cascade,
  message_text text not null,
  message_type text not null check (message_type in ('client', 'manager', 'system', 'comment')),
  messenger_type messenger_type default 'system',
  is_outgoing boolean default false,
  is_read boolean default false,
  message_status message_status default 'sent',
  external_message_id text,
  salebot_message_id text,
  file_url text,
  file_name text,
  file_type text,
  created_at timestamptz default now()
);
create table message_reactions (
  id uuid primary key default gen_random_uuid(),
  message_id uuid not null references chat_messages on delete cascade,
  user_id uuid,
  client_id uuid references clients on delete cascade,
  emoji text not null
);

-- It has row security of its own on one table, and none on the others.
alter table clients enable row level security;
create policy "managers see their branch" on clients for select to authenticated
  using (client_number = 'mine');
grant all on all tables in schema public to anon, authenticated, service_role;

-- Rows from before its own rules: duplicates of everything.
insert into organizations (id, name) values
  ('00000000-0000-4000-8000-000000000001', 'First'),
  ('00000000-0000-4000-8000-000000000002', 'Second');
insert into clients (organization_id, name, phone, created_at, last_message_at) values
  ('00000000-0000-4000-8000-000000000001', 'Twice', '+7 (999) 000-11-22', '2026-01-01',
   '2026-06-01'),
  ('00000000-0000-4000-8000-000000000002', 'Twice', '89990001122', '2026-01-02', '2026-06-01');
insert into messenger_integrations
  (organization_id, messenger_type, provider, name, is_primary, webhook_key, settings)
values
  ('00000000-0000-4000-8000-000000000001', 'whatsapp', 'wpp', 'Old', true, 'a',
   '{"wppAccountNumber": "0000000000001", "wppApiKey": "a key of old", "wppJwtToken": "an old token"}'),
  ('00000000-0000-4000-8000-000000000001', 'whatsapp', 'green_api', 'Other', true, 'b', '{}'),
  ('00000000-0000-4000-8000-000000000002', 'whatsapp', 'wpp', 'Thief', true, 'c',
   '{"wppAccountNumber": "0000000000001"}');
update messenger_integrations set created_at = '2026-01-01' where name = 'Old';
insert into whatsapp_sessions (organization_id, session_name, status) values
  ('00000000-0000-4000-8000-000000000001', 'wpp_0000000000001', 'pairing'),
  ('00000000-0000-4000-8000-000000000001', 'wpp_0000000000001', 'connected');
insert into chat_messages
  (organization_id, client_id, message_text, message_type, external_message_id, created_at)
select organization_id, id, 'twice', 'client', 'W1', '2026-06-01'
from clients, generate_series(1, 2);
insert into message_reactions (message_id, client_id, emoji)
select id, client_id, '👍' from chat_messages, generate_series(1, 2);

-- Its rules.
create unique index clients_phone_unique on clients (phone) where phone <> '-';

create function normalize_phone(phone_input text) returns text language sql immutable as $$
  select right(regexp_replace(coalesce(phone_input, ''), '[^0-9]', '', 'g'), 10)
$$;
create function check_client_phone_duplicate() returns trigger language plpgsql as $$
begin
  if length(normalize_phone(new.phone)) = 10 and exists (
    select from clients c
    where c.id <> new.id and normalize_phone(c.phone) = normalize_phone(new.phone)
      and coalesce(c.is_active, true)
  ) then
    raise exception 'a client with this phone exists' using errcode = 'unique_violation';
  end if;
  return new;
end
$$;
create trigger check_client_phone before insert or update on clients
  for each row execute function check_client_phone_duplicate();

create function note_last_message() returns trigger language plpgsql as $$
begin
  update clients set last_message_at = new.created_at
  where id = new.client_id and (last_message_at is null or last_message_at < new.created_at);
  return new;
end
$$;
create trigger note_last_message after insert or update on chat_messages
  for each row execute function note_last_message();
