"""GET …/qr.png and …/qr.svg: the code to scan, drawn."""

import base64
import io
from uuid import UUID

import segno
from fastapi import APIRouter, Response

from shared.errors import NotFoundError
from shared.wpp.answers import Qr
from workers.ingress import numbers
from workers.ingress.callers import Organization
from workers.ingress.state import Here

router = APIRouter(prefix=numbers.PATH)

SCALE = 8
BORDER = 4
"""Modules of quiet around the code, which the standard asks for."""
FRAMED = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100"><image href="{}" width="100" height="100"/></svg>'
)
UNCACHED = {"Cache-Control": "no-store"}


@router.get("/{integration_id}/qr.png", response_class=Response, responses={200: {"content": {"image/png": {}}}})
async def png(integration_id: UUID, organization_id: Organization, here: Here) -> Response:
    """Return the code as a picture; where the platform gave a picture, that one, of whatever kind it is."""
    code = await _code(integration_id, organization_id, here)
    if code.is_image:
        head, _, body = code.partition(",")
        kind = head.removeprefix("data:").partition(";")[0]
        return Response(base64.b64decode(body + "=="), media_type=kind, headers=UNCACHED)
    drawn = io.BytesIO()
    segno.make(code, error="l", micro=False).save(drawn, kind="png", scale=SCALE, border=BORDER)
    return Response(drawn.getvalue(), media_type="image/png", headers=UNCACHED)


@router.get("/{integration_id}/qr.svg", response_class=Response, responses={200: {"content": {"image/svg+xml": {}}}})
async def svg(integration_id: UUID, organization_id: Organization, here: Here) -> Response:
    """Return the code as a drawing of any size; a picture that the platform gave stands inside."""
    code = await _code(integration_id, organization_id, here)
    if code.is_image:
        return Response(FRAMED.format(code.replace('"', "")), media_type="image/svg+xml", headers=UNCACHED)
    drawn = io.BytesIO()
    segno.make(code, error="l", micro=False).save(
        drawn, kind="svg", border=BORDER, omitsize=True, dark="#000", light="#fff"
    )
    return Response(drawn.getvalue(), media_type="image/svg+xml", headers=UNCACHED)


async def _code(integration_id: UUID, organization_id: UUID, here: Here) -> Qr:
    """Return what is to be scanned.

    Raises:
        NotFoundError: no such number, or nothing to scan.
    """
    found = await numbers.one(integration_id, organization_id, here)
    code = Qr.read(found.qrcode)
    if code is None:
        msg = f"there is nothing to scan now: integration {integration_id} is {found.status}"
        raise NotFoundError(msg)
    return code
