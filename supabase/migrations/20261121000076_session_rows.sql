-- The CRM's page of sessions deletes a row itself and reports success whatever happened: row
-- security hid the row, so nothing was deleted. A member may delete the row of a number that is no
-- longer connected. The row of a connected number stays, and the page shows why.

do $$
begin
  if exists (select from pg_policy where polrelid = 'public.whatsapp_sessions'::regclass
             and polname = 'wpp_own_organization') then
    grant delete on public.whatsapp_sessions to authenticated;
    drop policy if exists wpp_delete_own on public.whatsapp_sessions;
    create policy wpp_delete_own on public.whatsapp_sessions for delete to authenticated
      using (organization_id = (select wpp.my_organization()));
  end if;
end
$$;

create or replace function wpp.keep_live_session() returns trigger
language plpgsql set search_path = '' as $$
begin
  if current_user in ('authenticated', 'anon') and exists (
      select from public.messenger_integrations i
      where i.organization_id = old.organization_id and i.provider = 'wpp'
        and old.session_name = 'wpp_' || (i.settings ->> 'wppAccountNumber')) then
    raise exception 'This number is connected: disconnect it first.';
  end if;
  return old;
end
$$;
revoke execute on function wpp.keep_live_session() from public, anon, authenticated;
create or replace trigger wpp_keep_live_session before delete on public.whatsapp_sessions
  for each row execute function wpp.keep_live_session();
