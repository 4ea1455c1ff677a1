"""`wpp` beside the whole system: it connects a number, watches a message, and finds no fault."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx

from sandbox.pipeline import ROOT
from shared.events import Message
from shared.producer import Producer
from tests.fixtures.system import System, connect_integration
from tests.fixtures.waiting import wait_until

PEER = "79990006601"


@contextmanager
def wpp(system: System, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command, and stop it at the end of the block."""
    program = subprocess.Popen(
        [sys.executable, "-m", "workers.cli.app", *arguments],
        env={**os.environ, **system.environment, "PYTHONUNBUFFERED": "1"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield program
    finally:
        program.terminate()
        program.communicate(timeout=20)


def read(program: subprocess.Popen[str]) -> tuple[list[str], threading.Thread]:
    """Return a list that grows with the lines of a program, and its reader, until their end."""
    lines: list[str] = []
    output = program.stdout
    assert output
    reader = threading.Thread(target=lambda: lines.extend(iter(output.readline, "")), daemon=True)
    reader.start()
    return lines, reader


def test_connect_shows_the_code_until_it_is_scanned(system: System) -> None:
    organization_id = system.add_organization()
    with (
        wpp(system, "connect", str(organization_id), "--wait", "60") as program,
        system.phone() as phone,
    ):
        lines, reader = read(program)
        wait_until(lambda: any("Linked devices" in line for line in lines), "the code")
        shown = "".join(lines)
        assert re.search("[█▀▄]{20}", shown)
        with system.service_client(organization_id) as crm:
            (number,) = crm.get("/v1/integrations").json()
        account = number["account_number"]
        phone.post(f"/phone/{account}/scan").raise_for_status()
        wait_until(lambda: program.poll() is not None, "the end of the command")
        assert program.returncode == 0
        reader.join(20)  # else the end of the block may take the last line
    assert lines[-1].startswith("connected")


def test_tail_shows_the_way_of_one_message(system: System) -> None:
    organization_id = system.add_organization()
    connect_integration(system, organization_id)
    with (
        wpp(system, "tail", "--json", "--organization", str(organization_id)) as program,
        Producer.connect(system.environment["REDIS_URL"]) as producer,
    ):
        lines, _ = read(program)
        sent: list[UUID] = []

        def send_one() -> bool:
            """Send until the watcher is noticed: processes look once a second."""
            sent.append(producer.send(organization_id, Message(to=PEER, text="Hello")).id)
            return any("message.sent" in line for line in lines)

        wait_until(send_one, "a message to be shown", within_s=60, poll_s=0.5)
        shown = [json.loads(line) for line in list(lines)]
        assert {line["organization_id"] for line in shown} == {str(organization_id)}
        assert {line["event_id"] for line in shown} <= {str(each) for each in sent}


def test_doctor_and_status_find_no_fault(system: System) -> None:
    wait_until(lambda: httpx.get(f"{system.url}/health/pipeline").status_code == 200, "every role")
    for command in ("doctor", "status"):
        with wpp(system, command) as program:
            output, _ = program.communicate(timeout=60)
            assert program.returncode == 0, output
