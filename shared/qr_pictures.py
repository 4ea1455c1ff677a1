"""QR codes as pictures: the CRM's older pages show `whatsapp_sessions.last_qr_b64` in an `<img>`.

A picture is a PNG as a data URL. Its fragment, which browsers leave out, is the pairing string: the
pages that draw it themselves, and this server, read it from there.
"""

import base64
import io
from urllib.parse import quote, unquote

import segno

SCALE = 6
QUIET_ZONE = 4
"""Modules of empty space around the code, as ISO/IEC 18004 requires."""
IMAGE = "data:image/"


def draw_picture(code: str) -> str | None:
    """Return the picture of a code; an image stays as it is. None: it is empty or too long."""
    if not code:
        return None
    if code.startswith(IMAGE):
        return code
    try:
        drawn = segno.make(code, error="l", micro=False)
    except ValueError:
        return None
    image = io.BytesIO()
    drawn.save(image, kind="png", scale=SCALE, border=QUIET_ZONE)
    return f"{IMAGE}png;base64,{base64.b64encode(image.getvalue()).decode()}"


def to_stored(code: str) -> str:
    """Return a code as the row stores it: a picture that holds its pairing string."""
    picture = draw_picture(code)
    if picture is None or picture == code:
        return code
    return f"{picture}#{quote(code, safe='')}"


def read_stored(stored: str) -> str:
    """Return the pairing string that a row stores, or the image that the platform sent."""
    picture, _, code = stored.partition("#")
    return unquote(code) if code and picture.startswith(IMAGE) else stored
