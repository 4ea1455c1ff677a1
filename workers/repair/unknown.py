"""Messages of unknown delivery: what may be known about them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import redis

from shared.database import Database
from shared.errors import DatabaseError
from shared.events import utc_now
from shared.lanes.records import Record, find_records, find_unknown
from workers.send.matching import Orphan
from workers.send.proofs import LOOK_BACK, find_claimants


@dataclass(frozen=True)
class UnknownMessage:
    """A message, and the reports of the platform that may be about it: none proves it."""

    record: Record
    perhaps: Sequence[Orphan] = ()

    @property
    def phone(self) -> str:
        """Return the phone of the recipient: the end of its lane."""
        return self.record.lane.rpartition(":")[2]


def list_unknown(
    client: "redis.Redis", database: Database | None, organization_id: UUID | None = None
) -> list[UnknownMessage]:
    """Return the messages of an organization, or of all, oldest first.

    Reports are among them where Supabase answers.
    """
    claimants = _load_claimants(client, database) if database else {}
    tenant = str(organization_id) if organization_id else None
    return [
        UnknownMessage(record, claimants.get(record.id, ()))
        for record in find_unknown(client, tenant)
    ]


def list_all_unknown(
    clients: "Iterable[redis.Redis]", database: Database | None, organization_id: UUID | None = None
) -> list[UnknownMessage]:
    """Return what `list_unknown` returns, of all shards."""
    found = [
        message for client in clients for message in list_unknown(client, database, organization_id)
    ]
    return sorted(found, key=lambda message: message.record.accepted)


def _load_claimants(client: "redis.Redis", database: Database) -> Mapping[UUID, Sequence[Orphan]]:
    try:
        evidence = database.messages.load_evidence(utc_now() - LOOK_BACK)
    except DatabaseError:
        return {}
    return find_claimants(evidence, lambda ids: find_records(client, ids))
