"""GET …/qr.png and …/qr.svg: the QR code to scan, as an image."""

import base64
import io
import re
from dataclasses import dataclass
from uuid import UUID

import segno
from fastapi import APIRouter, Response

from shared.errors import NotFoundError
from shared.platform.models import QrCode
from workers.ingress.deps import AppState, IntegrationId, OrganizationId, StateDep
from workers.ingress.integrations.queries import get_integration

router = APIRouter()

SCALE = 8
QUIET_ZONE = 4
"""Modules of empty space around the code, as ISO/IEC 18004 requires."""
SVG_WITH_IMAGE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">'
    '<image href="{}" width="100" height="100"/></svg>'
)
BITMAP_TYPES: dict[str, dict[str, str]] = {"image/png": {}, "image/jpeg": {}, "image/webp": {}}
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
IMAGE_URL = re.compile(
    r"data:image/(png|jpe?g|webp)(?:;[\w=-]+)*;base64,(.*)", re.IGNORECASE | re.DOTALL
)
"""The images of the platform that are passed on: bitmaps only, because an SVG can hold scripts."""


@dataclass(frozen=True)
class QrImage:
    """An image as the platform sent it; `subtype` is png, jpeg or webp."""

    subtype: str
    content: bytes

    @property
    def data_url(self) -> str:
        return f"data:image/{self.subtype};base64,{base64.b64encode(self.content).decode()}"


@router.get(
    "/{integration_id}/qr.png",
    response_class=Response,
    summary="Get the QR code as a bitmap",
    operation_id="get_qr_png",
    responses={200: {"description": "The image.", "content": BITMAP_TYPES}},
)
async def get_qr_png(
    integration_id: IntegrationId, organization_id: OrganizationId, state: StateDep
) -> Response:
    """Return the QR code to scan as a PNG.

    If the platform sent an image, that image is returned: PNG, JPEG or WebP.
    """
    code = await _read_code(integration_id, organization_id, state)
    if isinstance(code, QrImage):
        return Response(code.content, media_type=f"image/{code.subtype}", headers=HEADERS)
    image = io.BytesIO()
    code.save(image, kind="png", scale=SCALE, border=QUIET_ZONE)
    return Response(image.getvalue(), media_type="image/png", headers=HEADERS)


@router.get(
    "/{integration_id}/qr.svg",
    response_class=Response,
    summary="Get the QR code as a vector image",
    operation_id="get_qr_svg",
    responses={200: {"description": "The image.", "content": {"image/svg+xml": {}}}},
)
async def get_qr_svg(
    integration_id: IntegrationId, organization_id: OrganizationId, state: StateDep
) -> Response:
    """Return the QR code to scan as an SVG without a fixed size.

    If the platform sent an image, the SVG contains that image.
    """
    code = await _read_code(integration_id, organization_id, state)
    if isinstance(code, QrImage):
        svg = SVG_WITH_IMAGE.format(code.data_url)
        return Response(svg, media_type="image/svg+xml", headers=HEADERS)
    image = io.BytesIO()
    code.save(image, kind="svg", border=QUIET_ZONE, omitsize=True, dark="#000", light="#fff")
    return Response(image.getvalue(), media_type="image/svg+xml", headers=HEADERS)


async def _read_code(
    integration_id: UUID, organization_id: UUID, state: AppState
) -> QrImage | segno.QRCode:
    """Return the QR code of an integration.

    Raises:
        NotFoundError: unknown integration, no QR code, or a QR code that cannot be drawn.
    """
    found = await get_integration(integration_id, organization_id, state)
    code = QrCode.read(found.qrcode)
    if code is None:
        msg = f"there is no QR code to scan: integration {integration_id} is {found.status}"
        raise NotFoundError(msg)
    image = _parse_image(code) if code.startswith("data:") else _draw(code)
    if image is None:
        msg = (
            f"the QR code of integration {integration_id} cannot be shown: request a new one "
            f"with POST /v1/integrations/{integration_id}/refresh"
        )
        raise NotFoundError(msg)
    return image


def _parse_image(code: str) -> QrImage | None:
    found = IMAGE_URL.fullmatch(code)
    if found is None:
        return None
    try:
        text = "".join(found[2].split())
        content = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None
    return QrImage(found[1].lower().replace("jpg", "jpeg"), content)


def _draw(code: str) -> segno.QRCode | None:
    try:
        return segno.make(code, error="l", micro=False)
    except ValueError:  # longer than a QR code can be
        return None
