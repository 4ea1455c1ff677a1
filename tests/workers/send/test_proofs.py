"""Reports and records become what the matching works on."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.database.models import Evidence, OrphanReport, UnnamedMessage
from shared.lanes.records import Record
from workers.send.proofs import build_attempt, build_report, find_claimants, find_proofs

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PEER = "79990001122"
OURS, THEIRS = f"true_{PEER}@c.us_3EB0AA11", f"false_{PEER}@c.us_3EB0AA11"


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def row(**given: Any) -> OrphanReport:
    fields = {"account": "A", "external_ids": (), "status": "sent", "at": NOW, "arrived_at": NOW}
    return OrphanReport.model_validate(fields | given)


def unnamed(message_id: UUID, **given: Any) -> UnnamedMessage:
    fields = {
        "account": "A",
        "id": message_id,
        "phone": PEER,
        "status": "unknown",
        "created_at": NOW,
        "lacks_task_id": True,
        "lacks_wa_message_id": True,
    }
    return UnnamedMessage.model_validate(fields | given)


def record(message_id: UUID, state: str = "unknown", **given: Any) -> Record:
    fields: dict[str, Any] = {
        "queue": "send",
        "tenant": "one",
        "lane": f"send:1:{PEER}",
        "attempts": 1,
        "accepted": at(-100),
        "claimed": at(-10),
    }
    settled = {"settled": at(-8)} if state in {"unknown", "sent", "failed"} else {}
    return Record.model_validate(fields | settled | {"id": message_id, "state": state} | given)


@pytest.mark.parametrize(
    ("given", "task", "whatsapp", "peer"),
    [
        ({"external_ids": ["T1"], "task_id": "T1"}, "T1", None, None),
        ({"external_ids": ["T1"]}, "T1", None, None),
        ({"external_ids": [OURS], "wa_message_id": OURS}, None, OURS, PEER),
        ({"external_ids": ["T1", OURS], "task_id": "T1"}, "T1", OURS, PEER),
        ({"external_ids": ["3EB0AA11BB22CC33DD44"]}, None, "3EB0AA11BB22CC33DD44", None),
        ({"external_ids": [f"true_{PEER}:12@s.whatsapp.net_X1"]}, None, "…", PEER),
        ({"external_ids": ["true_123456789012345@lid_3EB0AA11"]}, None, "…", None),
    ],
    ids=["task", "either", "whatsapp", "both", "bare", "device", "hidden"],
)
def test_the_ids_of_a_report(
    given: dict[str, Any], task: str | None, whatsapp: str | None, peer: str | None
) -> None:
    report = build_report(row(**given))
    assert report
    assert (report.task_id, report.peer) == (task, peer)
    assert (report.wa_message_id is None) == (whatsapp is None)
    assert report.is_sent


def test_a_report_about_an_incoming_message_is_left_out() -> None:
    assert build_report(row(external_ids=[THEIRS])) is None


def test_when_an_attempt_began_and_ended() -> None:
    """A message that went out again may have gone out since it was accepted."""
    message_id = uuid4()
    attempt = build_attempt(unnamed(message_id), record(message_id))
    assert attempt
    assert (attempt.began, attempt.ended, attempt.is_unknown) == (at(-10), at(-8), True)
    again = build_attempt(unnamed(message_id), record(message_id, resends=1))
    assert again
    assert (again.began, again.went_out_again) == (at(-100), True)


@pytest.mark.parametrize(
    ("state", "given", "is_attempt"),
    [
        ("queued", {"attempts": 0, "claimed": None}, False),
        ("queued", {"attempts": 2}, True),
        ("claimed", {}, True),
        ("sent", {}, True),
        ("failed", {}, False),
    ],
    ids=["waits", "postponed", "in-work", "sent", "failed"],
)
def test_only_what_may_have_gone_out_counts(
    state: str, given: dict[str, Any], *, is_attempt: bool
) -> None:
    message_id = uuid4()
    attempt = build_attempt(unnamed(message_id), record(message_id, state, **given))
    assert (attempt is not None) == is_attempt
    assert not (attempt and attempt.is_unknown)


def test_without_a_record_it_is_a_candidate_that_cannot_be_settled() -> None:
    attempt = build_attempt(unnamed(uuid4()), None)
    assert attempt
    assert (attempt.began, attempt.is_unknown) == (NOW, False)


def test_accounts_are_apart() -> None:
    """Each account counts its task ids from 1."""
    ours, theirs = uuid4(), uuid4()
    evidence = Evidence(
        reports=[row(external_ids=["T1"]), row(external_ids=["T1"], account="B")],
        messages=[unnamed(ours), unnamed(theirs, account="B")],
    )
    records = {each: record(each) for each in (ours, theirs)}
    proofs = find_proofs(evidence, lambda _ids: records)
    assert {(proof.message_id, proof.task_id) for proof in proofs} == {(ours, "T1"), (theirs, "T1")}


def test_both_candidates_of_a_report_are_found() -> None:
    messages = [uuid4(), uuid4()]
    evidence = Evidence(
        reports=[row(external_ids=["T1"])], messages=[unnamed(each) for each in messages]
    )
    records = {each: record(each) for each in messages}
    claimants = find_claimants(evidence, lambda _ids: records)
    assert {each: [orphan.task_id for orphan in claimants[each]] for each in messages} == {
        each: ["T1"] for each in messages
    }
    assert find_proofs(evidence, lambda _ids: records) == []
