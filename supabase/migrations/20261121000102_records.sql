-- Messages and their updates with less work for each: records are changed in place and not by way of
-- JSON, and ids that are known are not stored again.

-- The same record with another field, which is cheaper than `jsonb_populate_record`.
create or replace function wpp.with_message(m wpp.message_outcome, message_id uuid)
returns wpp.message_outcome language plpgsql immutable parallel safe as $$
begin
  m.message_id := message_id;
  return m;
end
$$;

create or replace function wpp.with_message(u wpp.message_update, message_id uuid)
returns wpp.message_update language plpgsql immutable parallel safe as $$
begin
  u.message_id := message_id;
  return u;
end
$$;

create or replace function wpp.with_contact(
  m wpp.message_outcome, client_id uuid, teacher_id uuid, contact integer, metadata jsonb
) returns wpp.message_outcome language plpgsql immutable parallel safe as $$
begin
  m.client_id := client_id;
  m.teacher_id := teacher_id;
  m.contact := contact;
  m.metadata := metadata;
  return m;
end
$$;

-- The same updates with the messages that their ids name now.
create or replace function wpp.match_updates(updates wpp.message_update[])
returns wpp.message_update[] language plpgsql stable set search_path = '' as $$
begin
  if cardinality(updates) = 0 then
    return updates;
  end if;
  return array(
    select wpp.with_message(u, f.message_id)
    from unnest(updates) as u
    cross join lateral wpp.find_message(u.organization_id, u.account, u.ids, u.target_outgoing,
                                        u.peer_phone, u.lid) f);
end
$$;

-- Insert or update messages. Returns the ids of their rows.
create or replace function wpp.upsert_messages(messages wpp.message_outcome[]) returns uuid[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  inserted uuid[];
  identified wpp.message_outcome[];
begin
  if cardinality(messages) = 0 then
    return '{}';
  end if;
  messages := wpp.add_hidden_phones(messages);
  -- A message that arrived with a known id is that message; our own messages keep their own id.
  messages := array(
    select wpp.with_message(s.m, case
      when (s.m).arrived then coalesce(f.message_id, s.first_id) else (s.m).id end)
    from (
      select k.m, first_value((k.m).id) over (
        partition by (k.m).organization_id, (k.m).account, k.key, (k.m).outgoing,
                     coalesce(k.phone, k.any_phone, (k.m).lid)
        order by (k.m).arrived, (k.m).n) as first_id
      from (
        select k.*, min(k.phone) over (
          partition by (k.m).organization_id, (k.m).account, k.key, (k.m).outgoing) as any_phone
        from (
          select m, coalesce(m.key, m.task_id, 'id:' || m.id) as key,
                 nullif(m.phone, '') as phone
          from unnest(messages) as m
        ) k
      ) k
    ) s
    left join lateral wpp.find_message((s.m).organization_id, (s.m).account, (s.m).ids,
      (s.m).outgoing, nullif((s.m).phone, ''), (s.m).lid) f on (s.m).arrived
    order by (s.m).n);
  inserted := wpp.insert_messages(messages);
  -- Checked after the insert: the other row may have come at the same moment.
  if exists (
    select from unnest(messages) as m join public.chat_messages c on c.id = m.message_id
    where c.organization_id <> m.organization_id
  ) then
    raise exception 'this message belongs to another organization' using errcode = 'WP001';
  end if;
  perform wpp.link_external_ids(array(
    select row(m.organization_id, m.account, e.id, m.message_id)::wpp.message_link
    from unnest(messages) as m,
    lateral (values (m.task_id), (m.key)) as e (id)
    where e.id is not null and m.account is not null));
  perform wpp.merge_messages(messages, inserted);
  identified := wpp.identify_senders(messages, inserted);
  perform wpp.begin_history(array(
    select m.message_id from unnest(messages) as m except select unnest(inserted)));
  insert into public.wpp_message_history (message_id, organization_id, event, status, source, at,
                                          arrived_at, started_at, attempt, code, error)
  select m.message_id, m.organization_id,
         coalesce(m.event, case when m.arrived and not m.outgoing then 'received'
                                else m.status::text end),
         case when m.event is null then m.status end,
         case when m.arrived then 'platform' else 'own' end, m.at,
         coalesce(m.arrived_at, case when m.arrived then clock_timestamp() else m.at end),
         m.started_at, m.attempt, m.code, m.error
  from unnest(messages) as m order by m.n
  on conflict do nothing;
  perform wpp.update_clients(messages || identified);
  return array(select distinct m.message_id from unnest(messages || identified) as m);
end
$$;

-- Insert the messages that have no row yet, with their contacts. Returns the ids of the new rows.
create or replace function wpp.insert_messages(messages wpp.message_outcome[]) returns uuid[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  fresh wpp.message_outcome[];
  contacts wpp.contact[];
begin
  -- Several outcomes of a message: our own counts. A client or teacher that the sender named
  -- counts if it belongs to this organization.
  fresh := array(
    select wpp.with_contact(s.m, c.id, t.id,
      case when c.id is null and t.id is null and (s.m).phone ~ '^\d{5,}$'
           then dense_rank() over (
             order by (c.id is null and t.id is null and (s.m).phone ~ '^\d{5,}$') desc,
                      (s.m).organization_id, (s.m).phone) end::integer,
      (s.m).metadata)
    from (
      select distinct on (m.message_id) m
      from unnest(messages) as m
      where not exists (select from public.chat_messages c where c.id = m.message_id)
      order by m.message_id, m.arrived, m.n
    ) s
    left join public.clients c
      on c.id = (s.m).client_id and c.organization_id = (s.m).organization_id
    left join public.teachers t
      on t.id = (s.m).teacher_id and t.organization_id = (s.m).organization_id);
  if cardinality(fresh) = 0 then
    return '{}';
  end if;

  perform wpp.learn_own_phones(fresh);
  contacts := wpp.resolve_contacts(array(
    select row(m.organization_id, m.phone,
      (array_agg(m.peer_name order by m.n)
         filter (where not m.outgoing and m.peer_name is not null))[1],
      null, null, null, null, null, null)::wpp.contact
    from unnest(fresh) as m where m.contact is not null
    group by m.contact, m.organization_id, m.phone order by m.contact));
  fresh := array(
    select wpp.with_contact(m, coalesce(m.client_id, x.client_id),
      coalesce(m.teacher_id, x.teacher_id), m.contact,
      wpp.message_metadata(m) || jsonb_strip_nulls(jsonb_build_object(
        'contact', case when m.contact is not null then x.flag
                        when coalesce(m.client_id, m.teacher_id) is null then 'no_phone' end,
        'teacher_id', coalesce(m.teacher_id, x.teacher_id))))
    from unnest(fresh) as m,
    lateral (select (contacts[m.contact]).client_id, (contacts[m.contact]).teacher_id,
                    (contacts[m.contact]).flag) x);
  begin
    return wpp.insert_rows(fresh);
  exception when unique_violation then -- a trigger of the CRM refuses a contact
    return array(select unnest(wpp.insert_without_client(m)) from unnest(fresh) as m);
  end;
end
$$;

-- Store ids of messages. An id stays with its message of a chat and a direction, except in one
-- case: an echo of our own message that came before its waMessageId and our taskId were known to be
-- of the same message. The echo's row becomes part of our own. Returns whether that was so.
create or replace function wpp.link_external_ids(links wpp.message_link[]) returns boolean
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  twin record;
  has_merged boolean := false;
  has_others boolean;
  unknown wpp.message_link[];
begin
  select coalesce(bool_or(k.has_other), false),
         coalesce(array_agg(l) filter (where k.has_own is not true), '{}')
  into has_others, unknown
  from unnest(links) as l
  cross join lateral (
    select bool_or(i.message_id <> l.message_id) as has_other,
           bool_or(i.message_id = l.message_id) as has_own
    from public.wpp_message_ids i
    where i.organization_id = l.organization_id and i.account = l.account
      and i.external_id = l.external_id
  ) k;
  if not has_others then -- as nearly always, no other message has these ids
    if cardinality(unknown) > 0 then
      insert into public.wpp_message_ids (organization_id, account, external_id, message_id)
      select l.organization_id, l.account, l.external_id, l.message_id
      from unnest(unknown) as l order by 1, 2, 3, 4
      on conflict do nothing;
    end if;
    return false;
  end if;
  for twin in
    select distinct echo.id as echo, own.id as own
    from unnest(links) as l
    join public.chat_messages own on own.id = l.message_id
    join public.wpp_message_ids i on i.organization_id = l.organization_id
      and i.account = l.account and i.external_id = l.external_id
      and i.message_id <> l.message_id
    join public.chat_messages echo
      on echo.id = i.message_id and echo.organization_id = own.organization_id
    where echo.metadata ? 'echo' and own.is_outgoing and not own.metadata ? 'echo'
      and wpp.is_same_chat(echo.is_outgoing, echo.metadata, own.is_outgoing,
                           own.metadata ->> 'phone', own.metadata ->> 'chat')
  loop
    perform wpp.merge_echo(twin.echo, twin.own);
    has_merged := true;
  end loop;
  insert into public.wpp_message_ids (organization_id, account, external_id, message_id)
  select l.organization_id, l.account, l.external_id, l.message_id
  from unnest(links) as l join public.chat_messages c on c.id = l.message_id
  where not exists (
    select from public.wpp_message_ids i join public.chat_messages o
      on o.id = i.message_id and o.organization_id = c.organization_id
    where i.organization_id = l.organization_id and i.account = l.account
      and i.external_id = l.external_id and i.message_id <> l.message_id
      and wpp.is_same_chat(o.is_outgoing, o.metadata, c.is_outgoing, c.metadata ->> 'phone',
                           c.metadata ->> 'chat'))
  order by 1, 2, 3, 4
  on conflict do nothing;
  return has_merged;
end
$$;

do $$
declare
  own_function regprocedure;
begin
  for own_function in
    select p.oid from pg_proc p
    where p.pronamespace = 'wpp'::regnamespace and p.proname in ('with_message', 'with_contact')
  loop
    execute format('revoke execute on function %s from public, anon, authenticated', own_function);
    execute format('grant execute on function %s to service_role', own_function);
  end loop;
end
$$;
