"""Base64 of the platform is decoded chunk by chunk."""

import base64
import time

import pytest

from workers.media.errors import FileRefusedError
from workers.media.sources import decode_base64


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 7, 1000])
def test_base64_may_be_split_anywhere(cut: int) -> None:
    """Either alphabet, line breaks, with or without padding and the prefix of a data URL."""
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
def test_invalid_base64_is_refused(text: bytes) -> None:
    with pytest.raises(FileRefusedError):
        b"".join(decode_base64([text]))


@pytest.mark.parametrize("piece", [b" ", b"\n", b"\t\r", b"data:", b" data:", b"data: "])
def test_a_megabyte_that_may_be_a_prefix_is_read_quickly(piece: bytes) -> None:
    """The prefix of a data URL is looked for at the beginning only."""
    chunk = piece * ((1 << 20) // len(piece)) + b"*"
    began = time.thread_time()
    with pytest.raises(FileRefusedError):
        b"".join(decode_base64([chunk]))
    assert time.thread_time() - began < 1


def test_whitespace_before_the_prefix_is_no_part_of_the_file() -> None:
    assert b"".join(decode_base64([b" \n data:image/png;base64,aGk="])) == b"hi"
