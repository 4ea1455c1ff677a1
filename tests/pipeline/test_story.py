"""One story of a message: API, history, list, command line and row tell the same end and reason."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from sandbox.pipeline import ROOT
from tests.fixtures.system import System, connect_integration
from tests.fixtures.waiting import wait_until

TEXT = "^/api/messages/text$"


@pytest.fixture(scope="module")
def own_number(system: System) -> tuple[UUID, dict[str, Any]]:
    """Return an organization and a number that no other test waits for."""
    organization_id = system.add_organization()
    return organization_id, connect_integration(system, organization_id)


@pytest.fixture
def crm(system: System, own_number: tuple[UUID, dict[str, Any]]) -> Iterator[httpx.Client]:
    with system.service_client(own_number[0]) as client:
        yield client


@contextmanager
def plan(system: System, **faults: Any) -> Iterator[None]:
    with system.phone() as platform:
        platform.post("/admin/faults", json=faults).raise_for_status()
        try:
            yield
        finally:
            platform.delete("/admin/faults").raise_for_status()


def send(crm: httpx.Client, to: str, **more: Any) -> str:
    answer = crm.post("/v1/messages", json={"to": to, "text": "Hello", **more})
    assert answer.status_code == 202, answer.text
    return str(answer.headers["Location"])


def wait_for(crm: httpx.Client, path: str, *statuses: str) -> None:
    wait_until(lambda: crm.get(path).json()["status"] in statuses, " or ".join(statuses))


def read_status(system: System, crm: httpx.Client, path: str, phone: str) -> dict[str, Any]:
    """Return status and reason as each of those who tell a message's story has them."""
    message_id = path.rsplit("/", 1)[-1]
    api = crm.get(path).json()
    history = crm.get(f"{path}/history").json()
    last = [event for event in history if event["status"]][-1]
    (listed,) = crm.get("/v1/messages", params={"phone": phone}).json()["items"]
    (row,) = system.rows("chat_messages", id=message_id)
    printed = subprocess.run(
        [sys.executable, "-m", "workers.cli.app", "message", message_id, "--json"],
        env={**os.environ, **system.environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    cli = json.loads(printed.stdout)
    return {
        "API": (api["status"], api["reason"]),
        "history": (last["status"], last["error"]),
        "list": (listed["status"], listed["reason"]),
        "row": (row["message_status"], row["metadata"].get("error")),
        "CLI": (cli["status"], cli["reason"]),
        "codes": {api["code"], listed["code"], last["code"]},
        "timelines": [cli["timeline"], history],
    }


def send_refused(system: System, crm: httpx.Client, phone: str) -> str:
    with plan(system, refused_recipients=[phone]):
        path = send(crm, phone)
        wait_for(crm, path, "failed")
    return path


def send_expiring(system: System, crm: httpx.Client, phone: str) -> str:
    with plan(system, rate_429=1, retry_after_s=1, paths=TEXT):
        path = send(crm, phone, expires_in_s=2)
        wait_for(crm, path, "failed")
    return path


def send_given_up(system: System, crm: httpx.Client, phone: str) -> str:
    with plan(system, dead_recipients=[phone]):
        path = send(crm, phone)
        wait_for(crm, path, "failed")
    return path


def send_proven(system: System, crm: httpx.Client, phone: str) -> str:
    """The answer is lost; the platform's reports prove the message."""
    with plan(system, drop_after=1, limit=1, paths=TEXT):
        path = send(crm, phone)
        wait_for(crm, path, "read")
    return path


def send_unknown(system: System, crm: httpx.Client, phone: str) -> str:
    """Neither an answer nor a report: an operator says that it failed."""
    with plan(system, drop_after=1, limit=1, paths=TEXT, mute=True):
        path = send(crm, phone)
        wait_for(crm, path, "unknown")
        answer = crm.post(f"{path}/resolution", json={"outcome": "failed"})
        assert answer.status_code == 200, answer.text
    return path


def send_and_delete(_system: System, crm: httpx.Client, phone: str) -> str:
    path = send(crm, phone)
    wait_for(crm, path, "read")
    assert crm.delete(path).status_code in {200, 202}
    wait_for(crm, path, "deleted")
    return path


def send_normally(_system: System, crm: httpx.Client, phone: str) -> str:
    path = send(crm, phone)
    wait_for(crm, path, "read")
    return path


Story = Callable[[System, httpx.Client, str], str]


@pytest.mark.parametrize(
    ("story", "phone", "status", "code", "has_reason"),
    [
        pytest.param(send_normally, "79990007700", "read", None, False, id="read"),
        pytest.param(send_refused, "79990007701", "failed", "refused", True, id="refused"),
        pytest.param(send_given_up, "79990007702", "failed", "given_up", True, id="given up"),
        pytest.param(send_proven, "79990007703", "read", None, False, id="unknown, then proven"),
        pytest.param(send_unknown, "79990007704", "failed", "settled", True, id="operator"),
        pytest.param(send_and_delete, "79990007705", "deleted", None, False, id="deleted"),
        pytest.param(send_expiring, "79990007706", "failed", "expired", True, id="expired"),
    ],
)
def test_everybody_tells_the_same_end(  # noqa: PLR0913 - a case and its system
    system: System,
    crm: httpx.Client,
    story: Story,
    phone: str,
    status: str,
    code: str | None,
    *,
    has_reason: bool,
) -> None:
    path = story(system, crm, phone)

    def agree() -> dict[str, Any] | None:
        if not crm.get("/v1/messages", params={"phone": phone}).json()["items"]:
            return None  # the recorder is a moment behind
        told = read_status(system, crm, path, phone)
        ends = {told[name] for name in ("API", "history", "list", "row", "CLI")}
        return told if {end[0] for end in ends} == {status} and len(ends) == 1 else None

    told = wait_until(agree, "one story")
    assert told["codes"] == {code}
    assert told["timelines"][0] == told["timelines"][1]
    assert bool(told["row"][1]) == has_reason
    history = crm.get(f"{path}/history").json()
    times = [datetime.fromisoformat(event["at"]) for event in history]
    assert times == sorted(times)


def test_the_history_has_each_attempt_with_its_reason(system: System, crm: httpx.Client) -> None:
    phone = "79990007707"
    with plan(system, rate_429=1, limit=1, retry_after_s=1, paths=TEXT):
        path = send(crm, phone)
        wait_for(crm, path, "read")

    def find() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = crm.get(f"{path}/history").json()
        return found if found[-1]["event"] == "read" else None

    history = wait_until(find, "the read in the history")
    told = [event["event"] for event in history if event["source"] == "own"]
    assert told == ["accepted", "attempt", "postponed", "attempt", "sent"]
    assert "429" in next(event["error"] for event in history if event["event"] == "postponed")
    acks = [event["event"] for event in history if event["source"] == "platform"]
    assert acks == ["delivered", "read"]  # its own `sent` only adds its time to ours
    assert next(event["reported_at"] for event in history if event["event"] == "sent")


def test_a_cancelled_message_has_one_story(system: System, crm: httpx.Client) -> None:
    """It is `cancelled` for all but its row, whose status the pages of the CRM know."""
    phone = "79990007708"
    path = send(crm, phone, delay_s=3600)

    def find_row() -> bool:
        return bool(crm.get("/v1/messages", params={"phone": phone}).json()["items"])

    wait_until(find_row, "the row")
    told = read_status(system, crm, path, phone)
    assert [told[name][0] for name in ("API", "list", "CLI")] == ["scheduled"] * 3
    assert crm.post(f"{path}/cancel").status_code == 200
    wait_until(
        lambda: read_status(system, crm, path, phone)["list"][0] == "cancelled", "cancelled row"
    )
    told = read_status(system, crm, path, phone)
    reason = "cancelled before it was sent"
    names = ("API", "history", "list", "CLI")
    assert [told[name] for name in names] == [("cancelled", reason)] * 4
    assert (told["row"], told["codes"]) == (("failed", reason), {"cancelled"})
