"""A local Supabase: real Postgres and PostgREST behind a gateway with the address of a project."""
