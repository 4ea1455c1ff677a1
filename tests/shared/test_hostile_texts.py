"""Texts of strangers that a pattern must not read again and again: each is read in linear time.

A pattern that begins with what may repeat, or repeats what may be empty, takes seconds for 64 KB,
and holds the lock of the interpreter. A new pattern on such texts gets its worst text here.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from shared.logs import mask_text
from shared.platform.models import QrCode
from shared.platform.traced_transport import NAMED
from shared.webhooks import split_body
from shared.webhooks.addresses import read_address
from shared.webhooks.attachments import Attachment, build_file_name, is_file_data
from shared.webhooks.bodies import parse_json
from shared.webhooks.vcards import parse_vcards
from workers.ingress.deps import parse_prefer_wait
from workers.ingress.integrations.qr import IMAGE_URL
from workers.media.errors import FileRefusedError
from workers.media.hostile import is_page
from workers.media.sources import decode_base64
from workers.repair.samples import mask_values

LENGTH = 65_000
MEGABYTE = 1 << 20


def fill(*pieces: str, length: int = LENGTH) -> list[str]:
    """Return a text of each piece, repeated."""
    return [(piece * length)[:length] for piece in pieces]


def read_card(text: str) -> None:
    parse_vcards({"vcard": f"BEGIN:VCARD\n{text}"})


def read_file(text: str) -> None:
    with suppress(FileRefusedError):
        b"".join(decode_base64([f"{text}*".encode()]))


def read_deep_body(text: str) -> None:
    with suppress(ValueError):
        split_body(parse_json(b"[" * 3000 + b'"' + text.encode()))


def name_file(text: str) -> None:
    build_file_name(Attachment(name=text), "file")


NAMES = ("token", "api_key_", "token_a ", "secret=", "password:a;", "tokentoken= ")
LINKS = ("://", "://a:", "/webhooks/wpp/", "/webhooks/wpp/a", ";base64,", "bearer ")
KEYS = ("eyJ", "eyJaaaaaaaa.", "wpk_", "whsec_", "sb_secret_", "send:", "event:a:", "+1", "1@")
SPACES = (" ", "\n", "\t", "\u3000")
QUOTES = (';""', ';"', '";', '\\"', '"\\', '"')
HOSTILE: list[tuple[Callable[[str], Any], list[str]]] = [
    (mask_text, fill(*NAMES, *LINKS, *KEYS)),
    (mask_text, [f"token{rest}" for rest in fill("a", "_", *SPACES)]),
    (read_card, [f"FN:A{rest}" for rest in fill(*SPACES, *QUOTES, "=\n", "END:VCARD")]),
    (read_card, [f'A{rest}":"y:x' for rest in fill(*QUOTES)]),
    (read_card, [f"FN;CHARSET=PUNYCODE;QUOTED-PRINTABLE:{rest}" for rest in fill("1", "a")]),
    (read_file, fill(*SPACES, "data:", " data:", length=MEGABYTE)),
    (read_deep_body, fill(*QUOTES, "[", length=MEGABYTE)),
    (QrCode.read, [f"iVBORw0KGgo{rest}!" for rest in fill(*SPACES, "A", "=", "A ")]),
    (IMAGE_URL.fullmatch, [f"data:image/png{rest}" for rest in fill(";", ";a", ";base64", "a")]),
    (is_file_data, [f"data:{rest}" for rest in fill(*SPACES, ";", ";a", ",")]),
    (read_address, fill(*SPACES, "(0)", "1", ":1", "_1:1", "wa.me/", "@", ". ")),
    (name_file, fill(*SPACES, ".", ".a", "/", "#")),
    (parse_prefer_wait, fill(*SPACES, ", ", ", wait ", ",wait=", "wait = ")),
    (lambda text: NAMED.sub("", text), fill("/", "/a", "a/", "a", ".")),
    (lambda text: is_page(f"<{text}".encode()), fill("!doctype ", "!doctype\t", "a:", "<", " ")),
    (mask_values, fill("true_", "@", "@c.us", "1", "a")),
]


@pytest.mark.parametrize(
    ("read", "text"),
    [
        pytest.param(read, text, id=f"{index}-{text[:24]!a}")
        for index, (read, texts) in enumerate(HOSTILE)
        for text in texts
    ],
)
def test_a_hostile_text_is_read_in_linear_time(read: Callable[[str], Any], text: str) -> None:
    """CPU time, of this thread: a busy machine does not count."""
    began = time.thread_time()
    read(text)
    assert time.thread_time() - began < 1
