-- Webhooks that the pipeline does not understand yet: they stay in the log until a version does.

-- Whether a result in the log says so (shared/outcomes.py has the same words).
create or replace function wpp.is_unrecognized(became text) returns boolean
language sql immutable parallel safe
return became in ('no_ids', 'no_peer', 'no_text', 'unknown', 'unknown_status');

create index if not exists wpp_webhook_log_unrecognized
  on public.wpp_webhook_log (event_type, became, at)
  where became in ('no_ids', 'no_peer', 'no_text', 'unknown', 'unknown_status');

-- What was not understood, by type and result, the most frequent first: how many events, and the
-- latest of them. `account`, `since` and `until` (before it) limit the events where they are given.
create or replace function public.wpp_unrecognized_webhooks(
  max_rows integer, account text default null,
  since timestamptz default null, until timestamptz default null
) returns table (event_type text, became text, events bigint, last_at timestamptz,
                 event_id uuid, payload jsonb)
language sql stable set search_path = '' as $$
  select t.event_type, t.became, t.events, l.at, l.id, l.payload
  from (
    select l.event_type, l.became, count(*) as events, max(l.at) as last_at
    from public.wpp_webhook_log l
    where l.became in ('no_ids', 'no_peer', 'no_text', 'unknown', 'unknown_status')
      and ($2 is null or l.account = $2) and ($3 is null or l.at >= $3)
      and ($4 is null or l.at < $4)
    group by l.event_type, l.became
    order by count(*) desc, l.event_type, l.became limit $1
  ) t
  cross join lateral (
    select l.id, l.at, l.payload from public.wpp_webhook_log l
    where l.became in ('no_ids', 'no_peer', 'no_text', 'unknown', 'unknown_status')
      and l.event_type = t.event_type and l.became = t.became and l.at = t.last_at
      and ($2 is null or l.account = $2)
    order by l.id limit 1
  ) l
  order by t.events desc, t.event_type, t.became
$$;

revoke execute on function wpp.is_unrecognized(text),
  public.wpp_unrecognized_webhooks(integer, text, timestamptz, timestamptz)
  from public, anon, authenticated;
grant execute on function wpp.is_unrecognized(text),
  public.wpp_unrecognized_webhooks(integer, text, timestamptz, timestamptz) to service_role;
