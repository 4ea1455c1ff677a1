-- The organization of the only active contact that has a phone, also as a client's further number:
-- servers of the CRM send reminders to a phone and name nobody else. Null: no contact, or contacts
-- of several organizations. Each table is read by its index of numbers, whatever the planner takes
-- the table for.
create or replace function public.wpp_find_organization_by_phone(digits text) returns uuid
language sql stable security definer set search_path = '' set enable_seqscan = off as $$
  with written as (
    select array_agg(plus || s.phone) as numbers
    from (
      select digits as phone
      union select prefix || right(digits, 10) from unnest(array['', '7', '8']) as prefix
      where length(digits) between 10 and 11
    ) s
    cross join unnest(array['', '+']) as plus
  )
  select case when count(distinct c.organization_id) = 1 then min(c.organization_id::text)::uuid end
  from (
    select c.organization_id from public.clients c
    where wpp.stored_numbers(c.phone) && (select w.numbers from written w)
      and coalesce(c.is_active, true)
    union all
    select t.organization_id from public.teachers t
    where wpp.stored_numbers(t.phone) && (select w.numbers from written w)
      and coalesce(t.is_active, true)
    union all
    select c.organization_id from public.client_phone_numbers n
    -- `offset 0`: looked up by its id, never joined from the side of all clients.
    cross join lateral (
      select k.organization_id from public.clients k
      where k.id = n.client_id and coalesce(k.is_active, true) offset 0
    ) c
    where wpp.stored_numbers(n.phone) && (select w.numbers from written w)
  ) c
$$;
