"""Claims: leases, takeover, results that count, and lost replies."""

from collections.abc import Callable

import pytest

from shared.lanes.types import Claim, ClaimSequence, Postponed, Settled
from tests.shared.lanes.harness import Bench, outcome, settled


def test_a_claim_tells_all_that_is_known_of_the_event(bench: Bench) -> None:
    event_id = bench.append("x", "hello")
    claim = bench.claim()
    assert (claim.id, claim.lane, claim.queue, claim.attempts, claim.reason) == (
        event_id,
        "x",
        "send",
        1,
        "",
    )
    assert bench.told(claim.body) == "hello"
    assert claim.accepted_ms <= claim.now_ms < claim.expires_ms
    assert not claim.expired


def test_a_lease_that_runs_is_not_taken_over(bench: Bench) -> None:
    bench.append("x")
    bench.claim()
    assert bench.lanes.sweep("send").expired_claims == []


def test_an_ended_lease_is_taken_over_once(bench: Bench) -> None:
    """A single sweeper of two takes it over, with a higher fence and its own lease."""
    bench.append("x", "hello")
    first = bench.claim()
    taken = bench.take_over()
    assert int(taken.fence) > int(first.fence)
    assert (taken.id, taken.body, taken.attempts) == (first.id, first.body, 1)
    assert bench.lanes.sweep("send").expired_claims == []


def test_a_clock_that_dies_after_taking_over_is_taken_over_itself(bench: Bench) -> None:
    bench.append("x")
    bench.claim()
    first = bench.take_over()
    second = bench.take_over()
    assert not bench.conclude(first, "unknown"), "it had its time"
    assert bench.conclude(second, "unknown")


def test_a_worker_extends_its_lease_until_somebody_took_over(bench: Bench) -> None:
    bench.append("x")
    claim = bench.claim()
    bench.end("leases:send")
    assert bench.lanes.extend(claim)
    assert bench.lanes.sweep("send").expired_claims == []
    bench.take_over()
    assert not bench.lanes.extend(claim)


def test_a_sweep_takes_over_no_more_than_it_is_asked_to(bench: Bench) -> None:
    for number in range(5):
        bench.append(f"lane{number}")
    assert len(list(bench.claims())) == 5
    bench.end("leases:send")
    assert [len(bench.lanes.sweep("send", count=2).expired_claims) for _ in range(4)] == [
        2,
        2,
        1,
        0,
    ]


Happening = Callable[[Bench, Claim], object]


def given_up(bench: Bench, _: Claim) -> None:
    bench.conclude(bench.take_over(), "unknown", "unknown")


def requeued(bench: Bench, _: Claim) -> None:
    bench.lanes.conclude(bench.take_over(), Postponed(60, "its worker stopped"))


def claimed_again(bench: Bench, _: Claim) -> None:
    bench.lanes.conclude(bench.take_over(), Postponed(0, "its worker stopped"))
    bench.claim()


def concluded_by_another(bench: Bench, claim: Claim) -> None:
    claimed_again(bench, claim)
    [last] = bench.client.zrange("wpp:leases:send", 0, -1)
    fence = bench.client.hget(f"wpp:lane:{last.decode()}:state", "fence").decode()
    assert bench.conclude(Claim(**(vars(claim) | {"fence": fence})), "failed", "failed")


def sent_by_operator(bench: Bench, claim: Claim) -> None:
    given_up(bench, claim)
    assert bench.lanes.resolve(claim.id, settled("sent", "by operator"))


def sent_once_more(bench: Bench, claim: Claim) -> None:
    given_up(bench, claim)
    assert bench.lanes.resolve(claim.id, settled("queued"))


LATE: list[tuple[Happening, str, bool, str]] = [
    (lambda *_: None, "sent", True, "sent"),
    (lambda bench, _: bench.end("leases:send"), "sent", True, "sent"),
    (lambda bench, _: bench.take_over(), "sent", True, "sent"),
    (lambda bench, _: bench.take_over(), "queued", True, "queued"),
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
    bench: Bench, happens: Happening, verdict: str, then: str, *, counts: bool
) -> None:
    """A late result counts unless the event was claimed again since."""
    event_id = bench.append("x")
    claim = bench.claim()
    happens(bench, claim)
    told = len(bench.outbox())
    news = [outcome("news")]
    said = Postponed(60, "news", news) if verdict == "queued" else Settled(verdict, news)  # type: ignore[arg-type]
    assert bench.lanes.conclude(claim, said)[0] == counts
    assert (bench.state(event_id), len(bench.outbox()) - told) == (then, int(counts))


def test_the_verdict_of_a_stranger_is_nothing(bench: Bench) -> None:
    """Neither with a forged fence, nor for a different lane, nor for an unknown event."""
    event_id = bench.append("x")
    bench.append("y")
    claim, other = bench.claims()
    for fence in ("0", "99", other.fence):
        assert not bench.conclude(Claim(**(vars(claim) | {"fence": fence})))
    assert not bench.conclude(Claim(**(vars(claim) | {"id": bench.item("z").id})))
    assert bench.state(event_id) == "claimed"


def test_the_clock_comes_too_late_when_the_worker_was_only_slow(bench: Bench) -> None:
    """The next event of the lane is claimed meanwhile: the clock's verdict touches neither."""
    bench.append("x", "first")
    second = bench.append("x", "second")
    claim = bench.claim()
    taken = bench.take_over()
    assert bench.conclude(claim, "sent")
    assert bench.claim().id == second
    assert not bench.conclude(taken, "unknown")
    assert (bench.state(claim.id), bench.state(second)) == ("sent", "claimed")


def test_late_news_does_not_disturb_whoever_works_on_the_lane_now(bench: Bench) -> None:
    bench.append("x", "first")
    bench.append("x", "second")
    late = bench.claim()
    bench.conclude(bench.take_over(), "unknown")
    now = bench.claim()
    assert bench.conclude(late, "sent")
    assert bench.nothing_ready(), "the second is still in work"
    assert bench.conclude(now)


@pytest.mark.parametrize("waits", ["postponed", "gated", "ready"])
def test_late_news_ends_what_the_lane_was_waiting_for(bench: Bench, waits: str) -> None:
    """After the postponed or gated head, the next event goes on at once; the gate holds no lane."""
    bench.append("x", "first", gates=("g",))
    bench.append("x", "second")
    late = bench.claim()
    bench.lanes.conclude(
        bench.take_over(), Postponed(60 if waits == "postponed" else 0, "its worker stopped")
    )
    if waits == "gated":
        bench.lanes.close_gate("g", 60, "closed")
        assert bench.nothing_ready()
    assert bench.conclude(late, "done")
    assert bench.told(bench.claim().body) == "second"
    assert not bench.client.exists("wpp:gated:g", "wpp:delayed:send")


def test_a_lane_emptied_by_late_news_takes_new_events(bench: Bench) -> None:
    """Whether or not a claim looked at the empty lane in between."""
    for look in (True, False):
        bench.append("x")
        late = bench.claim()
        bench.lanes.conclude(bench.take_over(), Postponed(0, "its worker stopped"))
        assert bench.conclude(late, "done")
        assert not look or bench.nothing_ready()
        bench.append("x", "next")
        claim = bench.claim()
        assert bench.told(claim.body) == "next"
        bench.conclude(claim)


def test_a_claim_whose_reply_was_lost_is_given_again(bench: Bench) -> None:
    """The same claim with a whole lease; the remaining lanes stay free."""
    bench.append("x")
    bench.append("y")
    sequence = ClaimSequence("a thread")
    lost = bench.claim(sequence=ClaimSequence("a thread"))
    bench.end("leases:send")
    again = bench.claim(sequence=sequence)
    assert (again.id, again.fence, again.attempts) == (lost.id, lost.fence, 1)
    assert bench.lanes.sweep("send").expired_claims == []
    assert bench.claim(sequence=sequence).id != lost.id


def test_conclude_and_claim_whose_reply_was_lost_has_one_effect(bench: Bench) -> None:
    bench.append("x", "first")
    bench.append("x", "second")
    sequence = ClaimSequence("a thread")
    claim = bench.claim(sequence=sequence)
    answers = [
        bench.lanes.conclude(
            claim, settled("sent", "sent"), ClaimSequence("a thread", sequence.number)
        )
        for _ in range(3)
    ]
    assert {counted for counted, _ in answers} == {True}
    assert {(found.fence, found.attempts) for _, found in answers if found} == {("2", 1)}
    assert bench.outbox() == ["sent"]


def test_a_lost_reply_that_said_nothing_ready_is_asked_anew(bench: Bench) -> None:
    """What has become ready since is found: an old "nothing" is no answer."""
    assert bench.lanes.claim("send", ClaimSequence("a thread")) is None
    bench.append("x")
    assert bench.claim(sequence=ClaimSequence("a thread")).lane == "x"


def test_a_lost_claim_is_not_given_to_the_same_thread_for_another_kind(bench: Bench) -> None:
    bench.append("s")
    bench.append("w", queue="webhook")
    bench.claim("send", ClaimSequence("a thread"))
    assert bench.claim("webhook", ClaimSequence("a thread")).lane == "w"


@pytest.mark.parametrize(
    "happens", [given_up, requeued, sent_by_operator, sent_once_more, claimed_again]
)
def test_a_lost_claim_is_not_given_again_when_it_no_longer_holds(
    bench: Bench, happens: Happening
) -> None:
    """A second claim would repeat an event that is settled or in work."""
    bench.append("x", "first")
    lost = bench.claim(sequence=ClaimSequence("a thread"))
    happens(bench, lost)
    again = bench.lanes.claim("send", ClaimSequence("a thread"))
    assert again is None or again.fence != lost.fence


def test_numbered_claims_of_one_thread_are_different_claims(bench: Bench) -> None:
    for number in range(3):
        bench.append(f"lane{number}")
    assert len({claim.id for claim in bench.claims()}) == 3


def test_a_lane_stays_with_the_tenant_that_opened_it(bench: Bench) -> None:
    """Events of an integration that changed its tenant: the counters of both are right."""
    bench.append("x", tenant="before")
    bench.append("x", tenant="after")
    for claim in bench.claims():
        bench.conclude(claim)
    assert not bench.client.exists("wpp:busy:send", "wpp:waiting:send")
