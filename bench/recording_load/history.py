"""Messages that a database holds already, made by SQL, and what each costs on disk."""

from bench.recording_load.life_cycles import Number
from bench.recording_load.writers import OutcomeStore

TABLES = (
    "public.chat_messages",
    "public.wpp_message_history",
    "public.wpp_message_ids",
    "wpp.events",
    "public.wpp_webhook_log",
    "public.clients",
    "wpp.conversations",
)

FILL = """
set session_replication_role = replica;
set synchronous_commit = off;
insert into clients (id, organization_id, name, phone, created_at, last_message_at)
select md5('client' || p.n)::uuid, '{organization}', 'Client ' || p.n, p.phone,
       now() - interval '400 days', now() - interval '1 day'
from (select n, '7999' || lpad(({first} + n)::text, 7, '0') as phone
      from generate_series(0, {people} - 1) as n) p;
create temp table filled as
select n, md5('message' || n)::uuid as id, md5('client' || p.person)::uuid as client_id,
       '7999' || lpad(({first} + p.person)::text, 7, '0') as phone, n % 2 = 0 as outgoing,
       now() - interval '1 day' - interval '365 days' * (1 - n::float8 / {messages}) as at,
       'task-' || md5('task' || n) as task, '3EB0' || upper(left(md5('wa' || n), 20)) as wa
from generate_series(1, {messages}) as n, lateral (select n::bigint * 7919 % {people} as person) p;
insert into chat_messages (
  id, organization_id, client_id, integration_id, message_text, message_type, messenger_type,
  is_outgoing, is_read, message_status, external_message_id, metadata, created_at, wpp_chat)
select f.id, '{organization}', f.client_id, '{integration}',
       'Hello, this is your appointment tomorrow at 10:30.',
       case when f.outgoing then 'manager' else 'client' end, 'whatsapp', f.outgoing, true,
       (case when f.outgoing then 'read' else 'delivered' end)::message_status,
       case when f.outgoing then f.task else f.wa end,
       jsonb_strip_nulls(jsonb_build_object(
         'phone', f.phone, 'integration_id', '{integration}',
         'taskId', case when f.outgoing then f.task end, 'waMessageId', f.wa)), f.at, f.phone
from filled f order by f.n;
insert into wpp_message_ids (organization_id, account, external_id, message_id)
select '{organization}', '{account}', i.id, f.id
from filled f, lateral (values (f.wa), (case when f.outgoing then f.task end)) as i (id)
where i.id is not null order by f.n;
insert into wpp_message_history
  (message_id, organization_id, event, status, source, at, arrived_at)
select f.id, '{organization}', s.event, s.status::message_status, s.source, f.at + s.after,
       f.at + s.after
from filled f, lateral (values
  ('sent', 'sent', 'own', interval '0', true), ('sent', 'sent', 'platform', interval '1 s', true),
  ('delivered', 'delivered', 'platform', interval '2 s', true),
  ('read', 'read', 'platform', interval '9 s', true),
  ('received', 'delivered', 'platform', interval '0', false)
) as s (event, status, source, after, outgoing)
where s.outgoing = f.outgoing order by f.n;
insert into wpp.events (organization_id, type, message_id, at, recorded_at)
select h.organization_id, 'message.' || h.event, h.message_id, h.at, h.at
from wpp_message_history h where h.organization_id = '{organization}' order by h.id
on conflict do nothing;
insert into wpp_webhook_log
  (id, organization_id, account, event_type, payload, became, at, recorded_at)
select md5('log' || f.n || r.n)::uuid, '{organization}', '{account}', 'message_ack',
       jsonb_build_object('account', '{account}', 'session', 'main', 'type', 'ack',
                          'ack', 'delivered', 'taskId', f.task,
                          'messageId', 'true_' || f.phone || '@c.us_' || f.wa),
       'status', f.at, f.at
from filled f, generate_series(1, case when f.outgoing then 3 else 1 end) as r (n) order by f.n;
insert into wpp.conversations (organization_id, chat, at)
select '{organization}', f.phone, max(f.at) from filled f group by 2;
"""


def fill(store: OutcomeStore, number: Number, messages: int) -> None:
    """Add messages of a year, half of them sent, each with its history, ids, events and log."""
    store.sql(
        FILL.format(
            organization=number.organization,
            integration=number.integration,
            account=number.account,
            people=number.people,
            first=number.first_person,
            messages=messages,
        )
    )
    with_statistics(store)


def with_statistics(store: OutcomeStore) -> None:
    """Vacuum and analyze, as autovacuum does in time."""
    for table in TABLES:
        store.vacuum(table)


def sizes(store: OutcomeStore) -> dict[str, tuple[int, int]]:
    """Return the bytes of each table: its rows, and its indexes."""
    found = {}
    for table in TABLES:
        ((rows, indexes),) = store.sql(
            "select pg_table_size(%s::regclass), pg_indexes_size(%s::regclass)", table, table
        )
        found[table] = (rows, indexes)
    return found
