"""What the old system suffered from where events arrive, by the numbers of its list: from the door to the row."""

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
    """The platform, as it posts to one town's number."""

    def __init__(self, pipeline: InboundPipeline, ingress: IngressProcess) -> None:
        self.pipeline, self.ingress = pipeline, ingress

    def bring(self, *bodies: Any, account: str | None = None) -> None:
        """Post events, and let them become rows."""
        for body in bodies:
            answer = self.ingress.post(
                body, self.ingress.webhook_path(account or self.pipeline.account)
            )
            assert answer.status == 200, answer
        self.pipeline.settle()

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.pipeline.messages()

    def client(self, phone: str | None, **given: Any) -> UUID:
        """Let the CRM know somebody."""
        known = {
            "id": uuid4(),
            "organization_id": self.pipeline.organization,
            "name": "Known",
            "phone": phone,
            **given,
        }
        names, places = ", ".join(known), ", ".join(["%s"] * len(known))
        self.pipeline.env.sql(f"insert into clients ({names}) values ({places})", *known.values())  # noqa: S608
        found: UUID = known["id"]
        return found

    def sent(self, text: str, task_id: str, **given: Any) -> UUID:
        """Let us have sent a message."""
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
def mail(pipeline: InboundPipeline, ingress: IngressProcess) -> PlatformPosts:
    return PlatformPosts(pipeline, ingress)


@contextmanager
def rule_of_the_crm(pipeline: InboundPipeline, make: str, remove: str) -> Iterator[None]:
    """Let the CRM's database have a rule of its own."""
    pipeline.env.sql(make)
    try:
        yield
    finally:
        pipeline.env.sql(remove)


def test_pain_02_the_url_that_the_platform_is_given_is_this_door(mail: PlatformPosts) -> None:
    """Not another system's, and with a key that opens it."""
    url = signed_keys.make_webhook_url(
        mail.ingress.url, mail.pipeline.account, [KEY_SECRET.encode()]
    )
    assert httpx.post(url, json=FLAT, trust_env=False).json() == {"ok": True, "events": 1}
    mail.pipeline.settle()
    assert [row["message_text"] for row in mail.rows] == ["Hello"]


def test_pain_05_what_supabase_refuses_is_kept_with_its_reason(mail: PlatformPosts) -> None:
    """A row that the CRM forbids is a dead letter; the others of its batch are filed."""
    check = "alter table chat_messages add constraint no_swearing check (message_text <> 'damn')"
    with rule_of_the_crm(
        mail.pipeline, check, "alter table chat_messages drop constraint no_swearing"
    ):
        mail.bring(*({**FLAT, "text": text, "messageId": text} for text in ("one", "damn", "two")))
    assert [row["message_text"] for row in mail.rows] == ["one", "two"]
    (buried,) = mail.pipeline.env.sql("select kind, detail, event from wpp_dead_letters")
    assert (buried["kind"], buried["event"]["text"]) == ("outcome", "damn")
    assert "no_swearing" in buried["detail"]


def test_pain_07_a_number_that_is_switched_off_still_hears(mail: PlatformPosts) -> None:
    """Whichever of the CRM's two columns says so: it sends nothing, and no customer's message is lost for it."""
    for number, column in enumerate(("is_enabled", "is_active")):
        mail.pipeline.env.sql(f"update messenger_integrations set {column} = false")  # noqa: S608 - constants
        mail.pipeline.ctx.route_cache.refresh(mail.pipeline.integration, mail.pipeline.organization)
        route = mail.pipeline.ctx.route_cache.find_route(mail.pipeline.integration)
        assert route
        assert not route.is_enabled
        mail.bring({**FLAT, "messageId": f"M{number}"})
        assert len(mail.rows) == number + 1
        mail.pipeline.env.sql("update messenger_integrations set is_enabled = true")


def test_pain_11_a_message_is_known_by_either_of_its_ids(mail: PlatformPosts) -> None:
    """Delete needs the task's id, a reaction WhatsApp's: both are learned, neither replaces the other."""
    message_id = mail.sent("Hello there", "task_77")
    mail.bring(
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
    (row,) = mail.rows
    assert (row["id"], row["message_status"], row["external_message_id"]) == (
        message_id,
        "read",
        "task_77",
    )
    assert row["metadata"]["waMessageId"] == OURS
    assert mail.pipeline.env.sql("select message_id from message_reactions") == [
        {"message_id": message_id}
    ]


def test_pain_16_pain_29_each_message_knows_the_number_it_came_to(mail: PlatformPosts) -> None:
    """An organisation with two numbers answers from the one that was written to."""
    second = uuid4()
    mail.pipeline.ctx.database.integrations.save(
        integration_id=second, organization_id=mail.pipeline.organization, account="0000000000777"
    )
    mail.bring({**FLAT, "messageId": "M1"})
    mail.bring({**FLAT, "messageId": "M2"}, account="0000000000777")
    assert {row["integration_id"] for row in mail.rows} == {mail.pipeline.integration, second}
    assert len({row["client_id"] for row in mail.rows}) == 1


@pytest.mark.parametrize(
    "stored", ["+7 (999) 000-11-22", "8 999 000 11 22", "9990001122", "79990001122"]
)
@pytest.mark.parametrize(
    "sender", ["+79990001122", "79990001122@c.us", "79990001122@s.whatsapp.net"]
)
def test_pain_18_a_known_phone_is_known_in_every_spelling(
    mail: PlatformPosts, stored: str, sender: str
) -> None:
    known = mail.client(stored)
    mail.bring({**FLAT, "from": sender})
    assert [row["client_id"] for row in mail.rows] == [known]


def test_pain_19_a_deleted_client_who_writes_is_no_second_one(mail: PlatformPosts) -> None:
    known = mail.client(PEER, is_active=False)
    mail.bring(FLAT)
    assert [row["client_id"] for row in mail.rows] == [known]
    assert mail.pipeline.env.sql("select is_active from clients") == [{"is_active": True}]


def test_pain_21_the_manager_who_wrote_is_still_named_after_all_that_is_told(
    mail: PlatformPosts,
) -> None:
    mail.sent("Hello there", "task_77", sender_name="Olga")
    mail.bring(
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
    (row,) = mail.rows
    assert (row["sender_name"], row["message_status"]) == ("Olga", "read")


def test_pain_24_pain_32_a_status_stays_within_its_organisation(mail: PlatformPosts) -> None:
    """Two organisations may have messages of the same id."""
    other, account = mail.pipeline.env.create_organization(), "0000000000888"
    mail.pipeline.ctx.database.integrations.save(
        integration_id=uuid4(), organization_id=other, account=account
    )
    mail.sent("Ours", "task_77")
    mail.bring({"type": "delivery", "messageId": "task_77", "status": "read"}, account=account)
    assert [row["message_status"] for row in mail.rows] == ["sent"]
    mail.bring({"type": "delivery", "messageId": "task_77", "status": "delivered"})
    assert [row["message_status"] for row in mail.rows] == ["delivered"]


def test_pain_26_one_message_in_every_shape_is_one_row(mail: PlatformPosts) -> None:
    """Tried again, enveloped, under another event id: it is the message's own id that counts."""
    said = {**FLAT, "messageId": THEIRS}
    enveloped = {"type": "message.incoming", "created": 1770000000, "data": said}
    mail.bring(
        said,
        said,
        {**said, "attempt": 2},
        {**enveloped, "id": "evt_1"},
        {**enveloped, "id": "evt_2"},
        [said],
    )
    assert len(mail.rows) == 1


def test_pain_26_a_message_without_any_id_tried_again_is_one_row(mail: PlatformPosts) -> None:
    mail.bring(FLAT, {**FLAT, "attempt": 2}, {**FLAT, "text": "Hello?"})
    assert [row["message_text"] for row in mail.rows] == ["Hello", "Hello?"]


def test_pain_26_the_same_id_with_another_text_is_kept_and_flagged(mail: PlatformPosts) -> None:
    mail.bring({**FLAT, "messageId": "M1"}, {**FLAT, "messageId": "M1", "text": "Goodbye"})
    (row,) = mail.rows
    assert (row["message_text"], row["metadata"]["conflicts"]) == ("Hello", ["Goodbye"])


def test_pain_27_two_clients_with_one_phone_lose_no_message(mail: PlatformPosts) -> None:
    """The newest active one gets it, and somebody is told to look."""
    mail.client(PEER, created_at="2025-01-01T00:00:00Z")
    newest = mail.client("+7 999 000 11 22", created_at="2026-01-01T00:00:00Z")
    mail.client(PEER, created_at="2026-06-01T00:00:00Z", is_active=False)
    mail.bring(FLAT)
    (row,) = mail.rows
    assert (row["client_id"], row["metadata"]["contact"]) == (newest, "ambiguous")


def test_pain_28_a_parent_of_two_schools_writes_to_both(mail: PlatformPosts) -> None:
    """The CRM allows a phone once among all organisations."""
    other = mail.pipeline.env.create_organization()
    index = "create unique index one_phone on clients (phone) where phone <> '-'"
    with rule_of_the_crm(mail.pipeline, index, "drop index one_phone"):
        mail.client(PEER, organization_id=other)
        mail.bring(FLAT, {**FLAT, "text": "Again"})
    assert [row["message_text"] for row in mail.rows] == ["Hello", "Again"]
    assert len({row["client_id"] for row in mail.rows} - {None}) == 1


def test_pain_31_what_comes_for_a_removed_number_still_finds_its_messages(
    mail: PlatformPosts,
) -> None:
    mail.sent("Hello there", "task_77")
    mail.pipeline.ctx.database.integrations.remove(
        mail.pipeline.integration, mail.pipeline.organization
    )
    mail.bring(
        {"type": "delivery", "messageId": "task_77", "status": "read"},
        {**FLAT, "messageId": THEIRS},
    )
    assert [row["message_status"] for row in mail.rows] == ["read", "delivered"]


def test_a_number_that_comes_and_goes_within_a_minute_ends_as_it_is(mail: PlatformPosts) -> None:
    """In the documented shape, without id or time: none of them is a second try of another."""
    for state in ("connected", "offline", "connected"):
        mail.bring({"type": state, "data": {"account": mail.pipeline.account}})
    states = mail.pipeline.env.sql("select status from wpp_session_history order by id")
    assert [row["status"] for row in states] == ["connected", "disconnected", "connected"]
    assert mail.pipeline.env.sql("select status from whatsapp_sessions") == [
        {"status": "connected"}
    ]


def test_a_reaction_given_again_is_shown(mail: PlatformPosts) -> None:
    mail.sent("Hello there", "task_77")
    for emoji in ("👍", "", "👍"):
        mail.bring({"type": "reaction", "from": f"+{PEER}", "emoji": emoji, "messageId": "task_77"})
    assert [
        row["emoji"] for row in mail.pipeline.env.sql("select emoji from message_reactions")
    ] == ["👍"]


def test_pain_32_statuses_never_go_back(mail: PlatformPosts) -> None:
    mail.sent("Hello there", "task_77")
    for status in ("read", "delivered", "sent", "queued", "failed"):
        mail.bring({"type": "delivery", "messageId": "task_77", "status": status})
        assert [row["message_status"] for row in mail.rows] == ["read"]
    mail.bring({"type": "delivery", "messageId": "task_77", "status": "deleted"})
    assert [row["message_status"] for row in mail.rows] == ["deleted"]


def test_pain_32_pain_46_a_dead_message_is_the_one_row_that_has_failed(mail: PlatformPosts) -> None:
    message_id = mail.sent("Hello there", "task_77")
    mail.bring({"type": "message.dead", "data": {"taskId": "task_77", "reason": "no such number"}})
    (row,) = mail.rows
    assert (row["id"], row["message_status"], row["metadata"]["error"]) == (
        message_id,
        "failed",
        "no such number",
    )


def test_pain_36_a_message_that_the_old_code_deleted_is_still_found(mail: PlatformPosts) -> None:
    """It wrote null over the id by which a later event names the message."""
    mail.sent("Hello there", "task_77")
    mail.pipeline.env.sql("update chat_messages set external_message_id = null")
    mail.bring({"type": "delivery", "messageId": "task_77", "status": "deleted"})
    assert [row["message_status"] for row in mail.rows] == ["deleted"]


def test_pain_34_an_edit_leaves_a_file_a_file_and_ids_as_they_were(mail: PlatformPosts) -> None:
    """The old edit made a text of it, and its next status found nothing."""
    picture = {"mimetype": "image/jpeg", "base64": "/9j/4AAQSkZJRg=="}
    mail.bring(
        {**FLAT, "type": "image", "text": "[Image] befor", "messageId": THEIRS, "media": picture}
    )
    mail.bring(
        {
            "type": "message.edited",
            "data": {"from": f"+{PEER}", "messageId": THEIRS, "text": "before"},
        }
    )
    mail.bring({"type": "message.revoked", "data": {"from": f"+{PEER}", "messageId": THEIRS}})
    (row,) = mail.rows
    assert (row["message_text"], row["file_type"], row["metadata"]["media_state"]) == (
        "before",
        "image/jpeg",
        "stored",
    )
    assert (row["external_message_id"], row["message_status"]) == (THEIRS, "deleted")


def test_an_edit_by_the_customer_keeps_the_first_text(mail: PlatformPosts) -> None:
    said = {**FLAT, "messageId": THEIRS}
    edited = {
        "type": "message.edited",
        "data": {"from": f"+{PEER}", "messageId": THEIRS, "text": "Hello!"},
    }
    mail.bring(edited, said)
    (row,) = mail.rows
    assert (row["message_text"], row["metadata"]["original_text"]) == ("Hello!", "Hello")


def test_pain_37_a_huge_file_is_neither_in_the_row_nor_in_the_log(mail: PlatformPosts) -> None:
    body = "/9j/4AAQ" + "A" * 3_000_000
    mail.bring(
        {
            **FLAT,
            "type": "image",
            "messageId": "M1",
            "media": {"mimetype": "image/jpeg", "base64": body},
        }
    )
    (row,) = mail.rows
    assert row["metadata"]["media_state"] == "stored"
    assert len(httpx.get(row["file_url"], trust_env=False).content) == len(body) * 3 // 4
    (log,) = mail.pipeline.logged()
    assert len(str(log["payload"])) < 1000


def test_pain_39_what_arrives_leaves_settings_alone(mail: PlatformPosts) -> None:
    """The old webhook wrote all of them back as it had read them, an older key among them."""
    settings = "select settings from messenger_integrations"
    before = mail.pipeline.env.sql(settings)
    mail.bring(
        {"type": "connected"},
        {"type": "qr", "qr": "2@A"},
        {"type": "offline", "reason": "gone"},
        FLAT,
    )
    assert mail.pipeline.env.sql(settings) == before


def test_pain_42_messages_stand_in_the_order_in_which_they_were_written(
    mail: PlatformPosts,
) -> None:
    """After an hour without us the platform brings them as it likes."""
    for second in (3, 1, 2):
        mail.bring(
            {
                **FLAT,
                "text": str(second),
                "messageId": f"M{second}",
                "timestamp": 1770000000 + second,
            }
        )
    assert [row["message_text"] for row in mail.rows] == ["1", "2", "3"]
    assert mail.rows[0]["created_at"].isoformat().startswith("2026-02-02T02:40:01")


def test_pain_44_a_video_keeps_its_caption_and_its_type(mail: PlatformPosts) -> None:
    video = {"mimetype": "video/quicktime", "base64": "AAAAGGZ0eXBxdCAgAAACAA=="}
    mail.bring(
        {**FLAT, "type": "video", "text": "[Video] look at this", "messageId": "M1", "media": video}
    )
    (row,) = mail.rows
    assert (row["message_text"], row["file_type"]) == ("look at this", "video/quicktime")
    assert row["file_name"].endswith(".mov")


def test_pain_47_no_log_of_the_door_quotes_a_body_or_a_key(mail: PlatformPosts) -> None:
    """What is written about an event is its account and what was wrong, never what it says."""
    mail.bring({**FLAT, "text": "a private matter", "apiKey": "k-12345678"})
    mail.ingress.post(b'{"text": "another private matter"', mail.ingress.webhook_path())
    written = mail.ingress.log.read_text()
    assert "webhook.malformed" in written
    for secret in ("private", "k-12345678", mail.ingress.webhook_path().rsplit("/", 1)[1]):
        assert secret not in written
