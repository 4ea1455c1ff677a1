"""Hot queries read what they answer, beside any number of messages.

Ten million messages are too many for a test. An organization owns all of 20,000 here, so that a
query that goes through an organization, a table or a history reads a hundred times what it may;
what each query reads does not depend on how many rows it leaves alone.
"""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.rows import dict_row

from bench.recording_load.history import FILL
from sandbox.supabase.project import Supabase
from tests.migrations.conftest import Db, Tenant

MESSAGES, PEOPLE, PAGE = 20_000, 2_000, 50
MOST_READ = 1_200
READ = """
select coalesce(sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)), 0)::integer as tuples
from pg_stat_xact_user_tables where schemaname in ('public', 'wpp')
"""
PHONE = "79990000007"
MESSAGE = "(select md5('message7')::uuid)"
HOT = {
    "the organization's messages": f"wpp_list_messages($1, '{{}}', null, false, {PAGE})",
    "messages since a time": (
        "wpp_list_messages($1, jsonb_build_object('since', now() - interval '90 days'), null, "
        f"true, {PAGE})"
    ),
    "messages without a time": (
        f'wpp_list_messages($1, \'{{"until": "1990-01-01"}}\', null, false, {PAGE})'
    ),
    "a conversation's messages": (
        f'wpp_list_messages($1, \'{{"chat": "{PHONE}", "phone": "{PHONE}"}}\', null, false, {PAGE})'
    ),
    "conversations": f"wpp_list_conversations($1, null, {PAGE})",
    "events from the start": f"wpp_read_events($1, 0, {PAGE})",
    "the newest events": (
        "wpp_read_events($1, (select max(id) - 50 from wpp.events where organization_id = $1), 50)"
    ),
    "events for callbacks": f"wpp_callback_events(10, {PAGE}, '{{}}', '{{}}')",
    "marking a conversation as read": f"wpp_mark_read($1, '{PHONE}')",
    "what may settle messages in doubt": "wpp_evidence(now() - interval '3 days')",
    "the history of a message": (f"count(*) from wpp_message_history where message_id = {MESSAGE}"),
    "the ids of a message": f"count(*) from wpp_message_ids where message_id = {MESSAGE}",
    "what was not understood": "wpp_unrecognized_webhooks(10)",
    "retention of the log": f"wpp_prune(now() - interval '364 days', {PAGE})",
    "retention of events": f"wpp_prune_events(now() - interval '364 days', {PAGE})",
}


@pytest.fixture
def full(db: Db, tenant: Tenant, supabase_world: Supabase) -> Iterator[Db]:
    """Return a connection to a database with a year's messages of one organization."""
    url = psycopg.conninfo.make_conninfo(
        supabase_world.postgres.admin_url, dbname=db.info.dbname, options="-c search_path=public"
    )
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        query = FILL.format(
            organization=tenant.id,
            integration=tenant.integration,
            account=tenant.account,
            people=PEOPLE,
            first=0,
            messages=MESSAGES,
        )
        connection.execute(query.encode())
        connection.execute("set session_replication_role = origin")
        connection.execute("analyze")
        yield connection


def test_hot_queries_read_no_more_than_they_answer(full: Db, tenant: Tenant) -> None:
    read = {}
    for name, call in HOT.items():
        full.execute("select pg_stat_force_next_flush()")  # what was read before is not counted
        with full.transaction(force_rollback=True):
            full.execute(f"select {call}".replace("$1", f"'{tenant.id}'::uuid").encode())
            (row,) = full.execute(READ.encode()).fetchall()
            read[name] = row["tuples"]
    assert {name: tuples for name, tuples in read.items() if tuples > MOST_READ} == {}
    assert read["the organization's messages"] >= PAGE
