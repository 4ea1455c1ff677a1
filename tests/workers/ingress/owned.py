"""What an organization owns, for the tests over all operations: an id for each parameter.

A new route whose parameter has another name needs a maker here: the tests say so.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

import psycopg

from shared.callbacks import PostAttempt
from shared.events import QUEUE_NAMES, SendEvent
from shared.lanes.types import Settled
from shared.redis import keys
from shared.routing import build_message_outcome
from tests.fixtures.api_document import DocumentedOperation, read_document
from tests.workers.ingress.messages.contacts import Table, add_arrived, add_contact
from tests.workers.ingress.tenants import Tenant

TEXT = "A private sentence"


@dataclass(frozen=True)
class Owner:
    """An organization with a connected integration, which makes what it owns."""

    tenant: Tenant
    database_url: str
    integration_id: str

    @classmethod
    def new(cls, tenant: Tenant, database_url: str) -> "Owner":
        path = tenant.add_integration(uuid4().hex[:12])
        return cls(tenant, database_url, path.rsplit("/", 1)[-1])

    def make(self, parameter: str) -> str:
        """Return the id of a new resource of this organization, by the name of a parameter."""
        assert parameter in MAKERS, f"make a {parameter} in MAKERS ({__name__})"
        return MAKERS[parameter](self)

    def add_integration(self) -> str:
        return self.tenant.add_integration(uuid4().hex[:12]).rsplit("/", 1)[-1]

    def add_message(self, state: Literal["waiting", "sent", "unknown"] = "sent") -> str:
        """Send a message to a new recipient; it waits, or ends in a state."""
        to = self.make_phone()
        body = {"to": to, "text": TEXT, "integration_id": self.integration_id}
        answer = self.tenant.post("/v1/messages", body)
        assert answer.status_code == 202, answer.text
        message_id = answer.json()["id"]
        if state == "waiting":
            return str(message_id)
        settled = Settled(state, fields={"task_id": uuid4().hex})
        while str(self.tenant.settle_next("send", settled)) != message_id:
            pass
        event = SendEvent(
            id=UUID(message_id),
            organization_id=self.tenant.id,
            integration_id=UUID(self.integration_id),
            to=to.removeprefix("+"),
            text=TEXT,
        )
        name = f"true_{event.to}@c.us_{uuid4().hex[:20].upper()}"
        outcome = build_message_outcome(event, state, datetime.now(UTC)).model_copy(
            update={"wa_message_id": name if state == "sent" else None}
        )
        self.tenant.database.outcomes.apply([outcome.model_dump(mode="json", exclude_none=True)])
        return str(message_id)

    def add_contact(self, table: Table) -> str:
        """Add a contact who wrote a message."""
        contact_id = add_contact(self.database_url, self.tenant.id, self.make_phone(), table)
        place = (self.database_url, self.tenant.id, self.integration_id)
        if table == "clients":
            add_arrived(*place, client_id=contact_id)
        else:
            add_arrived(*place, teacher_id=contact_id)
        return str(contact_id)

    def add_callback(self) -> str:
        """Create a callback; an organization has 20 at most, so older callbacks are deleted."""
        callbacks = self.tenant.database.callbacks
        for old in callbacks.list_for(self.tenant.id)[:-5]:
            callbacks.delete(old.id, self.tenant.id)
        answer = self.tenant.post("/v1/callbacks", {"url": "https://crm.example.com/events"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def add_delivery(self) -> str:
        """Record a delivery of the newest callback; return its id."""
        database = self.tenant.database
        callback = database.callbacks.list_for(self.tenant.id)[-1]
        attempt = PostAttempt(
            organization_id=self.tenant.id,
            callback_id=callback.id,
            event_id=callback.position,
            webhook_id=f"evt_{callback.position}",
            type="number.connected",
            attempt=1,
            outcome="failed",
        )
        database.callbacks.record(attempt, timedelta(days=3))
        found = database.callbacks.list_deliveries(callback.id, self.tenant.id, None, 1)
        return str(found[0].id)

    def make_phone(self) -> str:
        return f"+7999{uuid4().int % 10**7:07}"

    def look(self) -> dict[str, Any]:
        """Return all rows of the organization, and how many of its events exist in Redis."""
        client = self.tenant.client
        waiting: Any = {name: client.hgetall(keys.waiting(name)) for name in QUEUE_NAMES}
        events = sum(1 for _ in client.scan_iter(keys.event("*"), count=1000))
        return {"waiting": waiting, "events": events, **self._read_rows()}

    def _read_rows(self) -> dict[str, Any]:
        found = {}
        with psycopg.connect(self.database_url) as connection:
            tables = connection.execute(
                "select format('%I.%I', c.table_schema, c.table_name) "
                "from information_schema.columns c join information_schema.tables t "
                "using (table_schema, table_name) where c.column_name = 'organization_id' "
                "and t.table_type = 'BASE TABLE' and table_schema in ('public', 'wpp')"
            ).fetchall()
            for (table,) in tables:
                query = f"select to_jsonb(t)::text from {table} t where organization_id = %s"  # noqa: S608
                rows = connection.execute(query.encode(), (self.tenant.id,)).fetchall()
                found[table] = sorted(json.dumps(row) for row in rows)
        return found


MAKERS: dict[str, Callable[[Owner], str]] = {
    "message_id": Owner.add_message,
    "reply_to": Owner.add_message,
    "integration_id": Owner.add_integration,
    "phone": Owner.make_phone,
    "callback_id": Owner.add_callback,
    "delivery_id": Owner.add_delivery,
    "client_id": lambda owner: owner.add_contact("clients"),
    "teacher_id": lambda owner: owner.add_contact("teachers"),
}


def fill_path(operation: DocumentedOperation, owner: Owner) -> str:
    """Return the path of an operation with ids of an organization."""
    path = operation.path
    for name in operation.path_ids:
        path = path.replace(f"{{{name}}}", owner.make(name))
    return path


def list_query_ids(operation: DocumentedOperation) -> list[str]:
    """Return the names of the query parameters that are ids."""
    return [
        each["name"]
        for each in operation.details["parameters"]
        if each["in"] == "query" and "uuid" in str(each["schema"])
    ]


def list_body_ids(operation: DocumentedOperation) -> list[str]:
    """Return the names of the ids in the JSON body, at its top level."""
    content = operation.details.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return []
    reference = str(content["schema"].get("$ref", "")).rpartition("/")[2]
    schema = read_document()["components"]["schemas"].get(reference, {})
    return [name for name, field in schema.get("properties", {}).items() if "'uuid'" in str(field)]
