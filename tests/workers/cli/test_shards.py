"""`wpp shards` shows where organizations are; commands find the shard of a message."""

import json
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from shared.events import Message
from shared.lanes.records import find_record
from shared.producer import Producer, Producers
from shared.redis import keys
from shared.route_cache import IntegrationRoute, RouteCache
from tests.fixtures.two_redis import TwoRedis
from workers.cli.app import app

ORGANIZATION = uuid4()


@pytest.fixture
def shards(two_redis: TwoRedis, monkeypatch: pytest.MonkeyPatch) -> TwoRedis:
    """Return two shards of the settings; a number of an organization is on shard b."""
    monkeypatch.setenv("WPP_SHARDS", two_redis.setting)
    two_redis.home.hset(keys.SHARD_OF, str(ORGANIZATION), "b")
    route = IntegrationRoute(
        id=uuid4(),
        organization_id=ORGANIZATION,
        name="One",
        account="79990000001",
        is_primary=True,
        is_enabled=True,
    )
    RouteCache(two_redis.other, None).store_routes([route])
    return two_redis


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


def test_a_message_is_sent_found_and_cancelled_on_the_shard_of_its_organization(
    shards: TwoRedis,
) -> None:
    message_id = UUID(run("send", ORGANIZATION, "+79990001122", "Hello").strip())
    assert not shards.home.exists(keys.event(message_id))
    assert json.loads(run("show", message_id))["state"] == "queued"
    assert run("cancel", message_id) == "cancelled\n"
    record = find_record(shards.other, message_id)
    assert record
    assert record.state == "cancelled"


@pytest.mark.usefixtures("shards")
def test_what_waits_is_shown_by_shard() -> None:
    run("send", ORGANIZATION, "+79990001122", "Hello")
    by_name = {each["shard"]: each for each in json.loads(run("shards", "list", "--json"))}
    assert [by_name[name]["organizations"] for name in "ab"] == [0, 1]
    assert [by_name[name]["waiting"] for name in "ab"] == [0, 1]
    assert "no process" in by_name["b"]["faults"]
    assert run("shards", "find", ORGANIZATION) == "b\n"
    lanes = json.loads(run("lanes", "--json"))["shards"]
    assert set(lanes) == {"a", "b"}
    shown = run("lanes").splitlines()
    assert [line for line in shown if line.startswith("shard ")] == ["shard a", "shard b"]


@pytest.mark.usefixtures("shards")
def test_status_is_that_of_all_shards() -> None:
    run("send", ORGANIZATION, "+79990001122", "Hello")
    result = CliRunner().invoke(app, ["status", "--json"])
    state = json.loads(result.output)
    assert state["waiting"]["send"] == 1
    named = {fault.partition(":")[0] for fault in state["faults"]}
    assert {"shard a", "shard b"} <= named


def test_a_single_redis_has_no_shards() -> None:
    result = CliRunner().invoke(app, ["shards", "list"])
    assert result.exit_code == 2
    assert "WPP_SHARDS is empty" in result.output


def test_another_service_enqueues_on_the_shard_of_an_organization(shards: TwoRedis) -> None:
    producer = Producers.connect(shards.setting).of(ORGANIZATION)
    assert isinstance(producer, Producer)
    accepted = producer.send(ORGANIZATION, Message(to="+79990001122", text="Hello"))
    assert shards.other.exists(keys.event(accepted.id))
