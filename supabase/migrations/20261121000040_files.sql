-- Files that were uploaded for messages. The file itself is in the bucket `chat-media`, at `path`.
create table if not exists public.wpp_files (
  id uuid primary key,
  organization_id uuid not null references public.organizations (id) on delete cascade,
  path text not null,
  name text not null,
  mime text not null,
  size bigint not null check (size > 0),
  sha256 text not null,
  created_at timestamptz not null default now(),
  used_at timestamptz
);
comment on column public.wpp_files.used_at is
  'When a message first used it. Files that no message uses are deleted after WPP_FILE_DAYS.';
create index if not exists wpp_files_unused on public.wpp_files (created_at)
  where used_at is null;
create index if not exists wpp_files_of_organization on public.wpp_files (organization_id);

alter table public.wpp_files enable row level security;
revoke all on public.wpp_files from public, anon, authenticated;
grant all on public.wpp_files to service_role;

-- A file of an organization, which a message uses from now on. No row: the organization has none
-- with this id.
create or replace function public.wpp_use_file(file_id uuid, organization uuid)
returns setof public.wpp_files language plpgsql set search_path = '' as $$
begin
  update public.wpp_files f set used_at = now()
  where f.id = file_id and f.organization_id = organization and f.used_at is null;
  return query select * from public.wpp_files f
  where f.id = file_id and f.organization_id = organization;
end
$$;

-- Forget some files that no message has used, from before a time. Returns their paths.
create or replace function public.wpp_prune_files(before timestamptz, max_files integer)
returns setof text language sql set search_path = '' as $$
  delete from public.wpp_files f
  where f.id in (
      select u.id from public.wpp_files u
      where u.used_at is null and u.created_at < before
      order by u.created_at limit max_files for update skip locked)
  returning f.path;
$$;
do $$
declare
  own_function regprocedure;
begin
  foreach own_function in array array[
    'public.wpp_use_file(uuid, uuid)', 'public.wpp_prune_files(timestamptz, integer)'
  ]::regprocedure[]
  loop
    execute format('revoke execute on function %s from public, anon, authenticated', own_function);
    execute format('grant execute on function %s to service_role', own_function);
  end loop;
end
$$;
