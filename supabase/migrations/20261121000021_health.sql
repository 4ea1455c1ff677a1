-- Health by evidence: what a number has shown of life, so that `connected` can be doubted.

alter table public.whatsapp_sessions drop constraint if exists whatsapp_sessions_status_check;
alter table public.whatsapp_sessions add constraint whatsapp_sessions_status_check
  check (status in ('starting', 'qr_issued', 'pairing', 'connected', 'degraded', 'disconnected', 'error')) not valid;

create or replace function public.wpp_session_rank(status text) returns integer
language sql immutable set search_path = '' as $$
  select array_position(array['disconnected', 'starting', 'qr_issued', 'error', 'degraded', 'connected'], status)
$$;

-- When a number was last heard of, by our clock: the platform's may be wrong, and tells whole seconds.
-- No foreign key to the integration: a late message of a removed one must not fail for it.
create table if not exists public.wpp_signs_of_life (
  integration_id uuid primary key,
  organization_id uuid not null references public.organizations (id) on delete cascade,
  inbound_at timestamptz, -- something was written to this number
  ack_at timestamptz, -- the platform told what became of a message that this number sent
  awaited_since timestamptz -- a message went out then, and nothing was heard since
);
create index if not exists wpp_signs_of_life_of_organization on public.wpp_signs_of_life (organization_id);

alter table public.wpp_signs_of_life enable row level security;
drop policy if exists wpp_own_organization on public.wpp_signs_of_life;
create policy wpp_own_organization on public.wpp_signs_of_life for select to authenticated
  using (organization_id = (select public.wpp_my_organization()));
revoke all on public.wpp_signs_of_life from public, anon, authenticated;
grant select on public.wpp_signs_of_life to authenticated;
grant all on public.wpp_signs_of_life to service_role;

-- Note the signs that a batch brings: once per number and statement, however many messages it was about.
create or replace function public.wpp_note_signs() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
  insert into public.wpp_signs_of_life as s (integration_id, organization_id, inbound_at, ack_at, awaited_since)
  select m.integration_id, m.organization_id,
         max(now()) filter (where told and not m.is_outgoing),
         max(now()) filter (where told and m.is_outgoing),
         case when bool_or(went) and not coalesce(bool_or(told), false) then now() end
  from (
    select h.message_id, h.source = 'platform' and h.status <> 'failed' as told,
           -- one that was told about before we recorded that it went out awaits nothing
           h.source = 'own' and h.status = 'sent' and (
             select p.at from public.wpp_message_history p
             where p.message_id = h.message_id and p.source = 'platform' limit 1) is null as went
    from fresh h where h.source = 'platform' or h.status = 'sent'
  ) h
  join public.chat_messages m on m.id = h.message_id
  where m.integration_id is not null and (told or went)
  group by m.integration_id, m.organization_id
  order by m.integration_id
  on conflict (integration_id) do update
  set inbound_at = coalesce(excluded.inbound_at, s.inbound_at),
      ack_at = coalesce(excluded.ack_at, s.ack_at),
      awaited_since = case when coalesce(excluded.inbound_at, excluded.ack_at) is null
                           then coalesce(s.awaited_since, excluded.awaited_since) end;
  return null;
end
$$;
revoke execute on function public.wpp_note_signs() from public, anon, authenticated;
create or replace trigger wpp_note_signs after insert on public.wpp_message_history
  referencing new table as fresh for each statement execute function public.wpp_note_signs();

-- Each number with its session and its signs of life.
create or replace view public.wpp_numbers with (security_barrier) as
select l.inbound_at as last_inbound_at, l.ack_at as last_ack_at, l.awaited_since, coalesce(p.region, 'RU') as region,
       i.*
from public.wpp_integrations i
left join public.wpp_policies p on p.organization_id = i.organization_id
left join public.wpp_signs_of_life l on l.integration_id = i.id and l.organization_id = i.organization_id;
revoke all on public.wpp_numbers from public, anon, authenticated;
grant select on public.wpp_numbers to authenticated, service_role;
