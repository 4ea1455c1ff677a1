"""Table of the platform's endpoints, each with the variants of its method and path.

The platform's paths have changed often. The documented variant comes first. If the platform
does not know the route (404 for the route, not for the resource in it), the client tries the next
variant and remembers the first that works. Source: the platform's newest contract and its history.

Most endpoints have a single variant, for these reasons:

- Create, token, start, status, QR, delete and react had different paths (`/api/{session}/…`),
  keys and bodies on the server that this platform replaced. A platform that speaks that dialect
  has none of the rest.
- Stop as `DELETE /api/accounts/{number}` was documented once and never existed.
- Sends went to `/api/{session}/send-message` for ten minutes, with different bodies. Only the
  answer's `ids[0].id` is still read.
- Sends to a single `/api/messages` have today's body, so the table lists that path.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from shared.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A call of the platform.

    `variants`: method and path template, the documented variant first.
    `idempotent`: a second call has no further effect, so a lost answer leaves no doubt.
    `status_in_body`: the body of a 2xx says whether the call succeeded.
    `unverified`: never observed to work. If the platform lacks the route, the call is refused;
    a verified endpoint waits for its route instead.
    `uses_api_key`: the call authenticates with an account's API key.
    """

    name: str
    variants: tuple[str, ...]
    idempotent: bool = True
    status_in_body: bool = False
    unverified: bool = False
    uses_api_key: bool = False


CREATE = Endpoint("create", ("POST /api/integrations/wpp/create",))
"""Idempotent: the same organization id returns the same client."""
TOKEN = Endpoint("token", ("POST /auth/token",), uses_api_key=True)
START = Endpoint("start", ("POST /api/accounts/start",))
STATUS = Endpoint("status", ("GET /api/accounts/{account}/status",))
QR = Endpoint("qr", ("GET /api/accounts/{account}/qr",))
WEBHOOK = Endpoint(
    "webhook", ("POST /internal/session/{account}/webhook", "POST /api/webhooks/{account}")
)
STOP = Endpoint("stop", ("POST /internal/session/{account}/stop",))
TEXT = Endpoint(
    "text",
    ("POST /api/messages/text", "POST /api/messages"),
    idempotent=False,
    status_in_body=True,
)
IMAGE = Endpoint(
    "image",
    ("POST /api/messages/image", "POST /api/messages"),
    idempotent=False,
    status_in_body=True,
)
FILE = Endpoint(
    "file",
    ("POST /api/messages/file", "POST /api/messages"),
    idempotent=False,
    status_in_body=True,
)
LOCATION = Endpoint(
    "location",
    ("POST /api/messages/location", "POST /api/messages"),
    idempotent=False,
    status_in_body=True,
    unverified=True,
)
DELETE = Endpoint("delete", ("DELETE /api/messages/{task_id}",))
REACT = Endpoint("react", ("POST /api/messages/react",), status_in_body=True)
"""Idempotent: the same emoji replaces itself."""
MEDIA = Endpoint("media", ("GET /api/messages/media/{message_id}",), unverified=True)

HISTORY = Endpoint(
    "history", ("GET /api/accounts/{account}/messages?since={since}",), unverified=True
)
"""The seam for what the platform still has of an account's messages. None of its documents names a
call for that: only the sandbox answers this one."""


class KnownVariants:
    """Which variant of each endpoint this platform answers, learned from its answers."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def candidates(self, endpoint: Endpoint) -> Iterator[str]:
        """Yield the variant that worked last, then the rest in the table's order."""
        known = self._known.get(endpoint.name)
        if known:
            yield known
        yield from (variant for variant in endpoint.variants if variant != known)

    def remember(self, endpoint: Endpoint, variant: str) -> None:
        if len(endpoint.variants) > 1:
            self._known[endpoint.name] = variant


def resolve_variant(variant: str, params: Mapping[str, str]) -> tuple[str, str]:
    """Return method and path of a variant, its parameters URL-encoded.

    Raises:
        RefusedError: a parameter would change the path ("", ".", "..").
    """
    for name, value in params.items():
        if value in {"", ".", ".."}:
            msg = f"Invalid {name} {value!r}: it cannot be part of a path"
            raise RefusedError(msg)
    method, path = variant.split(" ", 1)
    return method, path.format_map({name: quote(value, safe="") for name, value in params.items()})
