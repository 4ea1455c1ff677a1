"""Calls that the CRM repeats without an Idempotency-Key."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import redis

from shared.redis import keys
from tests.fixtures.ingress_process import IngressProcess
from tests.fixtures.system import System, texts_sent_to
from tests.pipeline.functions.front_end import FrontEnd, connect_by_panel
from tests.pipeline.functions.test_sending import account_of, faults, new_phone


def claims(client: "redis.Redis", organization_id: UUID) -> dict[str, int]:
    """Return the remembered calls of an organization with their lifetime in seconds."""
    names: Any = client.keys(keys.function_call(organization_id, "*", "*"))
    lifetimes: list[Any] = [client.ttl(name) for name in names]
    return {name.decode(): lifetime for name, lifetime in zip(names, lifetimes, strict=True)}


def test_a_call_is_remembered_for_ten_seconds_from_its_first_sight(
    system: System, pages: FrontEnd
) -> None:
    """A repeat does not prolong it; a different body is a new call."""
    connect_by_panel(system, pages)
    with redis.Redis.from_url(system.environment["REDIS_URL"]) as client:
        body = {"integration_id": str(uuid4())}
        pages.call("wpp-disconnect", body)
        [(name, left_s)] = claims(client, pages.organization_id).items()
        assert 0 < left_s <= 10
        client.expire(name, 5)
        pages.call("wpp-disconnect", body)
        assert 0 < claims(client, pages.organization_id)[name] <= 5
        pages.call("wpp-disconnect", {"integration_id": str(uuid4())})
        assert len(claims(client, pages.organization_id)) == 2


@pytest.mark.parametrize("pause", ["within", "after"])
def test_after_that_time_the_same_body_is_a_new_call(
    system: System, pages: FrontEnd, pause: str
) -> None:
    """`add_new` twice creates one number within the time, and two numbers after it."""
    connect_by_panel(system, pages)
    first = pages.call("wpp-create", {"add_new": True}).data
    if pause == "after":
        with redis.Redis.from_url(system.environment["REDIS_URL"]) as client:
            client.delete(*claims(client, pages.organization_id))
    second = pages.call("wpp-create", {"add_new": True}).data
    assert (first["session"] == second["session"]) is (pause == "within")


def test_calls_at_two_processes_at_the_same_time_are_a_single_call(
    system: System, connected: FrontEnd, tmp_path: Path
) -> None:
    """While the first is in work: all get its answer, and the customer gets a single message."""
    phone = new_phone()
    account = account_of(connected)
    bearer = {"Authorization": connected.http.headers["Authorization"]}
    body = {"phoneNumber": phone, "message": "Once in the fleet"}
    environment = system.environment
    with (
        IngressProcess(environment["REDIS_URL"], tmp_path, **environment) as second,
        faults(system, slow_accounts={account: 1.5}),
    ):

        def send(url: str) -> dict[str, Any]:
            path = f"{url}/functions/v1/wpp-send"
            answer = httpx.post(path, json=body, headers=bearer, timeout=20, trust_env=False)
            return dict(answer.json())

        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(send, [system.url, second.url] * 3))
    assert [answer["success"] for answer in answers] == [True] * 6, answers
    assert len({(answer["messageId"], answer["taskId"]) for answer in answers}) == 1
    assert texts_sent_to(system, account, phone) == ["Once in the fleet"]
