-- Signs of life of connected numbers, so that the state `connected` can be verified.

-- Record the signs of life in new status reports: once for each number and statement.
create or replace function wpp.record_activity() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
  insert into public.wpp_integration_activity as a
    (organization_id, integration_id, inbound_at, ack_at, awaited_since)
  select m.organization_id, m.integration_id,
         max(now()) filter (where h.is_report and not m.is_outgoing),
         max(now()) filter (where h.is_report and m.is_outgoing),
         case when bool_or(h.went_out) and not bool_or(h.is_report) then now() end
  from (
    select r.message_id, r.source = 'platform' and r.status <> 'failed' as is_report,
           -- A message whose report came before our own record of it awaits no report. (Not with
           -- `not exists`: Postgres may read the whole history for it.)
           r.source = 'own' and r.status = 'sent' and (
             select p.at from public.wpp_message_history p
             where p.message_id = r.message_id and p.source = 'platform'
               and p.status is not null limit 1
           ) is null as went_out
    from new_reports r
    where r.status is not null and (r.source = 'platform' or r.status = 'sent')
  ) h
  join public.chat_messages m on m.id = h.message_id
  where m.integration_id is not null and (h.is_report or h.went_out)
  group by m.organization_id, m.integration_id
  order by m.organization_id, m.integration_id
  on conflict (organization_id, integration_id) do update
  set inbound_at = coalesce(excluded.inbound_at, a.inbound_at),
      ack_at = coalesce(excluded.ack_at, a.ack_at),
      awaited_since = case when coalesce(excluded.inbound_at, excluded.ack_at) is null
                           then coalesce(a.awaited_since, excluded.awaited_since) end;
  return null;
end
$$;
create or replace trigger wpp_record_activity after insert on public.wpp_message_history
  referencing new table as new_reports for each statement execute function wpp.record_activity();
