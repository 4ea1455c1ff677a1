"""Numbers that are connected anew: the platform learns our address, and nobody has to scan."""

from typing import Any

import httpx

from shared.producer import Producer
from tests.workers.provision.environment import Shop, one
from workers.cli.reconnect import reconnect


def registered(shop: Shop) -> int:
    """Return how often a webhook was registered on the platform."""
    requests: dict[str, dict[str, int]] = httpx.get(f"{shop.platform.url}/admin/ledger").json()[
        "requests"
    ]
    return sum(sum(results.values()) for name, results in requests.items() if "webhook" in name)


def test_every_number_that_is_on_registers_its_webhook_again(shop: Shop) -> None:
    """One that is connected stays so; one that is switched off is left alone."""
    on, off = shop.organization(), shop.organization()
    pauses: list[float] = []
    with shop.worker() as ctx, Producer(shop.client) as producer:
        for organization_id in (on, off):
            shop.ask(organization_id)
            assert one(ctx)
        (connected,), (switched_off,) = shop.rows(on), shop.rows(off)
        shop.scan(connected["account"])
        shop.sql(
            "update messenger_integrations set is_enabled = false where id = %s", switched_off["id"]
        )
        before = registered(shop)

        numbers: list[Any] = list(ctx.database.integrations.iterate())
        assert reconnect(numbers, producer, per_second=4, sleep=pauses.append) == 1
        while one(ctx):
            pass
        shop.record(ctx)
        assert registered(shop) == before + 1
        assert [each["status"] for each in shop.accounts(on)] == ["connected"]
        assert ctx.database.integrations.list_for(on)[0].status == "connected"
    assert pauses == [0.25]
