-- Who may read what. Users see their own organisation, nobody sees a secret, only the service role writes wpp_*.

-- The organisation of the signed-in user. Definer, because profiles has row security of its own.
create or replace function public.wpp_my_organization() returns uuid
language sql stable security definer set search_path = '' as $$
  select p.organization_id from public.profiles p where p.id = auth.uid()
$$;
revoke execute on function public.wpp_my_organization() from public, anon;
grant execute on function public.wpp_my_organization() to authenticated, service_role;

-- Whoever could write their own organisation would choose whose WhatsApp they read and write: a CRM whose users may edit
-- their profile lets them do that too. What runs as somebody else (the service role, a security definer function) may.
create or replace function public.wpp_keep_membership() returns trigger
language plpgsql set search_path = '' as $$
declare
  before uuid;
begin
  if current_user not in ('anon', 'authenticated') or new.organization_id is null then
    return new;
  end if;
  before := case when tg_op = 'UPDATE' then old.organization_id else public.wpp_my_organization() end;
  if new.organization_id is distinct from before then
    raise exception 'nobody chooses their own organization' using errcode = 'insufficient_privilege',
      hint = 'Set profiles.organization_id from a server, or in a security definer function that checks an invitation.';
  end if;
  return new;
end
$$;
create or replace trigger wpp_keep_membership before insert or update on public.profiles
  for each row execute function public.wpp_keep_membership();

-- A table that already has policies keeps exactly these: ours would only widen them.
create or replace function pg_temp.guard(guarded text, action text, condition text) returns void language plpgsql as $$
begin
  if exists (select from pg_policy where polrelid = guarded::regclass) then
    return;
  end if;
  execute format('alter table %s enable row level security', guarded);
  execute format('create policy wpp_own_organization on %s for %s to authenticated using (%s)',
                 guarded, action, condition);
end
$$;

select pg_temp.guard(guarded, action, 'organization_id = (select public.wpp_my_organization())')
from (values
  ('public.profiles', 'select'), -- read-only: whoever could write it could choose their organisation
  ('public.messenger_integrations', 'select'),
  ('public.whatsapp_sessions', 'select'),
  ('public.clients', 'all'),
  ('public.teachers', 'all'),
  ('public.chat_messages', 'all'),
  ('public.wpp_message_ids', 'select'),
  ('public.wpp_message_history', 'select'),
  ('public.wpp_session_history', 'select'),
  ('public.wpp_dead_letters', 'select')
) as own (guarded, action);
select pg_temp.guard('public.organizations', 'select', 'id = (select public.wpp_my_organization())');
select pg_temp.guard('public.client_phone_numbers', 'all',
  'exists (select from public.clients c where c.id = client_id)'); -- the clients that this user sees
select pg_temp.guard('public.message_reactions', 'all',
  'exists (select from public.chat_messages m where m.id = message_id)');

alter table public.wpp_accounts enable row level security;
alter table public.wpp_parked_outcomes enable row level security;
alter table public.wpp_webhook_log enable row level security;

-- Hosted Supabase grants every new table to everybody; row security alone would leave TRUNCATE open.
revoke all on public.wpp_accounts, public.wpp_message_ids, public.wpp_message_history, public.wpp_parked_outcomes,
  public.wpp_dead_letters, public.wpp_session_history, public.wpp_webhook_log from public, anon, authenticated;
grant select on public.wpp_message_ids, public.wpp_message_history, public.wpp_session_history to authenticated;
-- Not `event`: a webhook that failed is kept whole, pairing code and all.
grant select (id, organization_id, account, kind, lane, reason, detail, attempts, accepted_at, at, replayed_at)
  on public.wpp_dead_letters to authenticated;
grant all on public.wpp_accounts, public.wpp_message_ids, public.wpp_message_history, public.wpp_parked_outcomes,
  public.wpp_dead_letters, public.wpp_session_history, public.wpp_webhook_log to service_role;

-- Signed-in users reach the CRM's tables through row security; a fresh database has no grants yet.
grant select on public.organizations, public.profiles, public.whatsapp_sessions to authenticated;
grant select, insert, update, delete on public.clients, public.teachers, public.client_phone_numbers,
  public.chat_messages, public.message_reactions to authenticated;
grant all on public.organizations, public.profiles, public.clients, public.teachers, public.client_phone_numbers,
  public.messenger_integrations, public.whatsapp_sessions, public.chat_messages, public.message_reactions
  to service_role;

-- Keys and tokens stand in `settings`: no user reads it, however wide the row policies are. A page that asks for `*`
-- is refused by Postgres (42501): it names its columns, or reads the view below.
revoke all on public.messenger_integrations from public, anon, authenticated;
do $$
declare
  harmless text;
begin
  select string_agg(quote_ident(a.attname), ', ') into harmless
  from pg_attribute a
  where a.attrelid = 'public.messenger_integrations'::regclass and a.attnum > 0 and not a.attisdropped
    and a.attname not in ('settings', 'webhook_key');
  execute format('grant select (%s) on public.messenger_integrations to authenticated', harmless);
end
$$;

-- `account` is the one that an integration has: a row that only names another one's has none (wpp_accounts decides).
create or replace view public.wpp_integrations with (security_barrier) as
select i.id, i.organization_id, i.messenger_type, i.provider, i.name, i.phone_label, i.is_primary, i.is_enabled,
       a.account,
       i.settings ->> 'wppSubOrgId' as sub_org_id, i.last_error, i.last_error_at, i.created_at, i.updated_at,
       s.status, s.status_at, s.status_reason, s.last_qr_b64 as qr, s.last_qr_at as qr_at
from public.messenger_integrations i
left join public.wpp_accounts a on a.account = i.settings ->> 'wppAccountNumber' and a.integration_id = i.id
left join lateral (
  select * from public.whatsapp_sessions s
  where s.organization_id = i.organization_id and s.session_name = 'wpp_' || (i.settings ->> 'wppAccountNumber')
  order by s.status_at desc nulls last limit 1
) s on true
where i.provider = 'wpp' and (
  i.organization_id = (select public.wpp_my_organization())
  or current_user = 'service_role'
);
revoke all on public.wpp_integrations from public, anon, authenticated;
grant select on public.wpp_integrations to authenticated, service_role;
