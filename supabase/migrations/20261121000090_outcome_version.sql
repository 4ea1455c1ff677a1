-- The newest version of outcomes (shared/outcomes.py) that wpp_apply knows. A recorder that carries newer
-- ones leaves them in the outbox until a migration has raised it.
create or replace function public.wpp_outcome_version() returns integer
language sql immutable set search_path = '' as $$ select 1 $$;

revoke execute on function public.wpp_outcome_version() from public, anon, authenticated;
grant execute on function public.wpp_outcome_version() to service_role;
