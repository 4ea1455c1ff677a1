-- Integrations: the owners of accounts, and the atomic changes of an integration.

-- An account belongs to the organization that has it connected. Another organization gets it only
-- after that integration is gone, and not by writing its number into an integration of its own.
create or replace function wpp.claim_account() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if tg_op = 'UPDATE'
     and (old.provider, old.organization_id, old.settings ->> 'wppAccountNumber')
       is not distinct from (new.provider, new.organization_id, new.settings ->> 'wppAccountNumber')
  then
    return null; -- another setting changed, for example the token
  end if;
  insert into public.wpp_accounts as a (account, organization_id, integration_id)
  values (new.settings ->> 'wppAccountNumber', new.organization_id, new.id)
  on conflict (account) do update
  set organization_id = excluded.organization_id, integration_id = excluded.integration_id,
      claimed_at = now()
  where a.organization_id = excluded.organization_id or not exists (
    select from public.messenger_integrations i
    where i.id = a.integration_id and i.settings ->> 'wppAccountNumber' = a.account);
  if not exists (
    select from public.wpp_accounts a
    where a.account = new.settings ->> 'wppAccountNumber'
      and a.organization_id = new.organization_id
  ) then
    raise exception 'account % is connected by another organization',
      new.settings ->> 'wppAccountNumber' using errcode = 'unique_violation';
  end if;
  return null;
end
$$;
create or replace trigger wpp_claim_account
  after insert or update of settings, provider, organization_id
  on public.messenger_integrations for each row
  when (new.provider = 'wpp' and new.settings ->> 'wppAccountNumber' is not null)
  execute function wpp.claim_account();

-- The API key, the token and older secrets of WPP numbers. No user reads them: PostgREST does not
-- expose this schema.
create table if not exists wpp.integration_secrets (
  integration_id uuid primary key,
  secrets jsonb not null
);
alter table wpp.integration_secrets enable row level security;

-- What a page shows of a key: eight dots and its last four letters.
create or replace function wpp.mask_secret(secret text) returns text
language sql immutable
return repeat('•', 8) || case when length(secret) > 8 then right(secret, 4) else '' end;

-- Move the secrets that anybody writes into the settings of a WPP number to `integration_secrets`,
-- and leave the masked key in their place, which pages show and send back. A token of an older key
-- is invalid.
create or replace function wpp.keep_secrets() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  names constant text[] := array[
    'wppApiKey', 'wppJwtToken', 'wppJwtExpiresAt', 'wppWebhookSecret'];
  written jsonb;
  api_key text;
begin
  if jsonb_typeof(new.settings) <> 'object' then
    return new;
  end if;
  select coalesce(jsonb_object_agg(e.key, e.value), '{}') into written
  from jsonb_each(new.settings) as e
  where e.key = any (names) and not coalesce(starts_with(e.value #>> '{}', '••'), false);
  if written <> '{}' then
    insert into wpp.integration_secrets as s (integration_id, secrets) values (new.id, written)
    on conflict (integration_id) do update
    set secrets = case
      when s.secrets ->> 'wppApiKey' <> excluded.secrets ->> 'wppApiKey'
      then s.secrets - 'wppJwtToken' - 'wppJwtExpiresAt' else s.secrets end || excluded.secrets;
  end if;
  select s.secrets ->> 'wppApiKey' into api_key
  from wpp.integration_secrets s where s.integration_id = new.id;
  new.settings := (new.settings - names) || case when api_key is null then '{}'
    else jsonb_build_object('wppApiKey', wpp.mask_secret(api_key)) end;
  return new;
end
$$;
create or replace trigger wpp_keep_secrets
  before insert or update of settings, provider on public.messenger_integrations for each row
  when (new.provider = 'wpp') execute function wpp.keep_secrets();

create or replace function wpp.forget_secrets() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  delete from wpp.integration_secrets s where s.integration_id = old.id;
  return null;
end
$$;
create or replace trigger wpp_forget_secrets after delete on public.messenger_integrations
  for each row when (old.provider = 'wpp') execute function wpp.forget_secrets();

-- The secrets of numbers that were connected before this pipeline.
update public.messenger_integrations i set settings = i.settings
where i.provider = 'wpp' and i.settings ?| array[
  'wppApiKey', 'wppJwtToken', 'wppJwtExpiresAt', 'wppWebhookSecret'];

-- Accounts that were connected before this pipeline: the oldest integration of an account has it.
insert into public.wpp_accounts (account, organization_id, integration_id)
select distinct on (1) i.settings ->> 'wppAccountNumber', i.organization_id, i.id
from public.messenger_integrations i
where i.provider = 'wpp' and i.settings ->> 'wppAccountNumber' is not null
order by 1, i.created_at nulls last, i.id
on conflict do nothing;

-- Keep `is_enabled` and `is_active` equal: half of the CRM's code reads the first, half the second.
create or replace function wpp.sync_enabled_flags() returns trigger
language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.is_enabled := coalesce(new.is_enabled, true) and coalesce(new.is_active, true);
  elsif new.is_enabled is not distinct from old.is_enabled
      and new.is_active is distinct from old.is_active then
    new.is_enabled := new.is_active;
  end if;
  new.is_active := new.is_enabled;
  new.updated_at := now();
  return new;
end
$$;
create or replace trigger wpp_sync_enabled_flags
  before insert or update on public.messenger_integrations
  for each row execute function wpp.sync_enabled_flags();

-- Let one transaction at a time change an organization's contacts, messages and integrations.
create or replace function wpp.lock_organization(organization uuid) returns void
language sql set search_path = '' as $$
  select pg_advisory_xact_lock(hashtextextended('wpp:' || organization, 0))
$$;

-- Create or update an integration; null leaves a value as it is. The first WhatsApp integration of
-- an organization, of any provider, becomes its primary and stays so.
create or replace function public.wpp_save_integration(
  id uuid, organization_id uuid, name text default null, account text default null,
  api_key text default null, sub_org_id text default null, webhook_key text default null,
  is_enabled boolean default null
) returns void
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
#variable_conflict use_column
declare
  patch jsonb := jsonb_strip_nulls(jsonb_build_object(
    'wppAccountNumber', account, 'wppApiKey', api_key, 'wppSubOrgId', sub_org_id));
  is_first boolean;
begin
  perform wpp.lock_organization(wpp_save_integration.organization_id);
  update public.messenger_integrations i
  set name = coalesce(wpp_save_integration.name, i.name),
      webhook_key = coalesce(wpp_save_integration.webhook_key, i.webhook_key),
      is_enabled = coalesce(wpp_save_integration.is_enabled, i.is_enabled),
      settings = i.settings || patch
  where i.id = wpp_save_integration.id
    and i.organization_id = wpp_save_integration.organization_id and i.provider = 'wpp';
  if not found then
    is_first := not exists (
      select from public.messenger_integrations i
      where i.organization_id = wpp_save_integration.organization_id
        and i.messenger_type = 'whatsapp' and i.is_primary);
    loop
      begin
        insert into public.messenger_integrations (
          id, organization_id, messenger_type, provider, name, is_primary, is_enabled,
          webhook_key, settings)
        values (
          wpp_save_integration.id, wpp_save_integration.organization_id, 'whatsapp', 'wpp',
          coalesce(wpp_save_integration.name, 'WhatsApp'), is_first,
          coalesce(wpp_save_integration.is_enabled, true),
          coalesce(wpp_save_integration.webhook_key,
                   replace(gen_random_uuid()::text, '-', '')),
          patch);
        exit;
      exception when unique_violation then
        if not is_first then
          raise;
        end if;
        is_first := false; -- the CRM, which takes no lock, has just made another one primary
      end;
    end loop;
  end if;
  if account is not null then
    insert into public.whatsapp_sessions (organization_id, session_name, status)
    select wpp_save_integration.organization_id, 'wpp_' || account, 'starting'
    where not exists (
      select from public.whatsapp_sessions w where w.session_name = 'wpp_' || account);
    begin
      perform public.wpp_apply_parked(200, account);
    exception when others then
      null; -- the outcomes stay parked: maintenance tries again, and connecting succeeds
    end;
  end if;
end
$$;

-- An account's settings, secrets included.
create or replace function public.wpp_settings(account text) returns jsonb
language sql stable security definer set search_path = '' as $$
  select i.settings || coalesce(s.secrets, '{}')
  from public.wpp_accounts a join public.messenger_integrations i on i.id = a.integration_id
  left join wpp.integration_secrets s on s.integration_id = i.id
  where a.account = wpp_settings.account
$$;

-- Store a token of an account and leave the other secrets as they are, also those that change at
-- the same moment. The caller has the newest token, but calls may overtake each other. So a stored
-- token that ends up to a minute later stays. An end that is further off, or missing, is not one of
-- ours: the CRM writes an hour where the platform named no end, and tokens live a quarter of an
-- hour.
create or replace function public.wpp_save_token(account text, token text, expires_at_ms bigint)
returns boolean
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
  insert into wpp.integration_secrets as s (integration_id, secrets)
  select i.id, jsonb_build_object('wppJwtToken', token, 'wppJwtExpiresAt', expires_at_ms)
  from public.wpp_accounts a join public.messenger_integrations i on i.id = a.integration_id
  where a.account = wpp_save_token.account
  on conflict (integration_id) do update set secrets = s.secrets || excluded.secrets
  where not case
      when s.secrets ->> 'wppJwtToken' <> '' and s.secrets ->> 'wppJwtExpiresAt' ~ '^\d{1,18}$'
      then (s.secrets ->> 'wppJwtExpiresAt')::bigint - expires_at_ms between 1 and 60000
      else false end;
  return found;
end
$$;

-- Make an integration the primary of its organization. False: not found.
create or replace function public.wpp_set_primary(integration_id uuid, organization_id uuid)
returns boolean
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
  perform wpp.lock_organization(organization_id);
  if not exists (
    select from public.messenger_integrations i
    where i.id = integration_id and i.organization_id = wpp_set_primary.organization_id
      and i.messenger_type = 'whatsapp'
  ) then
    return false;
  end if;
  update public.messenger_integrations i set is_primary = false
  where i.organization_id = wpp_set_primary.organization_id and i.messenger_type = 'whatsapp'
    and i.is_primary and i.id <> integration_id;
  update public.messenger_integrations i set is_primary = true
  where i.id = integration_id and not i.is_primary;
  return true;
end
$$;

-- Remove an integration. Its messages stay, its session is disconnected, and the oldest integration
-- that is left becomes primary. False: not found.
create or replace function public.wpp_remove_integration(integration_id uuid, organization_id uuid)
returns boolean
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  removed public.messenger_integrations;
begin
  perform wpp.lock_organization(organization_id);
  delete from public.messenger_integrations i
  where i.id = integration_id and i.organization_id = wpp_remove_integration.organization_id
    and i.provider = 'wpp'
  returning * into removed;
  if not found then
    return false;
  end if;
  if removed.settings ->> 'wppAccountNumber' is not null then
    perform wpp.apply_session_states(array[row(
      1, now(), removed.organization_id, removed.id, removed.settings ->> 'wppAccountNumber',
      'disconnected', null, 'removed', null)::wpp.session_outcome]);
  end if;
  if removed.is_primary then
    update public.messenger_integrations i set is_primary = true
    where i.id = (
      select o.id from public.messenger_integrations o
      where o.organization_id = removed.organization_id
        and o.messenger_type = removed.messenger_type
      order by o.is_enabled desc, o.created_at, o.id limit 1);
  end if;
  return true;
end
$$;

-- The integrations with their sessions, signs of life and region; users see their organization's.
-- `account` is the account that an integration has: an integration that only names another
-- integration's account has none (see `claim_account`).
create or replace view public.wpp_integrations with (security_barrier) as
select i.id, i.organization_id, i.messenger_type, i.provider, i.name, i.phone_label, i.is_primary,
       i.is_enabled, a.account, i.settings ->> 'wppSubOrgId' as sub_org_id,
       i.last_error, i.last_error_at, i.created_at, i.updated_at,
       s.status, s.status_at, s.status_reason, s.last_qr_b64 as qr, s.last_qr_at as qr_at,
       l.inbound_at as last_inbound_at, l.ack_at as last_ack_at, l.awaited_since,
       coalesce(p.region, 'RU') as region, a.phone
from public.messenger_integrations i
left join public.wpp_accounts a
  on a.account = i.settings ->> 'wppAccountNumber' and a.integration_id = i.id
left join public.wpp_policies p on p.organization_id = i.organization_id
left join public.wpp_integration_activity l
  on l.organization_id = i.organization_id and l.integration_id = i.id
left join lateral (
  select * from public.whatsapp_sessions s
  where s.organization_id = i.organization_id
    and s.session_name = 'wpp_' || (i.settings ->> 'wppAccountNumber')
  order by s.status_at desc nulls last limit 1
) s on true
where i.provider = 'wpp' and (
  i.organization_id = (select wpp.my_organization()) or current_user = 'service_role');
revoke all on public.wpp_integrations from public, anon, authenticated;
grant select on public.wpp_integrations to authenticated, service_role;
