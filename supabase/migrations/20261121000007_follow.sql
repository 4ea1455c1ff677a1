-- What is said about a message: statuses, reactions, edits. Before its message has come it is parked.

-- Apply what can be applied, and park the rest. Returns the ids of the messages touched.
create or replace function public.wpp_follow(placed jsonb) returns uuid[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  hits jsonb;
  known text[];
  touched uuid[] := '{}';
begin
  select coalesce(jsonb_agg(o), '[]') into hits from jsonb_array_elements(placed) as o
  where o ->> 'type' in ('status', 'reaction', 'edit');
  hits := public.wpp_resolve(hits);
  insert into public.wpp_parked_outcomes (id, awaits, account, organization_id, external_ids, outcome)
  select md5((o - 'n')::text)::uuid, 'message', o ->> 'account', (o ->> 'organization_id')::uuid,
         array(select jsonb_array_elements_text(o -> 'ids')), o - 'n'
  from jsonb_array_elements(hits) as o where o ->> 'message_id' is null
  on conflict do nothing;
  select coalesce(jsonb_agg(o), '[]') into hits
  from jsonb_array_elements(hits) as o where o ->> 'message_id' is not null;

  select coalesce(array_agg(distinct i), '{}') into known
  from jsonb_array_elements(placed) as o, jsonb_array_elements_text(o -> 'ids') as i where o ->> 'type' = 'message';
  loop -- an id learned from one outcome may be what another one waits for
    touched := touched || public.wpp_say(hits);
    select known || coalesce(array_agg(distinct i), '{}') into known
    from jsonb_array_elements(hits) as o, jsonb_array_elements_text(o -> 'ids') as i;
    select coalesce(jsonb_agg(p.outcome || jsonb_build_object('parked', p.id)), '[]') into hits
    from public.wpp_parked_outcomes p where p.awaits = 'message' and p.external_ids && known;
    exit when hits = '[]';
    select coalesce(jsonb_agg(o), '[]') into hits
    from jsonb_array_elements(public.wpp_resolve(hits)) as o where o ->> 'message_id' is not null;
    exit when hits = '[]';
    delete from public.wpp_parked_outcomes p
    where p.id in (select (o ->> 'parked')::uuid from jsonb_array_elements(hits) as o);
  end loop;
  return touched;
end
$$;

create or replace function public.wpp_say(items jsonb) returns uuid[]
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  said jsonb;
begin
  if items = '[]' then
    return '{}';
  end if;
  perform public.wpp_learn(coalesce(jsonb_agg(jsonb_build_object(
    'message_id', o -> 'message_id', 'organization_id', o -> 'organization_id', 'account', o -> 'account',
    'external_id', i)), '[]'))
  from jsonb_array_elements(public.wpp_resolve(items)) as o, jsonb_array_elements_text(o -> 'ids') as i;
  said := public.wpp_resolve(items); -- again: learning may have made two rows one

  update public.chat_messages c
  set external_message_id = coalesce(c.external_message_id, a.external_id),
      metadata = a.metadata || coalesce(c.metadata, '{}')
  from (
    select (o ->> 'message_id')::uuid as id,
           min(case when m.is_outgoing and not coalesce(m.metadata ? 'echo', false) then o ->> 'task_id'
                    else o ->> 'wa_message_id' end) as external_id,
           jsonb_strip_nulls(jsonb_build_object(
             'taskId', min(o ->> 'task_id'), 'waMessageId', min(o ->> 'wa_message_id'))) as metadata
    from jsonb_array_elements(said) as o join public.chat_messages m on m.id = (o ->> 'message_id')::uuid
    where o ->> 'task_id' is not null or o ->> 'wa_message_id' is not null
    group by 1
  ) a
  where c.id = a.id and (c.external_message_id, c.metadata)
    is distinct from (coalesce(c.external_message_id, a.external_id), a.metadata || coalesce(c.metadata, '{}'));

  perform public.wpp_begin_history(array(select (o ->> 'message_id')::uuid from jsonb_array_elements(said) as o));
  insert into public.wpp_message_history (message_id, organization_id, status, source, at, error)
  select (o ->> 'message_id')::uuid, (o ->> 'organization_id')::uuid, (o ->> 'status')::public.message_status,
         'platform', (o ->> 'at')::timestamptz, o ->> 'error'
  from jsonb_array_elements(said) as o where o ->> 'type' = 'status'
  on conflict do nothing;
  perform public.wpp_edit(said);
  perform public.wpp_react(said);
  return array(select distinct (o ->> 'message_id')::uuid from jsonb_array_elements(said) as o);
end
$$;

-- The newest edit counts; what was written first is kept.
create or replace function public.wpp_edit(said jsonb) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
begin
  update public.chat_messages c
  set message_text = e.text,
      metadata = coalesce(c.metadata, '{}') || jsonb_build_object('edited_at', e.at,
        'original_text', coalesce(c.metadata ->> 'original_text', c.message_text))
  from (
    select distinct on (o ->> 'message_id') (o ->> 'message_id')::uuid as id, (o ->> 'at')::timestamptz as at,
           o ->> 'text' as text
    from jsonb_array_elements(said) as o where o ->> 'type' = 'edit'
    order by o ->> 'message_id', (o ->> 'at')::timestamptz desc, o ->> 'text' desc
  ) e
  where c.id = e.id
    and (e.at, e.text) > (coalesce((c.metadata ->> 'edited_at')::timestamptz, '-infinity'), c.message_text);
end
$$;

-- The newest reaction of each person counts, an empty one withdraws. The message's metadata remembers when;
-- message_reactions, which the CRM shows, holds what is valid now.
create or replace function public.wpp_react(said jsonb) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  reaction record;
  of_client uuid;
begin
  for reaction in
    select distinct on (o ->> 'message_id', who) (o ->> 'message_id')::uuid as id, (o ->> 'at')::timestamptz as at,
           nullif(o ->> 'emoji', '') as emoji, who
    from jsonb_array_elements(said) as o,
    lateral (select case when (o ->> 'outgoing')::bool then 'self' else o ->> 'phone' end as who) w
    where o ->> 'type' = 'reaction'
    order by o ->> 'message_id', who, (o ->> 'at')::timestamptz desc, o ->> 'emoji' desc
  loop
    update public.chat_messages c
    set metadata = coalesce(c.metadata, '{}') || jsonb_build_object('reactions',
      coalesce(c.metadata -> 'reactions', '{}') || jsonb_build_object(reaction.who,
        jsonb_build_object('emoji', reaction.emoji, 'at', reaction.at)))
    where c.id = reaction.id and (reaction.at, coalesce(reaction.emoji, '')) > (
      coalesce((c.metadata #>> array['reactions', reaction.who, 'at'])::timestamptz, '-infinity'),
      coalesce(c.metadata #>> array['reactions', reaction.who, 'emoji'], ''))
    returning c.client_id into of_client;
    if found and reaction.who <> 'self' and of_client is not null then
      delete from public.message_reactions r where r.message_id = reaction.id and r.client_id = of_client;
      insert into public.message_reactions (message_id, client_id, emoji)
      select reaction.id, of_client, reaction.emoji where reaction.emoji is not null;
    end if;
  end loop;
end
$$;

-- A message's status is computed from all that was said of it: deleted, else the furthest that a phone confirmed,
-- else the newest of sent and failed, else unknown, else queued.
--   A platform's word is taken as a minute newer than it says: its clock isn't ours and counts whole seconds.
--   `unknown` overrides an earlier failure of our own (the event was tried again), nothing else.
create or replace function public.wpp_settle_statuses(touched uuid[]) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
begin
  update public.chat_messages c
  set message_status = s.status,
      metadata = case when s.error is null then coalesce(c.metadata, '{}') - 'error'
                      else coalesce(c.metadata, '{}') || jsonb_build_object('error', s.error) end
  from (
    select distinct on (h.message_id) h.message_id as id, h.status,
           case when h.status in ('failed', 'unknown') then h.error end as error
    from (
      select h.*, max(h.at) filter (where h.status = 'unknown') over (partition by h.message_id) as unknown_at
      from public.wpp_message_history h where h.message_id = any (touched)
    ) h
    where not (h.status = 'failed' and h.source = 'own' and h.at < coalesce(h.unknown_at, '-infinity'))
    order by h.message_id,
             array_position(array['deleted', 'read', 'delivered', 'sent', 'unknown', 'queued'],
                            case h.status when 'failed' then 'sent' else h.status::text end),
             h.at + case h.source when 'platform' then interval '1 minute' else interval '0' end desc,
             h.status desc, h.error
  ) s
  where c.id = s.id and (c.message_status, c.metadata ->> 'error') is distinct from (s.status, s.error);
end
$$;

-- What follows what, where two states carry the same second.
create or replace function public.wpp_session_rank(status text) returns integer
language sql immutable set search_path = '' as $$
  select array_position(array['disconnected', 'starting', 'qr_issued', 'error', 'connected'], status)
$$;

-- The state of connected numbers, each in the order in which it came about.
create or replace function public.wpp_note_sessions(placed jsonb) returns void
language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  s record;
begin
  for s in
    select (o ->> 'organization_id')::uuid as organization_id, (o ->> 'integration_id')::uuid as integration_id,
           o ->> 'account' as account, o ->> 'status' as status, o ->> 'qr' as qr, o ->> 'reason' as reason,
           o ->> 'error' as error, (o ->> 'at')::timestamptz as at
    from jsonb_array_elements(placed) as o where o ->> 'type' = 'session'
    order by account, at, public.wpp_session_rank(o ->> 'status')
  loop
    insert into public.wpp_session_history (organization_id, integration_id, account, status, reason, error, at)
    select s.organization_id, s.integration_id, s.account, s.status, s.reason, s.error, s.at
    where not exists ( -- the same again is no change
      select from (
        select * from public.wpp_session_history h where h.account = s.account and h.at <= s.at
        order by h.at desc, h.id desc limit 1
      ) h where (h.status, h.reason, h.error) is not distinct from (s.status, s.reason, s.error))
    on conflict do nothing;
    perform public.wpp_set_session(
      s.organization_id, s.integration_id, s.account, s.status, s.qr, s.reason, s.error, s.at);
  end loop;
end
$$;

create or replace function public.wpp_set_session(
  organization uuid, integration uuid, named_account text, new_status text, new_qr text, new_reason text,
  new_error text, new_at timestamptz
) returns void language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  existing public.whatsapp_sessions;
begin
  select * into existing from public.whatsapp_sessions w
  where w.session_name = 'wpp_' || named_account order by w.status_at desc nulls last limit 1 for update;
  if not found then
    insert into public.whatsapp_sessions (organization_id, session_name, status)
    values (organization, 'wpp_' || named_account, 'disconnected') returning * into existing;
  elsif existing.status_at is not null and (existing.status_at, public.wpp_session_rank(existing.status),
        coalesce(existing.last_qr_b64, '')) >= (new_at, public.wpp_session_rank(new_status), coalesce(new_qr, '')) then
    return;
  end if;
  update public.whatsapp_sessions w
  set organization_id = organization, status = new_status, status_at = new_at, status_reason = new_reason,
      last_error = new_error, last_qr_b64 = new_qr, last_qr_at = case when new_qr is not null then new_at end,
      updated_at = now()
  where w.id = existing.id;
  update public.messenger_integrations i
  set last_error = new_error, last_error_at = case when new_error is null then i.last_error_at else new_at end
  where i.id = integration and i.last_error is distinct from new_error;
end
$$;

-- Webhooks as they arrived, and what ended without success.
create or replace function public.wpp_keep_records(placed jsonb) returns void
language sql set search_path = '' as $$
  insert into public.wpp_webhook_log (id, organization_id, account, event_type, payload, became, error, at)
  select distinct on (1) (o ->> 'id')::uuid, (o ->> 'organization_id')::uuid, o ->> 'account', o ->> 'event_type',
         o -> 'payload', o ->> 'became', o ->> 'error', (o ->> 'at')::timestamptz
  from jsonb_array_elements(placed) as o where o ->> 'type' = 'log'
  order by 1, (o ->> 'at')::timestamptz desc, o ->> 'became' = 'dead', o ->> 'became', o ->> 'error'
  on conflict (id) do update -- later, or replayed after it was given up
  set became = excluded.became, error = excluded.error, at = excluded.at
  where excluded.at > wpp_webhook_log.at or wpp_webhook_log.became = 'dead';

  insert into public.wpp_dead_letters
    (id, organization_id, account, kind, lane, reason, detail, attempts, accepted_at, at, event)
  select distinct on (1) (o ->> 'id')::uuid, (o ->> 'organization_id')::uuid, o ->> 'account', o ->> 'kind',
         o ->> 'lane', o ->> 'reason', o ->> 'detail', (o ->> 'attempts')::int, (o ->> 'accepted_at')::timestamptz,
         (o ->> 'at')::timestamptz, o -> 'event'
  from jsonb_array_elements(placed) as o where o ->> 'type' = 'dead_letter'
  order by 1, (o ->> 'at')::timestamptz desc, o ->> 'reason', o ->> 'detail'
  on conflict (id) do update -- it was replayed and died again
  set reason = excluded.reason, detail = excluded.detail, attempts = excluded.attempts, at = excluded.at,
      replayed_at = case when excluded.at > wpp_dead_letters.replayed_at then null else wpp_dead_letters.replayed_at end
  where excluded.at > wpp_dead_letters.at;
$$;
