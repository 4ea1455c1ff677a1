"""Lists of operators: each reads few rows of many; what is dropped keeps a trace."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from tests.migrations.conftest import Tenant, at

MANY = 20_000
READ = """
select coalesce(sum(seq_tup_read), 0) + coalesce(sum(idx_tup_fetch), 0) as tuples
from pg_stat_xact_user_tables where relname in ('wpp_dead_letters', 'wpp_webhook_log')
"""
FORGET_READS = "select pg_stat_force_next_flush()"
RARE = UUID(int=77)


@pytest.fixture
def crowded(tenant: Tenant) -> Tenant:
    """Return an organization with 20,000 dead letters and webhooks, half of the letters open."""
    tenant.db.execute(
        "insert into wpp_dead_letters (id, organization_id, account, kind, lane, reason, detail, "
        "attempts, accepted_at, at, event, replayed_at) "
        "select gen_random_uuid(), %s, 'A', 'send', 'l', 'refused', 'why', 1, t, t, "
        "jsonb_build_object('to', '7999' || lpad(n::text, 7, '0'), 'integration_id', %s::uuid), "
        "case when n %% 2 = 0 then t end "
        "from (select n, timestamptz '2026-01-01' + n * interval '1 s' as t "
        "from generate_series(1, %s) as n) as s",
        (tenant.id, tenant.integration, MANY),
    )
    tenant.db.execute(
        "insert into wpp_dead_letters (id, organization_id, account, kind, lane, reason, detail, "
        "attempts, accepted_at, at, event) values (%s, %s, 'B', 'webhook', 'l', 'invalid', 'why', "
        "1, '2025-12-01', '2025-12-01', %s)",
        (uuid4(), RARE, Jsonb({"to": "1234567", "integration_id": str(RARE)})),
    )
    tenant.db.execute(
        "insert into wpp_webhook_log (id, organization_id, account, event_type, payload, became, "
        "at) select gen_random_uuid(), %s, 'A', 'message', '{}', 'message', "
        "timestamptz '2026-01-01' + n * interval '1 s' from generate_series(1, %s) as n",
        (tenant.id, MANY),
    )
    tenant.db.execute(
        "insert into wpp_webhook_log (id, organization_id, account, event_type, payload, became, "
        "at) values (%s, %s, 'B', 'poll', '{}', 'dead', '2025-12-01')",
        (uuid4(), RARE),
    )
    tenant.db.execute("analyze wpp_dead_letters, wpp_webhook_log")
    return tenant


LETTERS = {
    "newest": ("true", "at desc, id"),
    "oldest": ("true", "accepted_at, id"),
    "later page": (
        f"at <= '2026-01-01 03:00' and (at < '2026-01-01 03:00' or id > '{RARE}')",
        "at desc, id",
    ),
    "kind": ("kind = 'webhook'", "at desc, id"),
    "reason": ("reason = 'invalid'", "at desc, id"),
    "account": ("account = 'B'", "at desc, id"),
    "organization": (f"organization_id = '{RARE}'", "at desc, id"),
    "number": (f"event ->> 'integration_id' = '{RARE}'", "at desc, id"),
}
LOG = {
    "newest": "true",
    "type": "event_type = 'poll'",
    "result": "became = 'dead'",
    "organization": f"organization_id = '{RARE}'",
    "account": "account = 'B'",
}


def test_lists_read_few_rows_of_many(crowded: Tenant) -> None:
    """Open letters and webhooks, as the lists of `Database` ask for them."""
    for name, (condition, order) in LETTERS.items():
        query = f"select id from wpp_dead_letters where replayed_at is null and {condition}"  # noqa: S608 - constant words
        assert count_reads(crowded, f"{query} order by {order} limit 50") < 500, name
    for name, condition in LOG.items():
        query = f"select id from wpp_webhook_log where {condition}"  # noqa: S608 - constant words
        assert count_reads(crowded, f"{query} order by at desc, id limit 50") < 500, name


def count_reads(tenant: Tenant, query: str) -> int:
    """Return how many rows a query reads that finds some."""
    tenant.rows(FORGET_READS)
    with tenant.db.transaction():
        assert tenant.rows(query)
        (read,) = tenant.rows(READ)
    return int(read["tuples"])


def test_a_search_reads_few_rows_of_many(crowded: Tenant) -> None:
    crowded.rows(FORGET_READS)
    with crowded.db.transaction():
        found = search(crowded, "79990000007", None, "79990000007")
        assert [hit["kind"] for hit in found] == ["dead_letter"]
        (read,) = crowded.rows(READ)
        assert read["tuples"] < 500


def search(
    tenant: Tenant, words: str, named: UUID | None, phone: str | None
) -> list[dict[str, Any]]:
    (row,) = tenant.rows("select wpp_search(%s, %s, %s, 50) as hits", words, named, phone)
    return list(row["hits"])


def test_a_search_finds_what_several_organizations_have(tenant: Tenant, other: Tenant) -> None:
    for each in (tenant, other):
        each.apply(each.arrived(0, wa_message_id="3EB0AA11BB22"))
    hits = search(tenant, "3EB0AA11BB22", None, None)
    assert {hit["organization_id"] for hit in hits} == {str(tenant.id), str(other.id)}
    chats = search(tenant, "x", None, hits[0]["title"])
    assert [hit["kind"] for hit in chats] == ["conversation", "conversation"]


def test_a_letter_is_dropped_once(tenant: Tenant) -> None:
    letter = uuid4()
    tenant.db.execute(
        "insert into wpp_dead_letters (id, kind, lane, reason, detail, attempts, accepted_at, at, "
        "event) values (%s, 'send', 'l', 'refused', 'why', 1, %s, %s, '{}')",
        (letter, at(0), at(0)),
    )
    dropped = "select wpp_drop_dead_letters(array[%s]::uuid[], 'Anna', 'called') as id"
    assert [row["id"] for row in tenant.rows(dropped, letter)] == [letter]
    assert tenant.rows(dropped, letter) == []
    (row,) = tenant.rows("select * from wpp_dead_letters")
    assert (row["closed_by"], row["dropped_why"]) == ("Anna", "called")
    assert row["replayed_at"]
