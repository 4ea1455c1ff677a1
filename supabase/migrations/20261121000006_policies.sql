-- Policies of organizations for cases that the pipeline cannot decide. No row: the defaults.
create table if not exists public.wpp_policies (
  organization_id uuid primary key references public.organizations (id) on delete cascade,
  unknown text not null default 'hold' check (unknown in ('hold', 'resend'))
);
alter table public.wpp_policies
  add column if not exists region text not null default 'RU'
  constraint wpp_policies_region references wpp.dialing_rules (region);
comment on column public.wpp_policies.unknown is
  'For messages of unknown effect: hold keeps them as they are, resend may deliver them twice.';
comment on column public.wpp_policies.region is
  'The country (ISO 3166) whose phone numbers are written without a country code. Default: RU.';

alter table public.wpp_policies enable row level security;
drop policy if exists wpp_policies_own on public.wpp_policies;
create policy wpp_policies_own on public.wpp_policies for select to authenticated
  using (organization_id = (select wpp.my_organization()));
revoke insert, update, delete, truncate on public.wpp_policies from anon, authenticated;
