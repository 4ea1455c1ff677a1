"""What the bench of life-cycles finds in the lives of messages."""

from typing import Any
from uuid import UUID

from bench.pipeline_sides.lives import Life, count_faults, match
from bench.pipeline_sides.load import Sent, Task
from bench.pipeline_sides.world import Row

ORGANIZATION = UUID(int=1)


def make_sent(text: str, began: float = 10.0, *, accepted: bool = True) -> Sent:
    return Sent(0, "+79990000000", text, began, began + 1, accepted)


def make_arrival(text: str, at: float = 12.0) -> dict[str, Any]:
    return {"text": text, "at": at, "acks": {"read": at + 3}}


def make_row(text: str, status: str = "read") -> Row:
    return Row(ORGANIZATION, text, status, "task_1", {"sent": 14.0, status: 16.0})


def make_life(text: str, began: float, at: float) -> Life:
    return Life(make_sent(text, began), [make_arrival(text, at)], [make_row(text)])


def test_a_life_has_the_time_of_each_stage() -> None:
    """Each stage begins where the last one ends, `row read` with the post of this ack."""
    assert make_life("a", began=10.0, at=12.0).stages_ms(late_s=0.5) == {
        "accepted": 1000,
        "at platform": 1000,
        "row sent": 1500,
        "row read": 1000,
    }


def test_a_message_that_ends_as_it_should_has_no_fault() -> None:
    lives = match([make_sent("a")], [make_arrival("a")], [make_row("a")])
    assert count_faults(lives) == {}


def test_each_fault_of_a_message_is_counted() -> None:
    """A message that was refused has that fault alone."""
    sent = [make_sent(text) for text in ("twice", "never", "stale")]
    arrivals = [make_arrival(text) for text in ("twice", "twice", "stale")]
    rows = [make_row("twice"), make_row("twice"), make_row("stale", "delivered")]
    refused = make_sent("refused", accepted=False)
    assert count_faults(match([*sent, refused], arrivals, rows)) == {
        "sent twice": 1,
        "several rows": 1,
        "never sent": 1,
        "no row": 1,
        "row says delivered": 1,
        "refused": 1,
    }


def test_a_message_that_comes_after_a_later_one_is_overtaken() -> None:
    first, later = make_life("a", began=10.0, at=20.0), make_life("b", began=12.0, at=15.0)
    assert count_faults([first, later]) == {"overtaken at the platform": 1}


def test_messages_sent_at_the_same_time_have_no_order() -> None:
    first, second = make_life("a", began=10.0, at=20.0), make_life("b", began=10.5, at=15.0)
    assert count_faults([first, second]) == {}


def test_a_load_visits_every_conversation_in_turn_with_texts_that_differ() -> None:
    task = Task("http://x", [("", {}), ("", {})], "label", 8, peers=2)
    found = [task.message(number) for number in range(8)]
    conversations = [(sender, to) for sender, to, _ in found]
    assert len(set(conversations)) == 4
    assert conversations[:4] == conversations[4:]
    assert len({text for _, _, text in found}) == 8
