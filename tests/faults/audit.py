"""The guarantees, checked after the faults in records, platform, rows and Redis."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from shared.lanes import records
from shared.lanes.records import Record
from shared.redis import keys
from tests.faults.callers import AcceptedMessage
from tests.faults.environment import FaultEnvironment
from tests.fixtures.waiting import wait_until
from workers.clock.settling import INTERVAL_S

FINAL_STATES = {"sent", "failed", "unknown"}
ROW_STATUS = {
    "sent": {"sent", "delivered", "read"},
    "failed": {"failed"},
    "unknown": {"unknown"},
}
"""Which statuses a message's row may have, by the state of its record."""

TRANSIENT_KEYS = (
    "lane:",
    "ready:",
    "ready_high:",
    "ready_low:",
    "levels:",
    "scheduled:",
    "rr:",
    "aside:",
    "busy:",
    "waiting:",
    "leases:",
    "delayed:",
    "bell:",
    "gated:",
    "gate:",
)
"""Redis keys that exist only while an event waits, is in flight or is held back by a gate."""


@dataclass
class Audit:
    """What each store knows about the accepted messages, by text.

    `order` maps "account conversation" to the sequence numbers in the order of arrival.
    """

    records: dict[str, Record]
    at_platform: Counter[str]
    refused_outcomes: list[str]
    order: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def states(self) -> dict[str, int]:
        return dict(Counter(record.state for record in self.records.values()))

    @property
    def unknown_at_platform(self) -> int:
        """The number of messages of unknown delivery that the platform has taken."""
        return sum(
            record.state == "unknown" and self.at_platform[text] > 0
            for text, record in self.records.items()
        )

    @property
    def statuses(self) -> dict[str, int]:
        return dict(Counter(status for statuses in self.rows.values() for status in statuses))


def leftovers(env: FaultEnvironment) -> dict[str, Any]:
    """Return what is unfinished: lanes, outcomes in the outbox, bells."""
    client = env.client
    names = [
        key.decode().removeprefix(keys.PREFIX)
        for key in client.scan_iter(f"{keys.PREFIX}*", count=1000)
    ]
    counts: dict[str, Any] = dict(
        Counter(name.partition(":")[0] for name in names if name.startswith(TRANSIENT_KEYS))
    )
    counts["outbox"] = client.xlen(keys.OUTBOX)
    counts["taken outcomes"] = client.zcard(keys.OUTBOX_TAKEN)
    return {name: count for name, count in counts.items() if count}


def wait_until_drained(env: FaultEnvironment, within_s: float) -> None:
    """Wait until three checks in a row are empty: a check may fall between two steps.

    It looks through all keys only once the outbox is empty: with 100,000 keys a look takes Redis
    half a second.
    """
    empty_checks = 0

    def empty() -> bool:
        nonlocal empty_checks
        waiting = env.client.xlen(keys.OUTBOX) or leftovers(env) or count_set_aside(env)
        empty_checks = 0 if waiting else empty_checks + 1
        return empty_checks >= 3

    try:
        wait_until(empty, "everything drained", within_s, poll_s=0.2)
    except BaseException:
        unfinished = leftovers(env) | {"set aside": count_set_aside(env)}
        print("unfinished:", unfinished)  # noqa: T201 - shown with the failure
        raise


def count_set_aside(env: FaultEnvironment) -> int:
    """Return how many outcomes wait in Supabase, apart from those of working organizations."""
    return int(env.rows("select count(*) from wpp.set_aside_outcomes")[0][0])


def wait_until_settled(env: FaultEnvironment) -> None:
    """Wait until the clock settles no further message of unknown delivery."""
    before: set[bytes] = set()
    changed_at = time.monotonic()

    def unchanged() -> bool:
        nonlocal before, changed_at
        lanes = env.client.scan_iter(keys.unknown_events("*"), count=1000)
        members: Any = env.client.sunion(list(lanes) or ["-"])
        found = set(members)
        if found != before:
            before, changed_at = found, time.monotonic()
        return time.monotonic() - changed_at > 3 * INTERVAL_S

    wait_until(unchanged, "the clock to settle what is proven", within_s=90, poll_s=0.5)


def collect_audit(env: FaultEnvironment, tag: str, accepted: Sequence[AcceptedMessage]) -> Audit:
    """Read the stores about the messages that begin with `tag`."""
    messages = [message for message in env.messages() if message["text"].startswith(f"{tag} ")]
    refused = env.rows("select detail from wpp_dead_letters where kind = 'outcome'")
    audit = Audit(
        _load_records(env, accepted),
        Counter(message["text"] for message in messages),
        [detail for (detail,) in refused],
    )
    for message in messages:
        conversation, _, seq = message["text"].rpartition(" ")
        audit.order[f"{message['session']} {conversation}"].append(int(seq))
    query = """
        select message_text, message_status::text from chat_messages
        where is_outgoing and message_text like %s
    """
    for text, status in env.rows(query, f"{tag} %"):
        audit.rows[text].append(status)
    return audit


def _load_records(env: FaultEnvironment, accepted: Sequence[AcceptedMessage]) -> dict[str, Record]:
    """Return {text: record}."""
    pipe = env.client.pipeline(transaction=False)
    for message in accepted:
        pipe.hmget(records.record_key(message.id), list(records.FIELDS))
    found: dict[str, Record] = {}
    for message, reply in zip(accepted, pipe.execute(), strict=True):
        record = records.parse_record(message.id, reply)
        assert record, f"{message} was accepted and has no record any more"
        found[message.text] = record
    return found


def assert_guarantees(audit: Audit, accepted: Sequence[AcceptedMessage]) -> None:
    """Fail with the first messages that break a guarantee."""
    _assert_none(audit.refused_outcomes, "Supabase accepts every outcome")
    _assert_none(_wrong_row_counts(audit.rows, accepted), "an accepted message has exactly one row")
    for message in accepted:
        _assert_message(audit, message)
    texts = {message.text for message in accepted}
    _assert_none(
        [text for text in audit.at_platform if text not in texts],
        "the platform has accepted messages only",
    )
    _assert_none(
        [
            (name, numbers)
            for name, numbers in audit.order.items()
            if any(a >= b for a, b in pairwise(numbers))
        ],
        "each conversation is in order",
    )


def _assert_message(audit: Audit, message: AcceptedMessage) -> None:
    record = audit.records[message.text]
    deliveries = audit.at_platform[message.text]
    rows = audit.rows[message.text]
    about = (
        f"{message.text!r} ({message.id}): {record.state} {record.reason}, "
        f"{deliveries} at the platform, row {rows}"
    )
    assert record.state in FINAL_STATES, f"not settled: {about}"
    assert deliveries <= 1, f"sent twice: {about}"
    assert record.state != "sent" or deliveries == 1, f"sent, but not at the platform: {about}"
    assert record.state != "failed" or deliveries == 0, f"failed, but at the platform: {about}"
    assert rows[0] in ROW_STATUS[record.state], f"row and record differ: {about}"


def _wrong_row_counts(
    rows: Mapping[str, list[str]], accepted: Sequence[AcceptedMessage]
) -> list[tuple[str, int]]:
    expected = Counter(message.text for message in accepted)
    counts = {text: len(statuses) for text, statuses in rows.items()}
    return [
        (text, counts.get(text, 0))
        for text in expected | counts
        if counts.get(text, 0) != expected[text]
    ]


def _assert_none(violations: Sequence[Any], guarantee: str) -> None:
    assert not violations, f"{guarantee}; {len(violations)} violations: {violations[:5]}"
