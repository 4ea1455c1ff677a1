"""Base64 as the platform writes it becomes a file, piece by piece."""

import base64

import pytest

from workers.media.errors import FileRefusedError
from workers.media.sources import decode_base64


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 7, 1000])
def test_base64_may_be_cut_anywhere(cut: int) -> None:
    """In either alphabet, with line breaks, with or without its padding and a data URL's prefix."""
    content = bytes(range(256)) * 3
    plain = base64.b64encode(content)
    for text in (
        plain,
        base64.urlsafe_b64encode(content),
        plain.rstrip(b"="),
        base64.encodebytes(content),
    ):
        pieces = [text[start : start + cut] for start in range(0, len(text), cut)]
        assert b"".join(decode_base64(pieces)) == content
    assert b"".join(decode_base64([b"data:image/png;base64," + plain])) == content


@pytest.mark.parametrize("text", [b"abc*", b"a", "й".encode(), b"====", b"<html>"])
def test_what_is_no_base64(text: bytes) -> None:
    with pytest.raises(FileRefusedError):
        b"".join(decode_base64([text]))
