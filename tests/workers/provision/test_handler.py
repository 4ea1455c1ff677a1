"""Provisioning ends in a consistent state when calls are refused, repeated or cut off."""

from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from shared import routing
from shared.lanes import records
from shared.lanes.types import ClaimSequence, Postponed
from shared.redis import keys
from tests.fixtures.provision_env import (
    CutAtCall,
    CuttingTransport,
    ProvisionEnv,
    handle_claim,
    handle_next,
    handle_until_cut,
    work_until,
)
from tests.fixtures.waiting import wait_until

ID_DIGITS = 8
"""Hex digits of the integration's id in the platform's organization id of a further client."""


def list_states(env: ProvisionEnv, organization_id: UUID) -> list[str]:
    return [
        row["status"]
        for row in env.sql(
            "select status from wpp_session_history where organization_id = %s order by at, id",
            organization_id,
        )
    ]


def connect(env: ProvisionEnv, organization_id: UUID, *, add_new: bool = False) -> UUID:
    """Connect an integration, scan its code, and return its id."""
    with env.worker() as ctx:
        event = env.enqueue(organization_id, add_new=add_new)
        assert handle_next(ctx)
        account = next(
            row["account"]
            for row in env.find_integrations(organization_id)
            if row["id"] == event.integration_id
        )
        env.scan_qr(account)
        work_until(ctx, lambda: len(env.client.keys(keys.lane("watch:*"))) == 0)
        env.record_outcomes()
    return event.integration_id


def assert_connected_once(env: ProvisionEnv, organization_id: UUID) -> None:
    """Assert a single client, row, started account with a webhook, and current poll."""
    clients = {
        name: counts
        for name, counts in env.count_clients().items()
        if name.startswith(str(organization_id))
    }
    assert [counts["created"] for counts in clients.values()] == [1]
    (row,) = env.find_integrations(organization_id)
    (account,) = env.find_accounts(organization_id)
    assert row["account"] == account["session"]
    assert row["is_primary"]
    assert row["settings"]["wppApiKey"]
    assert account["webhook"]
    assert account["status"] != "created"
    lane = keys.lane(f"watch:{row['id']}")
    assert env.client.llen(lane) >= 1
    newest = env.client.get(keys.pairing(row["id"]))
    assert newest in env.client.lrange(lane, 0, -1)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_connect_survives_a_kill_at_any_call(env: ProvisionEnv, *, after: bool) -> None:
    """Each call is cut in turn, before or after the server has it."""
    step = 0
    was_cut = True
    while was_cut:
        organization_id = env.create_organization()
        env.enqueue(organization_id)
        with env.worker(CutAtCall(step, after)) as ctx:
            was_cut = handle_until_cut(ctx)
        with env.worker() as ctx:
            work_until(ctx, lambda: bool(env.client.keys(keys.lane("watch:*"))))
        assert_connected_once(env, organization_id)
        env.client.flushall()
        step += 1
    assert step > 8


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_new_key_that_is_refused_at_first_is_retried_after_a_kill(
    env: ProvisionEnv, *, after: bool
) -> None:
    """The worker is killed after the row was saved; the next attempt retries the key as well."""
    organization_id = env.create_organization()
    env.enqueue(organization_id)
    env.inject_faults(new_key_refused_s=0.7)
    cut = CutAtCall(at_first="/auth/token", after=after)
    with env.worker(cut) as ctx:
        assert handle_until_cut(ctx)
    assert env.find_integrations(organization_id), "it was cut too early"
    with env.worker() as ctx:
        work_until(ctx, lambda: bool(env.client.keys(keys.lane("watch:*"))))
        env.record_outcomes()
    assert_connected_once(env, organization_id)
    assert "error" not in list_states(env, organization_id)


def test_a_connect_survives_a_kill_before_its_conclusion(env: ProvisionEnv) -> None:
    """Handled again, it is the same integration with a single current poll."""
    organization_id = env.create_organization()
    env.enqueue(organization_id)
    with env.worker() as ctx:
        claim = ctx.lanes.claim("provision", ClaimSequence())
        assert claim
        handle_claim(ctx, claim)
        ctx.lanes.conclude(claim, Postponed(0, "the worker stopped"))
        work_until(ctx, lambda: bool(env.client.keys(keys.lane("watch:*"))))
    assert_connected_once(env, organization_id)


def test_a_connect_goes_from_starting_to_connected(env: ProvisionEnv) -> None:
    """The history has the states that the page shows."""
    organization_id = env.create_organization()
    connect(env, organization_id)
    assert list_states(env, organization_id)[0] == "starting"
    assert list_states(env, organization_id)[-1] == "connected"


def test_a_further_integration_is_another_client_of_the_platform(env: ProvisionEnv) -> None:
    """Its organization id there contains the integration's id; the first stays primary."""
    organization_id = env.create_organization()
    first = connect(env, organization_id)
    second = connect(env, organization_id, add_new=True)
    rows = env.find_integrations(organization_id)
    assert [(row["id"], row["is_primary"]) for row in rows] == [(first, True), (second, False)]
    assert set(env.count_clients()) == {
        str(organization_id),
        f"{organization_id}__wpp__{second.hex[:ID_DIGITS]}",
    }


def test_two_first_connects_create_one_integration(env: ProvisionEnv) -> None:
    """Both were requested while the platform was down."""
    organization_id = env.create_organization()
    env.enqueue(organization_id)
    env.enqueue(organization_id)
    with env.worker() as ctx:
        assert handle_next(ctx)
        assert handle_next(ctx)
    assert_connected_once(env, organization_id)


def test_force_recreate_replaces_the_key_in_place(env: ProvisionEnv) -> None:
    """Also for a further integration; the old token is removed."""
    organization_id = env.create_organization()
    connect(env, organization_id)
    second = connect(env, organization_id, add_new=True)
    before = {row["id"]: row for row in env.find_integrations(organization_id)}
    env.inject_faults(revoked_keys=[before[second]["account"]])
    with env.worker() as ctx:
        env.enqueue(organization_id, second, id=uuid4())
        assert handle_next(ctx)
        env.record_outcomes()
        env.enqueue(organization_id, second, id=uuid4(), force_recreate=True)
        assert handle_next(ctx)
    after = {row["id"]: row for row in env.find_integrations(organization_id)}
    assert after.keys() == before.keys()
    old = before[second]["settings"]
    new = after[second]["settings"]
    assert new["wppApiKey"] != old["wppApiKey"]
    assert new["wppSubOrgId"] == old["wppSubOrgId"]
    assert new.get("wppJwtToken") != old["wppJwtToken"]
    assert sum(counts["created"] for counts in env.count_clients().values()) == 2


def test_a_refused_key_is_reported_with_its_repair(env: ProvisionEnv) -> None:
    """The integration and its history have the error."""
    organization_id = env.create_organization()
    integration_id = connect(env, organization_id)
    env.inject_faults(revoked_keys=[env.find_integrations(organization_id)[0]["account"]])
    with env.worker() as ctx:
        env.enqueue(organization_id, integration_id, id=uuid4())
        assert handle_next(ctx)
        env.record_outcomes()
    (row,) = env.sql("select * from wpp_session_history where status = 'error'")
    assert row["reason"] == "INVALID_API_KEY"
    assert "force_recreate" in env.find_integrations(organization_id)[0]["last_error"]


def test_a_connect_waits_for_a_platform_that_is_down(env: ProvisionEnv) -> None:
    """The event stays queued, and succeeds later."""
    organization_id = env.create_organization()
    env.inject_faults(paths=".", rate_5xx=1.0, status_5xx=503, limit=3)
    event = env.enqueue(organization_id)
    with env.worker() as ctx:
        assert handle_next(ctx)
        record = records.find_record(env.client, event.id)
        assert record
        assert record.state == "queued"
        work_until(ctx, lambda: bool(env.client.keys(keys.lane("watch:*"))))
    assert_connected_once(env, organization_id)


def test_an_account_whose_row_cannot_be_saved_is_stopped(env: ProvisionEnv) -> None:
    """The organization does not exist, so the event fails."""
    event = env.enqueue(uuid4())
    with env.worker() as ctx:
        assert handle_next(ctx)
        record = records.find_record(env.client, event.id)
    assert record
    assert record.state == "failed"
    (account,) = env.find_accounts(event.organization_id)
    assert account["status"] == "offline"
    assert env.find_integrations(event.organization_id) == []


def test_a_connect_after_a_disconnect_creates_nothing(env: ProvisionEnv) -> None:
    """The integration was removed while the connect was queued."""
    organization_id = env.create_organization()
    integration_id = connect(env, organization_id)
    with env.worker() as ctx:
        env.enqueue(organization_id, integration_id, id=uuid4(), action="disconnect")
        env.enqueue(organization_id, integration_id, id=uuid4())
        assert handle_next(ctx)
        assert handle_next(ctx)
    assert env.find_integrations(organization_id) == []
    assert [account["status"] for account in env.find_accounts(organization_id)] == ["offline"]


def test_an_open_circuit_breaker_closes_the_gate_of_the_platform(env: ProvisionEnv) -> None:
    """A later connect waits at the gate without a call."""
    env.enqueue(env.create_organization())
    with env.worker() as ctx:
        for _ in range(5):
            ctx.breaker.record(ok=False, reached=False)
        handled = handle_next(ctx)
        assert handled
        assert isinstance(handled[1], Postponed)
        env.enqueue(env.create_organization())
        assert ctx.lanes.claim("provision", ClaimSequence()) is None
        assert env.count_clients() == {}
        assert ctx.lanes.open_gate(routing.PLATFORM_GATE) == 1


class AnswerStops(CutAtCall):
    """Cuts no call; a proxy in front of the platform answers each stop."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__()
        self.status = status
        self.body = body

    def wrap(self, transport: httpx.BaseTransport) -> CuttingTransport:
        return ProxyTransport(transport, self)


class ProxyTransport(CuttingTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(self._cut, AnswerStops)
        if request.url.path.endswith("/stop"):
            return httpx.Response(self._cut.status, text=self._cut.body)
        return super().handle_request(request)


@pytest.mark.parametrize(
    ("status", "body", "rows"),
    [
        (404, "404 page not found", 1),
        (403, "<html>blocked</html>", 1),
        (404, '{"error": "Session not found"}', 0),
    ],
)
def test_only_a_404_of_the_platform_means_that_the_account_is_gone(
    env: ProvisionEnv, status: int, body: str, rows: int
) -> None:
    """After the answer of a proxy, the integration stays, because its account may still run."""
    organization_id = env.create_organization()
    integration_id = connect(env, organization_id)
    env.enqueue(organization_id, integration_id, id=uuid4(), action="disconnect")
    with env.worker(AnswerStops(status, body)) as ctx:
        assert handle_next(ctx)
    assert len(env.find_integrations(organization_id)) == rows


def test_a_connect_that_is_cancelled_before_its_start_creates_nothing(env: ProvisionEnv) -> None:
    """The organization disconnects an integration that has no row yet."""
    organization_id = env.create_organization()
    event = env.enqueue(organization_id)
    env.client.set(keys.removed(event.integration_id), 1)
    env.enqueue(organization_id, event.integration_id, id=uuid4(), action="disconnect")
    with env.worker() as ctx:
        assert handle_next(ctx)
        assert handle_next(ctx)
    assert env.count_clients() == {}


def test_removing_the_primary_integration_promotes_the_oldest(env: ProvisionEnv) -> None:
    """An organization with integrations has a primary integration."""
    organization_id = env.create_organization()
    first = connect(env, organization_id)
    second = connect(env, organization_id, add_new=True)
    with env.worker() as ctx:
        env.enqueue(organization_id, first, id=uuid4(), action="disconnect")
        assert handle_next(ctx)
    assert [(row["id"], row["is_primary"]) for row in env.find_integrations(organization_id)] == [
        (second, True)
    ]


def test_an_account_whose_code_is_not_scanned_is_stopped(env: ProvisionEnv) -> None:
    """Pairing ends after WPP_WATCH_LIMIT_S, and the integration is disconnected."""
    env.engine = env.engine.model_copy(update={"wpp_watch_limit_s": 0.05})
    organization_id = env.create_organization()
    env.enqueue(organization_id)
    with env.worker() as ctx:
        work_until(
            ctx,
            lambda: (
                not env.client.keys(keys.lane("watch:*"))
                and bool(env.find_integrations(organization_id))
            ),
        )
        env.record_outcomes()
    assert list_states(env, organization_id)[-1] == "disconnected"
    assert [account["status"] for account in env.find_accounts(organization_id)] == ["offline"]


def test_a_save_that_was_cut_while_it_waited_for_a_lock_is_not_repeated(env: ProvisionEnv) -> None:
    """A lock in Supabase holds up the save; the client is created once."""
    organization_id = env.create_organization()
    env.enqueue(organization_id)
    with psycopg.connect(env.supabase.database_url) as blocker:
        blocker.execute("select wpp.lock_organization(%s)", (organization_id,))
        with env.worker(CutAtCall(2, after=False)) as ctx:
            assert handle_until_cut(ctx)
    with env.worker() as ctx:
        work_until(ctx, lambda: bool(env.client.keys(keys.lane("watch:*"))))
    wait_until(lambda: len(env.find_integrations(organization_id)) == 1)
    assert_connected_once(env, organization_id)
