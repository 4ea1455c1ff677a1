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
from shared.events import ChangeEvent, Message, SendEvent, SentMedia, is_change
from shared.lanes.client import Lanes
from shared.lanes.types import Claim, ClaimResult, ClaimSequence, Postponed, Settled
from shared.outcomes import DeadLetterOutcome, EditOutcome, ReactionOutcome, StatusOutcome
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


def carry_out(event: ChangeEvent, ctx: ChangeContext) -> Settled:
    """Handle a change and settle it, so that the next one of its conversation can follow."""
    claim = claim_of(event, ctx)
    found = changes.handle_change(event, claim, cast("WorkerContext", ctx))
    assert isinstance(found, Settled)
    ctx.lanes.conclude(claim, found)
    return found


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


@pytest.mark.parametrize(
    ("second", "calls", "code"),
    [
        ("edit", ["delete task_1", "send Then"], None),
        ("delete", ["delete task_1"], "deleted"),
    ],
)
def test_a_change_of_an_edit_that_still_waited(
    ctx: ChangeContext, second: str, calls: list[str], code: str | None
) -> None:
    """It knows the id from before the edit, and changes what the edit has sent."""
    first = make_change("edit")
    carry_out(first, ctx)
    ctx.calls.clear()
    ctx.answer = SendResult("task_2")
    found = carry_out(make_change(second, message_id=first.message_id, text="Then"), ctx)
    assert (found.state, found.fields.get("code"), ctx.calls) == ("done", code, calls)
    [outcome] = found.outcomes
    assert isinstance(outcome, EditOutcome | StatusOutcome)
    assert outcome.external_ids == ["task_1"]


@pytest.mark.parametrize(("second", "state"), [("edit", "failed"), ("delete", "done")])
def test_a_change_of_a_deleted_message(ctx: ChangeContext, second: str, state: str) -> None:
    """An edit that waited behind the delete does not bring the message back."""
    first = make_change("delete")
    carry_out(first, ctx)
    ctx.calls.clear()
    found = carry_out(make_change(second, message_id=first.message_id), ctx)
    assert (found.state, found.fields["code"], found.outcomes) == (state, "deleted", [])
    assert ctx.calls == []


@pytest.mark.parametrize(
    ("emoji", "stored"), [("🎉", "🎉"), ("", None)], ids=["given", "withdrawn"]
)
def test_a_reaction_is_stored(ctx: ChangeContext, emoji: str, stored: str | None) -> None:
    """As the organization's own; without an emoji it is withdrawn."""
    found = handle(make_change("react", emoji=emoji), ctx)
    assert isinstance(found, Settled)
    [outcome] = found.outcomes
    assert isinstance(outcome, ReactionOutcome)
    assert (outcome.outgoing, outcome.external_ids, outcome.emoji) == (True, ["wa_0"], stored)
    assert ctx.calls == [f"react 79990001122 wa_0 {emoji}"]


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


def test_an_edit_whose_delete_is_refused_sends_nothing(ctx: ChangeContext) -> None:
    """The recipient would have both texts."""
    ctx.fault = RefusedError("cannot be deleted any more")
    found = handle(make_change("edit"), ctx)
    assert isinstance(found, Settled)
    assert (found.state, found.fields["code"]) == ("failed", "refused")
    assert ctx.calls == ["delete task_0"]


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


DOCUMENT = SentMedia(type="document", url="https://files.test/bill.pdf")


def test_an_edited_caption_replaces_the_text_after_the_file(ctx: ChangeContext) -> None:
    """The file stays, and keeps its id; the row learns the id of the new caption."""
    result = handle(make_change("edit", media=DOCUMENT, caption_ids=("caption_0",)), ctx)
    assert ctx.calls == ["delete caption_0", "send New"]
    assert ctx.texts == ["New"]
    assert isinstance(result, Settled)
    [outcome] = result.outcomes
    assert isinstance(outcome, EditOutcome)
    assert (outcome.external_ids, outcome.task_id) == (["task_0", "task_1"], None)
    assert result.fields == {"task_id": "task_0"}


def test_a_deleted_file_takes_its_caption_with_it(ctx: ChangeContext) -> None:
    result = handle(make_change("delete", media=DOCUMENT, caption_ids=("caption_0",)), ctx)
    assert ctx.calls == ["delete caption_0", "delete task_0"]
    assert isinstance(result, Settled)
    assert result.fields == {"code": "deleted"}
