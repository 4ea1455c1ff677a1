-- Less work for each outcome of a batch: usual spellings of ids are taken apart where they are read,
-- and numbers of countries without a changed numbering plan are looked up once for a batch.

-- `wpp.begin_history` says what happened before: it is no news.
create or replace function wpp.note_statuses() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if current_setting('wpp.is_no_news', true) = 'yes' then
    return null;
  end if;
  insert into wpp.events (organization_id, type, message_id, at, detail)
  select n.organization_id,
         'message.' || case n.event when 'reaction_removed' then 'reaction' else n.event end,
         n.message_id, n.at,
         case when n.event in ('reaction', 'reaction_removed')
              then jsonb_build_object('emoji', nullif(n.detail, ''), 'by', n.actor)
              when n.error is not null
              then jsonb_build_object('error', n.error, 'code', n.code) end
  from noted as n where n.event <> 'attempt' order by n.id
  on conflict (message_id, type)
    where type not in ('message.failed', 'message.unknown', 'message.edited', 'message.reaction')
    do nothing;
  return null;
end
$$;

-- The contacts of phones, in the order of organization and phone; each phone is given once. Missing
-- clients are created, deleted clients revived, unnamed clients named. The best candidate counts:
-- active before deleted, teacher before client before further number, newest first. For a phone of
-- our own no client is created: the contact has the flag `own_number`.
create or replace function wpp.resolve_contacts(wanted wpp.contact[]) returns wpp.contact[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  renumbered text[] := array(select distinct c.country_code from wpp.numbering_changes c);
  contacts wpp.contact[] := array(
    select row(
      w.organization_id, w.phone, w.name,
      -- Another country's number keeps its plus, so that it is not read as one of this country.
      case when starts_with(w.phone, w.country_code) then w.phone else '+' || w.phone end,
      case when best.kind is null and not w.is_own then gen_random_uuid()
           else best.client_id end,
      best.teacher_id,
      case when best.rivals > 1 then 'ambiguous'
           when best.kind is null and w.is_own then 'own_number' end,
      best.kind is null and not w.is_own,
      not best.is_active or (best.is_unnamed and w.name is not null)
    )::wpp.contact
    from (
      select c.organization_id, c.phone, nullif(trim(c.name), '') as name, home.country_code,
             wpp.phone_variants(t.twins, plan.country_code, plan.trunk_prefixes,
                                home.country_code, home.international_prefix) as variants,
             exists (select from public.wpp_accounts k
                     where k.phone = any (t.twins)
                       and k.organization_id::text = c.organization_id::text) as is_own
      from unnest(wanted) as c
      left join public.wpp_policies p on p.organization_id = c.organization_id
      join wpp.dialing_rules home on home.region = coalesce(p.region, 'RU')
      cross join lateral (
        select case when array[left(c.phone, 2), left(c.phone, 3)] && renumbered
                    then wpp.phone_twins(c.phone) else array[c.phone] end as twins offset 0
      ) t
      left join lateral (
        select r.country_code, r.trunk_prefixes from wpp.dialing_rules r
        where r.country_code = any (array[left(c.phone, 1), left(c.phone, 2), left(c.phone, 3)])
        order by r.region <> home.region, r.region limit 1
      ) plan on true
      offset 0
    ) w
    left join lateral (
      select c.*, count(*) filter (where c.is_active) over (partition by c.kind) as rivals
      from wpp.contact_candidates(w.organization_id, w.phone, w.variants) c
      order by c.is_active desc, c.kind, c.since desc nulls last, c.client_id, c.teacher_id limit 1
    ) best on true
    order by w.organization_id, w.phone);
begin
  if exists (select from unnest(contacts) as c where c.is_new) then
    begin
      perform wpp.create_clients(contacts);
    exception when unique_violation or check_violation or foreign_key_violation
        or exclusion_violation then -- a rule of the CRM forbids a client: row by row, then
      contacts := array(
        select case when c.is_new then wpp.create_client(c) else c end from unnest(contacts) as c);
    end;
  end if;
  if exists (select from unnest(contacts) as c where c.needs_change) then
    contacts := array(
      select case when c.needs_change then wpp.change_client(c) else c end
      from unnest(contacts) as c);
  end if;
  return contacts;
end
$$;

-- The typed records of a batch. What names its message, and its organization and integration, are
-- those that the outcome or its account has.
create or replace function wpp.read_batch(batch jsonb) returns wpp.typed_batch
language plpgsql stable set search_path = '' set plan_cache_mode = force_generic_plan as $$
declare
  typed wpp.typed_batch;
  unowned integer[] := wpp.find_unowned(batch);
begin
  if cardinality(unowned) > 0 then
    batch := (
      select jsonb_agg(case when o.n = any (unowned) then '{}' else o.value end order by o.n)
      from jsonb_array_elements(batch) with ordinality as o (value, n));
  end if;
  with given as materialized (
    select o.*, o.ordinality::integer as n, coalesce(o.account, o.integration_id::text) as owner_key
    from jsonb_populate_recordset(null::wpp.outcome, batch) with ordinality as o
  ), owners as materialized (
    select r.owner_key, k.account, k.organization_id, k.integration_id
    from (
      select distinct g.owner_key, g.account, case when g.account is null then g.integration_id end
        as integration_id
      from given g
    ) r
    cross join lateral (
      select * from public.wpp_accounts k
      where k.account = r.account or k.integration_id = r.integration_id
      order by k.claimed_at desc limit 1
    ) k
  ), outcomes as materialized (
    select g.*, coalesce(g.account, w.account) as its_account,
           coalesce(g.organization_id, w.organization_id) as its_organization,
           coalesce(g.integration_id, w.integration_id) as its_integration,
           w.organization_id <> g.organization_id as is_foreign,
           case when g.type not in ('message', 'status', 'reaction', 'edit') then null
                when p.is_usual and coalesce(
                  g.external_ids <@ array[g.task_id, g.wa_message_id, p.parts[3]], true)
                then row(array_remove(array[g.task_id, g.wa_message_id, p.parts[3]], null),
                         p.parts[3], p.parts[1]::boolean,
                         coalesce(nullif(g.phone, ''), split_part(p.parts[2], '@', 1)),
                         g.lid)::wpp.message_name
                else wpp.name_message(g.task_id, g.wa_message_id, g.external_ids,
                                      g.target_outgoing, g.phone, g.lid) end as name
    from given g
    left join owners w on w.owner_key = g.owner_key
    -- `true_79990001122@c.us_3EB0…`, which `wpp.message_id_parts` takes apart in the same way
    cross join lateral (select string_to_array(g.wa_message_id, '_') as parts offset 0) s
    cross join lateral (
      select s.parts, cardinality(s.parts) = 3 and s.parts[1] in ('true', 'false')
        and right(s.parts[2], 5) = '@c.us' and length(s.parts[2]) between 12 and 20
        and translate(left(s.parts[2], -5), '0123456789', '') = ''
        and s.parts[3] <> '' and strpos(s.parts[3], '@') = 0
        and octet_length(g.wa_message_id) = length(g.wa_message_id)
        and translate(g.wa_message_id, E' \t\n\x0B\f\r', '') = g.wa_message_id as is_usual
    ) p
  )
  select
    array(
      select row(o.n, o.at, o.id, o.its_organization, o.its_integration, o.its_account,
                 o.account is not null, (o.name).ids, o.task_id, o.wa_message_id, o.outgoing,
                 o.status, o.error, o.phone, o.own_phone, o.peer_name, o.client_id, o.teacher_id,
                 o.sender_name, o.content, o.text, o.file_url, o.file_name, o.file_type,
                 o.media_state, o.metadata, (o.name).lid, o.event #>> '{}', o.attempt, o.started_at,
                 o.arrived_at, o.code, (o.name).key, o.id, null)::wpp.message_outcome
      from outcomes o where o.type = 'message' and o.its_organization is not null order by o.n),
    array(
      select row(o.n, o.type, o.at, o.its_organization, o.its_account, (o.name).ids, o.task_id,
                 o.wa_message_id, o.status, o.error, o.own, o.arrived_at, o.code, o.outgoing,
                 o.phone, o.emoji, o.text, (o.name).target_outgoing, (o.name).peer_phone,
                 (o.name).lid, null, null)::wpp.message_update
      from outcomes o
      where o.type in ('status', 'reaction', 'edit') and o.its_organization is not null
      order by o.n),
    array(
      select row(o.n, o.at, o.its_organization, o.its_integration, o.its_account, o.status, o.qr,
                 o.reason, o.error)::wpp.session_outcome
      from outcomes o where o.type = 'session' and o.its_organization is not null order by o.n),
    array(
      select row(o.n, o.at, o.id, o.its_organization, o.its_account, o.event_type, o.payload,
                 o.became, o.error)::wpp.log_outcome
      from outcomes o where o.type = 'log' order by o.n),
    array(
      select row(o.n, o.at, o.id, o.its_organization, o.its_account, o.kind, o.lane, o.reason,
                 o.detail, o.attempts, o.accepted_at, o.event)::wpp.dead_letter_outcome
      from outcomes o where o.type = 'dead_letter' order by o.n),
    array(select distinct o.its_organization from outcomes o
          where o.its_organization is not null and o.type not in ('log', 'dead_letter')
          order by 1),
    unowned,
    exists (select from outcomes o where o.is_foreign)
  into typed;
  return typed;
end
$$;
