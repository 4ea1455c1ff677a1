"""The platform's routes, in one table: they have changed often, so each may have several forms.

The documented form stands first. A form that the platform does not know (404 for the route, not for what it names) is
followed by the next, and the one that it knows is remembered. Source: the platform's newest contract and its history.

Why most have one form. Create, token, start, status, QR, delete and react had others, on the server that this one
replaced (`/api/{session}/…`, other keys, other bodies): a platform that speaks those has none of the rest. Stop was
once believed to be `DELETE /api/accounts/{number}`, which never existed. Sends went to `/api/{session}/send-message`
for ten minutes, with other bodies again; of these the answer's `ids[0].id` is still read. Sends to a single
`/api/messages` have the same body as now, so they stand here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from shared.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`repeatable`: doing it twice is as good as once, so an answer that was lost is no question of what happened.

    `verdict`: a success by HTTP says in its body whether it is one. `unproven`: nobody has seen it work; where the
    platform itself says that it has no such route, nobody waits for it. `takes_key`: it is asked with an account's key.
    """

    name: str
    forms: tuple[str, ...]
    repeatable: bool = True
    verdict: bool = False
    unproven: bool = False
    takes_key: bool = False


CREATE = Endpoint(
    "create", ("POST /api/integrations/wpp/create",)
)  # the same organization id: the same client
TOKEN = Endpoint("token", ("POST /auth/token",), takes_key=True)
START = Endpoint("start", ("POST /api/accounts/start",))
STATUS = Endpoint("status", ("GET /api/accounts/{account}/status",))
QR = Endpoint("qr", ("GET /api/accounts/{account}/qr",))
WEBHOOK = Endpoint(
    "webhook", ("POST /internal/session/{account}/webhook", "POST /api/webhooks/{account}")
)
STOP = Endpoint("stop", ("POST /internal/session/{account}/stop",))
TEXT = Endpoint(
    "text", ("POST /api/messages/text", "POST /api/messages"), repeatable=False, verdict=True
)
IMAGE = Endpoint(
    "image", ("POST /api/messages/image", "POST /api/messages"), repeatable=False, verdict=True
)
FILE = Endpoint(
    "file", ("POST /api/messages/file", "POST /api/messages"), repeatable=False, verdict=True
)
LOCATION = Endpoint(
    "location",
    ("POST /api/messages/location", "POST /api/messages"),
    repeatable=False,
    verdict=True,
    unproven=True,
)
DELETE = Endpoint("delete", ("DELETE /api/messages/{task_id}",))
REACT = Endpoint(
    "react", ("POST /api/messages/react",), verdict=True
)  # the same emoji again replaces itself
MEDIA = Endpoint("media", ("GET /api/messages/media/{message_id}",), unproven=True)


class KnownVariants:
    """Which form of each endpoint this platform knows, learned by asking."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def forms(self, endpoint: Endpoint) -> Iterator[str]:
        """Yield the form that worked last, then the others in the table's order."""
        known = self._known.get(endpoint.name)
        if known:
            yield known
        yield from (form for form in endpoint.forms if form != known)

    def remember(self, endpoint: Endpoint, form: str) -> None:
        if len(endpoint.forms) > 1:
            self._known[endpoint.name] = form


def resolve_variant(form: str, params: Mapping[str, str]) -> tuple[str, str]:
    """Return method and path of a form, its parameters URL-encoded.

    Raises:
        RefusedError: a parameter would change the path ("", ".", "..").
    """
    for name, value in params.items():
        if value in {"", ".", ".."}:
            msg = f"{name} {value!r} names nothing on the platform"
            raise RefusedError(msg)
    method, path = form.split(" ", 1)
    return method, path.format_map({name: quote(value, safe="") for name, value in params.items()})
