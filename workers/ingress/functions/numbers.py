"""Functions of numbers: connect, look, pair, disconnect.

A number is named by its id, its account, or its session's name `wpp_<account>`; without a name it
is the organization's primary number, but for `wpp-qr`, which needs a name. Pages that draw a QR
code themselves get the pairing string, pages that show it in an `<img>` get a picture.
"""

import asyncio
from uuid import UUID

from starlette.responses import JSONResponse, Response

from shared.errors import NotFoundError
from shared.qr_pictures import draw_picture
from workers.ingress.deps import ProvisionContext
from workers.ingress.functions.answers import FunctionError, not_found, succeed
from workers.ingress.functions.calls import SESSION_PREFIX, FunctionCall
from workers.ingress.functions.repeats import claim_key
from workers.ingress.integrations import endpoints, queries, service
from workers.ingress.integrations.schemas import ConnectIntegration, IntegrationState

NUMBER_FIELDS = ("integration_id", "session_name", "session", "account_number")
MASKED_KEY = "\N{BULLET}" * 8
CODE_WAIT_S = 12
"""How long a connect waits for a code to scan; the pages poll for it afterwards."""
ACCOUNT_WAIT_S = 8.0
"""How much longer it waits for the account, without which a page cannot poll."""
REMOVAL_WAIT_S = 8.0
POLL_S = 0.2
WORDS = {"starting": "qr_pending", "degraded": "connected"}
"""Statuses that the CRM's pages know under another name."""
NO_ACCOUNT = (
    "The WhatsApp platform does not answer at the moment. "
    "The number will be connected as soon as it does."
)
NOT_CONNECTED = "This organization has no WhatsApp number: connect one first."


async def create(call: FunctionCall) -> Response:
    """wpp-create: connect the organization's number, or another one with `add_new`."""
    body = ConnectIntegration(
        add_new=call.flag("add_new"), force_recreate=call.flag("force_recreate")
    )
    found = await _connect(call, body)
    return succeed(
        success=found.status != "error",
        session=found.account_number,
        apiKey=MASKED_KEY,
        status=_connect_status(found),
        qrcode=found.qrcode if found.status == "qr_issued" else None,
        integration_id=str(found.integration_id),
        error=_describe_error(found),
    )


async def provision(call: FunctionCall) -> Response:
    """wpp-provision: connect the organization's number by one click."""
    found = await _connect(call, ConnectIntegration())
    return succeed(
        success=found.status != "error",
        status=_connect_status(found),
        qrcode=found.qrcode if found.status == "qr_issued" else None,
        integration_id=str(found.integration_id),
        account_number=found.account_number,
        session=found.account_number,
        error=_describe_error(found),
    )


async def start(call: FunctionCall) -> Response:
    """wpp-start: start a number again; it shows a code unless its phone is still linked."""
    number = await find_number(call)
    if number is None:
        raise not_found(NOT_CONNECTED)
    if number.status != "connected" and not number.has_valid_qr:
        number = await endpoints.reconnect_integration(number.integration_id, _context(call))
    is_started = number.status != "error"
    return succeed(
        success=is_started,
        ok=is_started,
        status=_connect_status(number),
        qrcode=_picture(number),
        account_number=number.account_number,
        session_name=_name_session(number),
        integration_id=str(number.integration_id),
        error=_describe_error(number),
    )


async def get_status(call: FunctionCall) -> Response:
    """wpp-status: the state of a number. An unknown or removed number is `disconnected`."""
    number = await find_number(call)
    if number is None:
        message = "WhatsApp is not connected"
        return succeed(status="disconnected", message=message)
    return succeed(
        status=show_status(number),
        qrcode=_picture(number),
        account_number=number.account_number,
        session_name=_name_session(number),
        integration_id=str(number.integration_id),
        message=number.error or number.advice,
    )


async def get_qr(call: FunctionCall) -> Response:
    """wpp-qr: the pairing string to draw, or null while there is none."""
    if not call.text("session", *NUMBER_FIELDS):
        msg = "session is required"
        raise FunctionError(msg)
    number = await find_number(call)
    if number is None:
        msg = "This organization has no such number."
        raise not_found(msg)
    return succeed(qr=number.qrcode if number.status == "qr_issued" else None)


async def disconnect(call: FunctionCall) -> Response:
    """wpp-disconnect: log a number out and remove it; answers once it is gone from the lists."""
    await remove_number(call)
    return succeed(ok=True, status="disconnected")


async def diagnose(call: FunctionCall) -> Response:
    """wpp-diagnostics: which of the organization's numbers are connected."""
    numbers = await list_numbers(call)
    connected = [number for number in numbers if is_connected(number)]
    results = [
        {"session": number.account_number, "status": show_status(number), "error": number.error}
        for number in numbers
    ]
    summary = {
        "total": len(numbers),
        "successful": len(connected),
        "errors": len([number for number in numbers if number.status == "error"]),
        "okButEmpty": len([number for number in numbers if number.qrcode]),
    }
    return JSONResponse(
        {
            "success": True,
            "ok": bool(connected),
            "error": None if connected else "No WhatsApp number is connected.",
            "summary": summary,
            "results": results,
        }
    )


async def list_numbers(call: FunctionCall) -> list[IntegrationState]:
    """Return the organization's numbers, the primary first, without those being removed."""
    found = await queries.list_integrations(call.organization_id, call.state)
    return [number for number in found if not number.closing]


async def find_number(call: FunctionCall, *names: str) -> IntegrationState | None:
    """Return the number that a call names in one of these fields, or the primary without a name."""
    numbers = await list_numbers(call)
    named = call.text(*(names or NUMBER_FIELDS))
    if named is None:
        return numbers[0] if numbers else None
    return next((number for number in numbers if _is_named(number, named)), None)


async def remove_number(call: FunctionCall, *names: str) -> None:
    """Disconnect the number that a call names, and wait until its row is gone.

    A call that is repeated after the removal has no further effect.

    Raises:
        FunctionError: the organization has no such number.
    """
    integration_id = await _claim_removal(call, await find_number(call, *names))
    if integration_id is None:
        if not await was_removed(call, call.text(*(names or NUMBER_FIELDS))):
            raise not_found(NOT_CONNECTED)
        return
    until = asyncio.get_running_loop().time() + REMOVAL_WAIT_S
    try:
        await service.disconnect(integration_id, call.organization_id, call.state)
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(POLL_S)
            await queries.get_integration(integration_id, call.organization_id, call.state)
    except NotFoundError:
        return


async def _claim_removal(call: FunctionCall, number: IntegrationState | None) -> UUID | None:
    """Return which number a call removes: a repeated call without a name means the same number."""
    request = {"route": call.name}
    key = await claim_key(call)
    idempotency = call.state.idempotency
    if number is None:
        stored = await idempotency.lookup(call.organization_id, key, request)
    else:
        values = {"integration": str(number.integration_id)}
        stored = await idempotency.claim(call.organization_id, key, request, values)
    return UUID(stored.values["integration"]) if stored else None


async def was_removed(call: FunctionCall, named: str | None) -> bool:
    """Return whether a name is that of a number which the organization has had."""
    if named is None:
        return False
    removed = await queries.find_removed_number(
        named.removeprefix(SESSION_PREFIX), call.organization_id, call.state
    )
    return removed is not None


async def _connect(call: FunctionCall, body: ConnectIntegration) -> IntegrationState:
    """Connect a number, and wait for its code; for its account at least."""
    key = await claim_key(call) if body.add_new or body.force_recreate else None
    found = await endpoints.connect_integration(body, _context(call, key))
    until = asyncio.get_running_loop().time() + ACCOUNT_WAIT_S
    while (
        found.account_number is None
        and found.status != "error"
        and asyncio.get_running_loop().time() < until
    ):
        await asyncio.sleep(POLL_S)
        found = await queries.get_accepted(found.integration_id, call.organization_id, call.state)
    if found.account_number is None and found.status != "error":
        return found.model_copy(update={"status": "error", "error": NO_ACCOUNT})
    return found


def _context(call: FunctionCall, key: str | None = None) -> ProvisionContext:
    return ProvisionContext(call.organization_id, call.state, Response(), CODE_WAIT_S, key)


def _is_named(number: IntegrationState, named: str) -> bool:
    account = named.removeprefix(SESSION_PREFIX)
    return account in {number.account_number, str(number.integration_id)} or (
        account.lower() == str(number.integration_id)
    )


def show_status(number: IntegrationState) -> str:
    """Return the status of a number in the words of the CRM's pages."""
    return WORDS.get(number.status, number.status)


def is_connected(number: IntegrationState) -> bool:
    """Return whether a phone is linked; a number whose reports are late (`degraded`) has one."""
    return show_status(number) == "connected"


def _connect_status(number: IntegrationState) -> str:
    if is_connected(number):
        return "connected"
    return number.status if number.status in {"qr_issued", "error"} else "starting"


def _describe_error(number: IntegrationState) -> str | None:
    if number.status == "error":
        return number.error or "WhatsApp could not be connected."
    return None


def _name_session(number: IntegrationState) -> str | None:
    return SESSION_PREFIX + number.account_number if number.account_number else None


def _picture(number: IntegrationState) -> str | None:
    code = number.qrcode if number.status == "qr_issued" else None
    return draw_picture(code) if code else None
