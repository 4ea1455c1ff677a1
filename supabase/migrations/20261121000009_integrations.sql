-- Integrations: whose an account is, and the few ways to change one, each atomic.

-- An account belongs to the organisation that has it connected: another one can't take it over by writing its number
-- into an integration of its own. After that integration is gone it may.
create or replace function public.wpp_claim_account() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if tg_op = 'UPDATE' and (old.provider, old.organization_id, old.settings ->> 'wppAccountNumber')
      is not distinct from (new.provider, new.organization_id, new.settings ->> 'wppAccountNumber') then
    return null; -- a token was refreshed, or the like
  end if;
  insert into public.wpp_accounts as a (account, organization_id, integration_id)
  values (new.settings ->> 'wppAccountNumber', new.organization_id, new.id)
  on conflict (account) do update
  set organization_id = excluded.organization_id, integration_id = excluded.integration_id, claimed_at = now()
  where a.organization_id = excluded.organization_id or not exists (
    select from public.messenger_integrations i
    where i.id = a.integration_id and i.settings ->> 'wppAccountNumber' = a.account);
  if not exists (
    select from public.wpp_accounts a
    where a.account = new.settings ->> 'wppAccountNumber' and a.organization_id = new.organization_id
  ) then
    raise exception 'account % is connected by another organization', new.settings ->> 'wppAccountNumber'
      using errcode = 'unique_violation';
  end if;
  return null;
end
$$;
create or replace trigger wpp_claim_account after insert or update of settings, provider, organization_id
  on public.messenger_integrations for each row
  when (new.provider = 'wpp' and new.settings ->> 'wppAccountNumber' is not null)
  execute function public.wpp_claim_account();

-- Accounts connected before this pipeline: where several rows name one, the oldest has it.
insert into public.wpp_accounts (account, organization_id, integration_id)
select distinct on (1) i.settings ->> 'wppAccountNumber', i.organization_id, i.id
from public.messenger_integrations i
where i.provider = 'wpp' and i.settings ->> 'wppAccountNumber' is not null
order by 1, i.created_at nulls last, i.id
on conflict do nothing;

-- `is_active` was added beside `is_enabled` by hand, and half of the old code reads the one, half the other.
create or replace function public.wpp_keep_in_step() returns trigger
language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.is_enabled := coalesce(new.is_enabled, true) and coalesce(new.is_active, true);
  elsif new.is_enabled is not distinct from old.is_enabled and new.is_active is distinct from old.is_active then
    new.is_enabled := new.is_active;
  end if;
  new.is_active := new.is_enabled;
  new.updated_at := now();
  return new;
end
$$;
create or replace trigger wpp_keep_in_step before insert or update on public.messenger_integrations
  for each row execute function public.wpp_keep_in_step();

create or replace function public.wpp_lock_organization(organization uuid) returns void
language sql set search_path = '' as $$
  select pg_advisory_xact_lock(hashtextextended('wpp:' || organization, 0))
$$;

-- Make or update one integration when it is provisioned; null leaves what is there. The first WhatsApp integration of
-- an organisation, of whatever provider, becomes its primary and stays so.
create or replace function public.wpp_save_integration(
  id uuid, organization_id uuid, name text default null, account text default null, api_key text default null,
  sub_org_id text default null, webhook_key text default null, is_enabled boolean default null
) returns void
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
#variable_conflict use_column
declare
  patch jsonb := jsonb_strip_nulls(jsonb_build_object('wppAccountNumber', account, 'wppApiKey', api_key,
                                                      'wppSubOrgId', sub_org_id));
  first boolean;
begin
  perform public.wpp_lock_organization(wpp_save_integration.organization_id);
  update public.messenger_integrations i
  set name = coalesce(wpp_save_integration.name, i.name),
      webhook_key = coalesce(wpp_save_integration.webhook_key, i.webhook_key),
      is_enabled = coalesce(wpp_save_integration.is_enabled, i.is_enabled),
      -- a token of an older key is worth nothing
      settings = case when i.settings ->> 'wppApiKey' <> api_key
                      then i.settings - 'wppJwtToken' - 'wppJwtExpiresAt' else i.settings end || patch
  where i.id = wpp_save_integration.id and i.organization_id = wpp_save_integration.organization_id
    and i.provider = 'wpp';
  if not found then
    first := not exists (
      select from public.messenger_integrations i
      where i.organization_id = wpp_save_integration.organization_id and i.messenger_type = 'whatsapp'
        and i.is_primary);
    loop
      begin
        insert into public.messenger_integrations
          (id, organization_id, messenger_type, provider, name, is_primary, is_enabled, webhook_key, settings)
        values (wpp_save_integration.id, wpp_save_integration.organization_id, 'whatsapp', 'wpp',
                coalesce(wpp_save_integration.name, 'WhatsApp'), first,
                coalesce(wpp_save_integration.is_enabled, true),
                coalesce(wpp_save_integration.webhook_key, replace(gen_random_uuid()::text, '-', '')), patch);
        exit;
      exception when unique_violation then
        if not first then
          raise;
        end if;
        first := false; -- the CRM, which takes no lock, has just made another one primary
      end;
    end loop;
  end if;
  if account is not null then
    insert into public.whatsapp_sessions (organization_id, session_name, status)
    select wpp_save_integration.organization_id, 'wpp_' || account, 'starting'
    where not exists (select from public.whatsapp_sessions w where w.session_name = 'wpp_' || account);
    begin
      perform public.wpp_apply_parked(200, account);
    exception when others then
      null; -- what waits goes on waiting, housekeeping tries again: nobody's connect fails for it
    end;
  end if;
end
$$;

-- An account's settings, secrets included.
create or replace function public.wpp_settings(account text) returns jsonb
language sql stable security definer set search_path = '' as $$
  select i.settings from public.wpp_accounts a join public.messenger_integrations i on i.id = a.integration_id
  where a.account = wpp_settings.account
$$;

-- Keep a token of an account beside the other settings, whatever others change among those at the same moment. Whoever
-- calls has the newest; but calls may overtake each other, so a stored one that ends later stays where it can have been
-- got since: within a minute. An end that is further off, or none at all, is somebody else's and keeps nothing out (the
-- CRM writes an hour where the platform did not say; its tokens live a quarter of one).
create or replace function public.wpp_save_token(account text, token text, expires_at_ms bigint) returns boolean
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
  update public.messenger_integrations i
  set settings = i.settings || jsonb_build_object('wppJwtToken', token, 'wppJwtExpiresAt', expires_at_ms)
  from public.wpp_accounts a
  where a.account = wpp_save_token.account and i.id = a.integration_id
    and not case when i.settings ->> 'wppJwtToken' <> '' and i.settings ->> 'wppJwtExpiresAt' ~ '^\d{1,18}$'
                 then (i.settings ->> 'wppJwtExpiresAt')::bigint - expires_at_ms between 1 and 60000
                 else false end;
  return found;
end
$$;

create or replace function public.wpp_set_primary(integration_id uuid, organization_id uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
  perform public.wpp_lock_organization(organization_id);
  if not exists (
    select from public.messenger_integrations i
    where i.id = integration_id and i.organization_id = wpp_set_primary.organization_id
      and i.messenger_type = 'whatsapp'
  ) then
    return false;
  end if;
  update public.messenger_integrations i set is_primary = false
  where i.organization_id = wpp_set_primary.organization_id and i.messenger_type = 'whatsapp' and i.is_primary
    and i.id <> integration_id;
  update public.messenger_integrations i set is_primary = true where i.id = integration_id and not i.is_primary;
  return true;
end
$$;

-- Remove an integration; its messages stay, its session is disconnected, the oldest one left becomes primary.
create or replace function public.wpp_remove_integration(integration_id uuid, organization_id uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  gone public.messenger_integrations;
begin
  perform public.wpp_lock_organization(organization_id);
  delete from public.messenger_integrations i
  where i.id = integration_id and i.organization_id = wpp_remove_integration.organization_id and i.provider = 'wpp'
  returning * into gone;
  if not found then
    return false;
  end if;
  if gone.settings ->> 'wppAccountNumber' is not null then
    perform public.wpp_note_sessions(jsonb_build_array(jsonb_build_object(
      'type', 'session', 'organization_id', gone.organization_id, 'integration_id', gone.id,
      'account', gone.settings ->> 'wppAccountNumber', 'status', 'disconnected', 'reason', 'removed', 'at', now())));
  end if;
  if gone.is_primary then
    update public.messenger_integrations i set is_primary = true
    where i.id = (
      select o.id from public.messenger_integrations o
      where o.organization_id = gone.organization_id and o.messenger_type = gone.messenger_type
      order by o.is_enabled desc, o.created_at, o.id limit 1);
  end if;
  return true;
end
$$;
