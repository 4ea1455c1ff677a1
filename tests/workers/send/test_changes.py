"""What each result of the platform means for a change of a message."""

from dataclasses import dataclass, field
from typing import Any, cast
from uuid import uuid4

import pytest
import redis

from shared import routing
from shared.errors import (
    NotConnectedError,
    NotSentError,
    PlatformError,
    RefusedError,
    UnknownEffectError,
)
from shared.events import ChangeEvent, Message, SendEvent, is_change
from shared.lanes.client import Lanes
from shared.lanes.types import Claim, ClaimResult, ClaimSequence, Postponed, Settled
from shared.outcomes import DeadLetterOutcome, EditOutcome, StatusOutcome
from shared.platform.models import SendResult
from shared.settings import EngineSettings
from tests.workers.send.test_handler import INTEGRATION, ORGANIZATION, ROUTE, FakeContext
from workers.clock.sweeper import take_over
from workers.context import WorkerContext
from workers.send import changes


@dataclass
class ChangeContext(FakeContext):
    """A context whose platform deletes, reacts and sends as set."""

    known: bool = True
    fault: PlatformError | None = None
    calls: list[str] = field(default_factory=list)

    def delete(self, task_id: str) -> bool:
        self._call(f"delete {task_id}")
        return self.known

    def react(self, to: str, wa_message_id: str, emoji: str) -> None:
        self._call(f"react {to} {wa_message_id} {emoji}")

    def send(self, event: SendEvent) -> SendResult:
        self.calls.append(f"send {event.text}")
        return super().send(event)

    def _call(self, call: str) -> None:
        self.calls.append(call)
        if self.fault:
            raise self.fault


@pytest.fixture
def ctx(redis_client: redis.Redis) -> ChangeContext:
    return ChangeContext(Lanes(redis_client, EngineSettings()))


def make_change(action: Any, **given: Any) -> ChangeEvent:
    defaults: dict[str, Any] = {
        "id": uuid4(),
        "action": action,
        "organization_id": ORGANIZATION,
        "integration_id": INTEGRATION,
        "to": "79990001122",
        "message_id": uuid4(),
        "task_id": "task_0",
        "wa_message_id": "wa_0",
        "text": "New" if action == "edit" else "",
        "emoji": "🔥",
    }
    return ChangeEvent(**(defaults | given))


def claim_of(event: ChangeEvent, ctx: ChangeContext) -> Claim:
    ctx.lanes.append(routing.route_event(event))
    claim = ctx.lanes.claim("send", ClaimSequence())
    assert claim
    assert is_change(claim.body)
    return claim


def handle(event: ChangeEvent, ctx: ChangeContext) -> ClaimResult:
    return changes.handle_change(event, claim_of(event, ctx), cast("WorkerContext", ctx))


def test_an_edit_deletes_and_sends(ctx: ChangeContext) -> None:
    """Its outcome names the message by its old id, and the new id."""
    result = handle(make_change("edit"), ctx)
    assert ctx.calls == ["delete task_0", "send New"]
    assert isinstance(result, Settled)
    [outcome] = result.outcomes
    assert isinstance(outcome, EditOutcome)
    assert (outcome.external_ids, outcome.task_id, outcome.text) == (["task_0"], "task_1", "New")
    assert (outcome.account, result.fields) == (ROUTE.account, {"task_id": "task_1"})


def test_an_internal_error_during_an_edit_sends_its_text_no_second_time(
    ctx: ChangeContext,
) -> None:
    """The request may have left before the error."""
    ctx.answer = redis.ConnectionError("lost during the call")
    result = handle(make_change("edit"), ctx)
    assert isinstance(result, Settled)
    assert (result.state, result.fields["code"]) == ("failed", "unknown")


def test_an_edit_whose_message_is_gone_already_is_sent(ctx: ChangeContext) -> None:
    """An earlier attempt has deleted it."""
    ctx.known = False
    result = handle(make_change("edit"), ctx)
    assert isinstance(result, Settled)
    assert (result.state, ctx.calls[-1]) == ("done", "send New")


@pytest.mark.parametrize(("known", "code"), [(True, "deleted"), (False, "gone")])
def test_a_delete_says_whether_the_platform_knew_it(
    ctx: ChangeContext,
    known: bool,  # noqa: FBT001
    code: str,
) -> None:
    """Only what it deleted gets the status."""
    ctx.known = known
    result = handle(make_change("delete"), ctx)
    assert isinstance(result, Settled)
    assert (result.state, result.fields) == ("done", {"code": code})
    statuses = [each.status for each in result.outcomes if isinstance(each, StatusOutcome)]
    assert statuses == (["deleted"] if known else [])


def test_a_change_finds_the_id_of_the_message_before_it(ctx: ChangeContext) -> None:
    """It was accepted while the message still waited in the same lane."""
    message = Message(to="79990001122", text="Hi")
    first = routing.route_send(ORGANIZATION, INTEGRATION, message)
    ctx.lanes.append(first)
    event = make_change("delete", message_id=first.id, task_id=None)
    assert routing.route_event(event).lane == first.lane
    ctx.lanes.append(routing.route_event(event))
    sequence = ClaimSequence()
    claim = ctx.lanes.claim("send", sequence)
    assert claim
    assert claim.id == first.id
    ctx.lanes.conclude(claim, Settled("sent", [], {"task_id": "task_7"}))
    following = ctx.lanes.claim("send", sequence)
    assert following
    changes.handle_change(event, following, cast("WorkerContext", ctx))
    assert ctx.calls == ["delete task_7"]


def test_a_message_that_was_never_sent_is_not_edited(ctx: ChangeContext) -> None:
    """No call is made; a delete of it is done at once."""
    edit = handle(make_change("edit", task_id=None), ctx)
    assert isinstance(edit, Settled)
    assert (edit.state, edit.fields["code"], ctx.calls) == ("failed", "never_sent", [])


@pytest.mark.parametrize("action", ["edit", "delete", "react"])
@pytest.mark.parametrize(
    ("fault", "result"),
    [
        (NotSentError("away"), Postponed),
        (NotConnectedError("offline"), Postponed),
        (RefusedError("no"), Settled),
        (UnknownEffectError("lost"), None),
    ],
    ids=["not_sent", "not_connected", "refused", "unknown"],
)
def test_errors(
    ctx: ChangeContext, action: str, fault: PlatformError, result: type[ClaimResult] | None
) -> None:
    """What may have been sent is not sent again; deletes and reactions are repeated."""
    if action == "edit":
        ctx.answer = fault
    else:
        ctx.fault = fault
    found = handle(make_change(action), ctx)
    expected = result or (Settled if action == "edit" else Postponed)
    assert isinstance(found, expected)
    if isinstance(found, Settled):
        assert found.state == "failed"
        letters = [each for each in found.outcomes if isinstance(each, DeadLetterOutcome)]
        replayable = isinstance(fault, RefusedError) and action != "react"
        assert len(letters) == int(replayable)


def test_changes_of_a_removed_number_fail(ctx: ChangeContext) -> None:
    """With a dead letter, as its messages."""
    ctx.route = None
    found = handle(make_change("delete"), ctx)
    assert isinstance(found, Settled)
    assert (found.state, found.fields["code"]) == ("failed", "not_found")


@pytest.mark.parametrize(("action", "is_repeated"), [("edit", False), ("delete", True)])
def test_the_change_of_a_vanished_worker(
    ctx: ChangeContext,
    action: str,
    is_repeated: bool,  # noqa: FBT001
) -> None:
    """A delete is done again; an edit may have been sent."""
    claim = claim_of(make_change(action), ctx)
    found = take_over(claim, cast("Any", ctx))
    assert isinstance(found, Postponed) is is_repeated


def test_a_text_that_looks_like_a_change_is_a_message() -> None:
    """Within a JSON text the quotes are escaped."""
    message = Message(to="79990001122", text='"kind":"change"')
    append = routing.route_send(ORGANIZATION, INTEGRATION, message)
    assert not is_change(append.body.encode())
