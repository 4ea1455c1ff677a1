-- What `wpp doctor` cannot see through the API: which migrations are applied, tables without row
-- security, the tables whose changes Realtime publishes, and the database's clock.

create or replace function public.wpp_examine(tables text[]) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  applied text[];
begin
  if to_regclass('supabase_migrations.schema_migrations') is not null then
    begin
      execute 'select array_agg(version order by version) from supabase_migrations.schema_migrations'
        into applied;
    exception when insufficient_privilege or undefined_column then
      applied := null;
    end;
  end if;
  return jsonb_build_object(
    'at', clock_timestamp(),
    'migrations', applied,
    'unguarded', (
      select coalesce(jsonb_agg(n.nspname || '.' || c.relname order by c.relname), '[]')
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p') and not c.relrowsecurity
        and (n.nspname = 'wpp' or n.nspname = 'public'
             and (c.relname = any (tables) or c.relname like 'wpp\_%'))),
    'published', (
      select case when p.puballtables then to_jsonb(tables) else (
        select coalesce(jsonb_agg(t.tablename), '[]') from pg_publication_tables t
        where t.pubname = p.pubname and t.schemaname = 'public' and t.tablename = any (tables)) end
      from pg_publication p where p.pubname = 'supabase_realtime'));
end
$$;
revoke execute on function public.wpp_examine(text[]) from public, anon, authenticated;
grant execute on function public.wpp_examine(text[]) to service_role;
