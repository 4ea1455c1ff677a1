-- Service keys: with one of them a service calls the API for the organizations of the key. The key
-- itself is not stored, only its SHA-256: it has 256 random bits, so it cannot be guessed from that.
create table if not exists public.wpp_service_keys (
  id uuid primary key default gen_random_uuid(),
  name text not null check (length(name) between 1 and 100),
  hash text not null unique check (hash ~ '^[0-9a-f]{64}$'),
  organization_ids uuid[] not null check (cardinality(organization_ids) between 1 and 1000),
  actions text[] not null check (cardinality(actions) > 0),
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  revoked_at timestamptz
);
comment on column public.wpp_service_keys.actions is
  '*, or some of: messages:read, messages:write, integrations:read, integrations:write';

alter table public.wpp_service_keys enable row level security;
revoke all on public.wpp_service_keys from public, anon, authenticated;
grant all on public.wpp_service_keys to service_role;

-- The key with this hash, unless it was revoked, with those of its organizations that exist. Notes
-- its use, at most once a minute.
create or replace function public.wpp_use_service_key(key_hash text)
returns table (id uuid, name text, organization_ids uuid[], actions text[])
language plpgsql set search_path = '' as $$
begin
  update public.wpp_service_keys k set last_used_at = now()
  where k.hash = key_hash and k.revoked_at is null
    and (k.last_used_at is null or k.last_used_at < now() - interval '1 minute');
  return query
  select k.id, k.name,
         array(select o.id from public.organizations o where o.id = any (k.organization_ids)
               order by o.id),
         k.actions
  from public.wpp_service_keys k where k.hash = key_hash and k.revoked_at is null;
end
$$;
revoke execute on function public.wpp_use_service_key(text) from public, anon, authenticated;
grant execute on function public.wpp_use_service_key(text) to service_role;
