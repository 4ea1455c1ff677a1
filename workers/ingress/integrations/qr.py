"""GET …/qr.png and …/qr.svg: the code to scan, drawn."""

import base64
import io
import re
from dataclasses import dataclass
from uuid import UUID

import segno
from fastapi import APIRouter, Response

from shared.errors import NotFoundError
from shared.platform.models import QrCode
from workers.ingress.callers import Organization
from workers.ingress.deps import Here
from workers.ingress.integrations import schemas as numbers

router = APIRouter(prefix=numbers.PATH)

SCALE = 8
BORDER = 4
"""Modules of quiet around the code, which the standard asks for."""
FRAMED = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100"><image href="{}" width="100" height="100"/></svg>'
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
PICTURE = re.compile(
    r"data:image/(png|jpe?g|webp)(?:;[\w=-]+)*;base64,(.*)", re.IGNORECASE | re.DOTALL
)
"""The pictures that we hand on: what the platform calls one else could be anything, and would come from our address."""


@dataclass(frozen=True)
class Picture:
    """A picture as the platform gave it; `kind` is png, jpeg or webp."""

    kind: str
    content: bytes

    @property
    def data_url(self) -> str:
        return f"data:image/{self.kind};base64,{base64.b64encode(self.content).decode()}"


@router.get(
    "/{integration_id}/qr.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
async def png(integration_id: UUID, organization_id: Organization, here: Here) -> Response:
    """Return the code as a picture; where the platform gave a picture, that one: PNG, JPEG or WebP."""
    code = await _code(integration_id, organization_id, here)
    if isinstance(code, Picture):
        return Response(code.content, media_type=f"image/{code.kind}", headers=HEADERS)
    drawn = io.BytesIO()
    code.save(drawn, kind="png", scale=SCALE, border=BORDER)
    return Response(drawn.getvalue(), media_type="image/png", headers=HEADERS)


@router.get(
    "/{integration_id}/qr.svg",
    response_class=Response,
    responses={200: {"content": {"image/svg+xml": {}}}},
)
async def svg(integration_id: UUID, organization_id: Organization, here: Here) -> Response:
    """Return the code as a drawing of any size; a picture that the platform gave stands inside."""
    code = await _code(integration_id, organization_id, here)
    if isinstance(code, Picture):
        return Response(FRAMED.format(code.data_url), media_type="image/svg+xml", headers=HEADERS)
    drawn = io.BytesIO()
    code.save(drawn, kind="svg", border=BORDER, omitsize=True, dark="#000", light="#fff")
    return Response(drawn.getvalue(), media_type="image/svg+xml", headers=HEADERS)


async def _code(integration_id: UUID, organization_id: UUID, here: Here) -> Picture | segno.QRCode:
    """Return what is to be scanned.

    Raises:
        NotFoundError: no such number, nothing to scan, or nothing that anybody could.
    """
    found = await numbers.one(integration_id, organization_id, here)
    code = QrCode.read(found.qrcode)
    if code is None:
        msg = f"there is nothing to scan now: integration {integration_id} is {found.status}"
        raise NotFoundError(msg)
    shown = _picture(code) if code.startswith("data:") else _drawing(code)
    if shown is None:
        msg = "there is nothing to scan now: the platform's code cannot be shown; ask for a new one with …/refresh"
        raise NotFoundError(msg)
    return shown


def _picture(code: str) -> Picture | None:
    found = PICTURE.fullmatch(code)
    if found is None:
        return None
    try:
        text = "".join(found[2].split())
        content = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None
    return Picture(found[1].lower().replace("jpg", "jpeg"), content)


def _drawing(code: str) -> segno.QRCode | None:
    try:
        return segno.make(code, error="l", micro=False)
    except ValueError:  # more than a code can hold
        return None
