"""Events of a newer version wait for workers that know it; older workers go on with the rest."""

import redis

from shared.lanes import records
from shared.lanes.client import Lanes
from shared.lanes.types import ClaimSequence, Settled
from shared.redis import keys
from shared.settings import EngineSettings
from tests.shared.lanes.harness import LaneHarness

SENT = Settled("sent")


def newer(harness: LaneHarness, knows: int = 2) -> Lanes:
    """Return the lanes as a worker of a newer version sees them."""
    return Lanes(harness.client, EngineSettings(), knows=knows)


def told(harness: LaneHarness, lanes: Lanes, most: int = 100) -> list[tuple[str, object]]:
    """Claim and conclude with `lanes` until nothing is ready; return lanes and texts in order."""
    found: list[tuple[str, object]] = []
    sequence = ClaimSequence()
    while len(found) < most and (claim := lanes.claim("send", sequence)):
        found.append((claim.lane, harness.told(claim.body)))
        lanes.conclude(claim, SENT)
    return found


def test_an_older_worker_leaves_a_newer_event_and_all_behind_it(harness: LaneHarness) -> None:
    """The event keeps its place and its attempts; further lanes go on."""
    left = harness.append("x", 1, version=2)
    harness.append("x", 2)
    harness.append("y", 3)
    assert told(harness, harness.lanes) == [("y", 3)]
    found = records.find_record(harness.client, left)
    assert found
    assert (found.state, found.attempts) == ("queued", 0)
    assert told(harness, newer(harness)) == [("x", 1), ("x", 2)]


def test_an_older_worker_looks_at_it_once(harness: LaneHarness) -> None:
    """Sweeps and further claims do not come across the lane again, and do not spin."""
    harness.append("x", version=2)
    assert harness.nothing_ready()
    before: int = harness.client.info("commandstats").get("cmdstat_hmget", {"calls": 0})["calls"]
    for _ in range(20):
        swept = harness.lanes.sweep("send")
        assert swept.ready == 0
        assert swept.next_due_ms
        assert harness.nothing_ready()
    assert harness.bell() == 0
    after: int = harness.client.info("commandstats")["cmdstat_hmget"]["calls"]
    assert after - before == 40, "each call reads the clock, and no event"


def test_a_newer_worker_is_woken(harness: LaneHarness) -> None:
    """Its bell has a token; that of all workers, which an older worker may take, has none."""
    harness.append("x", version=2)
    assert harness.nothing_ready()
    assert not harness.lanes.await_bell("send", 0.01)
    assert newer(harness).await_bell("send", 1)
    assert told(harness, newer(harness)) == [("x", "")]
    assert not newer(harness).await_bell("send", 0.01)


def test_a_token_that_was_lost_is_replaced(harness: LaneHarness) -> None:
    """A newer worker that ends after it was woken leaves the lane to the next worker."""
    harness.append("x", version=2)
    assert harness.nothing_ready()
    assert newer(harness).await_bell("send", 1)
    harness.lanes.sweep("send")
    assert newer(harness).await_bell("send", 1)


def test_each_version_waits_for_its_own_workers(harness: LaneHarness) -> None:
    """Of three versions side by side, the second leaves what is newer still."""
    harness.append("two", version=2)
    harness.append("three", version=3)
    assert harness.nothing_ready()
    assert [lane for lane, _ in told(harness, newer(harness, 2))] == ["two"]
    assert not newer(harness, 2).await_bell("send", 0.01)
    assert [lane for lane, _ in told(harness, newer(harness, 3))] == ["three"]


def test_organizations_take_turns_at_newer_workers(harness: LaneHarness) -> None:
    """Lanes that were left are claimed in turn: a large organization delays no small one."""
    for number in range(20):
        harness.append(f"large {number}", tenant="large", version=2)
    harness.append("small", tenant="small", version=2)
    assert harness.nothing_ready()
    assert "small" in [lane for lane, _ in told(harness, newer(harness), most=2)]


def test_lanes_with_newer_events_are_counted(harness: LaneHarness) -> None:
    """Until a newer worker has them; nothing is left in Redis then."""
    for number in range(3):
        harness.append(f"x{number}", version=2)
    assert harness.nothing_ready()
    assert records.count_left_lanes(harness.client, ["send", "media"]) == {"send": 3, "media": 0}
    told(harness, newer(harness))
    assert records.count_left_lanes(harness.client, ["send"]) == {"send": 0}
    left = [
        key
        for key in map(bytes.decode, harness.client.keys())
        if key.startswith(("wpp:newer", "wpp:gated", "wpp:delayed", "wpp:lane"))
    ]
    assert left == []


def test_a_closed_gate_holds_a_newer_event_as_well(harness: LaneHarness) -> None:
    """First it waits at the gate, then for a newer worker."""
    harness.lanes.close_gate("g", 60, "closed")
    harness.append("x", version=2, gates=("g",))
    assert harness.nothing_ready()
    assert told(harness, newer(harness)) == []
    harness.lanes.open_gate("g")
    assert harness.nothing_ready()
    assert told(harness, newer(harness)) == [("x", "")]


def test_a_newer_event_that_is_cancelled_frees_its_lane(harness: LaneHarness) -> None:
    left = harness.append("x", 1, version=2)
    harness.append("x", 2)
    assert harness.nothing_ready()
    assert harness.lanes.cancel(left, "send", "one", Settled("cancelled")) == "ok"
    assert told(harness, harness.lanes) == [("x", 2)]
    assert records.count_left_lanes(harness.client, ["send"]) == {"send": 0}


def test_a_lease_of_a_newer_event_is_left_to_a_newer_sweeper(harness: LaneHarness) -> None:
    """An older clock could not say what becomes of it; it does not lose it either."""
    harness.append("x", version=2)
    claimed = newer(harness).claim("send", ClaimSequence())
    assert claimed
    harness.end("leases:send")
    assert harness.lanes.sweep("send").expired_claims == []
    harness.end("leases:send")
    [taken] = newer(harness).sweep("send").expired_claims
    assert taken.id == claimed.id
    assert taken.lost_leases == 1


def test_a_lost_list_delays_a_lane_for_an_hour_at_most(harness: LaneHarness) -> None:
    """The lane is due then, and is left again."""
    harness.append("x", version=2)
    assert harness.nothing_ready()
    harness.client.delete(keys.newer_lanes("send", 2, "one"), keys.newer_turns("send", 2))
    assert told(harness, newer(harness)) == []
    harness.end("delayed:send")
    harness.lanes.sweep("send")
    assert harness.nothing_ready()
    assert told(harness, newer(harness)) == [("x", "")]


def test_a_replayed_event_keeps_its_version(harness: LaneHarness) -> None:
    item = harness.item("x", version=2)
    harness.lanes.append(item)
    claim = newer(harness).claim("send", ClaimSequence())
    assert claim
    newer(harness).conclude(claim, Settled("failed"))
    assert harness.lanes.replay(item)
    assert harness.nothing_ready()
    assert told(harness, newer(harness)) == [("x", "")]


def test_scheduled_events_keep_their_version(redis_client: redis.Redis) -> None:
    """A clock of any version puts them into their lanes."""
    harness = LaneHarness(redis_client)
    harness.append("x", version=2, delay_s=0.001)
    harness.due()
    harness.lanes.sweep("send")
    assert harness.nothing_ready()
    assert told(harness, newer(harness)) == [("x", "")]
