"""Health checks: which integrations are checked, how often, and what a status changes."""

import time
from collections.abc import Iterator
from datetime import timedelta
from threading import Event as Flag
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from shared.causes import ACTIVE, SILENT
from shared.database import Integration
from shared.events import utc_now
from shared.platform.models import AccountStatus
from shared.redis import keys
from shared.settings import EngineSettings
from tests.fixtures.provision_env import ProvisionEnv, handle_next
from tests.fixtures.waiting import Stopwatch
from workers.clock import health_checks
from workers.context import WorkerContext

NOW = utc_now()
LONG_AGO = NOW - timedelta(hours=1)
QUICK = {"wpp_check_every_s": 0.05, "wpp_silence_s": 60}


def build_integration(**given: Any) -> Integration:
    defaults = {
        "id": uuid4(),
        "organization_id": uuid4(),
        "name": "Shop",
        "account": "1",
        "is_primary": True,
    }
    return Integration.model_validate(
        {**defaults, "is_enabled": True, "status": "connected"} | given
    )


@pytest.mark.parametrize(
    ("before", "reported", "after"),
    [
        ({"status": "connected"}, "connected", None),
        ({"status": "connected", "awaited_since": NOW}, "connected", None),
        ({"status": "connected", "awaited_since": LONG_AGO}, "connected", "degraded"),
        ({"status": "degraded", "awaited_since": LONG_AGO}, "connected", None),
        ({"status": "degraded"}, "connected", "connected"),
        ({"status": "connected", "last_error": "a refused key"}, "connected", "connected"),
        ({"status": "degraded", "awaited_since": LONG_AGO, "last_error": "old"}, "connected", None),
        ({"status": "connected"}, "starting", "starting"),
        ({"status": "starting"}, "starting", None),
        ({"status": "starting"}, "connected", "connected"),
        ({"status": "connected"}, "offline", "disconnected"),
        ({"status": "degraded", "awaited_since": LONG_AGO}, "offline", "disconnected"),
        ({"status": "qr_issued"}, "qr_required", "disconnected"),
    ],
)
def test_a_reported_status_changes_an_integration(
    before: dict[str, Any], reported: AccountStatus, after: str | None
) -> None:
    """A change has a reason; the same status again is no change."""
    change = health_checks.detect_change(
        build_integration(**before), reported, NOW, EngineSettings()
    )
    assert (change.status if change else None) == after
    assert change is None or change.reason


@pytest.fixture
def connected(env: ProvisionEnv) -> Iterator[tuple[WorkerContext, UUID, str]]:
    """Yield a worker, an organization and its connected account, with short check intervals."""
    env.engine = EngineSettings.model_validate(QUICK)
    organization_id = env.create_organization()
    env.enqueue(organization_id)
    with env.worker() as ctx:
        assert handle_next(ctx)
        account = env.find_integrations(organization_id)[0]["account"]
        env.scan_qr(account)
        check_all(env, ctx)
        set_status(env, account, "connected")
        yield ctx, organization_id, account


def set_status(env: ProvisionEnv, account: str, status: str) -> None:
    env.sql(
        "update whatsapp_sessions set status = %s, status_at = now() - interval '1 hour' "
        "where session_name = %s",
        status,
        f"wpp_{account}",
    )


def check_all(env: ProvisionEnv, ctx: WorkerContext) -> int:
    """Check the integrations that are due, record changes; return the number of requests."""
    time.sleep(0.06)
    requests = health_checks.check_all(ctx, Flag())
    env.record_outcomes()
    return requests


def get_status(ctx: WorkerContext, organization_id: UUID) -> tuple[str, str | None]:
    (integration,) = ctx.database.integrations.list_for(organization_id)
    return integration.status, integration.status_reason


def test_an_unlinked_phone_is_found_without_a_webhook(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """The next check finds it; a disconnected integration is not checked again."""
    ctx, organization_id, account = connected
    env.inject_faults(mute=True)
    httpx.post(f"{env.platform.url}/phone/{account}/unlink").raise_for_status()
    assert check_all(env, ctx) == 1
    assert get_status(ctx, organization_id) == (
        "disconnected",
        "the platform reports the account offline",
    )
    assert check_all(env, ctx) == 0


def test_an_integration_without_webhooks_after_a_send_is_degraded(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """The platform reports it as connected. A webhook ends the status without a check."""
    ctx, organization_id, _ = connected
    integration_id = ctx.database.integrations.list_for(organization_id)[0].id
    env.sql(
        "insert into wpp_integration_activity (integration_id, organization_id, awaited_since) "
        "values (%s, %s, now() - interval '1 hour')",
        integration_id,
        organization_id,
    )
    assert check_all(env, ctx) == 1
    assert get_status(ctx, organization_id) == ("degraded", SILENT)
    assert check_all(env, ctx) == 1
    assert get_status(ctx, organization_id)[0] == "degraded"
    env.sql(
        "update wpp_integration_activity "
        "set ack_at = now() + interval '1 hour', awaited_since = null"
    )
    assert check_all(env, ctx) == 0
    assert get_status(ctx, organization_id) == ("connected", ACTIVE)
    history = env.sql(
        "select status from wpp_session_history where organization_id = %s order by at",
        organization_id,
    )
    assert [row["status"] for row in history][-2:] == ["degraded", "connected"]


def test_a_refused_key_is_an_error_and_not_checked_again(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """The integration has the code of the error as its reason."""
    ctx, organization_id, account = connected
    env.inject_faults(revoked_keys=[account])
    assert check_all(env, ctx) == 1
    assert get_status(ctx, organization_id) == ("error", "INVALID_API_KEY")
    assert check_all(env, ctx) == 0


def test_an_outage_of_the_platform_changes_no_status(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """The integration stays connected."""
    ctx, organization_id, _ = connected
    env.inject_faults(paths=".", rate_5xx=1.0, status_5xx=503)
    assert check_all(env, ctx) == 1
    assert get_status(ctx, organization_id)[0] == "connected"


def connect_more(env: ProvisionEnv, ctx: WorkerContext, count: int) -> list[UUID]:
    """Connect integrations of an organization each; return these in the order of the checks."""
    organizations = {}
    for _ in range(count):
        organization_id = env.create_organization()
        event = env.enqueue(organization_id)
        assert handle_next(ctx)
        account = env.find_integrations(organization_id)[0]["account"]
        env.scan_qr(account)
        env.record_outcomes()
        set_status(env, account, "connected")
        organizations[event.integration_id] = organization_id
    return [organizations[integration_id] for integration_id in sorted(organizations)]


def test_a_key_that_was_repaired_elsewhere_ends_the_error(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """An integration with an error is checked each hour, without new entries in its history."""
    ctx, organization_id, account = connected
    env.inject_faults(revoked_keys=[account])
    for _ in range(2):
        assert check_all(env, ctx) == 1
        assert get_status(ctx, organization_id)[0] == "error"
        set_status(env, account, "error")
    assert env.sql("select count(*) from wpp_session_history where status = 'error'") == [
        {"count": 1}
    ]
    env.inject_faults()
    env.client.delete(*env.client.keys(keys.token(account) + "*"))  # as after a minute
    assert check_all(env, ctx) == 1
    assert get_status(ctx, organization_id) == ("connected", "status polled")


def test_an_account_without_an_answer_does_not_end_the_round(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """The first account has no answer; the second is found to be disconnected."""
    ctx, _, _ = connected
    first, second = connect_more(env, ctx, 2)
    accounts = [
        env.find_integrations(organization_id)[0]["account"] for organization_id in (first, second)
    ]
    env.inject_faults(
        mute=True, paths=f"/api/accounts/{accounts[0]}/", rate_5xx=1.0, status_5xx=503
    )
    httpx.post(f"{env.platform.url}/phone/{accounts[1]}/unlink").raise_for_status()
    assert check_all(env, ctx) == 3
    assert get_status(ctx, first)[0] == "connected"
    assert get_status(ctx, second)[0] == "disconnected"


def test_an_open_circuit_breaker_ends_the_round(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """The remaining integrations are checked in a later round."""
    ctx, _, _ = connected
    connect_more(env, ctx, 2)
    for _ in range(5):
        ctx.breaker.record(ok=False, reached=False)
    assert check_all(env, ctx) == 0


def test_a_successful_check_clears_an_error(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """An integration with an error is checked although it is active."""
    ctx, organization_id, _ = connected
    (integration,) = ctx.database.integrations.list_for(organization_id)
    ctx.database.integrations.report_error(integration.id, "connect it again with force_recreate")
    env.sql(
        "insert into wpp_integration_activity (integration_id, organization_id, ack_at) "
        "values (%s, %s, now())",
        integration.id,
        organization_id,
    )
    assert check_all(env, ctx) == 1
    (integration,) = ctx.database.integrations.list_for(organization_id)
    assert (integration.status, integration.last_error) == ("connected", None)
    slow = WorkerContext(**{**vars(ctx), "engine": EngineSettings()})
    assert health_checks.check_all(slow, Flag()) == 0, "an active integration was checked"


def test_an_integration_is_checked_once_per_interval(
    connected: tuple[WorkerContext, UUID, str],
) -> None:
    """Also with several clocks."""
    ctx, _, _ = connected
    slow = WorkerContext(**{**vars(ctx), "engine": EngineSettings()})
    time.sleep(0.06)
    assert [health_checks.check_all(slow, Flag()) for _ in range(3)] == [1, 0, 0]


def test_checks_wait_for_the_budget_of_the_next_second(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """WPP_CHECKS_PER_SECOND bounds the checks of all clocks."""
    ctx, _, _ = connected
    now = int(time.time())
    for second in (now, now + 1):
        env.client.set(keys.health_checks(second), ctx.engine.wpp_checks_per_second)
    assert check_all(env, ctx) == 1
    assert time.time() >= now + 2


def test_a_disconnected_integration_is_not_checked(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """It changes with the next connect."""
    ctx, _, account = connected
    set_status(env, account, "disconnected")
    assert check_all(env, ctx) == 0


def test_a_stale_qr_code_is_checked(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """Its pairing event was lost an hour ago."""
    ctx, organization_id, account = connected
    set_status(env, account, "qr_issued")
    assert check_all(env, ctx) == 1
    assert get_status(ctx, organization_id)[0] == "connected"


def test_accounts_that_do_not_answer_delay_no_other_account(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 of 24 integrations hang: the round lasts as long as one of them."""
    monkeypatch.setattr(health_checks, "CHECK_TIMEOUT_S", 2.0)
    ctx, organization_id, _ = connected
    organizations = connect_more(env, ctx, 23)
    accounts = [
        env.find_integrations(found)[0]["account"] for found in (*organizations, organization_id)
    ]
    env.inject_faults(mute=True, hanging_accounts=accounts[:20])
    for account in accounts[20:]:
        httpx.post(f"{env.platform.url}/phone/{account}/unlink").raise_for_status()
    with Stopwatch() as watch:
        assert check_all(env, ctx) == 24
    assert watch.seconds < 2 * 2.0 + 24 / ctx.engine.wpp_checks_per_second
    found = [get_status(ctx, organization)[0] for organization in organizations[20:]]
    assert found == ["disconnected"] * 3


def end_token(env: ProvisionEnv) -> None:
    env.client.delete(*env.client.keys(keys.token("*")))


def count_tokens(env: ProvisionEnv) -> int:
    ledger = httpx.get(f"{env.platform.url}/admin/ledger").json()
    return sum(int(account["minted"]) for account in ledger["tokens"].values())


def test_an_idle_integration_without_a_token_mints_none(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """Its checks use a token while it lasts, and do not refresh it before its end."""
    _, _, account = connected
    minted = count_tokens(env)
    env.client.hincrby(keys.token(account), "refresh_at", -900_000)
    with env.worker() as other:
        assert check_all(env, other) == 1
        assert check_all(env, other) == 1
    end_token(env)
    with env.worker() as other:
        for _ in range(5):
            assert check_all(env, other) == 0
    time.sleep(0.2)  # a refresh would run in a thread of its own
    assert count_tokens(env) == minted


def test_an_idle_integration_is_checked_once_in_its_period(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """A lost phone whose webhook was lost, too, is found by then."""
    ctx, organization_id, account = connected
    end_token(env)
    env.inject_faults(mute=True)
    httpx.post(f"{env.platform.url}/phone/{account}/unlink").raise_for_status()
    key = keys.idle_check(ctx.database.integrations.list_for(organization_id)[0].id)
    with env.worker() as other:
        assert check_all(env, other) == 0, "the first look only notes the period"
        env.client.set(key, int(env.client.get(key) or 0) - 1)
        assert check_all(env, other) == 1
        assert get_status(other, organization_id)[0] == "disconnected"


@pytest.mark.parametrize("sign", ["awaited_since", "degraded"])
def test_an_integration_that_waits_for_a_webhook_is_not_idle(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str], sign: str
) -> None:
    """A message went out and nothing came back: the check is worth a token."""
    ctx, organization_id, account = connected
    if sign == "degraded":
        set_status(env, account, "degraded")
    else:
        env.sql(
            "insert into wpp_integration_activity "
            "(integration_id, organization_id, awaited_since) values (%s, %s, now())",
            ctx.database.integrations.list_for(organization_id)[0].id,
            organization_id,
        )
    end_token(env)
    with env.worker() as other:
        assert check_all(env, other) == 1
