"""GET /v1/messages, and /v1/conversations/{phone}/messages, which is the same list of one phone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import redis

from sandbox.supabase.project import Supabase
from shared.outcomes import MessageOutcome, Outcome, ReactionOutcome, StatusOutcome
from tests.fixtures.ingress_process import IngressProcess
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


def test_a_number_shows_its_phone_once_a_message_names_it(school: Tenant) -> None:
    (number,) = school.http.get("/v1/integrations").json()
    assert number["phone"] is None
    record(school, arrived(own_phone="79995550011"))
    (number,) = school.http.get("/v1/integrations").json()
    assert number["phone"] == "79995550011"
