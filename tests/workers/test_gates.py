"""Lanes that are held: by a refused key until its repair, by a platform in trouble until one probe gets through."""

import time
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
import redis
from pydantic import HttpUrl, SecretStr

from shared import routing
from shared.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    InvalidApiKeyError,
    NotConnectedError,
)
from shared.events import Message, SendEvent
from shared.lanes.client import Lanes, Postponed, Settled, Slot
from shared.platform import Platform
from shared.platform.account import PlatformAccount
from shared.platform.circuit_breaker import CircuitBreaker
from shared.redis import keys
from shared.route_cache import IntegrationRoute
from shared.settings import EngineSettings, PlatformSettings
from shared.tokens import TokenCache
from shared.tokens.store import MintedToken
from tests.shared.tokens.stores import MemoryStore
from tests.workers.send.test_handler import INTEGRATION, ORGANIZATION, ROUTE, claimed
from workers import gates, runner
from workers.context import WorkerContext
from workers.runner import parse_first
from workers.send import handler as send

GATE = keys.gate(routing.integration_gate(INTEGRATION))


def refusing(_api_key: SecretStr) -> MintedToken:
    msg = "connect it again with force_recreate"
    raise InvalidApiKeyError(msg)


def taking(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"taskId": "t"})


def lost(_request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")  # noqa: EM101 - as httpx does


class World:
    """What a send works with: all of it real but for the platform's wire, and a directory and a database as told."""

    def __init__(self, client: redis.Redis) -> None:
        self.redis, self.engine, url = client, EngineSettings(), HttpUrl("http://platform.test")
        self.lanes = Lanes(client, self.engine)
        self.tokens = TokenCache(client, refusing, MemoryStore())
        self.later_s = 0.0
        self.breaker = CircuitBreaker(
            client, str(url), clock=lambda: time.monotonic() + self.later_s
        )
        self.platform_settings = PlatformSettings(wpp_base_url=url, wpp_secret=SecretStr("secret"))
        wire = httpx.MockTransport(self.answered)
        self.platform = Platform(self.platform_settings, breaker=self.breaker, transport=wire)
        self.route_cache = self.database = self.integrations = self
        self.platform_answers = taking
        self.requests = 0
        self.reported: list[str] = []
        self.database_error: DatabaseError | None = None

    @property
    def services(self) -> WorkerContext:
        return cast("WorkerContext", self)

    def as_account(self, account: str) -> PlatformAccount:
        return self.platform.as_account(account, httpx.Auth())

    def find_route(self, _integration_id: UUID) -> IntegrationRoute:
        return ROUTE

    def find_account_route(self, account: str) -> IntegrationRoute | None:
        return ROUTE if account == ROUTE.account else None

    def answered(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        return self.platform_answers(request)

    def report_error(self, _integration_id: object, text: str) -> None:
        if self.database_error:
            raise self.database_error
        self.reported.append(text)

    def drain(self) -> int:
        """Handle what is ready; return how many events that were."""
        slot, handled = Slot(), 0
        while claim := self.lanes.claim("send", slot):
            self.lanes.conclude(
                claim, parse_first(SendEvent, send.handle_send)(claim, self.services)
            )
            handled += 1
        return handled

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass for the breaker, the gates and the lanes."""
        self.later_s += seconds
        client: Any = self.redis
        for key in client.keys(keys.circuit_breaker("*")):
            client.hincrby(key, "open_until", -int(seconds * 1000))
        for key in client.keys(keys.gate("*")):
            client.pexpire(key, max(1, client.pttl(key) - int(seconds * 1000)))
        if later := client.zrange(keys.delayed("send"), 0, -1, withscores=True):
            client.zadd(keys.delayed("send"), {lane: due - seconds * 1000 for lane, due in later})
        time.sleep(0.01)
        self.lanes.sweep("send")


@pytest.fixture
def world(redis_client: redis.Redis) -> World:
    return World(redis_client)


def refused(world: World) -> InvalidApiKeyError:
    with pytest.raises(InvalidApiKeyError) as caught:
        world.tokens.get(ROUTE.account)
    return caught.value


def test_a_refused_key_closes_its_gate_and_is_shown(world: World) -> None:
    """Until the repair, or for a minute."""
    gates.hold_for_key(refused(world), ROUTE, world.services)
    assert world.reported == ["connect it again with force_recreate"]
    assert 50_000 < world.redis.pttl(GATE) <= 60_000


def test_a_repair_that_came_first_is_not_undone(world: World) -> None:
    """A send that was told `refused` a moment before the new key was there holds nothing and shows nothing."""
    error = refused(world)
    world.tokens.install_first_token(ROUTE.account, lambda: MintedToken(SecretStr("good"), 900))
    world.lanes.open_gate(routing.integration_gate(INTEGRATION))
    gates.hold_for_key(error, ROUTE, world.services)
    assert not world.redis.exists(GATE)
    assert world.reported == []


@pytest.mark.parametrize(
    "trouble", [DatabaseUnavailableError("no answer"), DatabaseError("no such column")]
)
def test_lanes_are_held_though_supabase_cannot_show_why(
    world: World, trouble: DatabaseError
) -> None:
    """The message waits for its key, and for nothing else."""
    world.database_error = trouble
    error = refused(world)
    verdict = parse_first(SendEvent, send.after)(claimed(world.lanes), error, ROUTE, world.services)
    assert verdict == Postponed(0, str(error))
    assert world.redis.exists(GATE)


def test_a_platform_in_trouble_pauses_every_lane_until_a_probe_gets_through(world: World) -> None:
    """After five lost connects nobody asks; each pause ends in one probe, and the first that succeeds frees all."""
    world.platform_answers = lost
    for number in range(20):
        to = f"+7999000{number:04d}"
        world.lanes.append(
            routing.route_send(ORGANIZATION, INTEGRATION, Message(to=to, text="Hello"))
        )
    assert world.drain() == 5
    assert world.requests == 5
    assert world.drain() == 0, "a lane went on while the breaker was open"
    for probes in (6, 7):
        world.pass_time(61)
        world.drain()
        assert world.requests == probes
    world.platform_answers = taking
    world.pass_time(61)
    world.drain()
    world.pass_time(61)
    world.drain()
    assert world.requests == 7 + 20
    assert world.lanes.claim("send", Slot()) is None
    assert not world.redis.keys(keys.lane("*")), "a message still waits"


def test_what_expires_at_a_gate_says_which(redis_client: redis.Redis) -> None:
    """Also where nobody ever tried: the letter of a message that only stood in line names the refused key."""
    lanes = Lanes(redis_client, EngineSettings().model_copy(update={"wpp_max_age_s": 0.2}))
    lanes.close_gate(
        routing.integration_gate(INTEGRATION), 60, "connect it again with force_recreate"
    )
    lanes.append(
        routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990001122", text="Hello"))
    )
    assert lanes.claim("send", Slot()) is None
    time.sleep(0.25)
    lanes.sweep("send")
    claim = lanes.claim("send", Slot())
    assert claim
    assert claim.attempts == 1
    verdict = runner.handle_claim(
        claim,
        lambda _: pytest.fail("it is too late"),
        parse_first(SendEvent, send.dead_letter_send),
    )
    assert isinstance(verdict, Settled)
    assert "last reason: connect it again with force_recreate" in verdict.fields["reason"]


def test_a_phone_that_is_linked_again_lets_its_lanes_go(world: World) -> None:
    """At once when its webhook says so; a number that nobody knows holds none."""
    gates.hold_for_connection(
        NotConnectedError("Account 0000000000042 is not connected"), ROUTE, world.services
    )
    assert world.redis.exists(GATE)
    gates.release_account("0000000000099", world.services)
    assert world.redis.exists(GATE)
    gates.release_account(ROUTE.account, world.services)
    assert not world.redis.exists(GATE)
