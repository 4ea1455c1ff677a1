-- The settings of WhatsApp say again what they said before, once WPP is not an organization's provider
-- any more: the chat routes files by them.

-- Let the settings of WhatsApp say what an organization's primary integration is. `wppFormerProvider`
-- and `wppFormerEnabled` keep what they said before WPP. Without these, where no number of WPP is
-- left: what the primary integration says. The marks for address and key are no secrets: the chat
-- only asks whether they are there.
create or replace function wpp.write_settings(organization uuid) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  main public.messenger_integrations;
  has_wpp boolean := exists (
    select from public.messenger_integrations i
    where i.organization_id = organization and i.messenger_type = 'whatsapp'
      and i.provider = 'wpp');
  marks jsonb;
begin
  select * into main from public.messenger_integrations i
  where i.organization_id = organization and i.messenger_type = 'whatsapp'
  order by i.is_primary desc nulls last, i.created_at, i.id limit 1;
  if main.provider = 'wpp' then
    marks := jsonb_strip_nulls(jsonb_build_object(
      'wppBaseUrl', 'pipeline', 'wppApiKey', coalesce(main.settings ->> 'wppApiKey', '••••••••'),
      'wppSession', main.settings ->> 'wppAccountNumber'));
    update public.messenger_settings s
    set provider = 'wpp', is_enabled = coalesce(main.is_enabled, true),
        settings = coalesce(s.settings, '{}') || marks
          || case when s.provider = 'wpp' then '{}'
                  else jsonb_build_object('wppFormerProvider', s.provider,
                                          'wppFormerEnabled', s.is_enabled) end,
        updated_at = now()
    where s.organization_id = organization and s.messenger_type::text = 'whatsapp';
    if not found then
      insert into public.messenger_settings
        (organization_id, messenger_type, provider, is_enabled, settings)
      values (organization, 'whatsapp', 'wpp', coalesce(main.is_enabled, true), marks);
    end if;
    return;
  end if;
  update public.messenger_settings s
  set provider = case when s.settings ? 'wppFormerProvider' then s.settings ->> 'wppFormerProvider'
                      else coalesce(main.provider, 'wpp') end,
      is_enabled = case when s.settings ? 'wppFormerProvider'
                        then coalesce((s.settings ->> 'wppFormerEnabled')::boolean, false)
                        else main.id is not null and coalesce(main.is_enabled, true) end,
      settings = s.settings - array['wppBaseUrl', 'wppApiKey', 'wppSession', 'wppFormerProvider',
                                    'wppFormerEnabled'],
      updated_at = now()
  where s.organization_id = organization and s.messenger_type::text = 'whatsapp'
    and s.provider = 'wpp'
    and (not has_wpp or (main.is_primary and s.settings ? 'wppFormerProvider'));
end
$$;

-- Where this table of the CRM refuses the settings, the integration is saved all the same.
create or replace function wpp.mirror_settings() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  organization uuid := case when tg_op = 'DELETE' then old.organization_id
                            else new.organization_id end;
begin
  perform wpp.write_settings(organization);
  return null;
exception when others then
  raise warning 'messenger_settings of organization % was not changed: %', organization, sqlerrm;
  return null;
end
$$;

do $$
declare
  stale record;
begin
  revoke execute on function wpp.write_settings(uuid) from public, anon, authenticated;
  grant execute on function wpp.write_settings(uuid) to service_role;
  for stale in -- their last number was removed before
    select s.organization_id from public.messenger_settings s
    where s.messenger_type::text = 'whatsapp' and s.provider = 'wpp'
      and s.settings ->> 'wppBaseUrl' = 'pipeline'
      and not exists (select from public.messenger_integrations i
                      where i.organization_id = s.organization_id and i.provider = 'wpp')
  loop
    perform wpp.write_settings(stale.organization_id);
  end loop;
exception when others then -- the table is the CRM's, and may refuse it
  raise notice 'settings of removed numbers were not changed: %', sqlerrm;
end
$$;
