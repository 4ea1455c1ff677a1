"""Integrations over HTTP through the whole system: connect, cancel, repair, disconnect."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from tests.fixtures.system import System, connect_integration
from tests.fixtures.waiting import wait_until

Number = tuple[UUID, dict[str, Any]]
WAIT = {"Prefer": "wait=20"}


def count_created_clients(system: System, organization_id: UUID) -> int:
    """Return how many clients the platform has created for an organization, by its ledger."""
    with system.phone() as phone:
        clients = phone.get("/admin/ledger").json()["clients"]
    return sum(
        counts.get("created", 0)
        for name, counts in clients.items()
        if name.startswith(str(organization_id))
    )


def list_accounts(system: System, organization_id: UUID) -> list[dict[str, Any]]:
    with system.phone() as phone:
        accounts = phone.get("/phone", headers={"Accept": "application/json"}).json()["accounts"]
    return [each for each in accounts if each["organization_id"].startswith(str(organization_id))]


@pytest.fixture
def faults(system: System) -> Iterator[Any]:
    """Return a function that sets the faults of the platform until the test ends."""
    with system.phone() as phone:
        yield lambda **plan: phone.post("/admin/faults", json=plan).raise_for_status()
        phone.delete("/admin/faults").raise_for_status()


def test_a_held_request_is_answered_with_the_qr_code(system: System) -> None:
    """`Prefer: wait` returns the QR code in the documented shape."""
    organization_id = system.add_organization()
    with system.service_client(organization_id) as crm, system.phone() as phone:
        asked = crm.post("/v1/integrations", json={}, headers=WAIT, timeout=25)
        answer = asked.json()
        assert asked.status_code == 202
        assert asked.headers["Location"] == f"/v1/integrations/{answer['integration_id']}"
        assert asked.headers["Preference-Applied"] == "wait=20"
        assert (answer["success"], answer["status"], answer["next_step"]) == (
            True,
            "qr_issued",
            "scan",
        )
        assert answer["qr_issued_at"] < answer["qr_expires_at"]
        code = {"qr": answer["qrcode"]}
        phone.post(f"/phone/{answer['account_number']}/scan", json=code).raise_for_status()
        wait_until(
            lambda: _if_status(crm.get(asked.headers["Location"]).json(), "connected"), "connected"
        )
        again = crm.post("/v1/integrations", json={}, headers=WAIT, timeout=25)
        assert (again.status_code, again.json()["status"]) == (200, "connected")


def test_held_requests_do_not_block_others(system: System, faults: Any) -> None:
    """60 requests are held, more than there are threads (40); another is answered meanwhile."""
    faults(paths="^/api/integrations", rate_5xx=1.0, status_5xx=503)
    organization_id = system.add_organization()
    wait = {"Prefer": "wait=8"}
    with ThreadPoolExecutor(60) as pool, system.service_client(organization_id) as crm:
        held = [
            pool.submit(crm.post, "/v1/integrations", json={}, headers=wait, timeout=30)
            for _ in range(60)
        ]
        time.sleep(1.5)
        assert crm.get("/v1/integrations").status_code == 200
        assert not any(each.done() for each in held)
        assert {each.result().json()["status"] for each in held} == {"starting"}


def test_a_hundred_clicks_are_one_client(system: System) -> None:
    """100 concurrent clicks create a single integration, row and account."""
    organization_id = system.add_organization()

    with ThreadPoolExecutor(100) as pool, system.service_client(organization_id) as crm:
        answers = list(
            pool.map(lambda _: crm.post("/v1/integrations", json={}, timeout=30), range(100))
        )
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert len({answer.json()["integration_id"] for answer in answers}) == 1
    with system.service_client(organization_id) as crm:
        wait_until(lambda: crm.get("/v1/integrations").json()[0]["qrcode"], "a code")
    assert count_created_clients(system, organization_id) == 1
    assert len(system.rows("messenger_integrations", organization_id=str(organization_id))) == 1
    assert len(list_accounts(system, organization_id)) == 1


def test_a_repeated_click_during_an_outage_is_the_same_request(system: System, faults: Any) -> None:
    """The platform is down for minutes; both clicks create a single client in the end."""
    faults(paths="^/api/integrations", rate_5xx=1.0, status_5xx=503)
    organization_id = system.add_organization()
    with system.service_client(organization_id) as crm:
        first = crm.post("/v1/integrations", json={}).json()
        (listed,) = crm.get("/v1/integrations").json()
        assert (listed["integration_id"], listed["status"]) == (first["integration_id"], "starting")
        wait_until(
            lambda: crm.get("/v1/integrations").json()[0]["reason"], "the reason that it waits for"
        )
        assert (
            crm.post("/v1/integrations", json={}).json()["integration_id"]
            == first["integration_id"]
        )
        faults()
        wait_until(lambda: crm.get("/v1/integrations").json()[0]["qrcode"], "a code")
    assert count_created_clients(system, organization_id) == 1


def test_an_idempotency_key_makes_add_new_repeatable(system: System, number: Number) -> None:
    """The same key with another body is refused."""
    organization_id = system.add_organization()
    connect_integration(system, organization_id)
    key = {"Idempotency-Key": "second"}
    with system.service_client(organization_id) as crm:
        answers = [
            crm.post("/v1/integrations", json={"add_new": True}, headers=key | WAIT)
            for _ in range(3)
        ]
        assert len({answer.json()["integration_id"] for answer in answers}) == 1
        assert answers[2].headers["Idempotent-Replayed"] == "true"
        assert (
            crm.post(
                "/v1/integrations", json={"add_new": True, "name": "X"}, headers=key
            ).status_code
            == 422
        )
    assert count_created_clients(system, organization_id) == 2
    with system.service_client(number[0]) as other:  # a key belongs to its organization
        assert other.post(
            "/v1/integrations", json={"integration_id": number[1]["integration_id"]}, headers=key
        ).is_success


def test_refresh_and_reconnect(system: System) -> None:
    """After a log-out on the phone, reconnect returns a QR code; refresh returns the state."""
    organization_id = system.add_organization()
    connected = connect_integration(system, organization_id)
    path = f"/v1/integrations/{connected['integration_id']}"
    with system.service_client(organization_id) as crm, system.phone() as phone:
        looked = crm.post(f"{path}/refresh", headers=WAIT, timeout=25)
        assert (looked.status_code, looked.json()["status"]) == (202, "connected")
        phone.post(f"/phone/{connected['account_number']}/unlink").raise_for_status()
        lost = wait_until(lambda: _if_status(crm.get(path).json(), "disconnected"), "disconnected")
        assert lost["next_step"] == "reconnect"
        assert crm.post(f"{path}/reconnect").json()["status"] in {
            "starting",
            "qr_issued",
        }  # not what it was
        again = crm.post(f"{path}/reconnect", headers=WAIT, timeout=25).json()
        assert (again["status"], again["integration_id"]) == (
            "qr_issued",
            connected["integration_id"],
        )
        phone.post(f"/phone/{connected['account_number']}/offline").raise_for_status()
        wait_until(lambda: _if_status(crm.get(path).json(), "disconnected"), "disconnected")
        assert crm.post(f"{path}/refresh", headers=WAIT, timeout=25).json()["status"] == "qr_issued"


def test_force_recreate_repairs_a_revoked_key(system: System, faults: Any) -> None:
    """The state names force_recreate as the next step; no second client is created."""
    organization_id = system.add_organization()
    connected = connect_integration(system, organization_id)
    path = f"/v1/integrations/{connected['integration_id']}"
    faults(revoked_keys=[connected["account_number"]])
    with system.service_client(organization_id) as crm:
        crm.post(f"{path}/reconnect")
        broken = wait_until(lambda: _if_status(crm.get(path).json(), "error"), "the error")
        assert (broken["success"], broken["next_step"], broken["reason"]) == (
            False,
            "force_recreate",
            "INVALID_API_KEY",
        )
        wanted = {"integration_id": connected["integration_id"], "force_recreate": True}
        mended = crm.post("/v1/integrations", json=wanted, headers=WAIT, timeout=25).json()
        assert (mended["status"], mended["error"]) == ("connected", None)
        assert [each["status"] for each in crm.get(f"{path}/history").json()][:2] == [
            "connected",
            "error",
        ]
    assert count_created_clients(system, organization_id) == 1


def test_a_pending_integration_can_be_removed(system: System, faults: Any) -> None:
    """It disappears at once, and nothing of it appears when the platform is back."""
    faults(paths="^/api/integrations", rate_5xx=1.0, status_5xx=503)
    organization_id = system.add_organization()
    with system.service_client(organization_id) as crm:
        path = crm.post("/v1/integrations", json={}).headers["Location"]
        assert crm.delete(path).json()["closing"] is True
        assert crm.get("/v1/integrations").json() == []
        assert crm.get(path).status_code == 404
        faults()
        fresh = crm.post("/v1/integrations", json={}, headers=WAIT, timeout=25)
        assert fresh.headers["Location"] != path
        assert [each["integration_id"] for each in crm.get("/v1/integrations").json()] == [
            fresh.json()["integration_id"]
        ]
    assert count_created_clients(system, organization_id) == 1


def test_a_failed_integration_can_be_retried(system: System, faults: Any) -> None:
    """The error names its reason; the next click retries the same integration."""
    faults(new_key_refused_s=30)
    organization_id = system.add_organization()
    with system.service_client(organization_id) as crm:
        failed = crm.post(
            "/v1/integrations", json={}, headers={"Prefer": "wait=30"}, timeout=35
        ).json()
        assert (failed["status"], failed["success"]) == ("error", False)
        faults()
        again = crm.post("/v1/integrations", json={}, headers=WAIT, timeout=25).json()
        assert (again["status"], again["integration_id"]) == ("qr_issued", failed["integration_id"])


def test_primary_name_and_switch(system: System) -> None:
    """Exactly one integration is primary; name and is_enabled change nothing else."""
    organization_id = system.add_organization()
    first = connect_integration(system, organization_id)["integration_id"]
    with system.service_client(organization_id) as crm:
        second = crm.post(
            "/v1/integrations", json={"add_new": True}, headers=WAIT, timeout=25
        ).json()["integration_id"]
        assert crm.post(f"/v1/integrations/{second}/primary").json()["is_primary"] is True
        listed = crm.get("/v1/integrations").json()
        assert [(each["integration_id"], each["is_primary"]) for each in listed] == [
            (second, True),
            (first, False),
        ]
        changed = crm.patch(
            f"/v1/integrations/{first}", json={"name": "  Front desk ", "is_enabled": False}
        ).json()
        assert (changed["name"], changed["is_enabled"], changed["status"]) == (
            "Front desk",
            False,
            "connected",
        )
        message = {"to": "+79990001122", "text": "Hello", "integration_id": first}
        refused = crm.post("/v1/messages", json=message)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (
            422,
            "integration_id",
        )
        crm.delete(f"/v1/integrations/{second}")
        wait_until(lambda: len(crm.get("/v1/integrations").json()) == 1, "one number left")
        assert crm.get("/v1/integrations").json()[0]["is_primary"] is True


def test_last_inbound_and_last_ack(system: System) -> None:
    """The state has the times of the last message received and of the last confirmation."""
    organization_id = system.add_organization()
    connected = connect_integration(system, organization_id)
    path = f"/v1/integrations/{connected['integration_id']}"
    assert connected["last_inbound_at"] is connected["last_ack_at"] is None
    with system.service_client(organization_id) as crm, system.phone() as phone:
        crm.post("/v1/messages", json={"to": "+79990001122", "text": "Hello"})
        assert wait_until(lambda: crm.get(path).json()["last_ack_at"], "an ack")
        assert crm.get(path).json()["last_inbound_at"] is None
        phone.post(
            f"/phone/{connected['account_number']}/messages",
            json={"from": "+79990001122", "text": "Hi"},
        )
        assert wait_until(lambda: crm.get(path).json()["last_inbound_at"], "what was written")


def test_the_qr_code_as_an_image(system: System) -> None:
    """As SVG and PNG while there is a QR code; 404 with the reason otherwise."""
    organization_id = system.add_organization()
    with system.service_client(organization_id) as crm, system.phone() as phone:
        shown = crm.post("/v1/integrations", json={}, headers=WAIT, timeout=25).json()
        path = f"/v1/integrations/{shown['integration_id']}"
        svg, png = crm.get(f"{path}/qr.svg"), crm.get(f"{path}/qr.png")
        assert (svg.headers["Content-Type"], svg.headers["Cache-Control"]) == (
            "image/svg+xml",
            "no-store",
        )
        assert svg.content.startswith(b"<?xml")
        assert (png.headers["Content-Type"], png.content[:8]) == ("image/png", b"\x89PNG\r\n\x1a\n")
        phone.post(f"/phone/{shown['account_number']}/scan").raise_for_status()
        wait_until(lambda: _if_status(crm.get(path).json(), "connected"), "connected")
        assert crm.get(f"{path}/qr.png").status_code == 404
        assert "connected" in crm.get(f"{path}/qr.svg").json()["detail"]


def test_the_stream_sends_changes_at_once(system: System, number: Number) -> None:
    """It sends the list at once and at each change, and nothing of another organization."""
    organization_id = system.add_organization()
    connected = connect_integration(system, organization_id)
    name = str(uuid4())
    with (
        system.service_client(organization_id) as crm,
        crm.stream("GET", "/v1/integrations/events") as stream,
    ):
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        own = [connected["integration_id"]]
        found = _read_stream(stream)
        assert [each["integration_id"] for each in next(found)] == own
        with system.service_client(number[0]) as other:
            other.patch(f"/v1/integrations/{number[1]['integration_id']}", json={"name": name})
        with system.phone() as phone:
            began = time.monotonic()
            phone.post(f"/phone/{connected['account_number']}/offline").raise_for_status()
        for state in found:  # a new number may change in another way first
            assert [each["integration_id"] for each in state] == own
            if state[0]["status"] == "disconnected":
                break
        assert time.monotonic() - began < 5
    with system.service_client(number[0]) as other:
        other.patch(f"/v1/integrations/{number[1]['integration_id']}", json={"name": "WhatsApp"})


def test_ids_of_another_organization_are_not_found(system: System, number: Number) -> None:
    """On every route; the integration does not change."""
    organization_id, integration = number
    path = f"/v1/integrations/{integration['integration_id']}"
    with (
        system.service_client(organization_id) as crm,
        system.service_client(system.add_organization()) as other,
    ):
        before = crm.get(path).json()
        answers = [
            other.get(path),
            other.get(f"{path}/history"),
            other.get(f"{path}/qr.png"),
            other.get(f"{path}/qr.svg"),
            other.delete(path),
            other.patch(path, json={"name": "Mine"}),
            other.post(f"{path}/primary"),
            other.post(f"{path}/refresh"),
            other.post(f"{path}/reconnect"),
            other.post("/v1/integrations", json={"integration_id": integration["integration_id"]}),
            other.post("/v1/integrations", json={**_named(integration), "force_recreate": True}),
        ]
        assert [answer.status_code for answer in answers] == [404] * len(answers)
        assert other.get("/v1/integrations").json() == []
        assert crm.get(path).json() == before


@pytest.mark.parametrize("method", ["get", "delete", "patch"])
def test_every_route_requires_credentials(system: System, number: Number, method: str) -> None:
    """401 comes before any look-up."""
    url = f"{system.url}/v1/integrations/{number[1]['integration_id']}"
    for suffix in ("", "/history", "/qr.svg") if method == "get" else ("",):
        assert getattr(httpx, method)(url + suffix).status_code == 401
    assert httpx.get(f"{system.url}/v1/integrations/events").status_code == 401


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"add_new": "perhaps"}, "add_new"),
        ({"name": ""}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"addNew": True}, "addNew"),
        ({"integration_id": "first"}, "integration_id"),
    ],
)
def test_an_invalid_field_is_named(
    system: System, number: Number, wrong: dict[str, Any], field: str
) -> None:
    """The response is 422, and nothing is enqueued."""
    with system.service_client(number[0]) as crm:
        answer = crm.post("/v1/integrations", json=wrong)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_the_history_outlives_its_integration(system: System) -> None:
    """Each change is a row with its reason, also after the integration is removed."""
    organization_id = system.add_organization()
    connected = connect_integration(system, organization_id)
    path = f"/v1/integrations/{connected['integration_id']}"
    with system.service_client(organization_id) as crm:
        crm.delete(path)
        wait_until(lambda: crm.get("/v1/integrations").json() == [], "no number left")
        rows = crm.get(f"{path}/history").json()
    assert rows[-1]["status"] == "starting"
    assert {"connected", "disconnected"} <= {row["status"] for row in rows}
    assert all(row["reason"] for row in rows)
    with psycopg.connect(system.database_url) as connection:
        found = connection.execute(
            "select count(*), count(distinct (at, status, reason)) from wpp_session_history"
            " where organization_id = %s",
            (organization_id,),
        ).fetchone()
    assert found
    assert found[0] == found[1]


def _if_status(state: dict[str, Any], status: str) -> dict[str, Any] | None:
    return state if state["status"] == status else None


def _named(integration: dict[str, Any]) -> dict[str, Any]:
    return {"integration_id": integration["integration_id"]}


def _read_stream(stream: httpx.Response) -> Iterator[list[dict[str, Any]]]:
    for line in stream.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
