-- The clients of further numbers are found by their ids, whatever the planner takes the tables for:
-- where `clients` was analyzed while it was empty, and then filled, it was read as a whole for each
-- phone.
create or replace function wpp.contact_candidates(organization uuid, digits text, variants text[])
returns table (client_id uuid, teacher_id uuid, is_active boolean, kind integer,
               is_unnamed boolean, since timestamptz)
language sql stable as $$
  select null::uuid, t.id, true, 1, false, t.created_at
  from public.teachers t
  where wpp.stored_numbers(t.phone) && variants
    and t.organization_id::text = organization::text and coalesce(t.is_active, true)
  union all
  select c.id, null, coalesce(c.is_active, true), 2, c.name = digits, c.created_at
  from public.clients c
  where wpp.stored_numbers(c.phone) && variants
    and c.organization_id::text = organization::text
  union all
  select distinct c.id, null::uuid, coalesce(c.is_active, true), 3, c.name = digits, c.created_at
  from public.client_phone_numbers n
  -- `offset 0`: looked up by its id, never joined from the side of all clients.
  cross join lateral (
    select k.* from public.clients k
    where k.id = n.client_id and k.organization_id::text = organization::text offset 0
  ) c
  where wpp.stored_numbers(n.phone) && variants
$$;
