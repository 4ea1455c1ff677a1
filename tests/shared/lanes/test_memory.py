"""What an event costs in Redis while it waits and afterwards: measured, and as the docs say."""

import re
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from shared import routing
from shared.events import Message
from shared.lanes.records import find_record
from shared.lanes.types import Append, Settled
from shared.redis import keys
from tests.shared.lanes.harness import LaneHarness, settled

TEXT = "Hello, this is your appointment tomorrow at 10:30."
REASON = "400: the platform refuses this number: it is not registered with WhatsApp"
EXPIRY_BYTES = 32
"""An entry in the table of keys that expire, which MEMORY USAGE leaves out."""
DEPLOYING = Path(__file__).parents[3] / "docs" / "deploying.md"
EVENTS = 200
"""The keys that events share are divided among as many."""
ROW = re.compile(r"^\| (?P<name>[a-z ]+), [^|]*\| (?P<bytes>[\d,]+) \|", re.MULTILINE)


def documented() -> dict[str, int]:
    """Return bytes per event by the name of its row in the docs."""
    text = DEPLOYING.read_text().partition("| event |")[2].partition("\n\n")[0]
    return {name: int(number.replace(",", "")) for name, number in ROW.findall(text)}


def message(organization_id: UUID, integration_id: UUID, number: int) -> Append:
    request = Message(to=f"+7999000{number:04}", text=TEXT)
    return routing.route_send(organization_id, integration_id, request, uuid4(), "RU")


def webhook(number: int) -> Append:
    payload = {"type": "message", "id": uuid4().hex, "text": TEXT, "from": f"7999000{number:04}"}
    return routing.route_webhook("wpp-0000000000042", payload, uuid4().hex, payload["from"])


def measure(client: Any) -> float:
    """Return the bytes of all keys of an event, on average; the outbox is on its way out."""
    total = 0
    for key in client.keys("wpp:*"):
        if not key.startswith((keys.OUTBOX.encode(), keys.claim_reply("").encode())):
            total += client.memory_usage(key, samples=0)
            total += EXPIRY_BYTES if client.ttl(key) > 0 else 0
    return total / EVENTS


ENDS = {
    "finished message": Settled("sent", fields={"task_id": str(uuid4())}),
    "failed message": Settled("failed", fields={"reason": REASON, "code": "refused"}),
    "unknown message": Settled("unknown", fields={"reason": REASON}),
    "finished webhook": Settled("done"),
}


def measure_anew(harness: LaneHarness, name: str) -> float:
    """Return the bytes of an event of a row of the docs, in an empty Redis."""
    harness.client.flushdb()
    organization_id, integration_id = uuid4(), uuid4()
    for number in range(EVENTS):
        is_webhook = name.endswith("webhook")
        item = webhook(number) if is_webhook else message(organization_id, integration_id, number)
        harness.lanes.append(item)
    if end := ENDS.get(name):
        for claim in harness.claims(item.queue):
            assert harness.lanes.conclude(claim, end)[0]
    return measure(harness.client)


@pytest.mark.parametrize("name", ["waiting message", "waiting webhook", *ENDS])
def test_an_event_takes_what_the_docs_say(harness: LaneHarness, name: str) -> None:
    """At most the documented bytes, and not much less.

    Of three measurements the least: what events share grows in steps, at random moments.
    """
    used = min(measure_anew(harness, name) for _ in range(3))
    limit = documented()[name]
    assert 0.85 * limit <= used <= limit, f"{used:.0f} bytes"


def test_finished_events_are_small() -> None:
    """What the memory of a year is made of."""
    table = documented()
    assert table["finished message"] <= 400
    assert table["finished webhook"] <= 300


def test_a_settled_event_keeps_its_answer(harness: LaneHarness) -> None:
    """A long reason is kept in pieces, and read as a whole; the rest of the event is gone."""
    event_id = harness.append("x")
    reason = "причина " * 30
    claim = harness.claim()
    harness.lanes.conclude(claim, Settled("failed", fields={"reason": reason, "code": "refused"}))
    record = find_record(harness.client, event_id)
    assert record
    assert (record.reason, record.code, record.attempts, record.queue, record.tenant) == (
        reason,
        "refused",
        1,
        "send",
        "one",
    )
    assert (record.lane, record.body) == ("", None)
    assert harness.client.object("encoding", keys.event(event_id)) in {b"ziplist", b"listpack"}


def test_each_kind_is_kept_for_its_own_time(redis_client: "redis.Redis") -> None:
    """A send answers its key for days, a webhook shorter; unknown ones can be resolved longest."""
    harness = LaneHarness(
        redis_client,
        wpp_max_age_s=900,
        wpp_record_ttl_s=2000,
        wpp_webhook_record_ttl_s=1000,
        wpp_unknown_ttl_s=3000,
    )
    kept = {}
    for queue, lane, state in (
        ("send", "x", "sent"),
        ("provision", "p", "done"),
        ("webhook", "w", "done"),
        ("media", "m", "done"),
        ("send", "u", "unknown"),
    ):
        event_id = harness.append(lane, queue=queue)
        harness.conclude(harness.claim(queue), state)  # type: ignore[arg-type]
        kept[lane] = -(-int(redis_client.ttl(keys.event(event_id))) // 10) * 10
    assert kept == {"x": 2000, "p": 2000, "w": 1000, "m": 1000, "u": 3000}
    assert 2990 < redis_client.ttl(keys.unknown_events("u")) <= 3000
    assert 2990 < redis_client.ttl(keys.unknown_of("one")) <= 3000


def test_an_unknown_event_that_is_sent_again_has_no_time_limit(harness: LaneHarness) -> None:
    event_id = harness.append("x")
    harness.conclude(harness.claim(), "unknown")
    assert harness.lanes.resolve(event_id, Settled("queued"))
    assert harness.client.ttl(keys.event(event_id)) == -1
    assert not harness.client.exists(keys.UNKNOWN_TENANTS, keys.unknown_of("one"))


def test_a_tenant_has_a_bounded_number_of_unknown_events(redis_client: "redis.Redis") -> None:
    """Of the oldest the content goes: it stays unknown, answers its key, and is told of."""
    harness = LaneHarness(redis_client, wpp_unknown_limit=2)
    items = [harness.item(f"lane{number}", number) for number in range(3)]
    for item in items:
        harness.lanes.append(item)
        harness.lanes.conclude(harness.claim(), Settled("unknown", fields={"reason": REASON}))
        since: Any = redis_client.zrange(keys.unknown_of("one"), 0, -1)
        for member in since:
            redis_client.zincrby(keys.unknown_of("one"), -1000, member)  # a second goes by
    oldest = find_record(redis_client, items[0].id)
    assert oldest
    assert (oldest.state, oldest.body, oldest.reason) == ("unknown", None, REASON)
    assert redis_client.ttl(keys.event(items[0].id)) > 0
    assert harness.lanes.unknown_events("lane0") == []
    assert not harness.lanes.append(items[0]).new
    assert not harness.lanes.resolve(items[0].id, Settled("queued"))
    assert not harness.lanes.resolve(items[0].id, settled("sent", "sent"))
    [told] = harness.lanes.sweep("send").lost
    assert (told.id, told.why) == (items[0].id, "too many unknown")
    assert harness.lanes.resolve(items[1].id, settled("sent"))


def test_a_record_of_an_earlier_version_is_the_same_request(harness: LaneHarness) -> None:
    """It has the whole hash; that of a webhook has the identity, which the id contains anyway."""
    item = harness.item("x", "hello")
    harness.lanes.append(item)
    harness.client.hset(keys.event(item.id), "print", item.fingerprint + "0" * 32)
    assert not harness.lanes.append(item).new
    posted = webhook(1)
    harness.lanes.append(posted)
    harness.client.hset(keys.event(posted.id), "print", "message:3EB0")
    assert not harness.lanes.append(posted).new
