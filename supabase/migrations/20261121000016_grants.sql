-- Only the service role calls the pipeline's functions. Hosted Supabase would let anon and
-- authenticated call those in `public` over /rpc. The two exceptions: row policies call
-- `my_organization`, and indexes on the CRM's tables read phones, both as the user who writes.
do $$
declare
  own_function regprocedure;
begin
  for own_function in
    select p.oid from pg_proc p
    where (p.pronamespace = 'wpp'::regnamespace
           and p.proname not in ('my_organization', 'digits', 'stored_numbers', 'split_numbers',
                                 'mark_country_code'))
       or (p.pronamespace = 'public'::regnamespace and p.proname ~ '^wpp_')
  loop
    execute format('revoke execute on function %s from public, anon, authenticated', own_function);
    execute format('grant execute on function %s to service_role', own_function);
  end loop;
end
$$;
