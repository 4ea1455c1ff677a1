"""Pacing through every process: a campaign waits its turn, and nothing else waits with it."""

from typing import Any

import httpx

from tests.fixtures.system import System, connect_integration
from tests.fixtures.waiting import wait_until

CAMPAIGN = 30


def send(crm: httpx.Client, phone: str, **more: Any) -> str:
    body = {"to": phone, "text": "Hello", **more}
    answer = crm.post("/v1/messages", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def read(crm: httpx.Client, message_id: str) -> dict[str, Any]:
    found: dict[str, Any] = crm.get(f"/v1/messages/{message_id}").json()
    return found


def count_queued(crm: httpx.Client, ids: list[str]) -> int:
    return sum(read(crm, each)["status"] == "queued" for each in ids)


def went_out(crm: httpx.Client, message_id: str) -> bool:
    return read(crm, message_id)["status"] in {"sent", "delivered", "read"}


def set_pacing(crm: httpx.Client, **settings: Any) -> None:
    crm.patch("/v1/pacing", json=settings).raise_for_status()


def test_a_campaign_waits_its_turn_and_nothing_else_does(system: System) -> None:
    """A code overtakes it, other organizations send; without the limit the rest goes out soon.

    At its pace the campaign takes a minute, the rest of the test a few seconds.
    """
    organization_id, other_id = system.add_organization(), system.add_organization()
    number = connect_integration(system, organization_id)
    connect_integration(system, other_id)
    with system.service_client(organization_id) as crm, system.service_client(other_id) as other:
        set_pacing(crm, per_minute=60, burst=2, jitter=0.3)
        campaign = [send(crm, f"+7999100{each:04d}") for each in range(CAMPAIGN)]
        waits = wait_until(
            lambda: found if (found := read(crm, campaign[-1]))["reason"] else None,
            "the last message to say why it waits",
        )
        assert waits["reason"] == "waits its turn: its number sends at most 60 messages a minute"
        assert waits["earliest_at"]
        assert waits["attempts"] == 0, "waiting is no attempt"
        code = send(crm, "+79992000001", text="Your code is 1234", priority="high")
        elsewhere = [send(other, f"+7999300{each:04d}") for each in range(10)]
        wait_until(lambda: went_out(crm, code), "the code to go out")
        wait_until(lambda: not count_queued(other, elsewhere), "the other organization's to go out")
        assert count_queued(crm, campaign) >= CAMPAIGN // 3
        state = crm.get(f"/v1/pacing/{number['integration_id']}").json()
        assert state["waiting"] >= CAMPAIGN // 3
        set_pacing(crm, per_minute=0)
        wait_until(lambda: not count_queued(crm, campaign), "the campaign to go out", within_s=40)
        assert {read(crm, each)["attempts"] for each in campaign} == {1}


def test_a_new_number_writes_to_a_few_new_people_a_day(system: System) -> None:
    """Replies and people whom it wrote to do not count; the rest waits, or expires, and says so."""
    organization_id = system.add_organization()
    number = connect_integration(system, organization_id)
    account = number["account_number"]
    with system.service_client(organization_id) as crm, system.phone() as phone:
        set_pacing(crm, warm_up=[2, 4])
        first = [send(crm, f"+7999400{each:04d}") for each in range(2)]
        wait_until(lambda: all(went_out(crm, each) for each in first), "two to go out")
        over = send(crm, "+79994000002")
        waits = wait_until(
            lambda: found if (found := read(crm, over))["reason"] else None,
            "the third to say why it waits",
        )
        expected = "waits for tomorrow: its number is new and writes to 2 new people today"
        assert waits["reason"].startswith(expected)
        again = send(crm, "+79994000000", text="Again")
        wait_until(lambda: went_out(crm, again), "a second message to the same person to go out")
        hello = {"from": "79994000009", "text": "Are you open?"}
        phone.post(f"/phone/{account}/messages", json=hello).raise_for_status()
        wait_until(
            lambda: system.rows("chat_messages", message_text="Are you open?"), "the question"
        )
        reply = send(crm, "+79994000009", text="Yes")
        wait_until(lambda: went_out(crm, reply), "the reply to go out")
        late = send(crm, "+79994000003", expires_in_s=2)
        failed = wait_until(
            lambda: found if (found := read(crm, late))["status"] == "failed" else None,
            "a message without time to fail",
        )
        assert failed["code"] == "expired"
        assert expected in failed["reason"]
        assert "it expires before" in failed["reason"]
        warm_up = crm.get(f"/v1/pacing/{number['integration_id']}").json()["warm_up"]
        assert (warm_up["day"], warm_up["budget"], warm_up["left"]) == (1, 2, 0)
        assert warm_up["waiting"] >= 1
        set_pacing(crm, warm_up=[])
        wait_until(lambda: went_out(crm, over), "the third to go out", within_s=40)
