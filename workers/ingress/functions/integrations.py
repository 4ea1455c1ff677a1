"""messenger-integrations: the list of all messengers, and the changes of WPP numbers.

A change of another provider's row is the CRM's own business: its function may register webhooks.
"""

import re
from http import HTTPStatus
from typing import Any
from uuid import UUID

from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError
from starlette.responses import Response

from shared.database.models import MessengerRow
from workers.ingress.functions import numbers
from workers.ingress.functions.answers import FunctionError, not_found, succeed
from workers.ingress.functions.calls import FunctionCall
from workers.ingress.functions.passing import pass_on
from workers.ingress.integrations import pending, service
from workers.ingress.integrations.schemas import UpdateIntegration

OURS = "wpp"
WHATSAPP = "whatsapp"
MASK = "\N{BULLET}" * 8
SECRET = re.compile(r"key|token|secret|password", re.IGNORECASE)
"""Names of settings whose values pages get masked."""
NO_ROW = "This organization has no such integration."


async def handle(call: FunctionCall) -> Response:
    """messenger-integrations: GET lists, PUT changes, DELETE removes, POST creates."""
    if call.method == "GET":
        return await list_rows(call)
    if call.method == "POST":
        return await create_row(call)
    wanted = _read_id(call)
    row = await _find_row(call, wanted)
    if row is None and call.method == "DELETE" and await numbers.was_removed(call, str(wanted)):
        return succeed(id=str(wanted))
    if row is None:
        raise not_found(NO_ROW)
    if row.provider != OURS:
        return await pass_on(call)
    return await (change_row if call.method == "PUT" else remove_row)(call, row)


async def list_rows(call: FunctionCall) -> Response:
    """List the organization's messengers of all providers, without those being removed."""
    rows = await _read_rows(call, call.text("messenger_type"))
    removed = await pending.find_removed([row.id for row in rows], call.state)
    return succeed(integrations=[_show(row) for row in rows if row.id not in removed])


async def create_row(call: FunctionCall) -> Response:
    """Refuse a WPP row: wpp-create makes it, with its account. The CRM makes the rest."""
    if call.text("provider") == OURS:
        msg = "Connect a WPP number with wpp-create."
        raise FunctionError(msg)
    return await pass_on(call)


async def change_row(call: FunctionCall, row: MessengerRow) -> Response:
    """Rename a number, switch it, or make it the primary. Its settings belong to the pipeline."""
    if (call.text("provider") or OURS) != OURS:
        msg = "The provider of a connected number cannot be changed: disconnect it first."
        raise FunctionError(msg, HTTPStatus.CONFLICT)
    given = {
        name: call.fields[name]
        for name in ("name", "is_enabled")
        if call.fields.get(name) is not None
    }
    state, organization_id = call.state, call.organization_id
    if given:
        values = _read_changes(given).model_dump(exclude_none=True)
        integrations = state.database.integrations
        await run_in_threadpool(integrations.update, row.id, organization_id, **values)
    if call.flag("is_primary"):
        await run_in_threadpool(state.database.integrations.set_primary, row.id, organization_id)
    await service.propagate_change(row.id, organization_id, state)
    changed = await _find_row(call, row.id)
    if changed is None:
        raise not_found(NO_ROW)
    return succeed(integration=_show(changed))


async def remove_row(call: FunctionCall, row: MessengerRow) -> Response:
    """Disconnect a number, as wpp-disconnect does; a repeat has the same answer."""
    await numbers.remove_number(call, "id")
    return succeed(id=str(row.id))


async def is_ours(call: FunctionCall) -> bool:
    """Return whether the organization's WhatsApp is connected here: its primary, or its only."""
    rows = await _read_rows(call, WHATSAPP)
    enabled = [row for row in rows if row.is_enabled]
    return bool(enabled) and enabled[0].provider == OURS


def _read_id(call: FunctionCall) -> UUID:
    wanted = call.uuid("id")
    if wanted is None:
        msg = "id is required"
        raise FunctionError(msg)
    return wanted


async def _find_row(call: FunctionCall, wanted: UUID) -> MessengerRow | None:
    rows = await _read_rows(call, None)
    return next((row for row in rows if row.id == wanted), None)


async def _read_rows(call: FunctionCall, messenger_type: str | None) -> list[MessengerRow]:
    found: list[MessengerRow] = await run_in_threadpool(
        call.state.database.integrations.list_messengers, call.organization_id, messenger_type
    )
    return found


def _read_changes(given: dict[str, Any]) -> UpdateIntegration:
    try:
        return UpdateIntegration.model_validate(given)
    except ValidationError as error:
        fault = error.errors()[0]
        msg = f"{fault['loc'][0]}: {fault['msg'].removeprefix('Value error, ')}"
        raise FunctionError(msg) from None


def _show(row: MessengerRow) -> dict[str, Any]:
    shown = row.model_dump(mode="json")
    shown["settings"] = {name: _mask(name, value) for name, value in row.settings.items()}
    return shown


def _mask(name: str, value: Any) -> Any:
    """Return a setting as pages may see it: of a secret, eight dots and its last four letters."""
    if not SECRET.search(name) or not isinstance(value, str) or value.startswith(MASK):
        return value
    return MASK + (value[-4:] if len(value) > 8 else "")
