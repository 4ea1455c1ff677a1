"""Pictures of QR codes, and the pairing strings in them."""

import base64
import io

import pytest
import zxingcpp
from PIL import Image

from shared import qr_pictures

CODE = "2@Ab/+=,Cd#%E f,g=="


def test_a_stored_code_is_a_picture_and_still_the_code() -> None:
    """A scanner reads the pairing string off it; without its fragment it is the whole picture."""
    stored = qr_pictures.to_stored(CODE)
    picture, _, _ = stored.partition("#")
    assert picture == qr_pictures.draw_picture(CODE)
    content = base64.b64decode(picture.removeprefix("data:image/png;base64,"), validate=True)
    [found] = zxingcpp.read_barcodes(Image.open(io.BytesIO(content)))
    assert found.text == CODE
    assert qr_pictures.read_stored(stored) == CODE


@pytest.mark.parametrize("code", ["data:image/png;base64,iVBORw0", "2@" + "x" * 5000, ""])
def test_what_cannot_be_drawn_stays_as_it_is(code: str) -> None:
    """An image of the platform, and a text that is too long for a code."""
    stored = qr_pictures.to_stored(code)
    assert qr_pictures.read_stored(stored) == code


def test_codes_that_were_stored_before_are_read() -> None:
    """They stand in the row as they came."""
    assert qr_pictures.read_stored("2@old#1") == "2@old#1"
