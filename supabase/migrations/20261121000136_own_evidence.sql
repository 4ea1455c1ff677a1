-- What may settle messages of unknown delivery comes from rows of the account's own organization:
-- users may write any ids into rows. And a time that no message can have, such as `infinity`, made
-- the answer unreadable, for all organizations. (`::text`: no walk through an organization.)
create or replace function public.wpp_evidence(since timestamptz, named_account text default null)
returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off as $$
  with account as materialized (
    select k.account, k.integration_id, k.organization_id
    from (
      select distinct p.account from wpp.parked_outcomes p
      where p.awaits = 'message' and p.parked_at >= since
        and (named_account is null or p.account = named_account)
    ) p
    join public.wpp_accounts k on k.account = p.account
    where exists (
        select from public.chat_messages m
        where m.integration_id = k.integration_id and m.is_outgoing
          and m.organization_id::text = k.organization_id::text
          and m.external_message_id is null
          and m.created_at between since and now() + interval '1 day'
          and m.message_status = 'unknown')
      and not exists (
        select from wpp.set_aside_outcomes s
        where s.owner in (k.organization_id::text, k.account))
  ), unnamed as materialized (
    select a.account, m.id, m.client_id, m.teacher_id, m.message_status, m.metadata, m.created_at,
           true as lacks_task_id
    from account a
    join public.chat_messages m on m.integration_id = a.integration_id and m.is_outgoing
      and m.organization_id::text = a.organization_id::text
      and m.external_message_id is null
      and m.created_at between since and now() + interval '1 day'
  ), message as (
    select * from unnamed
    union all
    select a.account, m.id, m.client_id, m.teacher_id, m.message_status, m.metadata, m.created_at,
           false
    from account a
    cross join lateral (
      select distinct u.client_id, u.teacher_id from unnamed u
      where u.account = a.account and u.message_status = 'unknown') u
    join public.chat_messages m
      on (m.client_id = u.client_id or m.teacher_id = u.teacher_id)
      and m.integration_id = a.integration_id and m.is_outgoing
      and m.organization_id::text = a.organization_id::text
      and m.external_message_id is not null
      and m.created_at between since and now() + interval '1 day'
  )
  select jsonb_build_object(
    'messages', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'account', m.account, 'id', m.id, 'phone', m.metadata ->> 'phone',
        'status', m.message_status, 'created_at', m.created_at,
        'lacks_task_id', m.lacks_task_id,
        'lacks_wa_message_id', not m.metadata ? 'waMessageId')), '[]')
      from message m
      where m.metadata ->> 'phone' is not null and not m.metadata ? 'echo'
        and m.message_status not in ('failed', 'deleted')
        and (m.lacks_task_id or not m.metadata ? 'waMessageId')),
    'reports', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'account', a.account, 'external_ids', p.outcome -> 'external_ids',
        'task_id', p.outcome ->> 'task_id', 'wa_message_id', p.outcome ->> 'wa_message_id',
        'status', p.outcome ->> 'status', 'at', p.outcome ->> 'at',
        'arrived_at', coalesce(p.outcome ->> 'arrived_at', p.parked_at::text))), '[]')
      from account a
      join wpp.parked_outcomes p on p.account = a.account
        and p.organization_id = a.organization_id
      where p.awaits = 'message' and p.parked_at >= since and p.outcome ->> 'type' = 'status'))
$$;
