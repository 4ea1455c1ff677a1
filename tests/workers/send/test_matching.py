"""Reports that name no message prove a message by elimination only, and never a wrong message."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from workers.send.matching import (
    Attempt,
    Orphan,
    Proof,
    Report,
    find_owners,
    group_reports,
    match_orphans,
)

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PEER, OTHER = "79990001122", "79990003344"
OLD_TWIN, NEW_TWIN = "5215512345601", "525512345601"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def attempt(number: int, began: float, **given: Any) -> Attempt:
    """Return a message of unknown delivery."""
    fields: dict[str, Any] = {
        "phone": PEER,
        "ended": at(began + 2),
        "is_unknown": True,
        "lacks_task_id": True,
        "lacks_wa_message_id": True,
    }
    return Attempt(id=UUID(int=number), began=at(began), **(fields | given))


def report(seconds: float, task: str | None = None, wa: str | None = None, **given: Any) -> Report:
    """Return a report; `wa` is the key in WhatsApp's id, which names `peer`."""
    peer = given.pop("peer", PEER) if wa else None
    whatsapp = f"true_{peer}@c.us_{wa}" if wa else None
    ids = frozenset(name for name in (task, whatsapp) if name)
    return Report(ids, task, whatsapp, peer, given.pop("is_sent", True), at(seconds), **given)


def proofs(attempts: list[Attempt], *reports: Report) -> dict[int, Proof]:
    return {
        proof.message_id.int: proof for proof in match_orphans(attempts, group_reports(reports))
    }


def test_the_only_unknown_message_gets_all_ids() -> None:
    reports = [
        report(3, "T1"),
        report(4, "T1", "W1", is_sent=False),
        report(5, None, "W1", is_sent=False),
    ]
    found = proofs([attempt(1, 0)], *reports)
    assert found == {1: Proof(UUID(int=1), "T1", f"true_{PEER}@c.us_W1", at(3))}


def test_a_task_id_alone_counts_where_it_is_the_number_s_only_orphan() -> None:
    assert set(proofs([attempt(1, 0)], report(3, "T1"))) == {1}
    assert proofs([attempt(1, 0), attempt(2, 1, phone=OTHER)], report(3, "T1")) == {}


def test_the_person_that_whatsapp_s_id_names_decides() -> None:
    attempts = [attempt(1, 0), attempt(2, 1, phone=OTHER)]
    assert set(proofs(attempts, report(3, "T1", "W1", peer=OTHER))) == {2}
    twins = [attempt(1, 0), attempt(2, 1, phone=OLD_TWIN)]
    assert set(proofs(twins, report(3, "T1", "W1", peer=NEW_TWIN))) == {2}
    assert proofs(attempts, report(3, "T1", "W1", peer="79995556677")) == {}


def test_two_candidates_stay_unknown_and_both_are_shown() -> None:
    attempts = [attempt(1, 0), attempt(2, 1)]
    assert proofs(attempts, report(9, "T1", "W1")) == {}
    (orphan,) = group_reports([report(9, "T1", "W1")])
    assert [each.id.int for each in find_owners(orphan, attempts)] == [1, 2]


def test_two_orphans_of_one_message_prove_nothing() -> None:
    assert proofs([attempt(1, 0)], report(3, "T1", "W1"), report(4, "T2", "W2")) == {}


def test_an_attempt_that_had_not_begun_owns_no_earlier_report() -> None:
    """And once it has its own, it owns no further: the next report is the next attempt's."""
    attempts = [attempt(1, 0), attempt(2, 100)]
    reports = [report(3, "T1", "W1"), report(103, "T2", "W2")]
    assert {number: proof.task_id for number, proof in proofs(attempts, *reports).items()} == {
        1: "T1",
        2: "T2",
    }
    assert proofs(attempts, reports[1]) == {}


@pytest.mark.parametrize(
    "given",
    [
        {"is_unknown": False, "ended": None},  # in work
        {"is_unknown": False, "lacks_wa_message_id": False},  # sent, the reply had no id
    ],
)
def test_what_may_also_be_meant_is_no_proof_and_is_not_settled(given: dict[str, Any]) -> None:
    assert proofs([attempt(1, 0), attempt(2, 1, **given)], report(3, "T1", "W1")) == {}
    assert proofs([attempt(2, 1, **given)], report(3, "T1", "W1")) == {}


def test_a_report_without_a_task_id_may_be_of_a_message_without_whatsapp_s_id() -> None:
    sent = attempt(2, 1, is_unknown=False, lacks_task_id=False)
    assert proofs([attempt(1, 0), sent], report(3, None, "W1")) == {}
    assert set(proofs([attempt(1, 0), sent], report(3, "T1", "W1"))) == {1}
    named = replace(sent, lacks_wa_message_id=False)
    assert set(proofs([attempt(1, 0), named], report(3, None, "W1"))) == {1}


def test_an_attempt_of_long_ago_is_not_what_was_just_sent() -> None:
    attempts = [attempt(1, -4000), attempt(2, 0)]
    assert set(proofs(attempts, report(3, "T1", "W1"))) == {2}
    assert proofs(attempts, report(3, "T1", "W1", is_sent=False)) == {}, "read at any time"


def test_ids_that_contradict_each_other_prove_nothing() -> None:
    reports = [report(3, "T1", "W1"), report(4, "T2", "W1")]
    assert proofs([attempt(1, 0)], *reports) == {}


def test_a_message_that_went_out_again_may_own_several() -> None:
    again = attempt(1, 0, went_out_again=True)
    assert proofs(
        [again, attempt(2, 50)], report(3, "T1", "W1"), report(60, "T2", "W2")
    ).keys() == {1}


@dataclass
class SentMessage:
    """A message as it really went: what the platform did, and what we know of it."""

    number: int
    phone: str
    began: float
    replied_after: float
    known: bool
    """The reply came and named the task."""
    taken_after: float | None
    reports: list[tuple[str, float, float, bool, bool]] = field(default_factory=list)
    """Status, seconds after it was taken, seconds on its way, whether it names task and WhatsApp's
    id."""
    written_on_phone: bool = False

    @property
    def task(self) -> str | None:
        return None if self.written_on_phone else f"T{self.number}"

    @property
    def whatsapp(self) -> str:
        twin = NEW_TWIN if self.phone == OLD_TWIN else self.phone
        return f"true_{twin}@c.us_3EB0{self.number}"

    def arrived(self, now: float) -> list[Report]:
        """Return the reports that have arrived."""
        found = []
        for status, after, way, has_task, has_whatsapp in self.reports:
            if self.taken_after is None:
                continue
            seen = self.began + self.taken_after + after + way
            task = self.task if has_task else None
            whatsapp = self.whatsapp if has_whatsapp or task is None else None
            if seen <= now:
                names = frozenset(name for name in (task, whatsapp) if name)
                peer = whatsapp.split("@")[0].removeprefix("true_") if whatsapp else None
                found.append(Report(names, task, whatsapp, peer, status == "sent", at(seen)))
        return found

    def knows_whatsapp_id(self, now: float) -> bool:
        """Return whether a report has told WhatsApp's id of a task that we know."""
        return self.is_named(now) and any(
            each.task_id and each.wa_message_id for each in self.arrived(now)
        )

    def is_named(self, now: float) -> bool:
        return self.known and self.began + self.replied_after <= now

    def orphans(self, now: float) -> list[Report]:
        """Return the reports that name no message of ours."""
        if self.written_on_phone:  # its own webhook has brought its row
            return []
        named = set()
        if self.is_named(now):
            named.add(self.task)
        if self.knows_whatsapp_id(now):
            named.add(self.whatsapp)
        return [each for each in self.arrived(now) if not named & each.ids]

    def attempt(self, now: float) -> Attempt | None:
        if self.written_on_phone or self.began > now:
            return None
        is_over = self.began + self.replied_after <= now
        return Attempt(
            id=UUID(int=self.number),
            phone=self.phone,
            began=at(self.began),
            ended=at(self.began + self.replied_after) if is_over else None,
            is_unknown=is_over and not self.known,
            lacks_task_id=not self.is_named(now),
            lacks_wa_message_id=not self.knows_whatsapp_id(now),
        )


@st.composite
def histories(draw: st.DrawFn) -> list[SentMessage]:
    """Draw what a number sent to up to three people, to each message after message."""
    clock = dict.fromkeys((PEER, OTHER, OLD_TWIN), 0.0)
    messages = []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        phone = draw(st.sampled_from([PEER, *clock]))
        began = clock[phone] + draw(st.sampled_from([0, 0.1, 3, 60, 4000]))
        replied_after = draw(st.sampled_from([0.1, 2, 8]))
        fate = draw(st.sampled_from(["known", "lost", "lost", "not taken", "taken late", "phone"]))
        taken_after = {"not taken": None, "taken late": draw(st.sampled_from([10, 600]))}.get(
            fate, draw(st.sampled_from([0, 0.05, replied_after]))
        )
        one_report = st.tuples(
            st.sampled_from(["sent", "delivered", "read"]),
            st.sampled_from([0.0, 0.2, 30, 1200]),
            st.sampled_from([0.0, 0.5, 20]),
            st.booleans(),
            st.booleans(),
        )
        messages.append(
            SentMessage(
                number,
                phone,
                began,
                replied_after,
                known=fate == "known",
                taken_after=taken_after,
                reports=draw(st.lists(one_report, max_size=3)),
                written_on_phone=fate == "phone",
            )
        )
        clock[phone] = began + replied_after
    return messages


@settings(max_examples=500, deadline=None)
@given(histories(), st.sampled_from([1, 5, 10, 70, 700, 5000, 20_000]), st.randoms())
def test_a_proof_is_never_wrong(history: list[SentMessage], now: float, shuffle: Any) -> None:
    """At any time, in any order of reports, also where some of them were lost."""
    attempts = [each for message in history if (each := message.attempt(now))]
    reports = [each for message in history for each in message.orphans(now)]
    shuffle.shuffle(reports)
    shuffle.shuffle(attempts)
    truth = {message.number: message for message in history}
    found = match_orphans(attempts, group_reports(reports))
    event(f"{len(found)} proofs")
    for proof in found:
        message = truth[proof.message_id.int]
        assert message.taken_after is not None, "it never left"
        assert proof.task_id in {None, message.task}
        assert proof.wa_message_id in {None, message.whatsapp}
        assert not message.known
    assert len({proof.message_id for proof in found}) == len(found)


@given(st.lists(st.sets(st.sampled_from("abcdefgh"), min_size=1, max_size=3), max_size=12))
def test_reports_that_share_an_id_are_of_one_message(names: list[set[str]]) -> None:
    reports = [
        Report(frozenset(each), None, None, None, is_sent=False, arrived_at=START) for each in names
    ]
    orphans = group_reports(reports)
    seen = [name for orphan in orphans for name in orphan.ids]
    assert len(seen) == len(set(seen)), "no id is in two groups"
    assert {frozenset(each) for each in names} <= {
        frozenset(each) for orphan in orphans for each in names if set(each) <= orphan.ids
    }
    assert all(isinstance(orphan, Orphan) for orphan in orphans)
