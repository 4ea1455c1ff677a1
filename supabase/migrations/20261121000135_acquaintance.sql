-- What a number knows of a person comes from its own organization's messages: a user of another one,
-- who may write any ids into a row, could change it. Times that no message can have are ignored:
-- `infinity` made the function fail. (`::text`: it shall not walk the organization.)
create or replace function public.wpp_acquaintance(integration_id uuid, phone text) returns text
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
  with person as materialized (
    select i.organization_id, c.client_id, c.teacher_id
    from public.messenger_integrations i
    left join public.wpp_policies p on p.organization_id = i.organization_id
    join wpp.dialing_rules home on home.region = coalesce(p.region, 'RU')
    cross join lateral (select wpp.phone_twins(wpp_acquaintance.phone) as twins offset 0) t
    left join lateral (
      select r.country_code, r.trunk_prefixes from wpp.dialing_rules r
      where r.country_code = any (array[left(phone, 1), left(phone, 2), left(phone, 3)])
      order by r.region <> home.region, r.region limit 1
    ) plan on true
    cross join lateral wpp.contact_candidates(
      i.organization_id, wpp_acquaintance.phone,
      wpp.phone_variants(t.twins, plan.country_code, plan.trunk_prefixes,
                         home.country_code, home.international_prefix)) c
    where i.id = wpp_acquaintance.integration_id
  ), spoken as (
    select m.is_outgoing, m.created_at
    from person p cross join lateral (
      select m.is_outgoing, m.created_at, m.integration_id, m.message_status
      from public.chat_messages m
      where m.client_id = p.client_id and m.organization_id::text = p.organization_id::text
      union all
      select m.is_outgoing, m.created_at, m.integration_id, m.message_status
      from public.chat_messages m
      where m.teacher_id = p.teacher_id and m.organization_id::text = p.organization_id::text
    ) m
    where m.integration_id = wpp_acquaintance.integration_id
      and (not m.is_outgoing or m.message_status in ('sent', 'delivered', 'read', 'unknown'))
      and m.created_at between '1970-01-01' and now() + interval '1 minute' -- clocks differ
  )
  select coalesce(
    (extract(epoch from max(s.created_at) filter (where not s.is_outgoing)) * 1000)::bigint::text,
    case when count(*) > 0 then 'known' else 'stranger' end)
  from spoken s
$$;
