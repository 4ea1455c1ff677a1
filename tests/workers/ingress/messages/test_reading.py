"""GET /v1/messages, and /v1/conversations/{phone}/messages, which is the same list of one phone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from sandbox.supabase.project import Supabase
from shared.outcomes import MessageOutcome, Outcome, ReactionOutcome, StatusOutcome
from tests.fixtures.ingress_process import IngressProcess
from tests.migrations import conftest, test_hostile
from tests.workers.ingress.tenants import Tenant
from workers.ingress.messages.reading_schemas import MessageItem

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
ACCOUNT = "0000000000042"
PHONE, OTHER_PHONE = "79990001122", "79990003344"


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def arrived(second: float = 0, account: str = ACCOUNT, **given: Any) -> MessageOutcome:
    defaults = {"id": uuid4(), "phone": PHONE, "text": "Hi", "status": "delivered"}
    return MessageOutcome(at=at(second), account=account, outgoing=False, **(defaults | given))


def record(tenant: Tenant, *outcomes: Outcome) -> None:
    rows = [each.model_dump(mode="json", exclude_none=True) for each in outcomes]
    assert tenant.database.outcomes.apply(rows).refused == []


def get(tenant: Tenant, path: str = "/v1/messages", **query: Any) -> dict[str, Any]:
    answer = tenant.http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def texts(page: dict[str, Any]) -> list[str]:
    return [message["text"] for message in page["items"]]


@pytest.fixture
def school(tenant: Tenant) -> Tenant:
    """Return an organization with a connected number."""
    tenant.add_integration(ACCOUNT)
    return tenant


@pytest.fixture
def stranger(
    ingress_with_supabase: IngressProcess, supabase_world: Supabase, redis_client: redis.Redis
) -> Iterator[Tenant]:
    with Tenant.new(ingress_with_supabase, supabase_world, redis_client) as tenant:
        tenant.add_integration("0000000000043")
        yield tenant


def test_what_arrived_is_read_over_the_api(school: Tenant) -> None:
    message = arrived(
        wa_message_id="W1",
        content="image",
        file_name="a.jpg",
        file_type="image/jpeg",
        media_state="pending",
        peer_name="Anna",
    )
    reaction = ReactionOutcome(
        at=at(1), account=ACCOUNT, external_ids=["W1"], outgoing=True, phone=PHONE, emoji="👍"
    )
    answer = arrived(2, text="Re", metadata={"reply_to": "W1"})
    record(school, message, reaction, answer)
    reply, found = get(school)["items"]
    assert reply["reply_to"] == {"message_id": str(message.id), "external_id": "W1"}
    assert found == found | {
        "id": str(message.id),
        "direction": "incoming",
        "phone": PHONE,
        "kind": "image",
        "text": "Hi",
        "status": "delivered",
        "is_read": False,
        "created_at": "2026-11-21T12:00:00Z",
        "reactions": [{"by": "self", "emoji": "👍"}],
        "file": {
            "name": "a.jpg",
            "mime": "image/jpeg",
            "state": "pending",
            "link": f"/v1/messages/{message.id}/file",
        },
    }
    assert found["client_id"]


def test_pages_follow_their_cursor_in_both_orders(school: Tenant) -> None:
    record(school, *(arrived(n // 2, text=str(n)) for n in range(5)))
    for order in ("desc", "asc"):
        seen: list[str] = []
        query: dict[str, Any] = {"order": order, "limit": 2}
        while True:
            page = get(school, **query)
            seen += texts(page)
            if page["next"] is None:
                break
            query["cursor"] = page["next"]
        assert len(seen) == 5
        newest_first = [int(text) // 2 for text in seen]
        assert newest_first == sorted(newest_first, reverse=order == "desc")
        assert {*seen} == {*"01234"}


def test_a_phone_is_read_in_the_region_of_the_organization(school: Tenant) -> None:
    record(school, arrived(text="asked"), arrived(1, text="other", phone=OTHER_PHONE))
    for spelling in ("8 (999) 000-11-22", f"+{PHONE}", PHONE):
        assert texts(get(school, phone=spelling)) == ["asked"]
        assert texts(get(school, f"/v1/conversations/{spelling}/messages")) == ["asked"]
    assert get(school, phone="+380501234567") == {"items": [], "next": None}
    assert get(school, "/v1/conversations/+380501234567/messages")["items"] == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        pytest.param({"direction": "incoming"}, ["b", "a"], id="direction"),
        pytest.param({"direction": "outgoing"}, [], id="nothing sent"),
        pytest.param({"kind": "audio"}, ["b"], id="kind"),
        pytest.param({"status": "failed"}, [], id="status"),
        pytest.param({"since": "2026-11-21T12:00:01Z"}, ["b"], id="since"),
        pytest.param({"until": "2026-11-21T12:00:01"}, ["a"], id="until, UTC"),
        pytest.param({"client_id": str(UUID(int=1))}, [], id="no such client"),
        pytest.param({"integration_id": str(UUID(int=1))}, [], id="no such number"),
    ],
)
def test_filters(school: Tenant, query: dict[str, Any], found: list[str]) -> None:
    record(school, arrived(text="a"), arrived(1, text="b", content="audio"))
    assert texts(get(school, **query)) == found


@pytest.mark.parametrize(
    ("query", "field"),
    [
        pytest.param({"limit": 201}, "limit", id="limit"),
        pytest.param({"limit": 0}, "limit", id="no limit"),
        pytest.param({"cursor": "x"}, "cursor", id="cursor"),
        pytest.param({"phone": "soon"}, "phone", id="phone"),
        pytest.param({"order": "up"}, "order", id="order"),
        pytest.param({"status": "lost"}, "status", id="status"),
        pytest.param({"since": "soon"}, "since", id="since"),
    ],
)
def test_a_wrong_parameter_is_named(school: Tenant, query: dict[str, Any], field: str) -> None:
    answer = school.http.get("/v1/messages", params=query)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]


def test_a_cursor_of_the_other_order_is_refused(school: Tenant) -> None:
    record(school, arrived(), arrived(1))
    cursor = get(school, limit=1)["next"]
    refused = school.http.get("/v1/messages", params={"cursor": cursor, "order": "asc"})
    assert refused.status_code == 422


def test_nobody_reads_the_messages_of_another_organization(
    school: Tenant, stranger: Tenant
) -> None:
    """Not by a client, a number, a cursor, or a phone that both know."""
    record(school, arrived(text="mine"), arrived(1, text="mine too"))
    record(stranger, arrived(2, account="0000000000043", text="theirs"))
    first = get(school, limit=1)
    mine = first["items"][0]
    queries: list[dict[str, Any]] = [
        {},
        {"phone": PHONE},
        {"client_id": mine["client_id"]},
        {"integration_id": mine["integration_id"]},
        {"cursor": first["next"]},
    ]
    for query in queries:
        assert set(texts(get(stranger, **query))) <= {"theirs"}
    assert texts(get(stranger, f"/v1/conversations/{PHONE}/messages")) == ["theirs"]
    (conversation,) = get(stranger, "/v1/conversations")["items"]
    assert conversation["last_message"]["text"] == "theirs"


def test_without_credentials_there_is_no_page(school: Tenant) -> None:
    for path in ("/v1/messages", "/v1/conversations", f"/v1/conversations/{PHONE}/messages"):
        bare = httpx.get(str(school.http.base_url) + path, trust_env=False)
        assert bare.status_code == 401


def test_a_given_up_message_is_failed_with_its_reason(school: Tenant) -> None:
    sent = arrived().model_copy(
        update={"outgoing": True, "status": "sent", "task_id": "T1", "text": "Sent"}
    )
    given_up = StatusOutcome(
        at=at(3),
        account=ACCOUNT,
        external_ids=["T1"],
        status="failed",
        error="no such number",
        code="given_up",
    )
    record(school, sent, given_up)
    (message,) = get(school, direction="outgoing")["items"]
    assert (message["status"], message["reason"], message["code"]) == (
        "failed",
        "no such number",
        "given_up",
    )


@pytest.mark.parametrize(
    "written",
    [
        pytest.param({"reactions": 7, "kind": {"a": 1}}, id="no objects"),
        pytest.param({"reactions": {"x": 1, "y": {"emoji": 2}, "z": {}}}, id="no emoji"),
        pytest.param({"phone": "not a phone", "chat": "neither"}, id="no phone"),
        pytest.param({"media_state": "lost", "status": "noAccount"}, id="old words"),
    ],
)
def test_any_metadata_can_be_shown(written: dict[str, Any]) -> None:
    row: dict[str, Any] = {"id": str(uuid4()), "direction": "incoming", "text": None}
    row |= {"has_file": False, "created_at": START.isoformat()}
    found = MessageItem.from_row({**row, **written, "kind": str(written.get("kind", "text"))})
    assert (found.reactions, found.phone, found.file) == ([], None, None)


def read_all(tenant: Tenant, path: str, at_most: int, **query: Any) -> list[dict[str, Any]]:
    """Return the items of all pages, which end after so many items."""
    seen: list[dict[str, Any]] = []
    while True:
        page = get(tenant, path, **query)
        seen += page["items"]
        assert len(seen) <= at_most
        if page["next"] is None:
            return seen
        query["cursor"] = page["next"]


@pytest.fixture
def writers(
    school: Tenant, stranger: Tenant, supabase_world: Supabase
) -> Iterator[tuple[conftest.Tenant, conftest.Tenant]]:
    """Return what writes rows as users of both organizations do, each with a client."""
    with psycopg.connect(
        supabase_world.database_url, autocommit=True, row_factory=dict_row
    ) as connection:
        found = []
        for tenant, account in ((school, ACCOUNT), (stranger, "0000000000043")):
            (number,) = tenant.http.get("/v1/integrations").json()
            writer = conftest.Tenant(connection, account, tenant.id, UUID(number["integration_id"]))
            writer.add_client(PHONE)
            found.append(writer)
        yield found[0], found[1]


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(test_hostile.ROW, min_size=1, max_size=5))
@example(rows=[{"metadata": {}, "created_at": moment} for moment in test_hostile.HOSTILE_TIMES])
@example(rows=[{"metadata": {}, "created_at": moment} for moment in ("infinity", None) * 3])
@example(rows=[{"metadata": {"edited_at": "infinity"}, "created_at": START}])
@example(
    rows=[
        {
            "metadata": {"send_at": moment},
            "created_at": START,
            "message_status": "queued",
            "is_outgoing": True,
        }
        for moment in test_hostile.HOSTILE_TIMES
    ]
)
def test_whatever_a_user_writes_its_pages_are_there(
    school: Tenant,
    writers: tuple[conftest.Tenant, conftest.Tenant],
    rows: list[dict[str, Any]],
) -> None:
    """Each message is in a page once, in both orders; each conversation is listed."""
    user, victim = writers
    user.rows("delete from chat_messages where organization_id = %s returning id", user.id)
    user.rows("delete from wpp.conversations where organization_id = %s returning chat", user.id)
    chats = (PHONE, OTHER_PHONE)
    written = [
        str(
            test_hostile.write(
                user, victim, row, messenger_type="whatsapp", wpp_chat=chats[number % 2]
            )
        )
        for number, row in enumerate(rows)
    ]
    ids = [UUID(each) for each in written]
    user.rows("select wpp.touch_conversations(%s)", ids)
    user.rows("select wpp.begin_history(%s)", ids[::2])
    for limit in (1, 3):
        newest = [each["id"] for each in read_all(school, "/v1/messages", len(rows), limit=limit)]
        oldest = read_all(school, "/v1/messages", len(rows), limit=limit, order="asc")
        assert sorted(newest) == sorted(written)
        assert newest[::-1] == [each["id"] for each in oldest]
        shown: list[str] = []
        for chat in chats:
            path = f"/v1/conversations/{chat}/messages"
            listed = read_all(school, path, len(rows), limit=limit)
            shown += [each["id"] for each in listed]
        assert sorted(shown) == sorted(written)
        conversations = read_all(school, "/v1/conversations", 2, limit=limit)
        assert len(conversations) == min(2, len(rows))
        found = {each["hidden_id"] or each["phone"]: each for each in conversations}
        for chat, conversation in found.items():
            listed = read_all(school, f"/v1/conversations/{chat}/messages", len(rows))
            assert conversation["last_message"] == listed[0]
    for each in written:
        for path in (f"/v1/messages/{each}", f"/v1/messages/{each}/history"):
            known = {200, 404}  # a queued message that Redis does not know is not found
            assert school.http.get(path).status_code in known


def test_a_message_whose_time_cannot_be_shown_has_the_nearest(
    school: Tenant, writers: tuple[conftest.Tenant, conftest.Tenant]
) -> None:
    """One without a time is the oldest."""
    user, victim = writers
    for moment in ("infinity", None, "2026-11-21T12:00:01Z", "4713-01-01 BC"):
        row = {"metadata": {"edited_at": "infinity"}, "created_at": moment}
        test_hostile.write(user, victim, row, messenger_type="whatsapp")
    items = get(school)["items"]
    assert [each["created_at"] for each in items] == [
        "9999-12-30T00:00:00Z",
        "2026-11-21T12:00:01Z",
        "0001-01-02T00:00:00Z",
        "0001-01-02T00:00:00Z",
    ]
    assert {(each["is_edited"], each["edited_at"]) for each in items} == {(True, None)}
    assert len(get(school, until="2026-11-21T12:00:01Z")["items"]) == 2
    assert len(get(school, since="2026-11-21T12:00:01Z")["items"]) == 2


def test_a_number_shows_its_phone_once_a_message_names_it(school: Tenant) -> None:
    (number,) = school.http.get("/v1/integrations").json()
    assert number["phone"] is None
    record(school, arrived(own_phone="79995550011"))
    (number,) = school.http.get("/v1/integrations").json()
    assert number["phone"] == "79995550011"
