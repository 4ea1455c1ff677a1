-- Maintenance, in bounded steps: each call handles at most `max_rows` rows.

-- Apply outcomes that waited for their account, the oldest first: those of a given account, or of
-- all accounts that are known by now.
create or replace function public.wpp_apply_parked(
  max_rows integer, named_account text default null
) returns integer
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  ids uuid[];
  outcomes jsonb;
begin
  select coalesce(array_agg(p.id order by p.parked_at, p.id), '{}'),
         coalesce(jsonb_agg(p.outcome order by p.parked_at, p.id), '[]')
  into ids, outcomes
  from (
    select * from wpp.parked_outcomes p
    where p.awaits = 'account' and (named_account is null or p.account = named_account)
      and exists (select from public.wpp_accounts a where a.account = p.account)
    order by p.parked_at, p.id limit max_rows for update skip locked) p;
  perform public.wpp_apply(outcomes);
  delete from wpp.parked_outcomes p where p.id = any (ids);
  return cardinality(ids);
end
$$;

-- Turn outcomes that were parked or set aside before a time into dead letters, the oldest first.
create or replace function public.wpp_expire_parked(parked_before timestamptz, max_rows integer)
returns integer
language plpgsql security definer set search_path = '' as $$
declare
  expired integer;
  set_aside integer;
  letters jsonb;
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
  with old as (
    delete from wpp.set_aside_outcomes p where p.n in (
      select o.n from wpp.set_aside_outcomes o where o.since < parked_before
      order by o.since limit max_rows - expired for update skip locked)
    returning *
  )
  select count(*), coalesce(jsonb_agg(jsonb_build_object(
    'outcome', o.outcome, 'why', coalesce(s.code || ': ' || s.why, 'set aside'))), '[]')
  into set_aside, letters
  from old o left join wpp.set_aside s on s.owner = o.owner;
  perform wpp.insert_refused(letters);
  return expired + set_aside;
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

-- Set the outcomes of a batch aside without trying them, because of an error that no function can
-- catch: they take longer than a statement may. Returns the set-asides as `wpp_apply` does.
create or replace function public.wpp_put_aside(batch jsonb, code text, why text) returns jsonb
language sql security definer set search_path = '' as $$
  select jsonb_agg(wpp.put_aside(g.owned, code, why))
  from (
    select array_agg(o order by o.n) as owned from unnest(wpp.find_owners(batch)) as o
    group by o.owner) g
$$;

-- Choose an owner whose outcomes are to be tried again, if one is due: "claimed": {"owner",
-- "rows"}, at most `max_rows`, fewer after each failure. Its next try is put off before this try
-- begins, up to half a minute, and its rows go to the back, so that no recorder takes them as well
-- and a try that ends the process or the statement is not repeated at once.
-- Also returns "due_in_s", when the next try is due, and "set_aside": a list of all that are set
-- aside: {"owner", "code", "why", "since", "retry_at", "waiting"}.
create or replace function public.wpp_claim_set_aside(max_rows integer) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  claimed wpp.set_aside;
  chosen bigint[];
begin
  delete from wpp.set_aside s where s.owner in (
    select c.owner from wpp.set_aside c
    where not exists (select from wpp.set_aside_outcomes o where o.owner = c.owner)
    for update skip locked);
  update wpp.set_aside s
  set attempts = s.attempts + 1,
      retry_at = clock_timestamp()
        + least(interval '30 seconds', interval '1 second' * 2 ^ least(s.attempts, 10))
  where s.owner = (
    select c.owner from wpp.set_aside c where c.retry_at <= clock_timestamp()
    order by c.retry_at limit 1 for no key update skip locked)
  returning * into claimed;
  if claimed.owner is not null then
    with moved as (
      update wpp.set_aside_outcomes o set n = nextval('wpp.set_aside_order')
      where o.n in (
        select f.n from wpp.set_aside_outcomes f where f.owner = claimed.owner
        order by f.n limit greatest(1, max_rows >> least(claimed.attempts - 1, 10))
        for update skip locked)
      returning o.n
    )
    select array_agg(m.n order by m.n) into chosen from moved m;
  end if;
  return jsonb_build_object(
    'claimed', case when chosen is not null
                    then jsonb_build_object('owner', claimed.owner, 'rows', chosen) end,
    'due_in_s', (
      select greatest(0, extract(epoch from min(s.retry_at) - clock_timestamp()))
      from wpp.set_aside s having count(*) > 0),
    'set_aside', (
      select coalesce(jsonb_agg(to_jsonb(s) || jsonb_build_object('waiting', (
        select count(*) from wpp.set_aside_outcomes o where o.owner = s.owner
      )) order by s.since), '[]')
      from wpp.set_aside s));
end
$$;

-- Try claimed outcomes again. Returns {"changed", "refused": [reason, …], "applied": number of
-- outcomes that are stored now, "left": number of those that wait on}.
create or replace function public.wpp_apply_set_aside(owner text, rows bigint[]) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp set lock_timeout = '200ms'
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  taken bigint[];
  owned wpp.owned_outcome[];
  answer jsonb;
begin
  select coalesce(array_agg(o.n order by o.n), '{}'),
         coalesce(array_agg(row(o.i, o.owner, o.outcome)::wpp.owned_outcome order by o.n), '{}')
  into taken, owned
  from (
    select s.n, row_number() over (order by s.n) as i, s.owner, s.outcome
    from (
      select * from wpp.set_aside_outcomes s
      where s.n = any (rows) and s.owner = wpp_apply_set_aside.owner for update skip locked
    ) s
  ) o;
  if cardinality(owned) = 0 then
    return '{"changed": [], "refused": [], "applied": 0, "left": 0}';
  end if;
  answer := wpp.apply_for_owner(owned, clock_timestamp() + interval '1 second');
  delete from wpp.set_aside_outcomes s
  where s.n = any (taken) and not answer -> 'left' @> to_jsonb(array_position(taken, s.n));
  update wpp.set_aside_outcomes s set failed = true where s.n = any (taken) and not s.failed;
  perform wpp.insert_refused(answer -> 'refused');
  if jsonb_array_length(answer -> 'left') < cardinality(owned) then -- some went through
    update wpp.set_aside s set attempts = 0,
      retry_at = case when answer -> 'left' = '[]' then clock_timestamp()
                      else clock_timestamp() + interval '1 second' end
    where s.owner = wpp_apply_set_aside.owner;
  else
    update wpp.set_aside s
    set code = answer ->> 'code', why = answer ->> 'why',
        since = case when s.why = answer ->> 'why' then s.since else clock_timestamp() end
    where s.owner = wpp_apply_set_aside.owner;
  end if;
  return jsonb_build_object(
    'changed', answer -> 'changed',
    'refused', (select coalesce(jsonb_agg(r -> 'why'), '[]')
                from jsonb_array_elements(answer -> 'refused') as r),
    'applied', cardinality(owned) - jsonb_array_length(answer -> 'left')
      - jsonb_array_length(answer -> 'refused'),
    'left', jsonb_array_length(answer -> 'left'));
end
$$;
