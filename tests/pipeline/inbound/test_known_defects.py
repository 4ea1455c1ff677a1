"""Defects of the previous integration stay fixed, from the posted event to the row.

The numbers are those of the list of defects that the project began with.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from shared import routing, signed_keys
from shared.events import Message, SendEvent, utc_now
from shared.lanes.types import ClaimSequence, Settled
from tests.fixtures.ingress_process import KEY_SECRET, IngressProcess
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline

FLAT: dict[str, Any] = {"from": f"+{PEER}", "type": "chat", "text": "Hello"}
OURS, THEIRS = f"true_{PEER}@c.us_3EB0BB22", f"false_{PEER}@c.us_3EB0AA11"


class PlatformPosts:
    """Posts events as the platform does, for an integration."""

    def __init__(self, pipeline: InboundPipeline, ingress: IngressProcess) -> None:
        self.pipeline, self.ingress = pipeline, ingress

    def post(self, *bodies: Any, account: str | None = None) -> None:
        """Post events, handle them and record their outcomes."""
        for body in bodies:
            answer = self.ingress.post(
                body, self.ingress.webhook_path(account or self.pipeline.account)
            )
            assert answer.status == 200, answer
        self.pipeline.settle()

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.pipeline.messages()

    def insert_client(self, phone: str | None, **given: Any) -> UUID:
        """Insert a client."""
        known = {
            "id": uuid4(),
            "organization_id": self.pipeline.organization,
            "name": "Known",
            "phone": phone,
            **given,
        }
        names, values = ", ".join(known), ", ".join(["%s"] * len(known))
        query = f"insert into clients ({names}) values ({values})"  # noqa: S608 - constants
        self.pipeline.env.sql(query, *known.values())
        found: UUID = known["id"]
        return found

    def send(self, text: str, task_id: str, **given: Any) -> UUID:
        """Send a message, and record it as sent."""
        lanes = self.pipeline.ctx.lanes
        message = routing.route_send(
            self.pipeline.organization,
            self.pipeline.integration,
            Message(to=PEER, text=text, **given),
        )
        lanes.append(message)
        claim = lanes.claim("send", ClaimSequence())
        assert claim
        event = SendEvent.model_validate_json(message.body)
        outcome = routing.build_message_outcome(event, "sent", utc_now(), task_id=task_id)
        lanes.conclude(claim, Settled("sent", [outcome], {"task_id": task_id}))
        self.pipeline.record()
        return event.id


@pytest.fixture
def posts(pipeline: InboundPipeline, ingress: IngressProcess) -> PlatformPosts:
    return PlatformPosts(pipeline, ingress)


@contextmanager
def add_crm_rule(pipeline: InboundPipeline, make: str, remove: str) -> Iterator[None]:
    """Add a rule to the CRM's database, and remove it afterwards."""
    pipeline.env.sql(make)
    try:
        yield
    finally:
        pipeline.env.sql(remove)


def test_defect_02_the_webhook_url_leads_to_this_ingress(posts: PlatformPosts) -> None:
    """It has the host of the ingress and a valid key."""
    url = signed_keys.make_webhook_url(
        posts.ingress.url, posts.pipeline.account, [KEY_SECRET.encode()]
    )
    assert httpx.post(url, json=FLAT, trust_env=False).json() == {"ok": True, "events": 1}
    posts.pipeline.settle()
    assert [row["message_text"] for row in posts.rows] == ["Hello"]


def test_defect_05_a_refused_row_is_a_dead_letter_with_its_reason(posts: PlatformPosts) -> None:
    """A row that the CRM forbids is a dead letter; the rest of its batch is filed."""
    check = "alter table chat_messages add constraint no_swearing check (message_text <> 'damn')"
    with add_crm_rule(
        posts.pipeline, check, "alter table chat_messages drop constraint no_swearing"
    ):
        posts.post(*({**FLAT, "text": text, "messageId": text} for text in ("one", "damn", "two")))
    assert [row["message_text"] for row in posts.rows] == ["one", "two"]
    (letter,) = posts.pipeline.env.sql("select kind, detail, event from wpp_dead_letters")
    assert (letter["kind"], letter["event"]["text"]) == ("outcome", "damn")
    assert "no_swearing" in letter["detail"]


def test_defect_07_a_disabled_number_still_receives(posts: PlatformPosts) -> None:
    """Either column of the CRM disables sending; messages of customers still arrive."""
    for number, column in enumerate(("is_enabled", "is_active")):
        disable = f"update messenger_integrations set {column} = false"  # noqa: S608 - constants
        posts.pipeline.env.sql(disable)
        posts.pipeline.ctx.route_cache.refresh(
            posts.pipeline.integration, posts.pipeline.organization
        )
        route = posts.pipeline.ctx.route_cache.find_route(posts.pipeline.integration)
        assert route
        assert not route.is_enabled
        posts.post({**FLAT, "messageId": f"M{number}"})
        assert len(posts.rows) == number + 1
        posts.pipeline.env.sql("update messenger_integrations set is_enabled = true")


def test_defect_11_a_message_is_known_by_either_of_its_ids(posts: PlatformPosts) -> None:
    """A deletion needs the task id, a reaction WhatsApp's: the row has both."""
    message_id = posts.send("Hello there", "task_77")
    posts.post(
        {
            "type": "message.status",
            "data": {"taskId": "task_77", "waMessageId": OURS, "status": "delivered"},
        },
        {"type": "delivery", "messageId": OURS, "status": "read"},
        {"type": "reaction", "from": f"+{PEER}", "emoji": "👍", "messageId": OURS},
        {
            "type": "reaction",
            "from": f"+{PEER}",
            "emoji": "🔥",
            "messageId": "task_77",
            "timestamp": 1,
        },
    )
    (row,) = posts.rows
    assert (row["id"], row["message_status"], row["external_message_id"]) == (
        message_id,
        "read",
        "task_77",
    )
    assert row["metadata"]["waMessageId"] == OURS
    assert posts.pipeline.env.sql("select message_id from message_reactions") == [
        {"message_id": message_id}
    ]


def test_defect_16_29_each_message_has_the_integration_that_received_it(
    posts: PlatformPosts,
) -> None:
    """An organization with two numbers answers from the number that the customer wrote to."""
    second = uuid4()
    posts.pipeline.ctx.database.integrations.save(
        integration_id=second, organization_id=posts.pipeline.organization, account="0000000000777"
    )
    posts.post({**FLAT, "messageId": "M1"})
    posts.post({**FLAT, "messageId": "M2"}, account="0000000000777")
    assert {row["integration_id"] for row in posts.rows} == {posts.pipeline.integration, second}
    assert len({row["client_id"] for row in posts.rows}) == 1


@pytest.mark.parametrize(
    "stored", ["+7 (999) 000-11-22", "8 999 000 11 22", "9990001122", "79990001122"]
)
@pytest.mark.parametrize(
    "sender", ["+79990001122", "79990001122@c.us", "79990001122@s.whatsapp.net"]
)
def test_defect_18_a_client_is_found_by_every_spelling_of_the_phone(
    posts: PlatformPosts, stored: str, sender: str
) -> None:
    known = posts.insert_client(stored)
    posts.post({**FLAT, "from": sender})
    assert [row["client_id"] for row in posts.rows] == [known]


def test_defect_19_a_deleted_client_who_writes_is_not_duplicated(posts: PlatformPosts) -> None:
    known = posts.insert_client(PEER, is_active=False)
    posts.post(FLAT)
    assert [row["client_id"] for row in posts.rows] == [known]
    assert posts.pipeline.env.sql("select is_active from clients") == [{"is_active": True}]


def test_defect_21_the_sender_of_a_message_stays_after_statuses_and_echoes(
    posts: PlatformPosts,
) -> None:
    posts.send("Hello there", "task_77", sender_name="Olga")
    posts.post(
        {
            "type": "message.status",
            "data": {"taskId": "task_77", "waMessageId": OURS, "status": "read"},
        },
        {
            "type": "chat",
            "from": f"+{PEER}",
            "fromMe": True,
            "text": "Hello there",
            "messageId": OURS,
        },
    )
    (row,) = posts.rows
    assert (row["sender_name"], row["message_status"]) == ("Olga", "read")


def test_defect_24_32_a_status_stays_within_its_organization(posts: PlatformPosts) -> None:
    """Two organizations may have messages with the same id."""
    other, account = posts.pipeline.env.create_organization(), "0000000000888"
    posts.pipeline.ctx.database.integrations.save(
        integration_id=uuid4(), organization_id=other, account=account
    )
    posts.send("Ours", "task_77")
    posts.post({"type": "delivery", "messageId": "task_77", "status": "read"}, account=account)
    assert [row["message_status"] for row in posts.rows] == ["sent"]
    posts.post({"type": "delivery", "messageId": "task_77", "status": "delivered"})
    assert [row["message_status"] for row in posts.rows] == ["delivered"]


def test_defect_26_a_message_in_every_shape_is_a_single_row(posts: PlatformPosts) -> None:
    """A retry, an envelope or a second event id have no effect: the message's id counts."""
    message = {**FLAT, "messageId": THEIRS}
    enveloped = {"type": "message.incoming", "created": 1770000000, "data": message}
    posts.post(
        message,
        message,
        {**message, "attempt": 2},
        {**enveloped, "id": "evt_1"},
        {**enveloped, "id": "evt_2"},
        [message],
    )
    assert len(posts.rows) == 1


def test_defect_26_a_retried_message_without_an_id_is_a_single_row(posts: PlatformPosts) -> None:
    posts.post(FLAT, {**FLAT, "attempt": 2}, {**FLAT, "text": "Hello?"})
    assert [row["message_text"] for row in posts.rows] == ["Hello", "Hello?"]


def test_defect_26_a_second_text_under_the_same_id_is_stored_and_flagged(
    posts: PlatformPosts,
) -> None:
    posts.post({**FLAT, "messageId": "M1"}, {**FLAT, "messageId": "M1", "text": "Goodbye"})
    (row,) = posts.rows
    assert (row["message_text"], row["metadata"]["conflicts"]) == ("Hello", ["Goodbye"])


def test_defect_27_two_clients_with_one_phone_lose_no_message(posts: PlatformPosts) -> None:
    """The newest active client gets the message, which is marked as ambiguous."""
    posts.insert_client(PEER, created_at="2025-01-01T00:00:00Z")
    newest = posts.insert_client("+7 999 000 11 22", created_at="2026-01-01T00:00:00Z")
    posts.insert_client(PEER, created_at="2026-06-01T00:00:00Z", is_active=False)
    posts.post(FLAT)
    (row,) = posts.rows
    assert (row["client_id"], row["metadata"]["contact"]) == (newest, "ambiguous")


def test_defect_28_a_parent_of_two_schools_writes_to_both(posts: PlatformPosts) -> None:
    """The CRM allows a phone only once in all organizations."""
    other = posts.pipeline.env.create_organization()
    index = "create unique index one_phone on clients (phone) where phone <> '-'"
    with add_crm_rule(posts.pipeline, index, "drop index one_phone"):
        posts.insert_client(PEER, organization_id=other)
        posts.post(FLAT, {**FLAT, "text": "Again"})
    assert [row["message_text"] for row in posts.rows] == ["Hello", "Again"]
    assert len({row["client_id"] for row in posts.rows} - {None}) == 1


def test_defect_31_events_of_a_removed_number_still_find_its_messages(
    posts: PlatformPosts,
) -> None:
    posts.send("Hello there", "task_77")
    posts.pipeline.ctx.database.integrations.remove(
        posts.pipeline.integration, posts.pipeline.organization
    )
    posts.post(
        {"type": "delivery", "messageId": "task_77", "status": "read"},
        {**FLAT, "messageId": THEIRS},
    )
    assert [row["message_status"] for row in posts.rows] == ["read", "delivered"]


def test_quick_session_changes_end_in_the_last_state(posts: PlatformPosts) -> None:
    """In the documented shape, without id and time, none of the events is taken for a retry."""
    for state in ("connected", "offline", "connected"):
        posts.post({"type": state, "data": {"account": posts.pipeline.account}})
    states = posts.pipeline.env.sql("select status from wpp_session_history order by id")
    assert [row["status"] for row in states] == ["connected", "disconnected", "connected"]
    assert posts.pipeline.env.sql("select status from whatsapp_sessions") == [
        {"status": "connected"}
    ]


def test_a_reaction_given_again_is_shown(posts: PlatformPosts) -> None:
    posts.send("Hello there", "task_77")
    for emoji in ("👍", "", "👍"):
        posts.post({"type": "reaction", "from": f"+{PEER}", "emoji": emoji, "messageId": "task_77"})
    assert [
        row["emoji"] for row in posts.pipeline.env.sql("select emoji from message_reactions")
    ] == ["👍"]


def test_defect_32_statuses_never_go_back(posts: PlatformPosts) -> None:
    posts.send("Hello there", "task_77")
    for status in ("read", "delivered", "sent", "queued", "failed"):
        posts.post({"type": "delivery", "messageId": "task_77", "status": status})
        assert [row["message_status"] for row in posts.rows] == ["read"]
    posts.post({"type": "delivery", "messageId": "task_77", "status": "deleted"})
    assert [row["message_status"] for row in posts.rows] == ["deleted"]


def test_defect_32_46_a_dead_message_fails_in_its_own_row(posts: PlatformPosts) -> None:
    message_id = posts.send("Hello there", "task_77")
    posts.post({"type": "message.dead", "data": {"taskId": "task_77", "reason": "no such number"}})
    (row,) = posts.rows
    assert (row["id"], row["message_status"], row["metadata"]["error"]) == (
        message_id,
        "failed",
        "no such number",
    )


def test_defect_36_a_message_without_its_external_id_is_still_found(posts: PlatformPosts) -> None:
    """The previous code replaced the id, by which later events name the message, by null."""
    posts.send("Hello there", "task_77")
    posts.pipeline.env.sql("update chat_messages set external_message_id = null")
    posts.post({"type": "delivery", "messageId": "task_77", "status": "deleted"})
    assert [row["message_status"] for row in posts.rows] == ["deleted"]


def test_defect_34_an_edit_keeps_the_file_and_the_ids(posts: PlatformPosts) -> None:
    """A previous edit made a text of it, and its next status found no message."""
    picture = {"mimetype": "image/jpeg", "base64": "/9j/4AAQSkZJRg=="}
    posts.post(
        {**FLAT, "type": "image", "text": "[Image] befor", "messageId": THEIRS, "media": picture}
    )
    posts.post(
        {
            "type": "message.edited",
            "data": {"from": f"+{PEER}", "messageId": THEIRS, "text": "before"},
        }
    )
    posts.post({"type": "message.revoked", "data": {"from": f"+{PEER}", "messageId": THEIRS}})
    (row,) = posts.rows
    assert (row["message_text"], row["file_type"], row["metadata"]["media_state"]) == (
        "before",
        "image/jpeg",
        "stored",
    )
    assert (row["external_message_id"], row["message_status"]) == (THEIRS, "deleted")


def test_an_edit_by_the_customer_keeps_the_first_text(posts: PlatformPosts) -> None:
    message = {**FLAT, "messageId": THEIRS}
    edited = {
        "type": "message.edited",
        "data": {"from": f"+{PEER}", "messageId": THEIRS, "text": "Hello!"},
    }
    posts.post(edited, message)
    (row,) = posts.rows
    assert (row["message_text"], row["metadata"]["original_text"]) == ("Hello!", "Hello")


def test_defect_37_a_huge_file_is_neither_in_the_row_nor_in_the_log(posts: PlatformPosts) -> None:
    body = "/9j/4AAQ" + "A" * 3_000_000
    posts.post(
        {
            **FLAT,
            "type": "image",
            "messageId": "M1",
            "media": {"mimetype": "image/jpeg", "base64": body},
        }
    )
    (row,) = posts.rows
    assert row["metadata"]["media_state"] == "stored"
    assert len(httpx.get(row["file_url"], trust_env=False).content) == len(body) * 3 // 4
    (log,) = posts.pipeline.logged()
    assert len(str(log["payload"])) < 1000


def test_defect_39_events_do_not_change_settings(posts: PlatformPosts) -> None:
    """The previous webhook wrote all settings back as it had read them, with an outdated key."""
    settings = (
        "select i.settings, s.secrets from messenger_integrations i "
        "join wpp.integration_secrets s on s.integration_id = i.id"
    )
    before = posts.pipeline.env.sql(settings)
    posts.post(
        {"type": "connected"},
        {"type": "qr", "qr": "2@A"},
        {"type": "offline", "reason": "gone"},
        FLAT,
    )
    assert posts.pipeline.env.sql(settings) == before


def test_defect_42_messages_have_the_order_in_which_they_were_written(
    posts: PlatformPosts,
) -> None:
    """After an outage the platform posts them in any order."""
    for second in (3, 1, 2):
        posts.post(
            {
                **FLAT,
                "text": str(second),
                "messageId": f"M{second}",
                "timestamp": 1770000000 + second,
            }
        )
    assert [row["message_text"] for row in posts.rows] == ["1", "2", "3"]
    assert posts.rows[0]["created_at"].isoformat().startswith("2026-02-02T02:40:01")


def test_defect_44_a_video_keeps_its_caption_and_its_type(posts: PlatformPosts) -> None:
    video = {"mimetype": "video/quicktime", "base64": "AAAAGGZ0eXBxdCAgAAACAA=="}
    posts.post(
        {**FLAT, "type": "video", "text": "[Video] look at this", "messageId": "M1", "media": video}
    )
    (row,) = posts.rows
    assert (row["message_text"], row["file_type"]) == ("look at this", "video/quicktime")
    assert row["file_name"].endswith(".mov")


def test_defect_47_the_ingress_logs_neither_bodies_nor_keys(posts: PlatformPosts) -> None:
    """The log names the account and the error of an event, never its content."""
    posts.post({**FLAT, "text": "a private matter", "apiKey": "k-12345678"})
    posts.ingress.post(b'{"text": "another private matter"', posts.ingress.webhook_path())
    logged = posts.ingress.log.read_text()
    assert "webhook.malformed" in logged
    for secret in ("private", "k-12345678", posts.ingress.webhook_path().rsplit("/", 1)[1]):
        assert secret not in logged
