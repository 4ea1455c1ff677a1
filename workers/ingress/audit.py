"""A log line for each effect of a request: who changed what, for which organization, from where."""

from dataclasses import dataclass
from uuid import UUID

import structlog
from starlette.datastructures import Headers
from starlette.types import Message, Scope, Send

from workers.ingress.request_limits import find_client

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

log = structlog.get_logger()


@dataclass(frozen=True)
class Effect:
    """What an authenticated request is about to change. `operation` is a name of the API.

    An operator's requests concern no organization, or several: `resource` names what.
    """

    caller: str
    organization_id: UUID | None
    operation: str

    def record(self, scope: Scope, status: int, headers: Headers) -> None:
        """Log the answer to the request, if it succeeded.

        `resource` is what was made or changed. A repeated request is logged again, as `replayed`.
        """
        if status < 400:
            resource = headers.get("location", scope["path"])
            self.log(scope, status, resource, replayed="idempotent-replayed" in headers)

    def log(self, scope: Scope, status: int, resource: str, *, replayed: bool) -> None:
        """Log that the request took effect."""
        log.info(
            "audit.effect",
            caller=self.caller,
            organization_id=str(self.organization_id) if self.organization_id else None,
            operation=self.operation,
            resource=resource,
            status=status,
            replayed=replayed,
            address=find_client(scope),
        )


def with_audit(send: Send, scope: Scope, effect: Effect) -> Send:
    """Return a `send` that records an effect once its answer begins."""
    if scope["method"] in SAFE_METHODS:
        return send

    async def send_recorded(message: Message) -> None:
        await send(message)
        if message["type"] == "http.response.start":
            effect.record(scope, message["status"], Headers(raw=message["headers"]))

    return send_recorded
