-- Access: users see their own organization and no secret; only the service role writes wpp_*.

-- The organization of the signed-in user. Definer, because profiles has row security of its own.
create or replace function wpp.my_organization() returns uuid
language sql stable security definer set search_path = '' as $$
  select p.organization_id from public.profiles p where p.id = auth.uid()
$$;
revoke execute on function wpp.my_organization() from public;
grant execute on function wpp.my_organization() to authenticated, service_role;

-- A user who could set their own organization would choose whose WhatsApp they read and write, also
-- in a CRM whose users may edit their profile. The service role and security definer functions may.
create or replace function wpp.forbid_self_assignment() returns trigger
language plpgsql set search_path = '' as $$
declare
  current_organization uuid;
begin
  if current_user not in ('anon', 'authenticated') or new.organization_id is null then
    return new;
  end if;
  current_organization := case
    when tg_op = 'UPDATE' then old.organization_id else wpp.my_organization() end;
  if new.organization_id is distinct from current_organization then
    raise exception 'users cannot choose their own organization'
      using errcode = 'insufficient_privilege',
      hint = 'Set profiles.organization_id from a server, or in a security definer function that '
             'checks an invitation.';
  end if;
  return new;
end
$$;
create or replace trigger wpp_forbid_self_assignment before insert or update on public.profiles
  for each row execute function wpp.forbid_self_assignment();

-- A table that has policies keeps exactly these: an additional policy would only widen them.
create or replace function pg_temp.guard(guarded text, action text, condition text) returns void
language plpgsql as $$
begin
  if exists (select from pg_policy where polrelid = guarded::regclass) then
    return;
  end if;
  execute format('alter table %s enable row level security', guarded);
  execute format('create policy wpp_own_organization on %s for %s to authenticated using (%s)',
                 guarded, action, condition);
end
$$;

select pg_temp.guard(guarded, action, 'organization_id = (select wpp.my_organization())')
from (values
  ('public.profiles', 'select'), -- read-only: see forbid_self_assignment
  ('public.messenger_integrations', 'select'),
  ('public.whatsapp_sessions', 'select'),
  ('public.clients', 'all'),
  ('public.teachers', 'all'),
  ('public.chat_messages', 'all'),
  ('public.wpp_message_ids', 'select'),
  ('public.wpp_message_history', 'select'),
  ('public.wpp_session_history', 'select'),
  ('public.wpp_integration_activity', 'select'),
  ('public.wpp_dead_letters', 'select')
) as own (guarded, action);
select pg_temp.guard('public.organizations', 'select', 'id = (select wpp.my_organization())');
select pg_temp.guard('public.client_phone_numbers', 'all', -- through the clients that the user sees
  'exists (select from public.clients c where c.id = client_id)');
select pg_temp.guard('public.message_reactions', 'all',
  'exists (select from public.chat_messages m where m.id = message_id)');

alter table public.wpp_accounts enable row level security;
alter table public.wpp_webhook_log enable row level security;
alter table wpp.parked_outcomes enable row level security;
alter table wpp.set_aside enable row level security;
alter table wpp.set_aside_outcomes enable row level security;

-- Hosted Supabase grants every new table in `public` to anon and authenticated; row security alone
-- would leave TRUNCATE open.
revoke all on public.wpp_accounts, public.wpp_message_ids, public.wpp_message_history,
  public.wpp_dead_letters, public.wpp_session_history, public.wpp_webhook_log,
  public.wpp_integration_activity from public, anon, authenticated;
grant select on public.wpp_message_ids, public.wpp_message_history, public.wpp_session_history,
  public.wpp_integration_activity to authenticated;
-- Without `event`: the event of a failed webhook is complete, with its pairing code.
grant select (id, organization_id, account, kind, lane, reason, detail, attempts, accepted_at, at,
              replayed_at)
  on public.wpp_dead_letters to authenticated;
grant all on public.wpp_accounts, public.wpp_message_ids, public.wpp_message_history,
  public.wpp_dead_letters, public.wpp_session_history, public.wpp_webhook_log,
  public.wpp_integration_activity, wpp.parked_outcomes, wpp.set_aside, wpp.set_aside_outcomes
  to service_role;

-- Users reach the CRM's tables through row security; a fresh database has no grants yet.
grant select on public.organizations, public.profiles, public.whatsapp_sessions to authenticated;
grant select, insert, update, delete on public.clients, public.teachers,
  public.client_phone_numbers, public.chat_messages, public.message_reactions to authenticated;
grant all on public.organizations, public.profiles, public.clients, public.teachers,
  public.client_phone_numbers, public.messenger_integrations, public.whatsapp_sessions,
  public.chat_messages, public.message_reactions to service_role;

-- Pages of the CRM read whole rows of their own organization (`select *`). The keys and tokens of
-- WPP numbers are not in them: see `wpp.keep_secrets`. Only servers write these rows.
revoke all on public.messenger_integrations from public, anon, authenticated;
grant select on public.messenger_integrations to authenticated;
