-- A batch of several organizations may begin to write history early, for one of them: when an echo
-- becomes part of another message. Two such batches could wait for each other's organization. So
-- whoever writes history first waits for all organizations of its batch, in one order.

create or replace function wpp.lock_batch(typed wpp.typed_batch) returns void
language plpgsql set search_path = '' as $$
declare
  most_keys constant integer := 400; -- a lock takes a place in memory that all transactions share
  renumbered text[] := array(select distinct c.country_code from wpp.numbering_changes c);
  keys bigint[];
begin
  perform set_config('wpp.organizations', typed.organizations::text, true);
  if current_setting('wpp.is_alone', true) is distinct from 'yes'
     and cardinality(typed.sessions) = 0
     and not exists (select from unnest(typed.messages) as m
                     where m.lid is not null or m.phone = '' or (m.arrived and m.outgoing)) then
    keys := array(
      select distinct hashtextextended('wpp:' || k.organization_id || ' ' || k.name, 0)
      from (
        select m.organization_id, e.name
        from unnest(typed.messages) as m,
        lateral (values
          (case when array[left(m.phone, 2), left(m.phone, 3)] && renumbered
                then wpp.chat_of(m.phone, null) else m.phone end),
          (m.task_id), (m.key)) as e (name)
        union all
        select u.organization_id, i.id from unnest(typed.updates) as u, unnest(u.ids) as i (id)
        where strpos(i.id, '@') = 0 or not split_part(i.id, '_', 3) = any (u.ids)
      ) k
      where k.name is not null order by 1);
  end if;
  if keys is null or cardinality(keys) > most_keys then
    perform wpp.lock_organization(o.id) from unnest(typed.organizations) as o (id);
    return;
  end if;
  perform pg_advisory_xact_lock_shared(hashtextextended('wpp:' || o.id, 0))
  from unnest(typed.organizations) as o (id);
  perform pg_advisory_xact_lock(k.key) from unnest(keys) as k (key);
end
$$;

-- Let one transaction at a time write the history of these organizations, and of all others of its
-- batch (`lock_batch` names them), until it commits.
create or replace function wpp.lock_history(organizations uuid[]) returns void
language plpgsql set search_path = '' as $$
declare
  lock_timeout text := current_setting('lock_timeout');
  batch uuid[] := nullif(current_setting('wpp.organizations', true), '');
begin
  perform set_config('lock_timeout', '2s', true);
  perform pg_advisory_xact_lock(hashtextextended('wpp:history:' || o.id, 0))
  from (select distinct id from unnest(organizations || batch) as id order by 1) o;
  perform set_config('lock_timeout', lock_timeout, true);
end
$$;
