"""ASGI handler of `/functions/v1/…`: CORS, credentials, body, organization, then the function.

It stands beside FastAPI: its errors have another shape, each answer has CORS headers, and calls
have a JSON body under any Content-Type, or none.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers, QueryParams
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from workers.ingress.access import read_body
from workers.ingress.audit import SAFE_METHODS, Effect
from workers.ingress.body import DisconnectedError
from workers.ingress.crm_functions import PassedOn
from workers.ingress.deps import AppState
from workers.ingress.functions import answers, integrations, messages, numbers, sending
from workers.ingress.functions.answers import FunctionError
from workers.ingress.functions.calls import FunctionCall, authenticate_caller, parse_fields
from workers.ingress.functions.organizations import find_organization
from workers.ingress.functions.passing import pass_to
from workers.ingress.request_limits import find_client
from workers.ingress.webhooks import endpoint as webhooks

PATH = "/functions/v1/"
WEBHOOK = "wpp-webhook"

Function = Callable[[FunctionCall], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """A function and its methods."""

    function: Function
    methods: tuple[str, ...] = ("POST",)


FUNCTIONS: Mapping[str, Route] = {
    "wpp-create": Route(numbers.create),
    "wpp-provision": Route(numbers.provision),
    "wpp-start": Route(numbers.start),
    "wpp-status": Route(numbers.get_status, ("GET", "POST")),
    "wpp-qr": Route(numbers.get_qr, ("GET", "POST")),
    "wpp-disconnect": Route(numbers.disconnect),
    "wpp-send": Route(sending.send),
    "wpp-edit": Route(messages.edit),
    "wpp-delete": Route(messages.delete),
    "wpp-react": Route(messages.react),
    "wpp-download": Route(messages.download),
    "whatsapp-send": Route(sending.send_whatsapp),
    "messenger-integrations": Route(integrations.handle, ("GET", "POST", "PUT", "DELETE")),
    "wpp-diagnostics": Route(numbers.diagnose, ("GET", "POST")),
}


SENDING = ("wpp-send", "whatsapp-send", "wpp-edit", "wpp-delete", "wpp-react")
READING = ("wpp-status", "wpp-qr", "wpp-diagnostics", "wpp-download")
"""Functions that only read, although the CRM calls them by POST."""


def matches_path(scope: Scope) -> bool:
    """Return whether a request calls a function."""
    return bool(scope["type"] == "http" and scope["path"].startswith(PATH))


async def handle_function(scope: Scope, receive: Receive, send: Send, state: AppState) -> None:
    """Answer a call. Credentials are checked before the body is read."""
    send = answers.with_cors(send)
    name = scope["path"].removeprefix(PATH).rstrip("/")
    if scope["method"] == "OPTIONS":
        await answers.answer_preflight()(scope, receive, send)
        return
    if name == WEBHOOK:
        await webhooks.handle_webhook(scope, receive, send, state)
        return
    try:
        response = await _respond(name, scope, receive, state)
    except DisconnectedError:
        return
    except Exception as error:  # noqa: BLE001 - every error becomes an answer
        response = answers.answer_error(error)
    await response(scope, receive, send)


def _find_action(name: str, method: str) -> str:
    """Return the action that a service key has to allow."""
    if name in SENDING:
        return "messages:write"
    if name == "wpp-download":
        return "messages:read"
    reads = method in SAFE_METHODS or name in READING
    return "integrations:read" if reads else "integrations:write"


async def _respond(name: str, scope: Scope, receive: Receive, state: AppState) -> Response:
    route = FUNCTIONS.get(name)
    if route is None or scope["method"] not in route.methods:
        state.request_limits.take("address", find_client(scope))
    if route is None:
        msg = "There is no such function on this server."
        raise answers.not_found(msg)
    if scope["method"] not in route.methods:
        allowed = ", ".join(route.methods)
        refusal = {"success": False, "error": f"Use {allowed}."}
        return JSONResponse(refusal, HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": allowed})
    caller = await authenticate_caller(scope, _find_action(name, scope["method"]), state)
    body = await read_body(scope, receive, state)
    query = dict(QueryParams(scope["query_string"]))
    fields = parse_fields(query, body)
    headers = Headers(scope=scope)
    try:
        organization_id = caller.organization_id or await find_organization(name, fields, state)
    except FunctionError:
        if name != "whatsapp-send" or not state.crm_functions.exist:
            raise
        # A reminder to a contact that only another provider's organization has.
        passed = PassedOn(name, scope["method"], query, headers, body)
        return await pass_to(state.crm_functions, passed)
    call = FunctionCall(
        name=name,
        method=scope["method"],
        query=query,
        headers=headers,
        body=body,
        fields=fields,
        organization_id=organization_id,
        state=await state.of_organization(organization_id),
    )
    response = await route.function(call)
    if scope["method"] not in SAFE_METHODS and name not in READING:
        effect = Effect(caller.subject, organization_id, name)
        effect.record(scope, response.status_code, response.headers)
    return response
