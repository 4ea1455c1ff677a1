"""What an append to a lane was answered; a message that has its place is told."""

from collections.abc import Sequence

from shared.lanes import wire
from shared.lanes.types import Accepted, Append
from shared.transitions import tell


def read_acceptance(item: Append, reply: Sequence[bytes]) -> Accepted:
    """Read the script's reply to one append; raises what `wire.read_accepted` raises."""
    accepted = wire.read_accepted(item, reply)
    if accepted.new and item.queue == "send":
        tell("message.accepted", event_id=item.id, organization_id=item.tenant, lane=item.lane)
    return accepted
