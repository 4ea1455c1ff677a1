-- How callbacks do, for the metrics: {"works", "failing", "disabled", "oldest_due_s"}.
--   failing       since the first failure nothing was delivered
--   disabled      by this pipeline, as its receiver is gone or failed for days; not by its owner
--   oldest_due_s  the age of the oldest event that is not yet in the lanes of its callback
create or replace function public.wpp_callback_health() returns jsonb
language sql stable security definer
set search_path = pg_catalog, public, pg_temp set enable_seqscan = off as $$
  select jsonb_build_object(
    'works', count(*) filter (where c.is_enabled and c.failing_since is null),
    'failing', count(*) filter (where c.is_enabled and c.failing_since is not null),
    'disabled', count(*) filter (where not c.is_enabled and c.disabled_reason is not null),
    'oldest_due_s', coalesce(extract(epoch from clock_timestamp() - min(n.recorded_at)), 0))
  from public.wpp_callbacks c
  left join lateral (
    select e.recorded_at from wpp.events e
    where c.is_enabled and e.organization_id = c.organization_id and e.id > c.position
    order by e.id limit 1) n on true
$$;
revoke execute on function public.wpp_callback_health() from public, anon, authenticated;
grant execute on function public.wpp_callback_health() to service_role;
