-- Updates of messages: statuses, reactions, edits. An update is parked until its message comes.

-- Apply the updates whose message is known and park the rest; then apply the parked updates that
-- waited for a message of this batch (`new_ids`: the ids of its messages). `batch` holds the
-- outcomes as they came. Returns the ids of the messages that were updated.
create or replace function wpp.apply_updates(
  updates wpp.message_update[], new_ids text[], batch jsonb
) returns uuid[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  known_ids text[] := new_ids;
  updated uuid[] := '{}';
begin
  updates := wpp.match_updates(updates);
  insert into wpp.parked_outcomes (id, awaits, account, organization_id, external_ids, outcome)
  select md5(concat(u.organization_id, batch -> (u.n - 1)))::uuid, 'message', u.account,
         u.organization_id, u.ids, batch -> (u.n - 1)
  from unnest(updates) as u where u.message_id is null
  on conflict do nothing;
  updates := array(select u from unnest(updates) as u where u.message_id is not null);
  loop -- an id that an update adds to a message may be the id that a parked update waits for
    updated := updated || wpp.apply_matched_updates(updates);
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
  return updated;
end
$$;

-- The same updates with the messages that their ids name now.
create or replace function wpp.match_updates(updates wpp.message_update[])
returns wpp.message_update[] language plpgsql stable set search_path = '' as $$
begin
  return array(
    select jsonb_populate_record(u, jsonb_build_object('message_id', f.message_id))
    from unnest(updates) as u
    cross join lateral wpp.find_message(u.organization_id, u.account, u.ids, u.target_outgoing,
                                        u.peer_phone, u.lid) f);
end
$$;

-- Apply updates whose message is known. Returns the ids of the messages.
create or replace function wpp.apply_matched_updates(updates wpp.message_update[]) returns uuid[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
begin
  if cardinality(updates) = 0 then
    return '{}';
  end if;
  if wpp.link_external_ids(array(
    select distinct row(u.organization_id, u.account, i.id, u.message_id)::wpp.message_link
    from unnest(updates) as u, unnest(u.ids) as i (id) where i.id = wpp.message_key(i.id)
  )) then
    updates := wpp.match_updates(updates); -- two rows were merged
  end if;

  update public.chat_messages c
  set external_message_id = coalesce(c.external_message_id, a.external_id),
      metadata = a.metadata || wpp.to_object(c.metadata)
  from (
    select u.message_id as id,
           min(case when m.is_outgoing and not coalesce(m.metadata ? 'echo', false)
                    then u.task_id else u.wa_message_id end) as external_id,
           jsonb_strip_nulls(jsonb_build_object(
             'taskId', min(u.task_id), 'waMessageId', min(u.wa_message_id))) as metadata
    from unnest(updates) as u join public.chat_messages m on m.id = u.message_id
    where u.task_id is not null or u.wa_message_id is not null
    group by 1
  ) a
  where c.id = a.id and (c.external_message_id, c.metadata) is distinct from (
    coalesce(c.external_message_id, a.external_id), a.metadata || wpp.to_object(c.metadata));

  perform wpp.begin_history(array(select u.message_id from unnest(updates) as u));
  insert into public.wpp_message_history (message_id, organization_id, event, status, source, at,
                                          arrived_at, code, error, actor, detail)
  select u.message_id, u.organization_id,
         case u.type when 'status' then u.status::text
                     when 'edit' then 'edited'
                     else case when u.emoji <> '' then 'reaction' else 'reaction_removed' end end,
         u.status, case when u.own then 'own' else 'platform' end, u.at,
         coalesce(u.arrived_at, case when u.own then u.at else clock_timestamp() end),
         u.code, u.error,
         case when u.type <> 'reaction' then '' when u.outgoing then 'self' else u.phone end,
         u.emoji
  from unnest(updates) as u order by u.n
  on conflict do nothing;
  perform wpp.apply_edits(updates);
  perform wpp.apply_reactions(updates);
  return array(select distinct u.message_id from unnest(updates) as u);
end
$$;

-- Apply edits: the newest text counts, the first text is kept in the metadata. A message that was
-- deleted and sent anew has a new id at the platform, and no id of WhatsApp's until that is known.
-- A message that was deleted while its edit waited keeps the text by which pages know that.
create or replace function wpp.apply_edits(updates wpp.message_update[]) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
begin
  update public.chat_messages c
  set message_text = case when c.message_text = '[Сообщение удалено]' then c.message_text
                          else e.text end,
      external_message_id = coalesce(e.task_id, c.external_message_id),
      metadata = case when e.task_id is null then wpp.to_object(c.metadata)
                      else wpp.to_object(c.metadata) - 'waMessageId' end
        || jsonb_build_object('edited_at', e.at, 'is_edited', true,
             'original_text', coalesce(c.metadata ->> 'original_text', c.message_text))
        || case when e.task_id is null then '{}'
                else jsonb_build_object('taskId', e.task_id) end
  from (
    select distinct on (u.message_id) u.message_id as id, u.at, u.text, u.task_id
    from unnest(updates) as u where u.type = 'edit'
    order by u.message_id, u.at desc, u.text desc
  ) e
  where c.id = e.id and (e.at, e.text) > (
    coalesce(wpp.to_time(c.metadata ->> 'edited_at'), '-infinity'),
    case when c.message_text = '[Сообщение удалено]' then '' else c.message_text end);
end
$$;

-- Apply reactions: the newest of each person counts, a reaction without an emoji withdraws it. The
-- message's metadata remembers all of them with their time; message_reactions, which the CRM shows,
-- holds the current reactions.
create or replace function wpp.apply_reactions(updates wpp.message_update[]) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  reaction record;
  client uuid;
begin
  for reaction in
    select distinct on (u.message_id, p.person)
           u.message_id as id, u.at, nullif(u.emoji, '') as emoji, p.person
    from unnest(updates) as u,
    lateral (select case when u.outgoing then 'self' else u.phone end as person) p
    where u.type = 'reaction'
    order by u.message_id, p.person, u.at desc, u.emoji desc
  loop
    update public.chat_messages c
    set metadata = wpp.to_object(c.metadata) || jsonb_build_object('reactions',
      wpp.to_object(c.metadata -> 'reactions') || jsonb_build_object(reaction.person,
        jsonb_build_object('emoji', reaction.emoji, 'at', reaction.at)))
    where c.id = reaction.id and (reaction.at, coalesce(reaction.emoji, '')) > (
      coalesce(wpp.to_time(c.metadata #>> array['reactions', reaction.person, 'at']),
               '-infinity'),
      coalesce(c.metadata #>> array['reactions', reaction.person, 'emoji'], ''))
    returning c.client_id into client;
    if found and reaction.person <> 'self' and client is not null then
      delete from public.message_reactions r
      where r.message_id = reaction.id and r.client_id = client;
      insert into public.message_reactions (message_id, client_id, emoji)
      select reaction.id, client, reaction.emoji where reaction.emoji is not null;
    end if;
  end loop;
end
$$;

-- Recompute the status of messages from all their reports: deleted, else the furthest that a phone
-- confirmed, else the newest of sent and failed, else unknown, else queued.
--   A report of the platform counts as a minute newer than it says: its clock differs from ours and
--   counts whole seconds.
--   `unknown` overrides an earlier failure of our own (the event was tried again) only.
create or replace function wpp.recompute_statuses(message_ids uuid[]) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
begin
  update public.chat_messages c
  set message_status = s.status,
      metadata = case when s.error is null then wpp.to_object(c.metadata) - 'error'
                      else wpp.to_object(c.metadata) || jsonb_build_object('error', s.error) end
  from (
    select distinct on (h.message_id) h.message_id as id, h.status,
           case when h.status in ('failed', 'unknown') then h.error end as error
    from (
      select h.*, max(h.at) filter (where h.status = 'unknown')
                    over (partition by h.message_id) as unknown_at
      from public.wpp_message_history h
      where h.message_id = any (message_ids) and h.status is not null
    ) h
    where not (h.status = 'failed' and h.source = 'own'
               and h.at < coalesce(h.unknown_at, '-infinity'))
    order by h.message_id,
             array_position(array['deleted', 'read', 'delivered', 'sent', 'unknown', 'queued'],
                            case h.status when 'failed' then 'sent' else h.status::text end),
             h.at + case h.source when 'platform' then interval '1 minute'
                                  else interval '0' end desc,
             h.status desc, h.error
  ) s
  where c.id = s.id
    and (c.message_status, c.metadata ->> 'error') is distinct from (s.status, s.error);
end
$$;
