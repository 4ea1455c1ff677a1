-- Maintenance, in bounded steps: each call handles at most `max_rows` rows and returns their
-- number.

-- Apply outcomes that waited for their account, the oldest first: those of a given account, or of
-- all accounts that are known by now.
create or replace function public.wpp_apply_parked(
  max_rows integer, named_account text default null
) returns integer
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  ids uuid[];
  outcomes jsonb;
  answer jsonb;
begin
  select coalesce(array_agg(p.id order by p.parked_at, p.id), '{}'),
         coalesce(jsonb_agg(p.outcome order by p.parked_at, p.id), '[]')
  into ids, outcomes
  from (
    select * from wpp.parked_outcomes p
    where p.awaits = 'account' and (named_account is null or p.account = named_account)
      and exists (select from public.wpp_accounts a where a.account = p.account)
    order by p.parked_at, p.id limit max_rows for update skip locked) p;
  answer := public.wpp_apply(outcomes, all_wrong => true);
  delete from wpp.parked_outcomes p
  where p.id in (select i.id from unnest(ids) with ordinality as i (id, n)
                 where not answer -> 'busy' @> to_jsonb(i.n - 1));
  return cardinality(ids) - jsonb_array_length(answer -> 'busy');
end
$$;

-- Turn outcomes that were parked before a time into dead letters, the oldest first.
create or replace function public.wpp_expire_parked(parked_before timestamptz, max_rows integer)
returns integer
language plpgsql security definer set search_path = '' as $$
declare
  expired integer;
begin
  with old as (
    delete from wpp.parked_outcomes p where p.id in (
      select o.id from wpp.parked_outcomes o where o.parked_at < parked_before
      order by o.parked_at limit max_rows for update skip locked)
    returning *
  )
  insert into public.wpp_dead_letters as d
    (id, organization_id, account, kind, lane, reason, detail, attempts, accepted_at, at, event)
  select o.id, o.organization_id, o.account, 'outcome', 'outbox',
         case o.awaits when 'message' then 'message_never_came' else 'account_unknown' end,
         case o.awaits
           when 'message' then 'no message with id ' || array_to_string(o.external_ids, ', ')
           else 'no integration has account ' || o.account end,
         1, o.parked_at, now(), o.outcome
  from old o
  on conflict (id) do update -- it was replayed and waited in vain again
  set attempts = d.attempts + 1, at = excluded.at, replayed_at = null;
  get diagnostics expired = row_count;
  return expired;
end
$$;

-- Delete what is older than a time, the oldest first: webhook log entries, replayed dead letters,
-- and changes of a session except its latest. At most `max_rows` of each.
create or replace function public.wpp_prune(older_than timestamptz, max_rows integer)
returns integer
language plpgsql security definer set search_path = '' as $$
declare
  log_entries integer;
  letters integer;
  changes integer;
begin
  delete from public.wpp_webhook_log l where l.id in (
    select o.id from public.wpp_webhook_log o where o.recorded_at < older_than
    order by o.recorded_at limit max_rows for update skip locked);
  get diagnostics log_entries = row_count;
  delete from public.wpp_dead_letters d where d.id in (
    select o.id from public.wpp_dead_letters o where o.replayed_at < older_than
    order by o.replayed_at limit max_rows for update skip locked);
  get diagnostics letters = row_count;
  delete from public.wpp_session_history h where h.id in (
    select o.id from public.wpp_session_history o
    where o.at < older_than and exists (
      select from public.wpp_session_history n where n.account = o.account and n.at > o.at)
    order by o.at limit max_rows for update skip locked);
  get diagnostics changes = row_count;
  return log_entries + letters + changes;
end
$$;
