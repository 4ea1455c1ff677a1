"""Claims: leases, takeover, results that count, and lost replies."""

from collections.abc import Callable

import pytest

from shared.lanes.types import Claim, ClaimSequence, Postponed, Settled
from tests.shared.lanes.harness import LaneHarness, outcome, settled


def test_a_claim_tells_all_that_is_known_of_the_event(harness: LaneHarness) -> None:
    event_id = harness.append("x", "hello")
    claim = harness.claim()
    assert (claim.id, claim.lane, claim.queue, claim.attempts, claim.reason) == (
        event_id,
        "x",
        "send",
        1,
        "",
    )
    assert harness.told(claim.body) == "hello"
    assert claim.accepted_ms <= claim.now_ms < claim.expires_ms
    assert not claim.expired


def test_a_lease_that_runs_is_not_taken_over(harness: LaneHarness) -> None:
    harness.append("x")
    harness.claim()
    assert harness.lanes.sweep("send").expired_claims == []


def test_an_ended_lease_is_taken_over_once(harness: LaneHarness) -> None:
    """A single sweeper of two takes it over, with a higher fence and its own lease."""
    harness.append("x", "hello")
    first = harness.claim()
    taken = harness.take_over()
    assert int(taken.fence) > int(first.fence)
    assert (taken.id, taken.body, taken.attempts) == (first.id, first.body, 1)
    assert harness.lanes.sweep("send").expired_claims == []


def test_a_clock_that_dies_after_taking_over_is_taken_over_itself(harness: LaneHarness) -> None:
    harness.append("x")
    harness.claim()
    first = harness.take_over()
    second = harness.take_over()
    assert not harness.conclude(first, "unknown"), "it had its time"
    assert harness.conclude(second, "unknown")


def test_lost_leases_are_counted_until_a_worker_comes_to_an_end(harness: LaneHarness) -> None:
    """A sweeper that stops after taking over is no worker; a postponement is an end."""
    harness.append("x")
    counts = []
    for _ in range(2):
        harness.claim()
        harness.take_over()
        taken = harness.take_over()
        counts.append(taken.lost_leases)
        harness.lanes.conclude(taken, Postponed(0, "its worker stopped"))
    claim = harness.claim()
    harness.lanes.conclude(claim, Postponed(0, "", unstarted=True))
    counts.append(harness.claim().lost_leases)
    harness.lanes.conclude(harness.take_over(), Postponed(0, "its worker stopped"))
    harness.lanes.conclude(harness.claim(), Postponed(0, "not now"))
    counts.append(harness.claim().lost_leases)
    assert counts == [1, 2, 2, 0]


def test_a_worker_extends_its_lease_until_somebody_took_over(harness: LaneHarness) -> None:
    harness.append("x")
    claim = harness.claim()
    harness.end("leases:send")
    assert harness.lanes.extend(claim)
    assert harness.lanes.sweep("send").expired_claims == []
    harness.take_over()
    assert not harness.lanes.extend(claim)


def test_a_sweep_takes_over_no_more_than_it_is_asked_to(harness: LaneHarness) -> None:
    for number in range(5):
        harness.append(f"lane{number}")
    assert len(list(harness.claims())) == 5
    harness.end("leases:send")
    assert [len(harness.lanes.sweep("send", count=2).expired_claims) for _ in range(4)] == [
        2,
        2,
        1,
        0,
    ]


Happening = Callable[[LaneHarness, Claim], object]


def given_up(harness: LaneHarness, _: Claim) -> None:
    harness.conclude(harness.take_over(), "unknown", "unknown")


def requeued(harness: LaneHarness, _: Claim) -> None:
    harness.lanes.conclude(harness.take_over(), Postponed(60, "its worker stopped"))


def claimed_again(harness: LaneHarness, _: Claim) -> None:
    harness.lanes.conclude(harness.take_over(), Postponed(0, "its worker stopped"))
    harness.claim()


def concluded_by_another(harness: LaneHarness, claim: Claim) -> None:
    claimed_again(harness, claim)
    [last] = harness.client.zrange("wpp:leases:send", 0, -1)
    fence = harness.client.hget(f"wpp:lane:{last.decode()}:state", "fence").decode()
    assert harness.conclude(Claim(**(vars(claim) | {"fence": fence})), "failed", "failed")


def sent_by_operator(harness: LaneHarness, claim: Claim) -> None:
    given_up(harness, claim)
    assert harness.lanes.resolve(claim.id, settled("sent", "by operator"))


def sent_once_more(harness: LaneHarness, claim: Claim) -> None:
    given_up(harness, claim)
    assert harness.lanes.resolve(claim.id, settled("queued"))


LATE: list[tuple[Happening, str, bool, str]] = [
    (lambda *_: None, "sent", True, "sent"),
    (lambda harness, _: harness.end("leases:send"), "sent", True, "sent"),
    (lambda harness, _: harness.take_over(), "sent", True, "sent"),
    (lambda harness, _: harness.take_over(), "queued", True, "queued"),
    (given_up, "sent", True, "sent"),
    (given_up, "failed", True, "failed"),
    (given_up, "unknown", False, "unknown"),
    (
        given_up,
        "queued",
        False,
        "unknown",
    ),  # it is shown as unknown: an operator may have acted on that
    (requeued, "sent", True, "sent"),
    (requeued, "failed", True, "failed"),
    (requeued, "unknown", False, "queued"),
    (requeued, "queued", False, "queued"),
    (claimed_again, "sent", False, "claimed"),
    (claimed_again, "queued", False, "claimed"),
    (concluded_by_another, "sent", False, "failed"),
    (sent_by_operator, "failed", False, "sent"),
    (sent_once_more, "sent", True, "sent"),  # what is known to be sent is not sent again
    (sent_once_more, "unknown", False, "queued"),
]


@pytest.mark.parametrize(("happens", "verdict", "counts", "then"), LATE)
def test_the_verdict_of_a_worker_after_something_happened(
    harness: LaneHarness, happens: Happening, verdict: str, then: str, *, counts: bool
) -> None:
    """A late result counts unless the event was claimed again since."""
    event_id = harness.append("x")
    claim = harness.claim()
    happens(harness, claim)
    told = len(harness.outbox())
    news = [outcome("news")]
    said = Postponed(60, "news", news) if verdict == "queued" else Settled(verdict, news)  # type: ignore[arg-type]
    assert harness.lanes.conclude(claim, said)[0] == counts
    assert (harness.state(event_id), len(harness.outbox()) - told) == (then, int(counts))


def test_the_verdict_of_a_stranger_is_nothing(harness: LaneHarness) -> None:
    """Neither with a forged fence, nor for a different lane, nor for an unknown event."""
    event_id = harness.append("x")
    harness.append("y")
    claim, other = harness.claims()
    for fence in ("0", "99", other.fence):
        assert not harness.conclude(Claim(**(vars(claim) | {"fence": fence})))
    assert not harness.conclude(Claim(**(vars(claim) | {"id": harness.item("z").id})))
    assert harness.state(event_id) == "claimed"


def test_the_clock_comes_too_late_when_the_worker_was_only_slow(harness: LaneHarness) -> None:
    """The next event of the lane is claimed meanwhile: the clock's verdict touches neither."""
    harness.append("x", "first")
    second = harness.append("x", "second")
    claim = harness.claim()
    taken = harness.take_over()
    assert harness.conclude(claim, "sent")
    assert harness.claim().id == second
    assert not harness.conclude(taken, "unknown")
    assert (harness.state(claim.id), harness.state(second)) == ("sent", "claimed")


def test_late_news_does_not_disturb_whoever_works_on_the_lane_now(harness: LaneHarness) -> None:
    harness.append("x", "first")
    harness.append("x", "second")
    late = harness.claim()
    harness.conclude(harness.take_over(), "unknown")
    now = harness.claim()
    assert harness.conclude(late, "sent")
    assert harness.nothing_ready(), "the second is still in work"
    assert harness.conclude(now)


@pytest.mark.parametrize("waits", ["postponed", "gated", "ready"])
def test_late_news_ends_what_the_lane_was_waiting_for(harness: LaneHarness, waits: str) -> None:
    """After the postponed or gated head, the next event goes on at once; the gate holds no lane."""
    harness.append("x", "first", gates=("g",))
    harness.append("x", "second")
    late = harness.claim()
    harness.lanes.conclude(
        harness.take_over(), Postponed(60 if waits == "postponed" else 0, "its worker stopped")
    )
    if waits == "gated":
        harness.lanes.close_gate("g", 60, "closed")
        assert harness.nothing_ready()
    assert harness.conclude(late, "done")
    assert harness.told(harness.claim().body) == "second"
    assert not harness.client.exists("wpp:gated:g", "wpp:delayed:send")


def test_a_lane_emptied_by_late_news_takes_new_events(harness: LaneHarness) -> None:
    """Whether or not a claim looked at the empty lane in between."""
    for look in (True, False):
        harness.append("x")
        late = harness.claim()
        harness.lanes.conclude(harness.take_over(), Postponed(0, "its worker stopped"))
        assert harness.conclude(late, "done")
        assert not look or harness.nothing_ready()
        harness.append("x", "next")
        claim = harness.claim()
        assert harness.told(claim.body) == "next"
        harness.conclude(claim)


def test_a_claim_whose_reply_was_lost_is_given_again(harness: LaneHarness) -> None:
    """The same claim with a whole lease; the remaining lanes stay free."""
    harness.append("x")
    harness.append("y")
    sequence = ClaimSequence("a thread")
    lost = harness.claim(sequence=ClaimSequence("a thread"))
    harness.end("leases:send")
    again = harness.claim(sequence=sequence)
    assert (again.id, again.fence, again.attempts) == (lost.id, lost.fence, 1)
    assert harness.lanes.sweep("send").expired_claims == []
    assert harness.claim(sequence=sequence).id != lost.id


def test_conclude_and_claim_whose_reply_was_lost_has_one_effect(harness: LaneHarness) -> None:
    harness.append("x", "first")
    harness.append("x", "second")
    sequence = ClaimSequence("a thread")
    claim = harness.claim(sequence=sequence)
    answers = [
        harness.lanes.conclude(
            claim, settled("sent", "sent"), ClaimSequence("a thread", sequence.number)
        )
        for _ in range(3)
    ]
    assert {counted for counted, _ in answers} == {True}
    assert {(found.fence, found.attempts) for _, found in answers if found} == {("2", 1)}
    assert harness.outbox() == ["sent"]


def test_a_lost_reply_that_said_nothing_ready_is_asked_anew(harness: LaneHarness) -> None:
    """What has become ready since is found: an old "nothing" is no answer."""
    assert harness.lanes.claim("send", ClaimSequence("a thread")) is None
    harness.append("x")
    assert harness.claim(sequence=ClaimSequence("a thread")).lane == "x"


def test_a_lost_claim_is_not_given_to_the_same_thread_for_another_kind(
    harness: LaneHarness,
) -> None:
    harness.append("s")
    harness.append("w", queue="webhook")
    harness.claim("send", ClaimSequence("a thread"))
    assert harness.claim("webhook", ClaimSequence("a thread")).lane == "w"


@pytest.mark.parametrize(
    "happens", [given_up, requeued, sent_by_operator, sent_once_more, claimed_again]
)
def test_a_lost_claim_is_not_given_again_when_it_no_longer_holds(
    harness: LaneHarness, happens: Happening
) -> None:
    """A second claim would repeat an event that is settled or in work."""
    harness.append("x", "first")
    lost = harness.claim(sequence=ClaimSequence("a thread"))
    happens(harness, lost)
    again = harness.lanes.claim("send", ClaimSequence("a thread"))
    assert again is None or again.fence != lost.fence


def test_numbered_claims_of_one_thread_are_different_claims(harness: LaneHarness) -> None:
    for number in range(3):
        harness.append(f"lane{number}")
    assert len({claim.id for claim in harness.claims()}) == 3


def test_a_lane_stays_with_the_tenant_that_opened_it(harness: LaneHarness) -> None:
    """Events of an integration that changed its tenant: the counters of both are right."""
    harness.append("x", tenant="before")
    harness.append("x", tenant="after")
    for claim in harness.claims():
        harness.conclude(claim)
    assert not harness.client.exists("wpp:busy:send", "wpp:waiting:send")
