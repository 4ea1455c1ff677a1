"""Working off a queue in the test's own thread, as a worker's actors do."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from dramatiq import Message

from shared.events import Event
from shared.lanes.client import Lanes
from shared.lanes.message import LaneMessage
from shared.lanes.types import Claim, ClaimSequence
from workers.runner import DeadLetterHandler, Handler, conclude_message

AnEvent = TypeVar("AnEvent", bound=Event)
Result = TypeVar("Result")
P = ParamSpec("P")


def parse_first(
    event_type: type[AnEvent], call: Callable[Concatenate[AnEvent, Claim, P], Result]
) -> Callable[Concatenate[Claim, P], Result]:
    """Return `call` without its first parameter: it gets the event that its claim holds."""

    def parsed(claim: Claim, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return call(event_type.model_validate_json(claim.body), claim, *args, **kwargs)

    return parsed


def drain(lanes: Lanes, queue: str, handler: Handler, dead_letter: DeadLetterHandler) -> None:
    """Handle and conclude events of `queue` until none is ready; each result claims the next."""
    sequence = ClaimSequence()
    claim = lanes.claim(queue, sequence)
    while claim:
        message = LaneMessage(Message(queue, "any", (), {}, {}), claim, lanes.settings)
        conclude_message(message, handler, dead_letter)
        assert message.result
        found = lanes.exchange(queue, sequence, 1, [message.result])
        claim = next(iter(found.claims), None)
