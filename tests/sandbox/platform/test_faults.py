"""Each fault on demand does what it says, over real connections."""

import time
from typing import Any

import httpx
import pytest

from tests.fixtures.waiting import wait_until
from tests.sandbox.platform.conftest import Number, Platform, Receiver

IMPATIENT = httpx.Timeout(20, read=0.2)
"""For requests whose answer takes a minute: it is not waited for."""


def test_429_says_when_to_come_back(platform: Platform, number: Number) -> None:
    platform.faults(rate_429=1, retry_after_s=3)
    answer = number.send()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert platform.ledger()["messages"] == []


def test_429_may_say_nothing(platform: Platform, number: Number) -> None:
    platform.faults(rate_429=1, retry_after_s=None)
    assert "retry-after" not in number.send().headers


@pytest.mark.parametrize(("plan", "messages"), [({}, 0), ({"processed_5xx": True}, 1)])
def test_5xx_before_or_after_processing(
    platform: Platform, number: Number, plan: dict[str, bool], messages: int
) -> None:
    platform.faults(rate_5xx=1, status_5xx=504, **plan)
    assert number.send().status_code == 504
    assert len(platform.ledger()["messages"]) == messages


def test_404_as_of_a_proxy_with_nothing_behind_it(platform: Platform, number: Number) -> None:
    """It differs from the platform's own 404, which is HTML for a route and JSON for an object."""
    platform.faults(rate_404=1)
    answer = number.send()
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
    assert platform.ledger()["messages"] == []


@pytest.mark.parametrize(("fault", "messages"), [("drop_before", 0), ("drop_after", 1)])
def test_a_dropped_connection_has_no_answer(
    platform: Platform, number: Number, fault: str, messages: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The client sees a closed connection; only the ledger tells if the message was accepted."""
    platform.faults(**{fault: 1})
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        number.send()
    platform.faults()
    ledger = platform.ledger()
    assert len(ledger["messages"]) == messages
    assert ledger["requests"]["POST /api/messages/text"] == {fault: 1}
    assert ledger["faults"] == {"POST /api/messages/text": {fault: 1}}
    assert number.send().json()["status"] == "queued"
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


def test_slow_is_processed_at_once_and_answered_late(platform: Platform, number: Number) -> None:
    platform.faults(slow={"rate": 1, "seconds": 60})
    number.http = httpx.Client(base_url=number.http.base_url, timeout=IMPATIENT)
    with number.http, pytest.raises(httpx.ReadTimeout):
        number.send()
    wait_until(lambda: len(platform.ledger()["messages"]) == 1)


def test_latency(platform: Platform, number: Number) -> None:
    platform.faults(latency_s=0.2)
    began = time.monotonic()
    assert number.send().is_success
    assert time.monotonic() - began >= 0.2


def test_only_sends_suffer_unless_told_otherwise(platform: Platform, number: Number) -> None:
    platform.faults(rate_5xx=1)
    assert number.start().status_code == 200
    platform.faults(rate_5xx=1, paths="^/auth/token$")
    assert number.send().status_code == 200
    assert platform.http.post("/auth/token", json={"apiKey": number.api_key}).status_code == 500


def test_faults_end_at_their_limit(platform: Platform, number: Number) -> None:
    platform.faults(rate_429=1, limit=2)
    assert [number.send().status_code for _ in range(3)] == [429, 429, 200]
    assert platform.http.get("/admin/faults").json()["injected"] == 2


def test_the_same_seed_brings_the_same_faults(platform: Platform, number: Number) -> None:
    def outcomes() -> list[int]:
        platform.faults(seed=7, rate_429=0.3, rate_5xx=0.3)
        return [number.send().status_code for _ in range(30)]

    first = outcomes()
    assert outcomes() == first
    assert set(first) == {200, 429, 500}


def test_mute_accepts_and_tells_nobody(
    platform: Platform, number: Number, receiver: Receiver
) -> None:
    platform.faults(mute=True)
    number.send()
    wait_until(lambda: platform.ledger()["messages"][0]["status"] == "read")
    assert (number.status(), receiver.bodies) == ("connected", [])
    platform.faults(mute=["0000000000999"])
    number.send()
    assert len(receiver.wait(3)) == 3


def test_webhooks_twice(platform: Platform, number: Number, receiver: Receiver) -> None:
    """A duplicate is the same body, its event id too."""
    platform.faults(duplicate_webhooks=1)
    number.send()
    bodies = receiver.wait(6)
    assert bodies[0::2] == bodies[1::2]


def test_webhooks_out_of_order(platform: Platform, number: Number, receiver: Receiver) -> None:
    platform.faults(reorder_webhooks=True, reorder_s=0.3, seed=1)
    tasks = [number.send().json()["taskId"] for _ in range(10)]
    receiver.wait(30)
    sent = [body["data"]["taskId"] for body in receiver.bodies if body["type"] == "message.sent"]
    assert sorted(sent) == sorted(tasks)
    assert sent != tasks


def test_a_revoked_key_and_its_tokens_are_refused_until_created_again(
    platform: Platform, number: Number
) -> None:
    platform.faults(revoked_keys=[number.session])
    assert number.send().status_code == 401
    assert platform.http.post("/auth/token", json={"apiKey": number.api_key}).status_code == 403
    renewed = platform.number()
    assert (renewed.session, renewed.status()) == (number.session, "connected")
    assert renewed.api_key != number.api_key
    assert number.send().status_code == 401, "a token of the old key stays refused"
    assert platform.http.post("/auth/token", json={"apiKey": number.api_key}).status_code == 403


def test_a_new_key_is_refused_at_first(platform: Platform) -> None:
    platform.faults(new_key_refused_s=60)
    number = platform.number()
    ask = {"apiKey": number.api_key}
    answer = platform.http.post("/auth/token", json=ask)
    assert (answer.status_code, answer.json()) == (403, {"error": "Invalid API key"})
    platform.faults(new_key_refused_s=0.3)
    wait_until(lambda: platform.http.post("/auth/token", json=ask).is_success)


def test_recipients_that_cannot_be_reached(
    platform: Platform, number: Number, receiver: Receiver
) -> None:
    platform.faults(refused_recipients=["79990001122"], dead_recipients=["79990001133"])
    assert number.send(to="79990001122").json()["status"] == "error"
    assert number.send(to="79990001133").json()["status"] == "queued"
    assert [body["type"] for body in receiver.wait(1)] == ["message.dead"]


def test_a_failing_account_takes_no_message(platform: Platform, number: Number) -> None:
    platform.faults(failing_accounts=[number.session], failing_after_s=0, status_5xx=502)
    assert number.send().status_code == 502
    platform.faults(failing_accounts=["0"])
    assert number.send().is_success
    assert len(platform.ledger()["messages"]) == 1


def test_a_slow_account_delays_its_own_messages_only(platform: Platform, number: Number) -> None:
    platform.faults(slow_accounts={number.session: 0.3})
    began = time.monotonic()
    assert number.send().is_success
    assert time.monotonic() - began >= 0.3
    platform.faults(slow_accounts={"0": 30})
    began = time.monotonic()
    assert number.send().is_success
    assert time.monotonic() - began < 10


def test_an_account_over_its_limit_is_told_to_wait(platform: Platform, number: Number) -> None:
    """A second's worth of messages may go at once."""
    platform.faults(account_limits={number.session: 5})
    began = time.monotonic()
    answers = [number.send()]
    while answers[-1].is_success and len(answers) < 500:
        answers.append(number.send())
    assert 5 <= len(answers) - 1 <= 5 * (1 + time.monotonic() - began)
    assert answers[-1].status_code == 429
    assert answers[-1].headers["retry-after"] == "1"


def test_the_status_of_a_hanging_account_is_not_answered(
    platform: Platform, number: Number
) -> None:
    platform.faults(hanging_accounts=[number.session])
    headers = {"Authorization": f"Bearer {number.token}"}
    path = f"/api/accounts/{number.session}/status"
    with pytest.raises(httpx.ReadTimeout):
        platform.http.get(path, headers=headers, timeout=IMPATIENT)


@pytest.mark.parametrize(
    "plan",
    [
        {"rate_492": 1},
        {"rate_429": 2},
        {"rate_429": 0.6, "drop_after": 0.6},
        {"paths": "("},
        {"slow": 1},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_and_changes_nothing(
    platform: Platform, plan: dict[str, Any]
) -> None:
    before = platform.http.get("/admin/faults").json()
    assert platform.http.post("/admin/faults", json=plan).status_code == 422
    assert platform.http.get("/admin/faults").json() == before


def test_clearing_ends_all_faults(platform: Platform, number: Number) -> None:
    platform.faults(rate_429=1)
    assert platform.http.delete("/admin/faults").json()["rate_429"] == 0
    assert number.send().is_success
