"""The lives of a load's messages: how long each stage took, and what went wrong."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.pipeline_sides.load import Sent
from bench.pipeline_sides.world import Row

STAGES = ("accepted", "at platform", "row sent", "row read")


@dataclass(frozen=True)
class Life:
    """A message as its sender, the platform and its row saw it."""

    sent: Sent
    arrivals: Sequence[dict[str, Any]]
    rows: Sequence[Row]

    def stages_ms(self, late_s: float) -> dict[str, float]:
        """Return the ms of each stage that was reached.

        `accepted`: request to answer; `at platform`: from that answer; `row sent`: from the
        platform's answer, `late_s` after the message arrived; `row read`: from the first post of
        this ack.
        """
        found = {"accepted": self.sent.answered - self.sent.began}
        if self.arrivals:
            arrival = self.arrivals[0]
            found["at platform"] = arrival["at"] - self.sent.answered
            reached = self.rows[0].reached if self.rows else {}
            if "sent" in reached:
                found["row sent"] = reached["sent"] - arrival["at"] - late_s
            if "read" in reached and "read" in arrival["acks"]:
                found["row read"] = reached["read"] - arrival["acks"]["read"]
        return {stage: 1000 * seconds for stage, seconds in found.items()}

    def find_faults(self) -> list[str]:
        """Return what is wrong with the message and its row."""
        if not self.sent.accepted:
            return ["refused"]
        faults = []
        if len(self.arrivals) != 1:
            faults.append("sent twice" if self.arrivals else "never sent")
        if len(self.rows) != 1:
            faults.append("several rows" if self.rows else "no row")
        faults += [f"row says {row.status}" for row in self.rows if row.status != "read"]
        return faults


def match(
    sent: Iterable[Sent], arrivals: Iterable[dict[str, Any]], rows: Iterable[Row]
) -> list[Life]:
    arrivals_of: dict[str, list[dict[str, Any]]] = defaultdict(list)
    rows_of: dict[str, list[Row]] = defaultdict(list)
    for arrival in arrivals:
        arrivals_of[arrival["text"]].append(arrival)
    for row in rows:
        rows_of[row.text].append(row)
    return [Life(each, arrivals_of[each.text], rows_of[each.text]) for each in sent]


def count_faults(lives: Sequence[Life]) -> Counter[str]:
    """Return how many messages have each fault."""
    faults = Counter(fault for life in lives for fault in life.find_faults())
    if overtaken := count_overtaken(lives):
        faults["overtaken at the platform"] = overtaken
    return faults


def count_overtaken(lives: Sequence[Life]) -> int:
    """Return how many messages came to the platform after a later one of their conversation.

    A message is later if its request began after the answer to the other.
    """
    conversations: dict[tuple[int, str], list[Life]] = defaultdict(list)
    for life in lives:
        if life.arrivals:
            conversations[life.sent.sender, life.sent.to].append(life)
    return sum(
        any(
            later.sent.began > life.sent.answered
            and later.arrivals[0]["at"] < life.arrivals[0]["at"]
            for later in conversation
        )
        for conversation in conversations.values()
        for life in conversation
    )
