-- A session that is lost while its code waits for the scan was not lost: nobody scanned the code.
-- The platform says "offline", "autocloseCalled" or "qrReadError" then, each in several reports.

create or replace function wpp.name_reason(
  s wpp.session_outcome, before public.wpp_session_history
) returns text
language sql immutable set search_path = '' as $$
  select case
    when s.status <> 'disconnected' or s.reason = 'removed' then s.reason
    when before.status = 'qr_issued' then
      case when starts_with(s.reason, 'the code was not scanned in time') then s.reason
      else 'the code was not scanned in time: ' || s.reason end
    when before.status = 'disconnected'
      and starts_with(before.reason, 'the code was not scanned in time') then before.reason
    else s.reason end
$$;
revoke execute on function
  wpp.name_reason(wpp.session_outcome, public.wpp_session_history) from public, anon, authenticated;

-- Apply states of sessions, each account's in the order in which they came about.
create or replace function wpp.apply_session_states(sessions wpp.session_outcome[]) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  s wpp.session_outcome;
  before public.wpp_session_history;
begin
  for s in
    select o.* from unnest(sessions) as o order by o.account, o.at, wpp.session_rank(o.status)
  loop
    select h.* into before from public.wpp_session_history h
    where h.account = s.account and h.at <= s.at order by h.at desc, h.id desc limit 1;
    s.reason := wpp.name_reason(s, before);
    if before.id is null
        or (before.status, before.reason, before.error) is distinct from
           (s.status, s.reason, s.error) then -- the same state again is no change
      insert into public.wpp_session_history
        (organization_id, integration_id, account, status, reason, error, at)
      values
        (s.organization_id, s.integration_id, s.account, s.status, s.reason, s.error, s.at)
      on conflict do nothing;
    end if;
    perform wpp.set_session(s);
  end loop;
end
$$;
