"""What a text names: a phone in any spelling, a message, an organization, a number."""

from uuid import UUID

import redis

from shared import phones
from shared.database import Database
from shared.database.models import SearchHit
from shared.lanes.records import find_record
from workers.dead_letters import parse_uuid
from workers.repair.shard_clients import ShardClients
from workers.send.cancellation import is_message

MAX_HITS = 50
MAX_CHARACTERS = 200


def search(text: str, clients: ShardClients, database: Database) -> list[SearchHit]:
    """Return what a text names, of any organization, the most exact first.

    A message that has no row yet is found by its record.
    """
    words = text.strip()[:MAX_CHARACTERS]
    if not words:
        return []
    named = parse_uuid(words)
    hits = database.repair.search(words, named, read_phone(words), MAX_HITS)
    if named and not any(hit.kind == "message" for hit in hits):
        hits = _find_accepted(named, clients.of_event(named)) + hits
    return hits


def read_phone(text: str) -> str | None:
    """Return the phone that a text is, as international digits, or None."""
    if not ("@" in text or phones.may_be_phone(text.lstrip("+"))):
        return None
    try:
        return phones.normalize(text)
    except ValueError:
        return None


def _find_accepted(event_id: UUID, client: "redis.Redis") -> list[SearchHit]:
    record = find_record(client, event_id)
    if record is None or not is_message(record):
        return []
    return [
        SearchHit(
            kind="message",
            id=str(event_id),
            organization_id=parse_uuid(record.tenant),
            title=record.lane.rpartition(":")[2],
            at=record.accepted,
        )
    ]
