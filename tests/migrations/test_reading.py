"""Pages of messages and of conversations: complete, scoped, and read by an index."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from tests.migrations.conftest import PHONE, Tenant, at

OTHER_PHONE = "79990003344"
MANY = 100_000
LISTED = "select wpp_list_messages(%s, %s, %s, %s, %s) as page"
CONVERSATIONS = "select wpp_list_conversations(%s, %s, %s) as page"
READ_ROWS = """
select coalesce(sum(seq_tup_read), 0) + coalesce(sum(idx_tup_fetch), 0) as tuples
from pg_stat_xact_user_tables where relname in ('chat_messages', 'conversations')
"""
FORGET_READS = "select pg_stat_force_next_flush()"
"""What was read before is counted elsewhere from now on."""


def list_messages(
    tenant: Tenant, after: Any = None, *, ascending: bool = False, limit: int = 50, **filters: Any
) -> list[dict[str, Any]]:
    given = json.loads(json.dumps(filters, default=str))
    cursor = Jsonb(after) if after else None
    (row,) = tenant.rows(LISTED, tenant.id, Jsonb(given), cursor, ascending, limit)
    return list(row["page"])


def list_conversations(tenant: Tenant, after: Any = None, limit: int = 50) -> list[dict[str, Any]]:
    (row,) = tenant.rows(CONVERSATIONS, tenant.id, Jsonb(after) if after else None, limit)
    return [each for each in row["page"] if "last_message" in each]


def texts(page: list[dict[str, Any]]) -> list[str]:
    return [message["text"] for message in page]


def place(message: dict[str, Any]) -> list[str]:
    return [message["created_at"], message["id"]]


def test_a_message_has_what_a_reader_needs(tenant: Tenant) -> None:
    tenant.apply(tenant.arrived(wa_message_id="W1", text="Question"))
    sent = tenant.sent("queued", 1, text="Answer", metadata={"reply_to": "W1"})
    tenant.apply(
        sent,
        sent.model_copy(update={"status": "sent", "task_id": "T1", "at": at(2.5)}),
        tenant.status("delivered", 2, "T1"),
        tenant.status("read", 9, "T1"),
        tenant.reaction("👍", 10, "T1"),
        tenant.edit("Answer!", 11, "T1"),
    )
    answer, question = list_messages(tenant)
    assert (answer["direction"], answer["status"], answer["text"]) == (
        "outgoing",
        "read",
        "Answer!",
    )
    assert answer["reply_id"] == question["id"]
    assert answer["reactions"][PHONE]["emoji"] == "👍"
    assert answer["sent_at"] == answer["delivered_at"], "not before it was sent"
    assert answer["read_at"].startswith("2026-11-21T12:00:09")
    assert answer["edited_at"]
    assert (question["direction"], question["phone"], question["kind"]) == (
        "incoming",
        PHONE,
        "text",
    )
    assert question["is_read"] is False
    assert question["client_id"] == str(tenant.clients()[0]["id"])


def test_a_failed_message_has_its_reason(tenant: Tenant) -> None:
    tenant.apply(tenant.sent("failed", error="no such number", code="refused"))
    (failed,) = list_messages(tenant)
    assert (failed["status"], failed["reason"], failed["code"]) == (
        "failed",
        "no such number",
        "refused",
    )


@pytest.mark.parametrize("ascending", [False, True])
def test_pages_are_complete_and_stable_under_inserts(tenant: Tenant, *, ascending: bool) -> None:
    """Ten messages of five moments in pages of three; a message comes before each page."""
    own = [tenant.sent(second=n // 2, text=str(n)) for n in range(10)]
    tenant.apply(*own)
    seen: list[dict[str, Any]] = []
    while page := list_messages(
        tenant, place(seen[-1]) if seen else None, ascending=ascending, limit=3
    ):
        seen += page
        late = -len(seen) if ascending else 100 + len(seen)
        tenant.apply(tenant.sent(second=late, text="new"))
    places = [place(message) for message in seen]
    assert places == sorted(places, reverse=not ascending)
    assert sorted(texts(seen)) == [str(n) for n in range(10)]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        pytest.param({"outgoing": True}, ["sent"], id="direction"),
        pytest.param({"outgoing": False}, ["other", "photo", "old"], id="incoming"),
        pytest.param({"status": "sent"}, ["sent"], id="status"),
        pytest.param({"kind": "image"}, ["photo"], id="kind"),
        pytest.param({"kind": "text"}, ["other", "sent", "old"], id="text"),
        pytest.param({"since": at(2)}, ["other", "photo"], id="since"),
        pytest.param({"until": at(1)}, ["old"], id="until"),
        pytest.param({"chat": OTHER_PHONE}, ["other"], id="phone"),
        pytest.param({"integration_id": UUID(int=5)}, [], id="another number"),
        pytest.param({"chat": PHONE, "outgoing": False}, ["photo", "old"], id="two"),
    ],
)
def test_a_filter_leaves_what_it_names(
    tenant: Tenant, filters: dict[str, Any], found: list[str]
) -> None:
    tenant.apply(
        tenant.arrived(0, text="old"),
        tenant.sent(second=1, text="sent"),
        tenant.arrived(2, text="photo", content="image"),
        tenant.arrived(3, text="other", phone=OTHER_PHONE),
    )
    assert texts(list_messages(tenant, **filters)) == found


def test_a_contact_has_the_messages_of_all_its_phones(tenant: Tenant) -> None:
    client = tenant.add_client(PHONE)
    tenant.db.execute(
        "insert into client_phone_numbers (client_id, phone) values (%s, %s)",
        (client, OTHER_PHONE),
    )
    tenant.apply(
        tenant.arrived(0, text="first phone"),
        tenant.arrived(1, text="second phone", phone=OTHER_PHONE),
        tenant.arrived(2, text="stranger", phone="79991112233"),
    )
    assert texts(list_messages(tenant, client_id=client)) == ["second phone", "first phone"]
    assert texts(list_messages(tenant, chat=PHONE)) == ["first phone"]


def test_a_phone_shows_messages_from_before_the_pipeline(tenant: Tenant) -> None:
    """The CRM's old rows name a client and no phone."""
    client = tenant.add_client("8 (999) 000-11-22")
    tenant.db.execute(
        "insert into chat_messages (organization_id, client_id, message_text, message_type, "
        "messenger_type, created_at) values (%s, %s, 'long ago', 'client', 'whatsapp', %s)",
        (tenant.id, client, at(-1)),
    )
    tenant.apply(tenant.arrived(0, text="now"))
    assert texts(list_messages(tenant, chat=PHONE, phone=PHONE)) == ["now", "long ago"]


def test_both_spellings_of_a_line_are_one_conversation(tenant: Tenant) -> None:
    old, new = "551181234567", "5511981234567"
    tenant.apply(tenant.sent(phone=new, text="asked"), tenant.arrived(1, phone=old, text="told"))
    (conversation,) = list_conversations(tenant)
    for phone in (old, new):
        (row,) = tenant.rows("select wpp_find_chat(%s) as chat", phone)
        assert row["chat"] == conversation["chat"]
        assert texts(list_messages(tenant, chat=row["chat"])) == ["told", "asked"]


def test_a_hidden_id_is_a_conversation_until_its_phone_is_known(tenant: Tenant) -> None:
    lid = "123456789012345@lid"
    tenant.apply(tenant.arrived(0, phone="", lid=lid, wa_message_id="W1", text="hidden"))
    (hidden,) = list_conversations(tenant)
    assert hidden["chat"] == lid
    tenant.apply(tenant.arrived(1, lid=lid, wa_message_id="W2", text="seen"))
    (known,) = list_conversations(tenant)
    assert known["chat"] == PHONE
    assert texts(list_messages(tenant, chat=PHONE)) == ["seen", "hidden"]


def test_a_conversation_has_its_last_message_and_what_is_unread(tenant: Tenant) -> None:
    tenant.apply(
        tenant.arrived(0, text="one", peer_name="Anna"),
        tenant.arrived(1, text="two"),
        tenant.sent(second=2, phone=OTHER_PHONE, text="ad"),
    )
    ad, anna = list_conversations(tenant)
    assert (ad["chat"], ad["unread"], ad["last_message"]["text"]) == (OTHER_PHONE, 0, "ad")
    assert (anna["chat"], anna["unread"], anna["last_message"]["text"]) == (PHONE, 2, "two")
    assert anna["name"] == "Anna"
    assert anna["integration_id"] == str(tenant.integration)
    assert list_conversations(tenant, ad["place"]) == [anna]


def test_no_page_shows_another_organization(tenant: Tenant, other: Tenant) -> None:
    """Not even with ids of its client, number or message."""
    tenant.apply(tenant.arrived(0, wa_message_id="W1", text="mine"))
    other.apply(other.arrived(0, wa_message_id="W1", text="theirs"))
    client = tenant.clients()[0]["id"]
    for filters in (
        {},
        {"chat": PHONE, "phone": PHONE},
        {"client_id": client},
        {"integration_id": tenant.integration},
    ):
        assert "mine" not in texts(list_messages(other, **filters))
    assert [each["last_message"]["text"] for each in list_conversations(other)] == ["theirs"]
    listed = "select wpp.describe_messages(%s, array(select id from chat_messages)) as page"
    assert texts(tenant.rows(listed, other.id)[0]["page"]) == ["theirs"]


def test_users_choose_no_conversation_and_break_no_page(tenant: Tenant) -> None:
    tenant.apply(tenant.arrived(0, wa_message_id="W1"))
    user = uuid4()
    tenant.db.execute(
        "insert into profiles (id, organization_id) values (%s, %s)", (user, tenant.id)
    )
    with tenant.db.transaction():
        tenant.db.execute("set local role authenticated")
        claims = json.dumps({"sub": str(user), "role": "authenticated"})
        tenant.db.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        tenant.db.execute("update chat_messages set wpp_chat = '1', metadata = '[1]'")
        tenant.db.execute(
            "insert into chat_messages (organization_id, message_text, message_type, "
            "messenger_type, wpp_chat, metadata) "
            "values (%s, 'x', 'manager', 'whatsapp', '7', '{\"reactions\": 1, \"phone\": [2]}')",
            (tenant.id,),
        )
    (conversation,) = list_conversations(tenant)
    assert conversation["chat"] == PHONE
    assert len(list_messages(tenant)) == 2


@pytest.fixture
def crowded(tenant: Tenant, other: Tenant) -> Tenant:
    """Return an organization with 100,000 messages in 5,000 conversations, as another one has."""
    clients = {each.id: each.add_client("79998887766") for each in (tenant, other)}
    tenant.db.execute(
        "insert into chat_messages (id, organization_id, client_id, integration_id, message_text, "
        "message_type, messenger_type, is_outgoing, is_read, message_status, metadata, created_at, "
        "wpp_chat) "
        "select gen_random_uuid(), t.id, t.client, t.integration, n::text, 'client', 'whatsapp', "
        "n %% 2 = 0, n %% 10 > 0, 'read', '{}', timestamptz '2026-01-01' + n * interval '1 s', "
        "'7999' || lpad((n %% 5000)::text, 7, '0') "
        "from (values (%s::uuid, %s::uuid, null::uuid), (%s, %s, %s)) as t (id, integration, "
        "client), generate_series(1, %s) as n",
        (
            *(tenant.id, tenant.integration),
            *(other.id, other.integration, clients[other.id]),
            MANY // 2,
        ),
    )
    tenant.db.execute("select wpp.touch_conversations(array(select id from chat_messages))")
    tenant.db.execute("analyze chat_messages, wpp.conversations")
    return tenant


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({}, id="newest"),
        pytest.param({"ascending": True}, id="oldest"),
        pytest.param({"after": ["2026-01-01T06:00:00+00:00", str(UUID(int=0))]}, id="later page"),
        pytest.param({"chat": "79990000007", "phone": "79990000007"}, id="phone"),
        pytest.param({"since": "2026-01-01T06:00:00Z", "ascending": True}, id="since"),
        pytest.param({"outgoing": True}, id="direction"),
    ],
)
def test_a_page_of_messages_reads_few_rows_of_many(crowded: Tenant, query: dict[str, Any]) -> None:
    crowded.rows(FORGET_READS)
    with crowded.db.transaction():
        assert list_messages(crowded, **query)
        assert count_reads(crowded) < 500


def test_a_page_of_conversations_reads_few_rows_of_many(crowded: Tenant) -> None:
    first = list_conversations(crowded)
    assert len(first) == 50
    crowded.rows(FORGET_READS)
    with crowded.db.transaction():
        later = list_conversations(crowded, first[-1]["place"])
        assert count_reads(crowded) < 500
    assert len({each["chat"] for each in [*first, *later]}) == 100


def count_reads(tenant: Tenant) -> int:
    """Return how many rows of messages and conversations this transaction has read."""
    return int(tenant.rows(READ_ROWS)[0]["tuples"])


def test_an_organization_without_messages_has_empty_pages(tenant: Tenant) -> None:
    assert list_messages(tenant) == []
    assert list_conversations(tenant) == []
