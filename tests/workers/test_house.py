"""What is kept for reference goes when its time is over, and nothing else."""

import time
from collections.abc import Iterator
from datetime import timedelta
from threading import Event as Flag
from threading import Thread

import httpx
import pytest

from sandbox.supabase.project import Supabase
from shared.database import Database
from shared.events import utc_now
from shared.settings import HouseSettings
from tests.arriving.conftest import town
from tests.arriving.town import Town
from tests.workers.provisioning import supabase_settings
from workers import house

__all__ = ["town"]

SETTINGS = HouseSettings(wpp_log_days=30, wpp_parked_days=7)


def counts(town: Town) -> tuple[int, int, int]:
    """Return how many raw logs, parked outcomes and dead letters there are."""
    tables = ("wpp_webhook_log", "wpp_parked_outcomes", "wpp_dead_letters")
    logs, parked, dead = (town.shop.sql(f"select count(*) from {table}")[0]["count"] for table in tables)  # noqa: S608
    return logs, parked, dead


@pytest.fixture
def untidy(town: Town) -> Town:
    """Return a town with one raw log, and one status whose message never came."""
    town.post({"type": "delivery", "messageId": "task_77", "status": "read"})
    town.settle()
    assert counts(town) == (1, 1, 0)
    return town


def test_what_is_young_stays(untidy: Town) -> None:
    assert house.keep(untidy.here.database, SETTINGS, utc_now() + timedelta(days=6.9)) == {"expired": 0, "pruned": 0}
    assert counts(untidy) == (1, 1, 0)


def test_a_status_whose_message_never_came_ends_as_a_dead_letter(untidy: Town) -> None:
    """It is in view, with its reason, and can be replayed."""
    assert house.keep(untidy.here.database, SETTINGS, utc_now() + timedelta(days=7.1))["expired"] == 1
    assert counts(untidy) == (1, 0, 1)
    assert untidy.shop.sql("select reason from wpp_dead_letters") == [{"reason": "message_never_came"}]


def test_an_old_raw_log_goes(untidy: Town) -> None:
    assert house.keep(untidy.here.database, SETTINGS, utc_now() + timedelta(days=31))["pruned"] == 1
    assert counts(untidy)[0] == 0


@pytest.fixture
def absent_database(supabase_world: Supabase) -> Iterator[Database]:
    settings = supabase_settings(supabase_world).model_copy(update={"supabase_url": "http://127.0.0.1:9"})
    with httpx.Client(trust_env=False) as http:
        yield Database(settings, http)


def test_an_hour_without_supabase_is_no_reason_to_stop(
    absent_database: Database, untidy: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper goes on until it is told to stop, whatever it meets."""
    monkeypatch.setattr(house, "EVERY_S", 0.01)
    stopping = Flag()
    old = HouseSettings(wpp_log_days=1e-9, wpp_parked_days=1e-9)
    for database in (absent_database, untidy.here.database):
        keeper = Thread(target=house.keep_house, args=(database, old, stopping))
        keeper.start()
        time.sleep(0.1)
        assert keeper.is_alive()
        stopping.set()
        keeper.join(5)
        assert not keeper.is_alive()
        stopping.clear()
    assert counts(untidy) == (0, 0, 1)
