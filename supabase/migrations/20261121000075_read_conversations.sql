-- Mark what arrived from a phone as read: messages of the contact that the phone belongs to, and
-- those without a contact.

create index if not exists wpp_unread_without_contact
  on public.chat_messages (organization_id, (metadata ->> 'phone'))
  where client_id is null and teacher_id is null and not is_outgoing and not is_read;

-- Returns how many messages were unread. `digits` is international, without a plus. The contacts
-- come first and organizations are compared as text, so that Postgres looks up contacts and does
-- not walk the organization.
create or replace function public.wpp_mark_read(organization_id uuid, digits text) returns integer
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  twins text[] := wpp.phone_twins(digits);
  clients uuid[];
  teachers uuid[];
  marked integer;
  unlinked integer;
begin
  select array_agg(c.client_id) filter (where c.client_id is not null),
         array_agg(c.teacher_id) filter (where c.teacher_id is not null)
  into clients, teachers
  from (select coalesce((select p.region from public.wpp_policies p
                         where p.organization_id = wpp_mark_read.organization_id), 'RU') as region) o
  join wpp.dialing_rules home on home.region = o.region
  left join lateral (
    select r.country_code, r.trunk_prefixes from wpp.dialing_rules r
    where r.country_code = any (array[left(digits, 1), left(digits, 2), left(digits, 3)])
    order by r.region <> home.region, r.region limit 1
  ) plan on true
  cross join lateral wpp.contact_candidates(wpp_mark_read.organization_id, digits,
    wpp.phone_variants(twins, plan.country_code, plan.trunk_prefixes,
                       home.country_code, home.international_prefix)) c;
  update public.chat_messages m set is_read = true
  where (m.client_id = any (clients) or m.teacher_id = any (teachers))
    and m.organization_id::text = wpp_mark_read.organization_id::text
    and not m.is_outgoing and not m.is_read;
  get diagnostics marked = row_count;
  update public.chat_messages m set is_read = true
  where m.organization_id = wpp_mark_read.organization_id and m.metadata ->> 'phone' = any (twins)
    and m.client_id is null and m.teacher_id is null and not m.is_outgoing and not m.is_read;
  get diagnostics unlinked = row_count;
  return marked + unlinked;
end
$$;

revoke execute on function public.wpp_mark_read(uuid, text) from public, anon, authenticated;
grant execute on function public.wpp_mark_read(uuid, text) to service_role;
