-- Batches keep the plans of their statements. Postgres plans a statement anew while a plan for the
-- values at hand seems cheaper, which it does for each small batch: two fifths of its CPU.
-- Indexes are always used (see `wpp_apply`), so a plan for any values is the same plan.
alter function public.wpp_apply(jsonb) set plan_cache_mode = force_generic_plan;

-- Merge several outcomes of a message into its row: the earliest time, every id, the furthest
-- media state. A text that contradicts the row is kept in metadata.conflicts, another file in
-- metadata.other_files. Our own message does not become an echo: `echoed` is when its echo came.
-- A stand-in (see wpp.text_rank) yields to the words, the file and the content that come later.
-- (`::text`: a plan that is made for empty tables shall not walk the organization.)
create or replace function wpp.merge_messages(messages wpp.message_outcome[], inserted uuid[])
returns void language plpgsql set search_path = pg_catalog, public, pg_temp as $$
begin
  if not exists (
    select from unnest(messages) as m
    group by m.message_id having count(*) > 1 or not m.message_id = any (inserted)
  ) then
    return;
  end if;
  with a as (
    select m.message_id as id, m.organization_id, min(m.at) as at,
           (array_agg(m.task_id order by m.n) filter (where m.task_id is not null))[1] as task_id,
           (array_agg(m.wa_message_id order by m.n)
              filter (where m.wa_message_id is not null))[1] as wa_message_id,
           (array_agg(m order by wpp.media_rank(m.media_state) desc, m.n))[1] as best,
           max(wpp.media_rank(m.media_state)) as media,
           (array_agg(m.file_type order by m.n)
              filter (where m.file_type is not null and m.outgoing))[1] as file_type,
           (array_agg(m.sender_name order by m.n)
              filter (where m.sender_name is not null))[1] as sender_name,
           array_agg(wpp.message_metadata(m) - 'media_state' order by m.n) as metadata,
           max(m.at) filter (where m.arrived and m.outgoing) as echoed,
           array_agg(distinct m.text) filter (
             where m.text <> '' and not coalesce(m.metadata ? 'stand_in', false)) as texts,
           (array_agg(m order by wpp.text_rank(m.text, m.metadata, m.media_state) desc, m.n))[1]
             as worded,
           (array_agg(m order by wpp.content_rank(m.file_name, m.metadata) desc, m.n))[1]
             as typed,
           array_agg(distinct m.metadata ->> 'media_path')
             filter (where m.metadata ->> 'media_path' is not null) as files
    from unnest(messages) as m
    group by m.message_id, m.organization_id
    having count(*) > 1 or not m.message_id = any (inserted)
  ), merged as (
    select a.id, least(c.created_at, a.at) as created_at,
           coalesce(c.external_message_id,
             case when c.is_outgoing and not c.metadata ? 'echo' then a.task_id
                  else coalesce(a.wa_message_id, a.task_id) end) as external_message_id,
           coalesce(c.sender_name, a.sender_name) as sender_name,
           case when r.is_further then (a.best).file_url else c.file_url end as file_url,
           case when r.is_further then (a.best).file_name else c.file_name end as file_name,
           case when r.is_further then (a.best).file_type
                else coalesce(c.file_type, a.file_type) end as file_type,
           case when y.text is not null and c.metadata ->> 'original_text' is null then y.text
                else c.message_text end as message_text,
           (case when r.is_echo then r.metadata else r.metadata - 'echo' end
             || wpp.to_object(c.metadata) - y.outdated
             || y.metadata
             || case when r.is_echo or a.echoed is null then '{}'
                     else jsonb_build_object('echoed',
                       greatest(wpp.echoed_at(c.metadata), a.echoed)) end
             || case when r.is_further
                     then jsonb_build_object('media_state', (a.best).media_state) else '{}' end
             || case when d.texts is null then '{}'
                     else jsonb_build_object('conflicts', d.texts) end
             || case when f.files is null then '{}'
                     else jsonb_build_object('other_files', f.files) end)
             - case when y.is_stand_in then '' else 'stand_in' end as metadata
    from a join public.chat_messages c
      on c.id = a.id and c.organization_id::text = a.organization_id::text,
    lateral (select
      not c.is_outgoing or coalesce(c.metadata ? 'echo', false) as is_echo,
      case when cardinality(a.metadata) = 1 then a.metadata[1]
           else wpp.merge_json(a.metadata) end as metadata,
      a.media > coalesce(wpp.media_rank(c.metadata ->> 'media_state'), 1) as is_further,
      wpp.text_rank(coalesce(c.metadata ->> 'original_text', c.message_text), c.metadata,
                    c.metadata ->> 'media_state') as text_rank,
      wpp.text_rank((a.worded).text, (a.worded).metadata, (a.worded).media_state) as new_text_rank,
      wpp.content_rank((a.typed).file_name, (a.typed).metadata)
        > wpp.content_rank(c.file_name, c.metadata) as is_retyped) r,
    lateral (select
      case when r.is_echo and r.new_text_rank > r.text_rank then (a.worded).text end as text,
      greatest(r.text_rank, r.new_text_rank) in (0, 2) as is_stand_in,
      case when r.is_echo and r.is_retyped then array['content', 'kind'] else '{}' end as outdated,
      case when r.is_echo and r.is_retyped then jsonb_strip_nulls(jsonb_build_object(
             'content', nullif((a.typed).content, 'text'),
             'kind', (a.typed).metadata ->> 'kind')) else '{}' end
        || case when r.is_echo and r.new_text_rank > r.text_rank
                     and c.metadata ->> 'original_text' is not null
                then jsonb_build_object('original_text', (a.worded).text) else '{}' end
        as metadata) y,
    lateral (select jsonb_agg(t order by t) as texts from (
      select unnest(a.texts) as t
      union select jsonb_array_elements_text(wpp.to_array(c.metadata -> 'conflicts'))
      except select coalesce(y.text, c.metadata ->> 'original_text', c.message_text)) as t) d,
    lateral (select jsonb_agg(t order by t) as files from (
      select unnest(a.files) as t
      union select jsonb_array_elements_text(wpp.to_array(c.metadata -> 'other_files'))
      except select coalesce(c.metadata ->> 'media_path', (a.best).metadata ->> 'media_path')
    ) as t) f
  )
  update public.chat_messages c
  set created_at = m.created_at, external_message_id = m.external_message_id,
      message_text = m.message_text, sender_name = m.sender_name, file_url = m.file_url,
      file_name = m.file_name, file_type = m.file_type, metadata = m.metadata
  from merged m
  where c.id = m.id
    and (c.created_at, c.external_message_id, c.message_text, c.sender_name, c.file_url,
         c.file_name, c.file_type, c.metadata)
      is distinct from (m.created_at, m.external_message_id, m.message_text, m.sender_name,
                        m.file_url, m.file_name, m.file_type, m.metadata);
end
$$;
