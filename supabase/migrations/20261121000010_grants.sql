-- Every wpp_* function is the service role's alone; hosted Supabase would let anybody call them over /rpc.
do $$
declare
  mine regprocedure;
begin
  for mine in
    select p.oid from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname ~ '^wpp_'
      and p.proname not in ('wpp_my_organization', 'wpp_digits')
  loop
    execute format('revoke execute on function %s from public, anon, authenticated', mine);
    execute format('grant execute on function %s to service_role', mine);
  end loop;
end
$$;
