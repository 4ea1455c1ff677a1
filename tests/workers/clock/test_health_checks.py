"""Health by evidence: who is looked at, how often, and what is made of what is seen."""

import time
from collections.abc import Iterator
from datetime import timedelta
from threading import Event as Flag
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from shared.database import Integration
from shared.events import utc_now
from shared.platform.models import AccountStatus
from shared.redis import keys
from shared.settings import EngineSettings
from tests.fixtures.provision_env import ProvisionEnv, handle_next
from workers.clock import health_checks
from workers.context import WorkerContext

NOW = utc_now()
LONG_AGO = NOW - timedelta(hours=1)
QUICK = {"wpp_check_every_s": 0.05, "wpp_silence_s": 60}


def number(**given: Any) -> Integration:
    known = {
        "id": uuid4(),
        "organization_id": uuid4(),
        "name": "Shop",
        "account": "1",
        "is_primary": True,
    }
    return Integration.model_validate({**known, "is_enabled": True, "status": "connected"} | given)


@pytest.mark.parametrize(
    ("before", "seen", "after"),
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
def test_what_is_made_of_what_is_seen(
    before: dict[str, Any], seen: AccountStatus, after: str | None
) -> None:
    """A change is told with its reason, everything else is silence."""
    news = health_checks.detect_change(number(**before), seen, NOW, EngineSettings())
    assert (news.status if news else None) == after
    assert news is None or news.reason


@pytest.fixture
def connected(env: ProvisionEnv) -> Iterator[tuple[WorkerContext, UUID, str]]:
    """Return a worker, an organization, and its connected account; looks are due at any moment."""
    env.engine = EngineSettings.model_validate(QUICK)
    organization_id = env.create_organization()
    env.enqueue(organization_id)
    with env.worker() as ctx:
        assert handle_next(ctx)
        account = env.find_integrations(organization_id)[0]["account"]
        env.scan_qr(account)
        walk(env, ctx)
        set_status(env, account, "connected")
        yield ctx, organization_id, account


def set_status(env: ProvisionEnv, account: str, status: str) -> None:
    env.sql(
        "update whatsapp_sessions set status = %s, status_at = now() - interval '1 hour' where session_name = %s",
        status,
        f"wpp_{account}",
    )


def walk(env: ProvisionEnv, ctx: WorkerContext) -> int:
    """Walk once, when every number's turn has come again, and record what was found."""
    time.sleep(0.06)
    asked = health_checks.check_all(ctx, Flag())
    env.record_outcomes()
    return asked


def status(ctx: WorkerContext, organization_id: UUID) -> tuple[str, str | None]:
    (found,) = ctx.database.integrations.list_for(organization_id)
    return found.status, found.status_reason


def test_a_phone_that_left_without_a_word_is_found(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """Its webhook never came: the next look sees it, once, and then leaves it alone."""
    ctx, organization_id, account = connected
    env.inject_faults(mute=True)
    httpx.post(f"{env.platform.url}/phone/{account}/unlink").raise_for_status()
    assert walk(env, ctx) == 1
    assert status(ctx, organization_id) == (
        "disconnected",
        "the platform reports the account offline",
    )
    assert walk(env, ctx) == 0


def test_silence_while_messages_go_out_is_doubted(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """Connected by the platform's word, but nothing was heard for long: degraded; a sign mends it without a look."""
    ctx, organization_id, _ = connected
    number_id = ctx.database.integrations.list_for(organization_id)[0].id
    env.sql(
        "insert into wpp_integration_activity (integration_id, organization_id, awaited_since) "
        "values (%s, %s, now() - interval '1 hour')",
        number_id,
        organization_id,
    )
    assert walk(env, ctx) == 1
    assert status(ctx, organization_id) == ("degraded", health_checks.SILENT)
    assert walk(env, ctx) == 1
    assert status(ctx, organization_id)[0] == "degraded"
    env.sql(
        "update wpp_integration_activity set ack_at = now() + interval '1 hour', awaited_since = null"
    )
    assert walk(env, ctx) == 0
    assert status(ctx, organization_id) == ("connected", health_checks.ACTIVE)
    history = env.sql(
        "select status from wpp_session_history where organization_id = %s order by at",
        organization_id,
    )
    assert [row["status"] for row in history][-2:] == ["degraded", "connected"]


def test_a_refused_key_is_shown_and_not_tried_again(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """The number says which error it is; a new key is asked for by a person."""
    ctx, organization_id, account = connected
    env.inject_faults(revoked_keys=[account])
    assert walk(env, ctx) == 1
    assert status(ctx, organization_id) == ("error", "INVALID_API_KEY")
    assert walk(env, ctx) == 0


def test_a_platform_that_is_away_says_nothing_about_a_number(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """No answer is no evidence: the number stays connected."""
    ctx, organization_id, _ = connected
    env.inject_faults(paths=".", rate_5xx=1.0, status_5xx=503)
    assert walk(env, ctx) == 1
    assert status(ctx, organization_id)[0] == "connected"


def further(env: ProvisionEnv, ctx: WorkerContext, numbers: int) -> list[UUID]:
    """Connect so many more numbers, of an organization each; return the organizations in the order of a walk."""
    found = {}
    for _ in range(numbers):
        organization_id = env.create_organization()
        event = env.enqueue(organization_id)
        assert handle_next(ctx)
        account = env.find_integrations(organization_id)[0]["account"]
        env.scan_qr(account)
        env.record_outcomes()
        set_status(env, account, "connected")
        found[event.integration_id] = organization_id
    return [found[number] for number in sorted(found)]


def test_a_key_that_was_repaired_elsewhere_is_found_to_be_good(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """A number that is wrong is looked at again after an hour; while it stays so, its history does not grow."""
    ctx, organization_id, account = connected
    env.inject_faults(revoked_keys=[account])
    for _ in range(2):
        assert walk(env, ctx) == 1
        assert status(ctx, organization_id)[0] == "error"
        set_status(env, account, "error")
    assert env.sql("select count(*) from wpp_session_history where status = 'error'") == [
        {"count": 1}
    ]
    env.inject_faults()
    env.client.delete(*env.client.keys(keys.token(account) + "*"))  # as after a minute
    assert walk(env, ctx) == 1
    assert status(ctx, organization_id) == ("connected", "status polled")


def test_one_account_without_an_answer_keeps_no_other_from_its_look(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """The first of a walk cannot be asked; the one after it has left, and is seen to have."""
    ctx, _, _ = connected
    first, second = further(env, ctx, 2)
    accounts = [
        env.find_integrations(organization_id)[0]["account"] for organization_id in (first, second)
    ]
    env.inject_faults(
        mute=True, paths=f"/api/accounts/{accounts[0]}/", rate_5xx=1.0, status_5xx=503
    )
    httpx.post(f"{env.platform.url}/phone/{accounts[1]}/unlink").raise_for_status()
    assert walk(env, ctx) == 3
    assert status(ctx, first)[0] == "connected"
    assert status(ctx, second)[0] == "disconnected"


def test_a_round_ends_when_the_platform_is_in_trouble(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """With the breaker open nobody could be asked: the rest keep their turns."""
    ctx, _, _ = connected
    further(env, ctx, 2)
    for _ in range(5):
        ctx.breaker.record(ok=False, reached=False)
    assert walk(env, ctx) == 1


def test_an_error_that_is_over_is_no_longer_shown(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """The CRM has put a good key there: the next look, even at a number heard of lately, takes the error away."""
    ctx, organization_id, _ = connected
    (number,) = ctx.database.integrations.list_for(organization_id)
    ctx.database.integrations.report_error(number.id, "connect it again with force_recreate")
    env.sql(
        "insert into wpp_integration_activity (integration_id, organization_id, ack_at) values (%s, %s, now())",
        number.id,
        organization_id,
    )
    assert walk(env, ctx) == 1
    (number,) = ctx.database.integrations.list_for(organization_id)
    assert (number.status, number.last_error) == ("connected", None)
    slow = WorkerContext(**{**vars(ctx), "engine": EngineSettings()})
    assert health_checks.check_all(slow, Flag()) == 0, (
        "it was heard of lately, and nothing is wrong with it"
    )


def test_a_number_is_asked_about_once_in_its_time(
    connected: tuple[WorkerContext, UUID, str],
) -> None:
    """However many clocks walk at the same moment."""
    ctx, _, _ = connected
    slow = WorkerContext(**{**vars(ctx), "engine": EngineSettings()})
    time.sleep(0.06)
    assert [health_checks.check_all(slow, Flag()) for _ in range(3)] == [1, 0, 0]


def test_a_fleet_has_a_budget(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """A second whose looks are used up is waited out."""
    ctx, _, _ = connected
    used = int(time.time())
    for second in (used, used + 1):
        env.client.set(keys.health_checks(second), ctx.engine.wpp_checks_per_second)
    assert walk(env, ctx) == 1
    assert time.time() >= used + 2


def test_a_number_that_nobody_scanned_is_not_asked_about(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """Disconnected is disconnected, until somebody connects it."""
    ctx, _, account = connected
    set_status(env, account, "disconnected")
    assert walk(env, ctx) == 0


def test_what_a_broken_watch_left_behind_is_found(
    env: ProvisionEnv, connected: tuple[WorkerContext, UUID, str]
) -> None:
    """A code of an hour ago, and nobody watches: it is looked at after all."""
    ctx, organization_id, account = connected
    set_status(env, account, "qr_issued")
    assert walk(env, ctx) == 1
    assert status(ctx, organization_id)[0] == "connected"
