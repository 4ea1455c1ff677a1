"""A Supabase of one's own: real Postgres, real PostgREST, and a gateway that gives both the address of a project."""
