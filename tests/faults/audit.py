"""The promises, checked afterwards: on the ledger, at the platform, in Supabase, and in what is left in Redis."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from shared.lanes import records as ledger
from shared.lanes.records import Record
from shared.redis import keys
from tests.faults.callers import Sent
from tests.faults.conftest import until
from tests.faults.environment import Town

SETTLED = {"sent", "failed", "unknown"}
ROW_STATUS = {
    "sent": {"sent", "delivered", "read"},
    "failed": {"failed"},
    "unknown": {"unknown"},
}
"""What the row of a message may say, by what the ledger says."""

LEFT_BEHIND = (
    "lane:",
    "ready:",
    "ring:",
    "ringed:",
    "busy:",
    "waiting:",
    "leases:",
    "later:",
    "gated:",
    "gate:",
)
"""Keys of the lanes that exist only while something waits, is worked on or is held back."""


@dataclass
class Books:
    """All that is known of the messages that were accepted."""

    records: dict[str, Record]
    at_platform: Counter[str]
    refused: list[str]
    order: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def states(self) -> dict[str, int]:
        return dict(Counter(record.state for record in self.records.values()))

    @property
    def statuses(self) -> dict[str, int]:
        return dict(Counter(status for statuses in self.rows.values() for status in statuses))


def leftovers(town: Town) -> dict[str, Any]:
    """Return what still waits anywhere: in lanes, in the outbox, in a recorder's or a worker's hands."""
    client = town.client
    names = [
        key.decode().removeprefix(keys.PREFIX)
        for key in client.scan_iter(f"{keys.PREFIX}*", count=1000)
    ]
    left: dict[str, Any] = dict(
        Counter(name.partition(":")[0] for name in names if name.startswith(LEFT_BEHIND))
    )
    left["outbox"] = client.xlen(keys.OUTBOX)
    if left["outbox"] or "outbox" in names:
        groups: Any = client.xinfo_groups(keys.OUTBOX)
        left["pending outcomes"] = sum(group["pending"] for group in groups)
    left["held by workers"] = sum(name.startswith("dramatiq:held:") for name in names)
    left["wake-ups"] = sum(
        client.hlen(keys.PREFIX + name)
        for name in names
        if name.startswith("dramatiq:") and name.endswith(".msgs")
    )
    return {name: count for name, count in left.items() if count}


def drained(town: Town, within_s: float) -> None:
    """Wait until nothing is left anywhere, three looks in a row: one command may stand between two steps."""
    looks = 0

    def empty() -> bool:
        nonlocal looks
        looks = 0 if leftovers(town) else looks + 1
        return looks >= 3

    try:
        until(empty, "everything drained", within_s, pause_s=0.2)
    except BaseException:
        print("left behind:", leftovers(town))  # noqa: T201 - shown with the failure
        raise


def read_books(town: Town, tag: str, accepted: Sequence[Sent]) -> Books:
    pipe = town.client.pipeline(transaction=False)
    for sent in accepted:
        pipe.hmget(ledger.record_key(sent.id), list(ledger.FIELDS))
    records: dict[str, Record] = {}
    for sent, reply in zip(accepted, pipe.execute(), strict=True):
        record = ledger.parse_record(sent.id, reply)
        assert record, f"{sent} was accepted and is not known any more"
        records[sent.text] = record
    messages = [message for message in town.messages() if message["text"].startswith(f"{tag} ")]
    refused = [
        detail
        for (detail,) in town.rows("select detail from wpp_dead_letters where kind = 'outcome'")
    ]
    books = Books(records, Counter(message["text"] for message in messages), refused)
    for message in messages:
        conversation, _, seq = message["text"].rpartition(" ")
        books.order[f"{message['session']} {conversation}"].append(int(seq))
    query = "select message_text, message_status::text from chat_messages where is_outgoing and message_text like %s"
    for text, status in town.rows(query, f"{tag} %"):
        books.rows[text].append(status)
    return books


def keep_promises(books: Books, accepted: Sequence[Sent]) -> None:
    """Fail with the first messages of which a promise was not kept."""
    _nothing(books.refused, "Supabase takes every outcome")
    _nothing(
        _twice(books.rows, accepted), "accepted once has one row, and only what was accepted has"
    )
    for sent in accepted:
        record, deliveries, rows = (
            books.records[sent.text],
            books.at_platform[sent.text],
            books.rows[sent.text],
        )
        about = f"{sent.text!r} ({sent.id}): {record.state} {record.reason}, {deliveries} at the platform, row {rows}"
        assert record.state in SETTLED, f"not settled: {about}"
        assert deliveries <= 1, f"sent twice: {about}"
        assert record.state != "sent" or deliveries == 1, f"sent, and never arrived: {about}"
        assert record.state != "failed" or deliveries == 0, f"failed, and yet arrived: {about}"
        assert rows[0] in ROW_STATUS[record.state], f"row and ledger differ: {about}"
    texts = {sent.text for sent in accepted}
    _nothing(
        [text for text in books.at_platform if text not in texts],
        "the platform has only what was accepted",
    )
    unordered = [
        name for name, seqs in books.order.items() if any(a >= b for a, b in pairwise(seqs))
    ]
    _nothing([(name, books.order[name]) for name in unordered], "each conversation is in order")


def _twice(rows: Mapping[str, list[str]], accepted: Sequence[Sent]) -> list[tuple[str, int]]:
    wanted = Counter(sent.text for sent in accepted)
    counts = {text: len(statuses) for text, statuses in rows.items()}
    return [
        (text, counts.get(text, 0))
        for text in wanted | counts
        if counts.get(text, 0) != wanted[text]
    ]


def _nothing(found: Sequence[Any], promise: str) -> None:
    assert not found, f"{promise}; but {len(found)} are otherwise: {found[:5]}"
