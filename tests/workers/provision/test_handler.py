"""Provisioning as a saga: what is left, whatever is refused, repeated or cut off on the way."""

from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from shared import routing
from shared.events import ProvisionEvent
from shared.lanes import records
from shared.lanes.client import Postponed, Slot
from shared.redis import keys
from tests.workers.provision.environment import Scissors, Shop, Wire, killed, one, wait_for, work
from workers.provision import handler as provision
from workers.runner import parse_first

FIRST_ID = (
    8  # hex digits of the integration's id in the platform's organization id of a further number
)


def states(shop: Shop, organization_id: UUID) -> list[str]:
    return [
        row["status"]
        for row in shop.sql(
            "select status from wpp_session_history where organization_id = %s order by at, id",
            organization_id,
        )
    ]


def connected(shop: Shop, organization_id: UUID, *, add_new: bool = False) -> UUID:
    """Connect a number up to the scan; return its id."""
    with shop.worker() as ctx:
        event = shop.ask(organization_id, add_new=add_new)
        assert one(ctx)
        account = next(
            row["account"]
            for row in shop.rows(organization_id)
            if row["id"] == event.integration_id
        )
        shop.scan(account)
        work(ctx, lambda: len(shop.client.keys(keys.lane("watch:*"))) == 0)
        shop.record(ctx)
    return event.integration_id


def whole(shop: Shop, organization_id: UUID) -> None:
    """Assert one client, one row, one account that runs and knows where to post, and one watch over it."""
    clients = {
        name: counts
        for name, counts in shop.created().items()
        if name.startswith(str(organization_id))
    }
    assert [counts["created"] for counts in clients.values()] == [1]
    (row,) = shop.rows(organization_id)
    (account,) = shop.accounts(organization_id)
    assert row["account"] == account["session"]
    assert row["is_primary"]
    assert row["settings"]["wppApiKey"]
    assert account["webhook"]
    assert account["status"] != "created"
    watch = keys.lane(f"watch:{row['id']}")
    assert shop.client.llen(watch) >= 1
    newest = shop.client.get(keys.pairing(row["id"]))
    assert newest in shop.client.lrange(watch, 0, -1)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_worker_may_die_at_any_call(shop: Shop, *, after: bool) -> None:
    """Cut at each call in turn, before or after the other side has it: it still ends in one of everything."""
    step, cut = 0, True
    while cut:
        organization_id = shop.organization()
        shop.ask(organization_id)
        with shop.worker(Scissors(step, after)) as ctx:
            cut = killed(ctx)
        with shop.worker() as ctx:
            work(ctx, lambda: bool(shop.client.keys(keys.lane("watch:*"))))
        whole(shop, organization_id)
        shop.client.flushall()
        step += 1
    assert step > 8


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_key_may_be_too_new_for_the_next_attempt_too(shop: Shop, *, after: bool) -> None:
    """Its worker died after the row was saved: whoever takes over asks again as patiently, and nothing is lost."""
    organization_id = shop.organization()
    shop.ask(organization_id)
    shop.faults(new_key_refused_s=0.7)
    scissors = Scissors(at_first="/auth/token", after=after)
    with shop.worker(scissors) as ctx:
        assert killed(ctx)
    assert shop.rows(organization_id), "it died too soon"
    with shop.worker() as ctx:
        work(ctx, lambda: bool(shop.client.keys(keys.lane("watch:*"))))
        shop.record(ctx)
    whole(shop, organization_id)
    assert "error" not in states(shop, organization_id)


def test_a_worker_may_die_with_the_verdict_in_its_hands(shop: Shop) -> None:
    """All was done and nothing concluded: done again, it is the same number with one watch that counts."""
    organization_id = shop.organization()
    shop.ask(organization_id)
    with shop.worker() as ctx:
        claim = ctx.lanes.claim("provision", Slot())
        assert claim
        parse_first(ProvisionEvent, provision.handle_provision)(claim, ctx)
        ctx.lanes.conclude(claim, Postponed(0, "its worker stopped"))
        work(ctx, lambda: bool(shop.client.keys(keys.lane("watch:*"))))
    whole(shop, organization_id)


def test_from_a_click_to_a_scan(shop: Shop) -> None:
    """The states that a person sees, each once."""
    organization_id = shop.organization()
    connected(shop, organization_id)
    assert states(shop, organization_id)[0] == "starting"
    assert states(shop, organization_id)[-1] == "connected"


def test_a_further_number_is_a_client_of_its_own(shop: Shop) -> None:
    """Its organization id over there is made of its own; the first stays primary."""
    organization_id = shop.organization()
    first, second = connected(shop, organization_id), connected(shop, organization_id, add_new=True)
    rows = shop.rows(organization_id)
    assert [(row["id"], row["is_primary"]) for row in rows] == [(first, True), (second, False)]
    assert set(shop.created()) == {
        str(organization_id),
        f"{organization_id}__wpp__{second.hex[:FIRST_ID]}",
    }


def test_a_click_that_came_late_means_the_number_that_is_there(shop: Shop) -> None:
    """Two births of a first number, asked for far apart while the platform was away: one number."""
    organization_id = shop.organization()
    shop.ask(organization_id)
    shop.ask(organization_id)
    with shop.worker() as ctx:
        assert one(ctx)
        assert one(ctx)
    whole(shop, organization_id)


def test_a_new_key_stays_in_its_row_and_organization(shop: Shop) -> None:
    """A key that was revoked is replaced where it stands, also that of a further number; the old token is gone."""
    organization_id = shop.organization()
    connected(shop, organization_id)
    second = connected(shop, organization_id, add_new=True)
    before = {row["id"]: row for row in shop.rows(organization_id)}
    shop.faults(revoked_keys=[before[second]["account"]])
    with shop.worker() as ctx:
        shop.ask(organization_id, second, id=uuid4())
        assert one(ctx)
        shop.record(ctx)
        shop.ask(organization_id, second, id=uuid4(), force_recreate=True)
        assert one(ctx)
    after = {row["id"]: row for row in shop.rows(organization_id)}
    assert after.keys() == before.keys()
    old, new = before[second]["settings"], after[second]["settings"]
    assert new["wppApiKey"] != old["wppApiKey"]
    assert new["wppSubOrgId"] == old["wppSubOrgId"]
    assert new.get("wppJwtToken") != old["wppJwtToken"]
    assert sum(counts["created"] for counts in shop.created().values()) == 2


def test_a_refused_key_is_an_error_that_says_what_to_do(shop: Shop) -> None:
    """The number shows it, with its reason, and the history has it."""
    organization_id = shop.organization()
    number = connected(shop, organization_id)
    shop.faults(revoked_keys=[shop.rows(organization_id)[0]["account"]])
    with shop.worker() as ctx:
        shop.ask(organization_id, number, id=uuid4())
        assert one(ctx)
        shop.record(ctx)
    (row,) = shop.sql("select * from wpp_session_history where status = 'error'")
    assert row["reason"] == "INVALID_API_KEY"
    assert "force_recreate" in shop.rows(organization_id)[0]["last_error"]


def test_a_platform_that_is_away_is_waited_for(shop: Shop) -> None:
    """Nothing is lost and nothing is said to have failed."""
    organization_id = shop.organization()
    shop.faults(paths=".", rate_5xx=1.0, status_5xx=503, limit=3)
    event = shop.ask(organization_id)
    with shop.worker() as ctx:
        assert one(ctx)
        record = records.find_record(shop.client, event.id)
        assert record
        assert record.state == "queued"
        work(ctx, lambda: bool(shop.client.keys(keys.lane("watch:*"))))
    whole(shop, organization_id)


def test_what_could_not_be_saved_does_not_run(shop: Shop) -> None:
    """An organization that is gone: the event fails with its reason, and its client is stopped at the platform."""
    event = shop.ask(uuid4())
    with shop.worker() as ctx:
        assert one(ctx)
        record = records.find_record(shop.client, event.id)
    assert record
    assert record.state == "failed"
    (account,) = shop.accounts(event.organization_id)
    assert account["status"] == "offline"
    assert shop.rows(event.organization_id) == []


def test_a_number_that_was_removed_is_not_made_again(shop: Shop) -> None:
    """A click on a number, overtaken by its removal, is about nothing."""
    organization_id = shop.organization()
    number = connected(shop, organization_id)
    with shop.worker() as ctx:
        shop.ask(organization_id, number, id=uuid4(), action="disconnect")
        shop.ask(organization_id, number, id=uuid4())
        assert one(ctx)
        assert one(ctx)
    assert shop.rows(organization_id) == []
    assert [each["status"] for each in shop.accounts(organization_id)] == ["offline"]


def test_an_open_breaker_pauses_provisioning_too(shop: Shop) -> None:
    """It needs the platform as sends do: a click waits at the same gate, and asks nobody."""
    shop.ask(shop.organization())
    with shop.worker() as ctx:
        for _ in range(5):
            ctx.breaker.record(ok=False, reached=False)
        worked = one(ctx)
        assert worked
        assert isinstance(worked[1], Postponed)
        shop.ask(shop.organization())
        assert ctx.lanes.claim("provision", Slot()) is None
        assert shop.created() == {}
        assert ctx.lanes.open_gate(routing.PLATFORM_GATE) == 1


class Answering(Scissors):
    """Cuts nothing; lets somebody before the platform answer stops."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__()
        self.answer = (status, body)

    def wrap(self, wire: httpx.BaseTransport) -> Wire:
        return Before(wire, self)


class Before(Wire):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(self._scissors, Answering)
        status, body = self._scissors.answer
        stop = request.url.path.endswith("/stop")
        return httpx.Response(status, text=body) if stop else super().handle_request(request)


@pytest.mark.parametrize(
    ("status", "body", "rows"),
    [
        (404, "404 page not found", 1),
        (403, "<html>blocked</html>", 1),
        (404, '{"error": "Session not found"}', 0),
    ],
)
def test_only_the_platform_says_that_an_account_is_gone(
    shop: Shop, status: int, body: str, rows: int
) -> None:
    """What a proxy says leaves the number there: its account still runs."""
    organization_id = shop.organization()
    number = connected(shop, organization_id)
    shop.ask(organization_id, number, id=uuid4(), action="disconnect")
    with shop.worker(Answering(status, body)) as ctx:
        assert one(ctx)
    assert len(shop.rows(organization_id)) == rows


def test_a_half_made_number_can_be_dismissed(shop: Shop) -> None:
    """Before anything was saved, its organization wants it no more: nothing is created."""
    organization_id = shop.organization()
    event = shop.ask(organization_id)
    shop.client.set(keys.removed(event.integration_id), 1)
    shop.ask(organization_id, event.integration_id, id=uuid4(), action="disconnect")
    with shop.worker() as ctx:
        assert one(ctx)
        assert one(ctx)
    assert shop.created() == {}


def test_removing_the_primary_promotes_another(shop: Shop) -> None:
    """The oldest one left; messages stay, as nothing of them is touched."""
    organization_id = shop.organization()
    first, second = connected(shop, organization_id), connected(shop, organization_id, add_new=True)
    with shop.worker() as ctx:
        shop.ask(organization_id, first, id=uuid4(), action="disconnect")
        assert one(ctx)
    assert [(row["id"], row["is_primary"]) for row in shop.rows(organization_id)] == [
        (second, True)
    ]


def test_an_account_that_nobody_scans_is_left_alone(shop: Shop) -> None:
    """After its time the watch ends, the account is stopped, and the number says why."""
    shop.engine = shop.engine.model_copy(update={"wpp_watch_limit_s": 0.05})
    organization_id = shop.organization()
    shop.ask(organization_id)
    with shop.worker() as ctx:
        work(
            ctx,
            lambda: not shop.client.keys(keys.lane("watch:*")) and bool(shop.rows(organization_id)),
        )
        shop.record(ctx)
    assert states(shop, organization_id)[-1] == "disconnected"
    assert [each["status"] for each in shop.accounts(organization_id)] == ["offline"]


def test_a_save_waits_for_supabase(shop: Shop) -> None:
    """The row is locked by somebody: the save waits, and what was created is not created again."""
    organization_id = shop.organization()
    shop.ask(organization_id)
    with psycopg.connect(shop.supabase.database_url) as blocker:
        blocker.execute("select wpp.lock_organization(%s)", (organization_id,))
        with shop.worker(Scissors(2, after=False)) as ctx:
            assert killed(ctx)
    with shop.worker() as ctx:
        work(ctx, lambda: bool(shop.client.keys(keys.lane("watch:*"))))
    wait_for(lambda: len(shop.rows(organization_id)) == 1)
    whole(shop, organization_id)
