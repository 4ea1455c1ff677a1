-- What an organization wants done where the pipeline cannot know. No row: the defaults.
create table if not exists public.wpp_policies (
  organization_id uuid primary key references public.organizations (id) on delete cascade,
  unknown text not null default 'hold' check (unknown in ('hold', 'resend'))
);
comment on column public.wpp_policies.unknown is
  'A message of which nobody knows whether it went out: hold shows it, resend sends it again and may double it.';

alter table public.wpp_policies enable row level security;
drop policy if exists wpp_policies_own on public.wpp_policies;
create policy wpp_policies_own on public.wpp_policies for select to authenticated
  using (organization_id = public.wpp_my_organization());
revoke insert, update, delete, truncate on public.wpp_policies from anon, authenticated;
