-- Operator keys: with one of them a person signs in to the console, which shows all organizations.
-- They are apart from service keys: neither opens what the other does. Only the SHA-256 is stored.
create table if not exists public.wpp_operator_keys (
  id uuid primary key default gen_random_uuid(),
  name text not null check (length(name) between 1 and 100),
  hash text not null unique check (hash ~ '^[0-9a-f]{64}$'),
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  revoked_at timestamptz
);

alter table public.wpp_operator_keys enable row level security;
revoke all on public.wpp_operator_keys from public, anon, authenticated;
grant all on public.wpp_operator_keys to service_role;

-- The key with this hash, unless it was revoked. Notes its use, at most once a minute.
create or replace function public.wpp_use_operator_key(key_hash text)
returns table (id uuid, name text)
language plpgsql set search_path = '' as $$
begin
  update public.wpp_operator_keys k set last_used_at = now()
  where k.hash = key_hash and k.revoked_at is null
    and (k.last_used_at is null or k.last_used_at < now() - interval '1 minute');
  return query
  select k.id, k.name from public.wpp_operator_keys k
  where k.hash = key_hash and k.revoked_at is null;
end
$$;
revoke execute on function public.wpp_use_operator_key(text) from public, anon, authenticated;
grant execute on function public.wpp_use_operator_key(text) to service_role;
