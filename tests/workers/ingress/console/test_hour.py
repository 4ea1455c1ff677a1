"""The last hour: differences of what was counted, gaps without a clock, what hurts comes first."""

from typing import Any

import redis

from shared import activity
from shared.activity import MAX_ORGANIZATIONS, MINUTE_MS, MINUTES, Activity, Minute, Totals
from shared.processes import now_ms
from tests.workers.ingress.console.conftest import SignedIn
from workers.ingress.console.hour import MAX_SHOWN, describe_hour

END_MS = 30_000_000 * MINUTE_MS


def make_minute(
    at_ms: int, sent: float, waiting: int = 0, oldest_s: float = 0, **organizations: Activity
) -> Minute:
    return Minute(
        at_ms=at_ms,
        totals={"send": Totals(2 * sent, sent, 0, 0), "media": Totals(sent)},
        waiting={"send": waiting},
        oldest_s={"send": oldest_s},
        organizations=organizations,
        others=Activity(),
    )


def test_the_page_reads_what_the_clock_wrote(operator: SignedIn, redis_client: redis.Redis) -> None:
    empty = operator.get("hour")
    assert (empty["last"], empty["organizations"]) == (None, [])
    end_ms = now_ms(redis_client) // MINUTE_MS * MINUTE_MS
    activity.add_minute(redis_client, make_minute(end_ms - MINUTE_MS, 5))
    activity.add_minute(
        redis_client, make_minute(end_ms, 12, 3, 61, org=Activity(4, 3, 1, 0, 2, 61))
    )
    found = operator.get("hour")
    assert found["last"] == end_ms
    assert found["kinds"]["send"]["done"][-1] in {7, None}  # None: a minute has begun since
    assert 61 in found["kinds"]["send"]["oldest_s"]
    (organization,) = found["organizations"]
    assert (organization["id"], organization["sent"], organization["waiting"]) == ("org", 3, 2)


def read_kind(entries: list[Minute], at_ms: int, kind: str = "send") -> dict[str, Any]:
    found: dict[str, Any] = describe_hour([entries], at_ms)["kinds"][kind]
    return found


def test_a_rate_is_the_difference_of_two_minutes() -> None:
    """The first has none; what nothing counts has none at all."""
    entries = [make_minute(END_MS + each * MINUTE_MS, each * 10, each) for each in range(3)]
    found = read_kind(entries, END_MS + 2 * MINUTE_MS + 5_000)
    assert len(found["done"]) == MINUTES
    assert found["done"][-3:] == [None, 10, 10]
    assert found["accepted"][-3:] == [None, 20, 20]
    assert found["waiting"][-4:] == [None, 0, 1, 2]
    media = read_kind(entries, END_MS + 2 * MINUTE_MS + 5_000, "media")
    assert (media["accepted"][-1], media["done"][-1]) == (10, None)


def test_the_hour_ends_with_the_newest_minute_until_the_next_is_due() -> None:
    entries = [make_minute(END_MS, 1), make_minute(END_MS + MINUTE_MS, 2)]
    for late_ms, expected in ((59_999, 1), (60_001, 1), (119_999, 1), (120_000, None)):
        found = describe_hour([entries], END_MS + MINUTE_MS + late_ms)
        assert found["kinds"]["send"]["done"][-1] == expected
    assert found["last"] == END_MS + MINUTE_MS


def test_minutes_without_a_clock_are_a_gap() -> None:
    """What was counted in them is spread over them; what waits is not told from an old minute."""
    mine = Activity(accepted=1, waiting=4)
    entries = [make_minute(END_MS, 10), make_minute(END_MS + 5 * MINUTE_MS, 60, org=mine)]
    found = read_kind(entries, END_MS + 5 * MINUTE_MS)
    assert found["done"][-6:] == [None, None, None, None, None, 10]
    later = describe_hour([entries], END_MS + 9 * MINUTE_MS)
    assert later["kinds"]["send"]["done"][-5:] == [10, None, None, None, None]
    assert later["organizations"][0]["waiting"] is None
    assert describe_hour([entries], END_MS + 100 * MINUTE_MS)["last"] is None


def test_counters_that_were_lost_make_no_negative_rate() -> None:
    entries = [make_minute(END_MS, 1000), make_minute(END_MS + MINUTE_MS, 3)]
    assert read_kind(entries, END_MS + MINUTE_MS)["done"][-1] is None


def test_organizations_that_something_hurts_come_first() -> None:
    """Failures and messages that wait for long count alike; then what waits, then what is busy."""
    entries = [
        make_minute(END_MS, 0, failing=Activity(5, 2, 3, 0), calm=Activity(1, 1)),
        make_minute(
            END_MS + MINUTE_MS,
            0,
            late=Activity(waiting=50, oldest_s=301),
            waits=Activity(waiting=900, oldest_s=299),
            busy=Activity(500, 500),
            calm=Activity(2, 2),
        ),
    ]
    found = describe_hour([entries], END_MS + MINUTE_MS)["organizations"]
    assert [each["id"] for each in found] == ["late", "failing", "waits", "busy", "calm"]
    calm = found[-1]
    assert (calm["sent"], calm["last_minute"], calm["by_minute"][-2:]) == (3, 2, [1, 2])
    assert found[1]["waiting"] == 0


def test_what_an_entry_has_no_room_for_is_not_said_to_be_nothing() -> None:
    many = {f"org{each}": Activity(sent=1) for each in range(MAX_ORGANIZATIONS)}
    entries = [make_minute(END_MS, 0, left=Activity(sent=1)), make_minute(END_MS + MINUTE_MS, 0)]
    full = make_minute(END_MS, 0).model_copy(update={"organizations": many})
    entries.append(full.model_copy(update={"at_ms": END_MS + 2 * MINUTE_MS}))
    found = describe_hour([entries], END_MS + 2 * MINUTE_MS)["organizations"]
    assert {each["id"]: each["waiting"] for each in found}["left"] is None
    more = [
        full.model_copy(
            update={
                "at_ms": END_MS + at * MINUTE_MS,
                "organizations": {f"{name} {at}": each for name, each in many.items()},
            }
        )
        for at in range(5)
    ]
    shown = describe_hour([more], END_MS + 4 * MINUTE_MS)["organizations"]
    assert len(shown) == MAX_SHOWN


def test_the_hour_of_several_shards_is_that_of_all() -> None:
    """Sums, and the greatest ages; a minute that a shard lacks is that of the others."""
    end_ms = END_MS + 2 * MINUTE_MS
    one = [
        make_minute(END_MS, 0),
        make_minute(END_MS + MINUTE_MS, 5, 1, 30, mine=Activity(accepted=4)),
        make_minute(end_ms, 6, 2, 90, mine=Activity(accepted=4)),
    ]
    two = [
        make_minute(END_MS, 100),
        make_minute(end_ms, 120, 7, 3, mine=Activity(0, 3, 0, 0, 7, 3)),
    ]
    found = describe_hour([one, two, []], end_ms)
    send = found["kinds"]["send"]
    assert (send["done"][-2:], send["waiting"][-2:]) == ([5, 11], [1, 9])
    assert send["oldest_s"][-2:] == [30, 90]
    (mine,) = found["organizations"]
    assert (mine["accepted"], mine["sent"], mine["waiting"], mine["oldest_s"]) == (8, 3, 7, 3)
    assert describe_hour([[], []], end_ms)["last"] is None
