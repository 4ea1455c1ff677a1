-- A late report of a removed number makes no row of sessions anew, once the CRM has deleted it. The
-- row of a number exists from its connect on.
create or replace function wpp.set_session(s wpp.session_outcome) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  existing public.whatsapp_sessions;
begin
  select * into existing from public.whatsapp_sessions w
  where w.session_name = 'wpp_' || s.account
  order by w.status_at desc nulls last limit 1 for update;
  if not found then
    if not exists (select from public.messenger_integrations i where i.id = s.integration_id) then
      return;
    end if;
    insert into public.whatsapp_sessions (organization_id, session_name, status)
    values (s.organization_id, 'wpp_' || s.account, 'disconnected') returning * into existing;
  elsif existing.status_at is not null and
      (existing.status_at, wpp.session_rank(existing.status), coalesce(existing.last_qr_b64, ''))
      >= (s.at, wpp.session_rank(s.status), coalesce(s.qr, '')) then
    return;
  end if;
  update public.whatsapp_sessions w
  set organization_id = s.organization_id, status = s.status, status_at = s.at,
      status_reason = s.reason, last_error = s.error, last_qr_b64 = s.qr,
      last_qr_at = case when s.qr is not null then s.at end, updated_at = now()
  where w.id = existing.id;
  update public.messenger_integrations i
  set last_error = s.error,
      last_error_at = case when s.error is null then i.last_error_at else s.at end
  where i.id = s.integration_id and i.last_error is distinct from s.error;
end
$$;
