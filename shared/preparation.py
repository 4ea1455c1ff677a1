"""Prepare messages for their lanes with what Redis knows: for services that have nothing else.

The steps that need Redis are generators: they yield commands, are sent the replies, and return
their result. So a sync and an async client carry out the same steps (`shared.producer`).
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared import routing
from shared.errors import IntegrationNotFoundError, NotFoundError, PipelineError
from shared.event_ids import EventIds
from shared.events import Message
from shared.lanes.types import Append
from shared.phones import DEFAULT_REGION
from shared.redis import keys
from shared.route_cache import IntegrationRoute

Command = tuple[Any, ...]
"""A command of Redis with its arguments."""
AppendOrError = Append | Exception
NumberSteps = Generator[list[Command], list[Any], "KnownNumbers"]
IdSteps = Generator[list[Command], list[Any], list[UUID | None]]
NUMBERS_READ = 50
"""KnownNumbers of an organization among which a sender is searched."""


@dataclass(frozen=True)
class KnownNumbers:
    """The numbers that messages may mean. `default` sends what names none."""

    organization_id: UUID
    routes: Mapping[UUID, IntegrationRoute]
    removed: frozenset[UUID]
    default: IntegrationRoute | None = None

    def choose(self, message: Message) -> tuple[UUID, str]:
        """Return the number that sends a message, and its organization's region.

        A number that is not known here is accepted: the worker looks it up, and refuses another
        organization's.

        Raises:
            NotFoundError: no number of this organization, or none is known here.
            ValueError: it is disabled.
        """
        named = message.integration_id
        if named is None:
            if self.default is None:
                msg = (
                    "no number of this organization is known here yet: name one with integration_id"
                )
                raise NotFoundError(msg)
            return self.default.id, self.default.region
        route = self.routes.get(named)
        if named in self.removed or (route and route.organization_id != self.organization_id):
            raise IntegrationNotFoundError(named)
        if route and not route.is_enabled:
            msg = f"the integration {route.name!r} is disabled"
            raise ValueError(msg)
        return named, route.region if route else self._region

    @property
    def _region(self) -> str:
        return self.default.region if self.default else DEFAULT_REGION


def find_numbers(organization_id: UUID, messages: Sequence[Message]) -> NumberSteps:
    """Read the numbers that messages may mean: those that they name, and the primary.

    Without a primary that can send, an enabled number takes its place.
    """
    ids = {each.integration_id for each in messages if each.integration_id}
    unnamed = any(each.integration_id is None for each in messages)
    primary = None
    if unnamed:
        (stored,) = yield [("GET", keys.primary_route(organization_id))]
        primary = UUID(stored.decode()) if stored else None
    found = yield from _read_routes(organization_id, [*ids, *([primary] if primary else [])])
    default = _find_usable(found, primary)
    if unnamed and default is None:
        (members,) = yield [("SMEMBERS", keys.organization_routes(organization_id))]
        others = sorted(UUID(member.decode()) for member in members)[:NUMBERS_READ]
        more = yield from _read_routes(organization_id, others)
        default = next((usable for each in others if (usable := _find_usable(more, each))), None)
    return KnownNumbers(organization_id, found.routes, found.removed, default)


def find_event_ids(
    organization_id: UUID, idempotency_keys: Sequence[str | None], event_ids: EventIds
) -> IdSteps:
    """Return the id that each key stands for, the earlier id if that message was accepted.

    Raises:
        ValueError: a key is empty.
    """
    earlier = [event_ids.make_previous(organization_id, key) for key in idempotency_keys]
    asked = [each for each in earlier if each]
    replies = (yield [("EXISTS", keys.event(each)) for each in asked]) if asked else []
    known = {each for each, exists in zip(asked, replies, strict=True) if exists}
    return [
        previous
        if previous in known
        else None
        if key is None
        else event_ids.make(organization_id, key)
        for key, previous in zip(idempotency_keys, earlier, strict=True)
    ]


def build_appends(
    messages: Sequence[Message], event_ids: Sequence[UUID | None], numbers: KnownNumbers
) -> Iterator[AppendOrError]:
    """Build the appends of messages lazily; in place of an invalid message, its error."""
    for message, event_id in zip(messages, event_ids, strict=True):
        try:
            yield build_append(message, event_id, numbers)
        except (PipelineError, ValueError) as error:
            yield error


def build_append(message: Message, event_id: UUID | None, numbers: KnownNumbers) -> Append:
    """Return the append of a message.

    Raises:
        NotFoundError, ValueError: as `KnownNumbers.choose`; or the recipient is no phone.
    """
    if message.to is None:
        msg = "to: give the recipient's phone; clients and teachers are looked up by the API only"
        raise ValueError(msg)
    if message.reply_to is not None:
        msg = "reply_to: the answered message is looked up by the API only"
        raise ValueError(msg)
    if message.media and message.media.file_id:
        msg = "media.file_id: the file is looked up by the API only"
        raise ValueError(msg)
    integration_id, region = numbers.choose(message)
    organization_id = numbers.organization_id
    # An id that is a string after all, of a caller without types, is read by the event's model.
    is_plain = routing.is_text(message) and isinstance(organization_id, UUID)
    route = routing.route_text if is_plain else routing.route_send
    return route(organization_id, integration_id, message, event_id, region)


def _read_routes(organization_id: UUID, ids: Sequence[UUID]) -> NumberSteps:
    names = [name for each in ids for name in (keys.route(each), keys.removed(each))]
    (replies,) = (yield [("MGET", *names)]) if names else ([],)
    stored = dict(zip(ids, replies[::2], strict=True))
    removed = {each for each, mark in zip(ids, replies[1::2], strict=True) if mark}
    routes = {each: IntegrationRoute.parse(route) for each, route in stored.items() if route}
    return KnownNumbers(organization_id, routes, frozenset(removed))


def _find_usable(numbers: KnownNumbers, integration_id: UUID | None) -> IntegrationRoute | None:
    """Return the route of a number, if it can send."""
    route = numbers.routes.get(integration_id) if integration_id else None
    if route is None or route.id in numbers.removed or not route.is_enabled:
        return None
    return route if route.organization_id == numbers.organization_id else None
