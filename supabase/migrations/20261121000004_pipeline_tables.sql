-- The pipeline's own tables. They hold the uniqueness that the CRM's tables cannot promise.
-- Clients of PostgREST read the tables in `public`; the tables in `wpp` are internal.

-- The owner of an account, also after its integration was removed: late webhooks need it.
create table if not exists public.wpp_accounts (
  account text primary key,
  organization_id uuid not null references public.organizations (id) on delete cascade,
  integration_id uuid not null,
  claimed_at timestamptz not null default now(),
  phone text -- its number, once an event of the platform has named it
);
create index if not exists wpp_accounts_of_integration
  on public.wpp_accounts (integration_id, claimed_at desc);
create index if not exists wpp_accounts_by_phone
  on public.wpp_accounts (phone) where phone is not null;

-- Every id of a message: the platform's (taskId) and WhatsApp's (waMessageId) as `wpp.message_key`
-- shortens it.
create table if not exists public.wpp_message_ids (
  organization_id uuid not null references public.organizations (id) on delete cascade,
  account text not null,
  external_id text not null,
  message_id uuid not null references public.chat_messages (id) on delete cascade,
  -- WhatsApp's ids are unique within a chat and a direction only
  primary key (organization_id, account, external_id, message_id)
);
create index if not exists wpp_message_ids_of_message on public.wpp_message_ids (message_id);

-- The phones behind WhatsApp's hidden ids (LIDs, `<digits>@lid`), for each account that saw both.
create table if not exists wpp.hidden_ids (
  organization_id uuid not null references public.organizations (id) on delete cascade,
  account text not null,
  lid text not null,
  phone text not null,
  is_quoted boolean not null, -- learned from a quoted message only, not from an event with both
  seen_at timestamptz not null,
  primary key (organization_id, account, lid)
);

-- All that happened to a message. Its current status is computed from this set, so that order and
-- duplicates do not matter. `source` is `own` (this pipeline) or `platform`.
--   id       rises within an organization in the order of commits: a batch draws its ids under the
--            lock of the organization, which it keeps until it commits. So `id > last` misses none.
--   event    the status that the message reached; `received` for one that arrived; `attempt` for an
--            attempt that did not end it; `edited`, `reaction`, `reaction_removed`
--   status   null where the event is no status
--   at       the platform's time in whole seconds, or our own
create table if not exists public.wpp_message_history (
  id bigint generated always as identity,
  message_id uuid not null references public.chat_messages (id) on delete cascade,
  organization_id uuid not null,
  event text not null,
  status public.message_status,
  source text not null check (source in ('own', 'platform')),
  at timestamptz not null,
  arrived_at timestamptz not null, -- when it reached this pipeline, by our own clock
  started_at timestamptz, -- when the attempt began that ended with this event
  attempt integer, -- the number of that attempt, from 1
  code text, -- why it failed, as a name
  error text, -- why it failed or waits, as a sentence
  actor text not null default '', -- who reacted: the phone, or `self`
  detail text, -- the emoji of a reaction
  primary key (message_id, event, source, at, actor)
);
create unique index if not exists wpp_message_history_in_order
  on public.wpp_message_history (organization_id, id);

-- Outcomes that wait: for their message, or for the integration of their account.
create table if not exists wpp.parked_outcomes (
  id uuid primary key, -- a hash of the content: parking an outcome twice is the same as once
  awaits text not null check (awaits in ('message', 'account')),
  account text not null,
  organization_id uuid references public.organizations (id) on delete cascade,
  external_ids text[] not null default '{}',
  outcome jsonb not null,
  parked_at timestamptz not null default now()
);
create index if not exists parked_outcomes_by_external_id
  on wpp.parked_outcomes using gin (external_ids) where awaits = 'message';
create index if not exists parked_outcomes_by_account
  on wpp.parked_outcomes (account) where awaits = 'account';
create index if not exists parked_outcomes_by_age on wpp.parked_outcomes (parked_at);

-- Organizations whose outcomes cannot be applied at present: a transaction of the CRM locks their
-- rows, or a rule of the CRM refuses all of them. Their outcomes wait apart, so that no further
-- organization waits for them: those that failed, and while any of these waits, all further ones.
-- `owner` is the organization's id, or the account where no organization is known. No foreign key:
-- an organization may be deleted meanwhile.
create table if not exists wpp.set_aside (
  owner text primary key,
  code text not null, -- the SQLSTATE
  why text not null,
  since timestamptz not null default clock_timestamp(),
  attempts integer not null default 0, -- without success in a row
  retry_at timestamptz not null
);
create sequence if not exists wpp.set_aside_order;
create table if not exists wpp.set_aside_outcomes (
  n bigint primary key default nextval('wpp.set_aside_order'),
  owner text not null,
  outcome jsonb not null,
  failed boolean not null, -- it was tried; else it waits behind one that was
  since timestamptz not null default now()
);
create index if not exists set_aside_outcomes_of_owner on wpp.set_aside_outcomes (owner, n);
create index if not exists set_aside_outcomes_failed on wpp.set_aside_outcomes (owner) where failed;
create index if not exists set_aside_outcomes_by_age on wpp.set_aside_outcomes (since);

-- Events that ended without success. No foreign key: a dead letter is always accepted.
create table if not exists public.wpp_dead_letters (
  id uuid primary key, -- the event's id
  organization_id uuid,
  account text,
  kind text not null,
  lane text not null,
  reason text not null,
  detail text not null,
  attempts integer not null,
  accepted_at timestamptz not null,
  at timestamptz not null,
  event jsonb not null,
  replayed_at timestamptz
);
create index if not exists wpp_dead_letters_of_organization
  on public.wpp_dead_letters (organization_id, at desc);
create index if not exists wpp_dead_letters_by_time on public.wpp_dead_letters (at desc);
create index if not exists wpp_dead_letters_in_order on public.wpp_dead_letters (accepted_at, id);
create index if not exists wpp_dead_letters_by_replay
  on public.wpp_dead_letters (replayed_at) where replayed_at is not null;

-- Changes of the state of connected numbers.
create table if not exists public.wpp_session_history (
  id bigint generated always as identity primary key,
  organization_id uuid not null references public.organizations (id) on delete cascade,
  integration_id uuid not null,
  account text not null,
  status text not null,
  reason text not null,
  error text,
  at timestamptz not null,
  unique (account, at, status, reason)
);
create index if not exists wpp_session_history_of_integration
  on public.wpp_session_history (integration_id, at desc);
create index if not exists wpp_session_history_by_time on public.wpp_session_history (at);

-- Webhooks without media bodies. The CRM's own table webhook_logs has two forms and no account.
create table if not exists public.wpp_webhook_log (
  id uuid primary key, -- the event's id
  organization_id uuid,
  account text not null,
  event_type text not null,
  payload jsonb not null,
  became text not null,
  error text,
  at timestamptz not null,
  recorded_at timestamptz not null default now()
);
create index if not exists wpp_webhook_log_of_account on public.wpp_webhook_log (account, at desc);
create index if not exists wpp_webhook_log_by_time on public.wpp_webhook_log (at);
create index if not exists wpp_webhook_log_by_age on public.wpp_webhook_log (recorded_at);

-- The last signs of life of each number, by the database's clock: the platform's clock may be wrong
-- and counts whole seconds. No foreign key to the integration: late messages of a removed
-- integration are recorded as well.
create table if not exists public.wpp_integration_activity (
  organization_id uuid not null references public.organizations (id) on delete cascade,
  integration_id uuid not null,
  inbound_at timestamptz, -- a message to this number arrived
  ack_at timestamptz, -- the platform reported on a message from this number
  awaited_since timestamptz, -- a message went out, without a report since then
  primary key (organization_id, integration_id)
);
