"""Callbacks end to end: a message arrives and is posted, through every process."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.fixtures.receiver import Post, Receiver, run_receiver
from tests.fixtures.system import System
from tests.fixtures.waiting import wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "callbacks.md").read_text(encoding="utf-8")


def read_example(language: str) -> str:
    return PAGE.split(f"```{language}\n", 1)[1].split("```", 1)[0]


def verify_under_node(secret: str, post: Post, directory: Path) -> str:
    """Run the documented function, without its types, under node; return what it prints."""
    typed = "(secret: string, headers: Record<string, string>, body: Buffer): boolean"
    function = read_example("typescript")
    assert typed in function
    program = f"""{function.replace(typed, "(secret, headers, body)")}
const body = Buffer.from({post.body.hex()!r}, "hex");
console.log(verify({secret!r}, {json.dumps(post.headers)}, body));
"""
    file = directory / "verify.mjs"
    file.write_text(program)
    return subprocess.run(
        ["node", str(file)], capture_output=True, text=True, check=True
    ).stdout.strip()


@dataclass
class Callback:
    """A callback of an organization with a connected number, and its receiver."""

    receiver: Receiver
    crm: httpx.Client
    secret: str
    path: str

    def write(self, system: System, account: str, text: str) -> None:
        """Write to the number as a customer."""
        with system.phone() as phone:
            sent = {"from": "79995550011", "text": text}
            phone.post(f"/phone/{account}/messages", json=sent).raise_for_status()

    def wait_posts(self, text: str, count: int) -> list[Post]:
        """Wait until a text was posted so often; return these posts."""
        return wait_until(
            lambda: (
                [post for post in self.receiver.posts if post.text == text][count - 1 :]
                and [post for post in self.receiver.posts if post.text == text]
            ),
            f"{count} posts of {text!r}",
            30,
        )

    def deliveries(self, webhook_id: str) -> list[dict[str, Any]]:
        items = self.crm.get(f"{self.path}/deliveries").json()["items"]
        return [each for each in items if each["webhook_id"] == webhook_id]


@pytest.fixture
def callback(system: System, number: tuple[UUID, dict[str, Any]]) -> Iterator[Callback]:
    with run_receiver() as receiver, system.service_client(number[0]) as crm:
        created = crm.post("/v1/callbacks", json={"url": receiver.url}).json()
        path = f"/v1/callbacks/{created['id']}"
        try:
            yield Callback(receiver, crm, created["secret"], path)
        finally:
            crm.delete(path)


def test_a_test_is_posted(callback: Callback) -> None:
    expected = callback.crm.post(f"{callback.path}/test").json()["webhook_id"]
    wait_until(
        lambda: [post for post in callback.receiver.posts if post.id == expected] or None, "a test"
    )


def test_what_arrives_is_posted_again_after_a_failure(
    system: System, number: tuple[UUID, dict[str, Any]], callback: Callback
) -> None:
    """The log shows both attempts; a replay posts the event once more, under its id."""
    answers = iter([500])  # for this text: acks of earlier messages may be posted before it
    callback.receiver.answer = lambda post: next(answers, 200) if post.text == "Good day" else 200
    callback.write(system, number[1]["account_number"], "Good day")
    first, second = callback.wait_posts("Good day", 2)
    assert first.id == second.id
    assert first.event["type"] == "message.received"
    assert first.event["data"]["phone"] == "79995550011"
    outcomes = ["delivered", "failed"]
    found = wait_until(
        lambda: [each["outcome"] for each in callback.deliveries(first.id)] == outcomes or None,
        "the log",
    )
    assert found
    delivery = callback.deliveries(first.id)[0]["id"]
    callback.crm.post(f"{callback.path}/deliveries/{delivery}/replay").raise_for_status()
    assert callback.wait_posts("Good day", 3)[2].id == first.id


def test_the_functions_of_the_page_verify_a_post(
    system: System, number: tuple[UUID, dict[str, Any]], callback: Callback, tmp_path: Path
) -> None:
    """docs/callbacks.md, in Python and, where node is installed, in TypeScript."""
    callback.write(system, number[1]["account_number"], "Verify me")
    [post] = callback.wait_posts("Verify me", 1)
    scope: dict[str, Any] = {}
    exec(read_example("python"), scope)  # noqa: S102 - our own page
    assert scope["verify"](callback.secret, post.headers, post.body)
    assert not scope["verify"](callback.secret, post.headers, post.body + b" ")
    if shutil.which("node"):
        assert verify_under_node(callback.secret, post, tmp_path) == "true"


def test_a_stream_has_the_same_events(system: System, number: tuple[UUID, dict[str, Any]]) -> None:
    organization_id, integration = number
    query = {"type": "message.received", "after": "evt_0"}
    with system.service_client(organization_id) as crm, system.phone() as phone:
        sent = {"from": "79995550012", "text": "By stream"}
        account = integration["account_number"]
        phone.post(f"/phone/{account}/messages", json=sent).raise_for_status()
        with crm.stream("GET", "/v1/events", params=query) as stream:
            line = next(line for line in stream.iter_lines() if "By stream" in line)
    assert "message.received" in line
