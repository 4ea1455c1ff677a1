"""Pacing gives each message its turn, by token buckets of its number and of its recipient.

Time passes by the lanes' clock: `advance` sets it forward, so no test waits.
"""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
import redis

from sandbox.redis import RedisServer
from shared import routing
from shared.errors import DatabaseError, DatabaseUnavailableError, LimitedError
from shared.events import Media, Message, SendEvent
from shared.lanes.client import Lanes
from shared.lanes.types import Claim, ClaimSequence, Postponed, Settled
from shared.pacing import PacingChange
from shared.redis import keys
from shared.settings import EngineSettings
from tests.workers.send.test_handler import INTEGRATION, ORGANIZATION, ROUTE, FakeContext, handle
from workers.context import WorkerContext
from workers.send import pacing

DAY = timedelta(days=1)
FOREVER_S = 86_400.0
NOISE_S = 5.0
"""How much time may pass for real between two steps of a test; its rates are far slower."""


def build_message(integration_id: UUID = INTEGRATION, to: str = "79990001122") -> SendEvent:
    return SendEvent(
        id=uuid4(), organization_id=ORGANIZATION, integration_id=integration_id, to=to, text="Hello"
    )


def message_to(number: int, **changed: Any) -> SendEvent:
    return build_message(to=f"7999000{number:04d}").model_copy(update=changed)


def advance(client: redis.Redis, seconds: float) -> None:
    """Set the clock of the lanes forward, from what it shows now."""
    wall_s, us = client.time()
    wall = wall_s * 1000 + us // 1000
    stored: Any = client.hgetall(keys.LANE_CLOCK)
    passed = max(0, min(wall - int(stored.get(b"wall", wall)), 2000))
    shown = int(stored.get(b"lanes", wall)) + passed
    client.hset(keys.LANE_CLOCK, mapping={"wall": wall, "lanes": shown + int(seconds * 1000)})


class Number:
    """A paced number: `settings` are those of its organization."""

    def __init__(
        self, client: redis.Redis, warm_up_from: datetime | None = None, **settings: Any
    ) -> None:
        self.client = client
        self.route = ROUTE.model_copy(
            update={"pacing": PacingChange(**settings), "warm_up_from": warm_up_from}
        )
        self.ctx = FakeContext(Lanes(client, EngineSettings()), route=self.route)
        advance(client, 0)

    def take(
        self, event: SendEvent, left_s: float = FOREVER_S, file_task: str = ""
    ) -> Postponed | None:
        now_ms = int(time.time() * 1000)
        claim = Claim(
            queue="send",
            id=event.id,
            lane="",
            fence="1",
            attempts=1,
            accepted_ms=now_ms,
            expires_ms=now_ms + int(left_s * 1000),
            now_ms=now_ms,
            body=b"",
            reason="",
            file_task=file_task,
        )
        return pacing.take_turn(event, claim, self.route, cast("WorkerContext", self.ctx))

    def wait(self, event: SendEvent) -> float:
        """Return for how many seconds a message has to wait."""
        postponed = self.take(event)
        return postponed.delay_s if postponed else 0.0

    def know(self, *numbers: int, contact: str = "known") -> None:
        self.ctx.contacts |= {f"7999000{number:04d}": contact for number in numbers}


def wrote(ago_s: float = 60) -> str:
    return str(int((time.time() - ago_s) * 1000))


def test_after_its_burst_a_number_sends_at_its_rate(redis_client: redis.Redis) -> None:
    """Without jitter the turns are exactly an interval apart."""
    number = Number(redis_client, per_minute=0.1, burst=3, jitter=0)
    number.know(*range(10))
    waits = [number.wait(message_to(each)) for each in range(10)]
    assert waits[:3] == [0, 0, 0]
    for place, wait in enumerate(waits[3:], 1):
        assert place * 600 - NOISE_S <= wait <= place * 600


def test_intervals_vary_within_the_jitter(redis_client: redis.Redis) -> None:
    """Even intervals look like a machine; their average is the rate."""
    number = Number(redis_client, per_minute=0.1, burst=1, jitter=0.5)
    number.know(*range(60))
    waits = [number.wait(message_to(each)) for each in range(60)]
    gaps = [later - earlier for earlier, later in pairwise(waits)]
    assert all(300 - NOISE_S <= gap <= 900 + NOISE_S for gap in gaps)
    assert len({round(gap / 60) for gap in gaps}) > 5, "the gaps are all alike"
    # the mean of 59 uniform gaps: 5 standard deviations of 173 s / sqrt(59)
    assert 600 - 115 <= sum(gaps) / len(gaps) <= 600 + 115


@pytest.mark.parametrize(
    ("contact", "file", "expected_s"),
    [
        ("known", None, 600),
        ("stranger", None, 1200),
        (None, None, 150),
        ("known", "image", 900),
        (None, "voice", 225),
    ],
    ids=["known", "stranger", "reply", "file", "file in reply"],
)
def test_a_message_costs_what_it_risks(
    redis_client: redis.Redis, contact: str | None, file: str | None, expected_s: float
) -> None:
    """The first message to a stranger takes twice the time of another, a reply a quarter."""
    number = Number(redis_client, per_minute=0.1, burst=1, jitter=0)
    number.know(*range(9), contact=contact or wrote())
    url = "https://example.com/a"
    changed = {"media": Media.model_validate({"type": file, "url": url})} if file else {}
    waits = [number.wait(message_to(each, **changed)) for each in range(9)]
    assert expected_s - NOISE_S <= waits[8] - waits[7] <= expected_s + NOISE_S


def test_a_caption_follows_its_file_at_once(redis_client: redis.Redis) -> None:
    """Its file has paid for both."""
    number = Number(redis_client, per_minute=0.1, burst=1, jitter=0)
    number.wait(message_to(1))
    assert number.take(message_to(1), file_task="task_1") is None


def test_someone_who_wrote_two_days_ago_is_no_open_conversation(
    redis_client: redis.Redis,
) -> None:
    number = Number(redis_client, per_minute=0.1, burst=1, jitter=0)
    number.know(1, 2, contact=wrote(2 * 86_400))
    number.wait(message_to(1))
    assert number.wait(message_to(2)) >= 600 - NOISE_S


def test_one_person_gets_a_few_messages_at_once_then_slowly(redis_client: redis.Redis) -> None:
    """The messages of a conversation are claimed in order, each when the last has gone."""
    number = Number(redis_client, recipient_per_minute=0.1, recipient_burst=3, jitter=0)
    for _ in range(3):
        assert number.take(message_to(1)) is None
    postponed = number.take(message_to(1))
    assert postponed
    assert 600 - NOISE_S <= postponed.delay_s <= 600
    assert "one person" in postponed.reason
    assert number.take(message_to(2)) is None, "another person does not wait"


def test_a_message_is_claimed_twice_at_most(redis_client: redis.Redis) -> None:
    """It keeps its turn, and goes out when it comes at it."""
    number = Number(redis_client, per_minute=0.1, burst=1, jitter=0.5)
    events = [message_to(each) for each in range(5)]
    waits = [number.wait(event) for event in events]
    passed = 0.0
    for event, wait in zip(events[1:], waits[1:], strict=True):
        assert number.wait(event) > 0, "not before its turn"
        advance(redis_client, wait - passed + 0.1)
        passed = wait + 0.1
        assert number.take(event) is None
    assert redis_client.zcard(keys.pace_turns(INTEGRATION)) == 0


def test_a_message_that_misses_its_turn_takes_another(redis_client: redis.Redis) -> None:
    """After an outage, a backlog does not leave all at once."""
    number = Number(redis_client, per_minute=1, burst=1, jitter=0)
    late = [message_to(each) for each in range(6)]
    number.know(*range(6))
    for event in late:
        number.wait(event)
    advance(redis_client, 1000)
    waits = [number.wait(event) for event in late[1:]]
    assert waits[0] == 0
    assert all(gap >= 60 - NOISE_S for gap in (b - a for a, b in pairwise(waits)))


def test_a_message_of_high_priority_takes_the_next_token(redis_client: redis.Redis) -> None:
    """An access code overtakes a campaign, which gives up a turn for it: the rate stays."""
    number = Number(redis_client, per_minute=1, burst=1, jitter=0)
    number.know(*range(10), 99)
    campaign = [message_to(each) for each in range(10)]
    waits = [number.wait(event) for event in campaign]
    code = message_to(99, priority="high")
    assert number.take(code) is None
    advance(redis_client, waits[1] + 1)
    moved = number.wait(campaign[1])
    assert moved >= 9 * 60 - NOISE_S - 60, "one waiting message is moved behind the others"
    advance(redis_client, waits[2] - waits[1])
    assert number.take(campaign[2]) is None, "and no other"


def test_a_message_before_an_urgent_one_goes_out_sooner(redis_client: redis.Redis) -> None:
    """An access code cannot overtake in its conversation: what is ahead of it hurries."""
    number = Number(redis_client, per_minute=1, burst=1, jitter=0, recipient_per_minute=0.1)
    number.know(*range(10))
    for each in range(9):
        number.wait(message_to(each))
    ahead = message_to(9)
    assert number.wait(ahead) > 8 * 60 - NOISE_S
    redis_client.hset(keys.lane_state(routing.send_lane(INTEGRATION, ahead.to)), "high", 1)
    assert number.take(ahead) is None
    assert number.wait(message_to(20, priority="high")) > 60 - NOISE_S, "at the rate of its level"
    assert len(read_turns(redis_client)) == 9


def test_high_priority_itself_keeps_to_the_rate(redis_client: redis.Redis) -> None:
    number = Number(redis_client, per_minute=1, burst=2, jitter=0)
    number.know(*range(5))
    codes = [message_to(each, priority="high") for each in range(5)]
    waits = [number.wait(code) for code in codes]
    assert waits[:2] == [0, 0]
    assert all(later - earlier >= 60 - NOISE_S for earlier, later in pairwise(waits[1:]))


def test_a_reply_overtakes_a_campaign(redis_client: redis.Redis) -> None:
    number = Number(redis_client, per_minute=1, burst=1, jitter=0)
    for each in range(10):
        number.wait(message_to(each))
    number.know(50, contact=wrote())
    assert number.take(message_to(50)) is None


def test_a_message_that_expires_before_its_turn_takes_none(redis_client: redis.Redis) -> None:
    """It waits until it expires, with the reason; the next message has the turn."""
    number = Number(redis_client, per_minute=1, burst=1, jitter=0)
    number.know(1, 2, 3)
    number.wait(message_to(1))
    postponed = number.take(message_to(2), left_s=10)
    assert postponed
    assert (postponed.delay_s, postponed.unstarted) == (10, True)
    assert "at most 1 messages a minute; it expires before" in postponed.reason
    assert number.wait(message_to(3)) <= 60


def test_an_attempt_that_failed_keeps_its_turn(redis_client: redis.Redis) -> None:
    """A campaign of hours is not begun anew by a message that the platform did not take."""
    number = Number(redis_client, per_minute=0.1, burst=1, jitter=0)
    event = message_to(1)
    assert number.take(event) is None
    number.wait(message_to(2))
    again = Postponed(120, "not sent")
    pacing.keep_turn(event, again, number.route, cast("WorkerContext", number.ctx))
    advance(redis_client, 121)
    assert number.take(event) is None


def test_a_limit_of_the_platform_stays_on_top(redis_client: redis.Redis) -> None:
    """A message at its turn waits for the rate that a 429 has set, and keeps its turn."""
    number = Number(redis_client, per_minute=600, burst=100)
    lanes = number.ctx.lanes
    number.ctx.answer = LimitedError("slow down", retry_after_s=30)
    for each in range(2):
        message = Message(to=f"+7999000{each:04d}", text="Hello")
        lanes.append(routing.route_send(ORGANIZATION, ROUTE.id, message))
    first, second = lanes.claim("send", ClaimSequence()), lanes.claim("send", ClaimSequence())
    assert first
    assert second
    assert isinstance(handle(first, number.ctx), Postponed)
    limited = handle(second, number.ctx)
    assert isinstance(limited, Postponed)
    assert "429" in limited.reason
    assert redis_client.zscore(keys.pace_turns(INTEGRATION), str(second.id))


@pytest.mark.parametrize("steps_s", [3600, -3600], ids=["forward", "back"])
def test_a_step_of_the_wall_clock_moves_no_turn(redis_client: redis.Redis, steps_s: int) -> None:
    """Turns are times of the lanes' clock."""
    number = Number(redis_client, per_minute=0.1, burst=1, jitter=0)
    event = message_to(2)
    number.know(1, 2)
    number.wait(message_to(1))
    before = number.wait(event)
    # as if the wall clock had shown another time when the lanes' clock was stored last
    redis_client.hincrby(keys.LANE_CLOCK, "wall", -steps_s * 1000)
    assert before - NOISE_S <= number.wait(event) <= before + NOISE_S


PROCESS = """
import sys
from uuid import UUID
import redis
from tests.workers.send import test_pacing as helpers
client = redis.Redis.from_url(sys.argv[1])
helpers.ROUTE = helpers.ROUTE.model_copy(update={"id": UUID(sys.argv[2])})
number = helpers.Number(client, per_minute=0.1, burst=5, jitter=0)
for each in range(int(sys.argv[3]), int(sys.argv[3]) + 40):
    number.know(each)
    print("waits", number.wait(helpers.message_to(each)), flush=True)
"""


def test_two_processes_share_the_buckets_of_a_number(
    redis_client: redis.Redis, redis_server: RedisServer
) -> None:
    """Exactly a burst leaves at once, and no two messages have the same turn."""
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, redis_server.url, str(INTEGRATION), str(first)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in (0, 100)
    ]
    lines = [line for each in programs for line in each.communicate()[0].splitlines()]
    assert [each.returncode for each in programs] == [0, 0]
    waits = [float(line.removeprefix("waits ")) for line in lines if line.startswith("waits ")]
    assert len(waits) == 80
    assert waits.count(0) == 5
    turns = sorted(int(turn) for _, turn in read_turns(redis_client))
    assert len(turns) == 75
    assert {later - earlier for earlier, later in pairwise(turns)} == {600_000}


def read_turns(client: redis.Redis) -> list[tuple[bytes, float]]:
    found: Any = client.zrange(keys.pace_turns(INTEGRATION), 0, -1, withscores=True)
    return list(found)


def test_a_new_number_writes_to_as_many_strangers_as_its_day_allows(
    redis_client: redis.Redis,
) -> None:
    """A person counts once; people who wrote first, or were written to, do not count."""
    number = Number(redis_client, datetime.now(UTC), warm_up=[3, 6])
    number.know(50, contact=wrote())
    number.know(51)
    for each in (1, 2, 50, 51, 3, 1):
        assert number.take(message_to(each)) is None
    over = number.take(message_to(4), left_s=3 * FOREVER_S)
    assert over
    assert over.unstarted
    assert "3 new people today" in over.reason
    assert 0 < over.delay_s <= FOREVER_S + pacing.BUDGET_SPREAD_S
    assert number.take(message_to(2)) is None, "whom it wrote to today"
    assert redis_client.hget(keys.WARM_UP_LEFT, str(INTEGRATION)) == b"-1"


@pytest.mark.parametrize(("age", "allowed"), [(0, 1), (1, 2), (2, 10), (40, 10)])
def test_the_budget_grows_by_the_day_until_it_ends(
    redis_client: redis.Redis, age: int, allowed: int
) -> None:
    """After the last day of the ramp there is no limit."""
    number = Number(redis_client, datetime.now(UTC) - age * DAY, warm_up=[1, 2])
    went = [number.take(message_to(each)) is None for each in range(10)]
    assert sum(went) == allowed


def test_the_day_ends_at_its_hour(redis_client: redis.Redis) -> None:
    """The set of today's strangers, and what waits, end with the day (UTC)."""
    number = Number(redis_client, datetime.now(UTC), warm_up=[1])
    number.ctx.engine = EngineSettings(wpp_warm_up_day_start=datetime.now(UTC).hour)
    number.take(message_to(1))
    over = number.take(message_to(2), left_s=3 * FOREVER_S)
    assert over
    assert 22.9 * 3600 <= over.delay_s <= FOREVER_S + pacing.BUDGET_SPREAD_S
    assert 0 < redis_client.ttl(keys.warm_up(INTEGRATION)) <= FOREVER_S


def test_a_number_from_before_has_no_warm_up(redis_client: redis.Redis) -> None:
    number = Number(redis_client, None, warm_up=[1])
    assert all(number.take(message_to(each)) is None for each in range(5))


@pytest.mark.parametrize(
    "warm_up_from", [None, datetime(2026, 1, 1, tzinfo=UTC)], ids=["old", "warm"]
)
def test_while_supabase_is_away_only_a_warm_up_waits_for_it(
    redis_client: redis.Redis, warm_up_from: datetime | None
) -> None:
    """A paced number takes an unknown person for a stranger; a new number has to know."""
    started = datetime.now(UTC) if warm_up_from else None
    number = Number(redis_client, started, per_minute=1, warm_up=[5])
    number.ctx.contacts["79990000001"] = DatabaseUnavailableError("no answer")
    if started is None:
        assert number.take(message_to(1)) is None
        return
    with pytest.raises(DatabaseUnavailableError):
        number.take(message_to(1))


def test_a_contact_that_cannot_be_read_counts_as_a_stranger(redis_client: redis.Redis) -> None:
    number = Number(redis_client, datetime.now(UTC), warm_up=[1])
    number.ctx.contacts["79990000001"] = DatabaseError("refused")
    assert number.take(message_to(1)) is None
    assert number.take(message_to(2)) is not None


def test_a_known_contact_is_asked_for_once_a_minute(redis_client: redis.Redis) -> None:
    """A campaign costs a call for each person, not for each claim."""
    number = Number(redis_client, per_minute=1, burst=1)
    number.wait(message_to(1))
    event = message_to(2)
    number.wait(event)
    number.wait(event)
    assert number.ctx.asked == ["79990000001", "79990000002"]


def test_the_keys_of_a_paced_number_expire(redis_client: redis.Redis) -> None:
    """Only the list of paced numbers stays, which the clock prunes."""
    number = Number(
        redis_client, datetime.now(UTC), per_minute=1, recipient_per_minute=1, warm_up=[9]
    )
    for each in range(8):
        number.take(message_to(each))
    lasting = {
        key
        for pattern in (f"{keys.PREFIX}pace*", f"{keys.PREFIX}warm*")
        for key in cast("list[bytes]", redis_client.keys(pattern))
        if redis_client.ttl(key) == -1
    }
    assert lasting == {keys.PACED.encode()}


class CountedCommands:
    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.before = self._count()

    def _count(self) -> int:
        stats: Any = self.client.info("commandstats")
        return sum(each["calls"] for name, each in stats.items() if name != "cmdstat_info")

    @property
    def number(self) -> int:
        return self._count() - self.before


def test_a_number_without_pacing_costs_no_command(redis_client: redis.Redis) -> None:
    number = Number(redis_client)
    counted = CountedCommands(redis_client)
    assert number.take(message_to(1)) is None
    assert counted.number == 0


def test_a_paced_campaign_keeps_its_rate_and_its_reason(redis_client: redis.Redis) -> None:
    """Through the lanes: each message is claimed twice at most and has not begun meanwhile."""
    number = Number(redis_client, per_minute=1, burst=2, jitter=0)
    number.know(*range(6))
    lanes, slot = number.ctx.lanes, ClaimSequence()
    for each in range(6):
        message = Message(to=f"+7999000{each:04d}", text="Hello")
        lanes.append(routing.route_send(ORGANIZATION, ROUTE.id, message))
    claims = 0
    for _ in range(25):
        while claim := lanes.claim("send", slot):
            claims += 1
            result = handle(claim, number.ctx)
            if isinstance(result, Postponed):
                assert (
                    "waits its turn: its number sends at most 1 messages a minute" in result.reason
                )
                assert int(result.fields["earliest"]) > claim.now_ms
            else:
                assert isinstance(result, Settled)
                assert claim.attempts == 1, "waiting is no attempt"
            lanes.conclude(claim, result)
        advance(redis_client, 12)
        lanes.sweep("send")
    assert len(number.ctx.deadlines_s) == 6
    assert claims == 2 + 2 * 4


def test_an_urgent_message_hurries_its_conversation(redis_client: redis.Redis) -> None:
    """What waits its turn ahead of it goes out first, both at once; no other conversation does."""
    number = Number(redis_client, per_minute=0.1, burst=2, jitter=0)
    number.know(*range(5))
    lanes, slot = number.ctx.lanes, ClaimSequence()

    def append(each: int, **more: Any) -> UUID:
        message = Message(to=f"+7999000{each:04d}", text="Hello", **more)
        return lanes.append(routing.route_send(ORGANIZATION, ROUTE.id, message)).id

    def work() -> list[UUID]:
        sent = []
        lanes.sweep("send")
        while claim := lanes.claim("send", slot):
            result = handle(claim, number.ctx)
            lanes.conclude(claim, result)
            sent += [claim.id] if isinstance(result, Settled) else []
        return sent

    ids = [append(each) for each in range(5)]
    assert work() == ids[:2]
    code = append(3, priority="high")
    assert work() == [ids[3], code]
    assert work() == []
