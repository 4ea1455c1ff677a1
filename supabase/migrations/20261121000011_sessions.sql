-- Sessions: the state of connected numbers (whatsapp_sessions) and its history.

-- The order of two states with the same second.
create or replace function wpp.session_rank(status text) returns integer
language sql immutable
return array_position(
  array['disconnected', 'starting', 'qr_issued', 'error', 'degraded', 'connected'], status);

-- Apply states of sessions, each account's in the order in which they came about.
create or replace function wpp.apply_session_states(sessions wpp.session_outcome[]) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  s wpp.session_outcome;
begin
  for s in
    select o.* from unnest(sessions) as o order by o.account, o.at, wpp.session_rank(o.status)
  loop
    insert into public.wpp_session_history
      (organization_id, integration_id, account, status, reason, error, at)
    select s.organization_id, s.integration_id, s.account, s.status, s.reason, s.error, s.at
    where not exists ( -- the same state again is no change
      select from (
        select * from public.wpp_session_history h where h.account = s.account and h.at <= s.at
        order by h.at desc, h.id desc limit 1
      ) h where (h.status, h.reason, h.error) is not distinct from (s.status, s.reason, s.error))
    on conflict do nothing;
    perform wpp.set_session(s);
  end loop;
end
$$;

-- Make a state the current one of its session, unless a newer state is.
create or replace function wpp.set_session(s wpp.session_outcome) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  existing public.whatsapp_sessions;
begin
  select * into existing from public.whatsapp_sessions w
  where w.session_name = 'wpp_' || s.account
  order by w.status_at desc nulls last limit 1 for update;
  if not found then
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
