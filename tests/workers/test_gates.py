"""Gates hold lanes until a key is repaired, a phone is linked or a probe reaches the platform."""

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
    PlatformError,
)
from shared.events import Message, SendEvent
from shared.lanes.client import Lanes
from shared.lanes.types import ClaimResult, ClaimSequence, Postponed, Settled
from shared.platform import Platform
from shared.platform.account import PlatformAccount
from shared.platform.circuit_breaker import CircuitBreaker
from shared.redis import keys
from shared.route_cache import IntegrationRoute
from shared.settings import EngineSettings, PlatformSettings
from shared.tokens import TokenCache
from shared.tokens.store import MintedToken
from tests.draining import parse_first
from tests.shared.tokens.stores import MemoryStore
from tests.workers.send.test_handler import INTEGRATION, ORGANIZATION, ROUTE, claim_message
from workers import gates, runner
from workers.context import WorkerContext
from workers.send import handler as send

GATE = keys.gate(routing.integration_gate(INTEGRATION))


def refuse_key(_api_key: SecretStr) -> MintedToken:
    msg = "connect it again with force_recreate"
    raise InvalidApiKeyError(msg)


def accept(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"taskId": "t", "status": "connected"})


def drop(_request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")  # noqa: EM101 - as httpx does


class GateContext:
    """A WorkerContext that is real except for the platform's transport, the routes and Supabase."""

    def __init__(self, client: redis.Redis) -> None:
        url = HttpUrl("http://platform.test")
        self.redis = client
        self.engine = EngineSettings()
        self.lanes = Lanes(client, self.engine)
        self.tokens = TokenCache(client, refuse_key, MemoryStore())
        self.later_s = 0.0
        self.breaker = CircuitBreaker(
            client, str(url), clock=lambda: time.monotonic() + self.later_s
        )
        self.platform_settings = PlatformSettings(wpp_base_url=url, wpp_secret=SecretStr("secret"))
        wire = httpx.MockTransport(self.handle_request)
        self.platform = Platform(self.platform_settings, breaker=self.breaker, transport=wire)
        self.route_cache = self
        self.database = self
        self.integrations = self
        self.answer_request = accept
        self.requests = 0
        self.probes = 0
        self.reported: list[str] = []
        self.database_error: DatabaseError | None = None

    @property
    def worker_context(self) -> WorkerContext:
        return cast("WorkerContext", self)

    def as_account(self, account: str) -> PlatformAccount:
        return self.platform.as_account(account, httpx.Auth())

    def find_route(self, _integration_id: UUID) -> IntegrationRoute:
        return ROUTE

    def find_account_route(self, account: str) -> IntegrationRoute | None:
        return ROUTE if account == ROUTE.account else None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if request.url.path.endswith("/status"):
            self.probes += 1
        return self.answer_request(request)

    def report_error(self, _integration_id: object, text: str) -> None:
        if self.database_error:
            raise self.database_error
        self.reported.append(text)

    def drain(self) -> int:
        """Handle all ready messages; return their number."""
        slot = ClaimSequence()
        handled = 0
        while claim := self.lanes.claim("send", slot):
            self.lanes.conclude(
                claim,
                send.handle_send(
                    SendEvent.model_validate_json(claim.body), claim, self.worker_context
                ),
            )
            handled += 1
        return handled

    def pass_time(self, seconds: float) -> None:
        """Move the clocks of the circuit breaker, the gates and the lanes forward."""
        self.later_s += seconds
        client: Any = self.redis
        breaker = keys.circuit_breaker("platform.test")
        if int(client.hget(breaker, "open_until") or 0):  # a closed breaker stays closed
            client.hincrby(breaker, "open_until", -int(seconds * 1000))
        for key in client.keys(keys.gate("*")):
            client.pexpire(key, max(1, client.pttl(key) - int(seconds * 1000)))
        if delayed := client.zrange(keys.delayed("send"), 0, -1, withscores=True):
            due_ms = {lane: due - seconds * 1000 for lane, due in delayed}
            client.zadd(keys.delayed("send"), due_ms)
        time.sleep(0.01)
        self.lanes.sweep("send")


@pytest.fixture
def ctx(redis_client: redis.Redis) -> GateContext:
    return GateContext(redis_client)


def get_refusal(ctx: GateContext) -> InvalidApiKeyError:
    """Return the error of a token request with the refused key."""
    with pytest.raises(InvalidApiKeyError) as caught:
        ctx.tokens.get(ROUTE.account)
    return caught.value


def test_a_refused_key_closes_the_gate_for_a_minute(ctx: GateContext) -> None:
    """The error is reported on the integration."""
    gates.close_gate_for_refused_key(get_refusal(ctx), ROUTE, ctx.worker_context)
    assert ctx.reported == ["connect it again with force_recreate"]
    assert 50_000 < ctx.redis.pttl(GATE) <= 60_000


def test_a_gate_stays_open_when_the_key_was_repaired_meanwhile(ctx: GateContext) -> None:
    """A refusal that is older than the repair closes no gate and reports no error."""
    error = get_refusal(ctx)
    ctx.tokens.install_first_token(ROUTE.account, lambda: MintedToken(SecretStr("good"), 900))
    ctx.lanes.open_gate(routing.integration_gate(INTEGRATION))
    gates.close_gate_for_refused_key(error, ROUTE, ctx.worker_context)
    assert not ctx.redis.exists(GATE)
    assert ctx.reported == []


def handle_error(ctx: GateContext, error: PlatformError) -> ClaimResult:
    """Enqueue and claim a message; return what the error of its call means."""
    claim = claim_message(ctx.lanes)
    event = SendEvent.model_validate_json(claim.body)
    return send.handle_platform_error(event, claim, error, ROUTE, ctx.worker_context)


@pytest.mark.parametrize(
    "error", [DatabaseUnavailableError("no answer"), DatabaseError("no such column")]
)
def test_the_gate_closes_although_supabase_cannot_save_the_error(
    ctx: GateContext, error: DatabaseError
) -> None:
    """The message waits for its key only."""
    ctx.database_error = error
    refusal = get_refusal(ctx)
    assert handle_error(ctx, refusal) == Postponed(0, str(refusal))
    assert ctx.redis.exists(GATE)


def test_an_open_circuit_breaker_pauses_all_lanes_until_a_probe_succeeds(ctx: GateContext) -> None:
    """Five failed calls open it; each pause ends in a probe, and a successful probe closes it."""
    ctx.answer_request = drop
    for number in range(20):
        to = f"+7999000{number:04d}"
        ctx.lanes.append(
            routing.route_send(ORGANIZATION, INTEGRATION, Message(to=to, text="Hello"))
        )
    assert ctx.drain() == 5
    assert ctx.requests == 5
    assert ctx.drain() == 0, "a message was sent while the breaker was open"
    for probes in (6, 7):
        ctx.pass_time(61)
        ctx.drain()
        assert ctx.requests == probes
    assert ctx.probes == 2, "a message was the probe"
    ctx.answer_request = accept
    ctx.pass_time(61)
    ctx.drain()
    ctx.pass_time(61)
    ctx.drain()
    assert ctx.requests == 7 + 1 + 20
    assert ctx.probes == 3
    assert ctx.lanes.claim("send", ClaimSequence()) is None
    assert not ctx.redis.keys(keys.lane("*")), "a message is still queued"


def test_a_message_that_expires_at_a_gate_names_its_reason(redis_client: redis.Redis) -> None:
    """The dead letter names the refused key although the message was never attempted."""
    lanes = Lanes(redis_client, EngineSettings().model_copy(update={"wpp_max_age_s": 0.2}))
    lanes.close_gate(
        routing.integration_gate(INTEGRATION), 60, "connect it again with force_recreate"
    )
    lanes.append(
        routing.route_send(ORGANIZATION, INTEGRATION, Message(to="+79990001122", text="Hello"))
    )
    assert lanes.claim("send", ClaimSequence()) is None
    time.sleep(0.25)
    lanes.sweep("send")
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    assert claim.attempts == 1
    result = runner.handle_claim(
        claim,
        lambda _: pytest.fail("an expired message was handled"),
        parse_first(SendEvent, send.dead_letter_send),
    )
    assert isinstance(result, Settled)
    assert "last reason: connect it again with force_recreate" in result.fields["reason"]


def test_the_gate_of_a_phone_that_is_linked_again_opens(ctx: GateContext) -> None:
    """An unknown account opens no gate."""
    gates.close_integration_gate(
        NotConnectedError("Account 0000000000042 is not connected"), ROUTE, ctx.worker_context
    )
    assert ctx.redis.exists(GATE)
    gates.open_account_gate("0000000000099", ctx.worker_context)
    assert ctx.redis.exists(GATE)
    gates.open_account_gate(ROUTE.account, ctx.worker_context)
    assert not ctx.redis.exists(GATE)
