"""Dead letters are put back in slices, and dropped with a trace."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from shared.database import DeadLetterQuery
from shared.errors import NotFoundError
from shared.events import utc_now
from shared.lanes.records import total_waiting
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.inbound_pipeline import InboundPipeline
from tests.workers.cli.test_recovery import add_dead_letter
from workers.dead_letters import Replayer
from workers.repair import letters

__all__ = ["pipeline"]

Replay = Callable[[DeadLetterQuery, tuple[str, str] | None], letters.ReplayedSlice]


@pytest.fixture
def replay(pipeline: InboundPipeline) -> Replay:
    """Return `replay_slice` of the operator Olga, without pauses."""
    database = pipeline.ctx.database
    replayer = Replayer(
        pipeline.redis, pipeline.ctx.lanes, database, sleep=lambda _: None, by="Olga"
    )
    return lambda query, after: letters.replay_slice(query, after, replayer, database)


def test_all_are_put_back_slice_by_slice(pipeline: InboundPipeline, replay: Replay) -> None:
    """Oldest first; one that cannot be read does not hold up the rest."""
    begun = utc_now()
    for minutes in range(letters.SLICE + 2):
        add_dead_letter(pipeline, accepted_at=begun + timedelta(minutes=minutes))
    pipeline.env.sql(
        "update wpp_dead_letters set event = '{}' where accepted_at = "
        "(select min(accepted_at) from wpp_dead_letters)"
    )
    query = DeadLetterQuery()
    first = replay(query, None)
    assert first.after
    second = replay(query, (first.after.accepted_at.isoformat(), str(first.after.id)))
    assert [(each.replayed, each.skipped) for each in (first, second)] == [
        (letters.SLICE - 1, 1),
        (2, 0),
    ]
    assert second.after is None
    assert sum(total_waiting(pipeline.redis, ["send"])["send"].values()) == letters.SLICE + 1
    assert pipeline.ctx.database.dead_letters.count(query) == 1


def test_who_was_second_learns_who_put_a_letter_back(
    pipeline: InboundPipeline, replay: Replay
) -> None:
    letter_id = add_dead_letter(pipeline)
    query = DeadLetterQuery(ids=[letter_id], replayed=True)
    (before,) = pipeline.ctx.database.dead_letters.find(query)
    assert letters.explain_closed(before) is None
    assert replay(query, None).replayed == 1
    other = Replayer(pipeline.redis, pipeline.ctx.lanes, pipeline.ctx.database, by="Boris")
    assert other.replay([before]) == (0, 1), "it was read before the first one put it back"
    assert drop(pipeline, letter_id) == []
    (after,) = pipeline.ctx.database.dead_letters.find(query)
    assert letters.explain_closed(after) == "put back by Olga"


def test_a_dropped_letter_keeps_who_when_and_why(pipeline: InboundPipeline, replay: Replay) -> None:
    """It is put back by no list; asked for by its id, it still can be."""
    letter_id = add_dead_letter(pipeline)
    assert drop(pipeline, letter_id) == [letter_id]
    assert drop(pipeline, letter_id) == []
    database = pipeline.ctx.database.dead_letters
    assert database.find(DeadLetterQuery()) == []
    (letter,) = database.find(DeadLetterQuery(replayed=True))
    assert letters.explain_closed(letter) == "dropped by Anna: the customer called"
    assert letter.replayed_at
    assert utc_now() - letter.replayed_at < timedelta(minutes=5)
    with pytest.raises(NotFoundError, match="no dead letter"):
        drop(pipeline, letter_id, uuid4())
    assert replay(DeadLetterQuery(), None).replayed == 0
    assert replay(DeadLetterQuery(ids=[letter_id], replayed=True), None).replayed == 1


def drop(pipeline: InboundPipeline, *ids: UUID) -> list[UUID]:
    return letters.drop_letters(ids, "Anna", "the customer called", pipeline.ctx.database)
