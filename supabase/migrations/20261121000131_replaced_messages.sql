-- An edit deletes a message at the platform and sends another one under the same row. The platform
-- reports that delete, and may report on the former text later: none of it is about the message that
-- the recipient has now, so none of it is the row's status. A delete of the new message still is.

-- Ids of messages that an edit replaced, among those of wpp_message_ids.
create table if not exists wpp.replaced_ids (
  message_id uuid not null references public.chat_messages (id) on delete cascade,
  external_id text not null,
  primary key (message_id, external_id)
);
alter table wpp.replaced_ids enable row level security;
revoke all on wpp.replaced_ids from public, anon, authenticated;
grant all on wpp.replaced_ids to service_role;

-- Whether a report names ids of a replaced message only.
create or replace function wpp.is_replaced(u wpp.message_update) returns boolean
language sql stable as $$
  select u.type = 'status' and u.own is not true
    and exists (
      select from wpp.replaced_ids r
      where r.message_id = u.message_id and r.external_id = any (u.ids))
    and not exists (
      select from public.wpp_message_ids i
      where i.message_id = u.message_id and i.external_id = any (u.ids)
        and not exists (select from wpp.replaced_ids r
                        where r.message_id = i.message_id and r.external_id = i.external_id))
$$;

-- Note the ids that the edits of these updates replace, and further ids that reports give a replaced
-- message. It is called before the ids of the updates are stored: an edit whose new id is stored has
-- been applied before. An edit with a task id replaces all ids; one of a caption those that are not
-- the file's.
create or replace function wpp.note_replaced(updates wpp.message_update[]) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
begin
  if exists (select from unnest(updates) as u where u.type = 'edit' and u.own) then
    insert into wpp.replaced_ids (message_id, external_id)
    select distinct u.message_id, o.id
    from unnest(updates) as u
    join public.chat_messages c on c.id = u.message_id
    cross join lateral (
      select i.external_id as id from public.wpp_message_ids i where i.message_id = u.message_id
      union
      select unnest(u.ids)
      union
      select unnest(e.ids) from unnest(updates) as e
      where e.message_id = u.message_id and e.type = 'edit' and e.own and e.task_id is null
        and e.at < u.at
    ) o
    where u.type = 'edit' and u.own
      and exists (
        select from unnest(u.ids) as e (id)
        where e.id = coalesce(u.task_id, e.id) and not exists (
          select from public.wpp_message_ids i
          where i.message_id = u.message_id and i.external_id = e.id))
      and case when u.task_id is not null then o.id <> u.task_id
          else u.at >= coalesce(wpp.to_time(c.metadata ->> 'edited_at'), '-infinity')
            and o.id <> all (u.ids || array_remove(array[
              c.external_message_id, c.metadata ->> 'taskId',
              wpp.message_key(c.metadata ->> 'waMessageId')], null)) end
    order by 1, 2
    on conflict do nothing;
  end if;
  if exists (select from wpp.replaced_ids r
             where r.message_id = any (array(select u.message_id from unnest(updates) as u))) then
    insert into wpp.replaced_ids (message_id, external_id)
    select distinct u.message_id, e.id
    from unnest(updates) as u, unnest(u.ids) as e (id)
    where wpp.is_replaced(u) and (strpos(e.id, '@') = 0 or e.id = wpp.message_key(e.id))
    order by 1, 2
    on conflict do nothing;
  end if;
end
$$;

-- The same updates, those on replaced messages without a status and without ids for the row. `text`
-- is the event that the history has of them.
create or replace function wpp.without_replaced(updates wpp.message_update[])
returns wpp.message_update[]
language plpgsql stable set search_path = pg_catalog, public, pg_temp as $$
declare
  u wpp.message_update;
  told wpp.message_update[] := '{}';
begin
  if not exists (
    select from wpp.replaced_ids r
    where r.message_id = any (array(select e.message_id from unnest(updates) as e))
  ) then
    return updates;
  end if;
  foreach u in array updates loop
    if u.status is not null and wpp.is_replaced(u) then
      u.text := case u.status when 'deleted' then 'replaced' else u.status::text end;
      u.status := null;
      u.task_id := null;
      u.wa_message_id := null;
    end if;
    told := told || u;
  end loop;
  return told;
end
$$;

-- Take the status from reports on what these edits replace, once, before the history of the edits is
-- written. Of a message that was sent anew that is all that the platform reported before, and events
-- tell its new reports; of a caption it is the delete of the former one.
create or replace function wpp.replace_reports(updates wpp.message_update[]) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  fresh wpp.message_update[] := array(
    select u from unnest(updates) as u
    where u.type = 'edit' and u.own and not exists (
      select from public.wpp_message_history h
      where h.message_id = u.message_id and h.event = 'edited' and h.source = 'own'
        and h.at = u.at));
  edited uuid[] := array(select u.message_id from unnest(fresh) as u);
  resent uuid[] := array(
    select u.message_id from unnest(fresh) as u where u.task_id is not null);
begin
  if cardinality(edited) > 0 then
    delete from public.wpp_message_history h
    where h.message_id = any (edited) and h.event = 'deleted' and h.source = 'platform'
      and exists (
        select from public.wpp_message_history r
        where r.message_id = h.message_id and r.event = 'replaced' and r.source = h.source
          and r.at = h.at and r.actor = h.actor);
    update public.wpp_message_history h
    set status = null, event = case h.event when 'deleted' then 'replaced' else h.event end
    where h.message_id = any (edited) and h.source = 'platform' and h.status is not null
      and (h.status = 'deleted' or h.message_id = any (resent));
    delete from wpp.events e
    where e.message_id = any (edited)
      and (e.type = 'message.deleted'
           or (e.type in ('message.delivered', 'message.read') and e.message_id = any (resent)));
  end if;
  -- A report on the new message may have the second of one on the former.
  update public.wpp_message_history h set status = u.status
  from unnest(updates) as u
  where u.type = 'status' and u.own is not true
    and h.message_id = u.message_id and h.event = u.status::text and h.source = 'platform'
    and h.at = u.at and h.actor = '' and h.status is null
    and h.message_id in (select r.message_id from wpp.replaced_ids r
                         where r.message_id = u.message_id);
end
$$;

-- Apply the updates whose message is known and park the rest; then apply the parked updates that
-- waited for a message of this batch (`new_ids`: the ids of its messages). `batch` holds the
-- outcomes as they came. Returns the updates that were applied, without having written their history.
create or replace function wpp.store_updates(
  updates wpp.message_update[], new_ids text[], batch jsonb
) returns wpp.message_update[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  known_ids text[] := new_ids;
  stored wpp.message_update[] := '{}';
begin
  updates := wpp.match_updates(updates);
  if exists (select from unnest(updates) as u where u.message_id is null) then
    insert into wpp.parked_outcomes (id, awaits, account, organization_id, external_ids, outcome)
    select md5(concat(u.organization_id, batch -> (u.n - 1)))::uuid, 'message', u.account,
           u.organization_id, u.ids, batch -> (u.n - 1)
    from unnest(updates) as u where u.message_id is null
    on conflict do nothing;
    updates := array(select u from unnest(updates) as u where u.message_id is not null);
  end if;
  loop -- an id that an update adds to a message may be the id that a parked update waits for
    if cardinality(updates) > 0 then
      perform wpp.note_replaced(updates);
      if wpp.link_external_ids(array(
        select distinct row(u.organization_id, u.account, i.id, u.message_id)::wpp.message_link
        from unnest(updates) as u, unnest(u.ids) as i (id)
        where strpos(i.id, '@') = 0 or i.id = wpp.message_key(i.id))) then
        updates := wpp.match_updates(updates); -- two rows were merged
        stored := wpp.match_updates(stored);
      end if;
      updates := wpp.without_replaced(updates);
      perform wpp.update_messages(updates);
      stored := stored || updates;
    end if;
    known_ids := known_ids || array(select unnest(u.ids) from unnest(updates) as u);
    exit when cardinality(known_ids) = 0;
    updates := wpp.match_updates(array(
      select jsonb_populate_record(null::wpp.message_update,
        p.outcome || wpp.message_reference(p.outcome) || jsonb_build_object(
          'account', p.account, 'organization_id', p.organization_id, 'parked_id', p.id))
      from wpp.parked_outcomes p where p.awaits = 'message' and p.external_ids && known_ids));
    updates := array(select u from unnest(updates) as u where u.message_id is not null);
    exit when cardinality(updates) = 0;
    delete from wpp.parked_outcomes p
    where p.id in (select u.parked_id from unnest(updates) as u);
  end loop;
  return stored;
end
$$;

-- Write the history of messages and updates. `inserted` are the rows that are new: they have none.
-- Whether a report is about a replaced message is looked at again under the lock: the edit may have
-- been applied since, by another batch.
create or replace function wpp.write_history(
  messages wpp.message_outcome[], inserted uuid[], updates wpp.message_update[]
) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  older uuid[] := array(
    select m.message_id from unnest(messages) as m
    union select u.message_id from unnest(updates) as u
    except select unnest(inserted));
begin
  perform wpp.lock_history(array(
    select m.organization_id from unnest(messages) as m
    union select u.organization_id from unnest(updates) as u));
  if cardinality(older) > 0 then
    perform wpp.begin_history(older);
  end if;
  if exists (
    select from wpp.replaced_ids r
    where r.message_id = any (array(select u.message_id from unnest(updates) as u))
  ) then
    updates := wpp.without_replaced(updates);
    perform wpp.replace_reports(updates);
  end if;
  insert into public.wpp_message_history (message_id, organization_id, event, status, source, at,
                                          arrived_at, started_at, attempt, code, error, actor,
                                          detail)
  select h.message_id, h.organization_id, h.event, h.status, h.source, h.at, h.arrived_at,
         h.started_at, h.attempt, h.code, h.error, h.actor, h.detail
  from (
    select 1 as part, m.n, m.message_id, m.organization_id,
           coalesce(m.event, case when m.arrived and not m.outgoing then 'received'
                                  else m.status::text end) as event,
           case when m.event is null then m.status end as status,
           case when m.arrived then 'platform' else 'own' end as source, m.at,
           coalesce(m.arrived_at, case when m.arrived then clock_timestamp() else m.at end)
             as arrived_at,
           m.started_at, m.attempt, m.code, m.error, '' as actor, null as detail
    from unnest(messages) as m
    union all
    select 2, u.n, u.message_id, u.organization_id,
           case u.type when 'status' then coalesce(u.status::text, u.text)
                       when 'edit' then 'edited'
                       else case when u.emoji <> '' then 'reaction' else 'reaction_removed' end end,
           -- The new message of an edit was taken by the platform.
           case when u.type = 'edit' and u.own and u.task_id is not null then 'sent'
                else u.status end,
           case when u.own then 'own' else 'platform' end, u.at,
           coalesce(u.arrived_at, case when u.own then u.at else clock_timestamp() end),
           null, null, u.code, u.error,
           case when u.type <> 'reaction' then '' when u.outgoing then 'self' else u.phone end,
           u.emoji
    from unnest(updates) as u
  ) h
  order by h.part, h.n
  on conflict (message_id, event, source, at, actor) do nothing;
end
$$;

-- `wpp.begin_history` says what happened before: it is no news. Neither is a report without a status.
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
  from noted as n
  where n.status is not null or n.event in ('edited', 'reaction', 'reaction_removed')
  order by n.id
  on conflict do nothing;
  return null;
end
$$;

do $$
declare
  own_function regprocedure;
begin
  for own_function in
    select p.oid from pg_proc p
    where p.pronamespace = 'wpp'::regnamespace
      and p.proname in ('is_replaced', 'note_replaced', 'without_replaced', 'replace_reports')
  loop
    execute format('revoke execute on function %s from public, anon, authenticated', own_function);
    execute format('grant execute on function %s to service_role', own_function);
  end loop;
end
$$;
