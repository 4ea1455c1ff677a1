-- What an organization wants done where the pipeline cannot know. No row: the defaults.
create table if not exists public.wpp_policies (
  organization_id uuid primary key references public.organizations (id) on delete cascade,
  unknown text not null default 'hold' check (unknown in ('hold', 'resend'))
);
alter table public.wpp_policies
  add column if not exists region text not null default 'RU'
  constraint wpp_policies_region check (public.wpp_home(region) is not null);
comment on column public.wpp_policies.unknown is
  'A message of which nobody knows whether it went out: hold shows it, resend sends it again and may double it.';
comment on column public.wpp_policies.region is
  'The country (ISO 3166) whose numbers people write without its code. No row: RU.';

create or replace function public.wpp_region(organization uuid) returns text
language sql stable security definer set search_path = '' as $$
  select coalesce((select p.region from public.wpp_policies p where p.organization_id = organization), 'RU')
$$;
revoke execute on function public.wpp_region(uuid) from public, anon, authenticated;
grant execute on function public.wpp_region(uuid) to service_role;

alter table public.wpp_policies enable row level security;
drop policy if exists wpp_policies_own on public.wpp_policies;
create policy wpp_policies_own on public.wpp_policies for select to authenticated
  using (organization_id = public.wpp_my_organization());
revoke insert, update, delete, truncate on public.wpp_policies from anon, authenticated;
