"""What an append to a lane was answered: counted, and told of a message that has its place."""

from collections.abc import Sequence

from shared import metrics
from shared.errors import OverloadedError
from shared.lanes import wire
from shared.lanes.types import Accepted, Append
from shared.transitions import tell


def read_acceptance(item: Append, reply: Sequence[bytes]) -> Accepted:
    """Read the script's reply to an append; raises what `wire.read_accepted` raises."""
    try:
        accepted = wire.read_accepted(item, reply)
    except OverloadedError:
        metrics.count("wpp_events_refused_total", item.queue)
        raise
    word = "accepted" if accepted.new else "duplicate"
    metrics.count(f"wpp_events_{word}_total", item.queue)
    if accepted.new and item.queue == "send":
        _tell_message(item, is_scheduled=accepted.state == "scheduled")
    return accepted


def _tell_message(item: Append, *, is_scheduled: bool) -> None:
    about = {"event_id": item.id, "organization_id": item.tenant, "lane": item.lane}
    tell("message.accepted", **about)
    if is_scheduled and item.send_at:
        tell("message.scheduled", send_at=item.send_at.isoformat(), **about)
