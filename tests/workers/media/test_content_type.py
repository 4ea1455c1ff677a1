"""The bytes of a file decide its type; harmful files are refused."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.media.samples import DOCX, M4A, MP4, jpeg, message, png, zipped
from workers.media import content_type
from workers.media.errors import FileRefusedError


@pytest.mark.parametrize(
    ("content", "name", "bytes_", "mime", "named"),
    [
        ("image", "image.jpg", jpeg(), "image/jpeg", "image.jpg"),
        ("image", "photo.JPEG", jpeg(), "image/jpeg", "photo.JPEG"),
        ("image", "image.jpg", png(), "image/png", "image.png"),
        ("image", "image.jpg", b"GIF89a\x01\x00\x01\x00", "image/gif", "image.gif"),
        (
            "sticker",
            "sticker.webp",
            b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(20),
            "image/webp",
            "sticker.webp",
        ),
        ("image", "image.jpg", b"\x00\x00\x00\x18ftypheic" + bytes(8), "image/heic", "image.heic"),
        ("voice", "voice.ogg", b"OggS\x00\x02", "audio/ogg", "voice.ogg"),
        ("voice", "voice.opus", b"OggS\x00\x02", "audio/ogg", "voice.opus"),
        ("audio", "audio.ogg", b"ID3\x04", "audio/mpeg", "audio.mp3"),
        ("audio", "audio.mp3", b"\xff\xfb\x90", "audio/mpeg", "audio.mp3"),
        ("audio", "audio.mp3", M4A, "audio/mp4", "audio.m4a"),
        ("voice", "voice.ogg", b"#!AMR\n", "audio/amr", "voice.amr"),
        ("video", "video.mp4", MP4, "video/mp4", "video.mp4"),
        ("video", "video.mp4", b"\x00\x00\x00\x18ftypqt  ", "video/quicktime", "video.mov"),
        ("video", "video.mp4", b"\x00\x00\x00\x18ftyp3gp5", "video/3gpp", "video.3gp"),
        ("document", "homework.pdf", b"%PDF-1.7", "application/pdf", "homework.pdf"),
        (
            "document",
            "homework.docx",
            zipped("[Content_Types].xml", "word/document.xml"),
            DOCX,
            "homework.docx",
        ),
        (
            "document",
            "letter.pdf",
            zipped("[Content_Types].xml", "word/document.xml"),
            DOCX,
            "letter.docx",
        ),
        (
            "document",
            "old.xls",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "application/vnd.ms-excel",
            "old.xls",
        ),
        ("document", "book.epub", zipped("mimetype"), "application/zip", "book.epub"),
        ("document", "list.csv", b"a;b\n1;2\n", "text/csv", "list.csv"),
        ("document", "file", "Привет".encode(), "text/plain", "file.txt"),
        (
            "document",
            "data.xml",
            b"<?xml version='1.0'?><order/>",
            "application/octet-stream",
            "data.xml",
        ),
        ("document", "drawing.dwg", b"AC1032\x00\x00", "application/octet-stream", "drawing.dwg"),
        ("document", "photo.exe", jpeg(), "image/jpeg", "photo.jpg"),
        ("contact", "card.vcf", b"BEGIN:VCARD\r\n", "text/vcard", "card.vcf"),
    ],
)
def test_defect_37_a_file_has_the_type_and_extension_that_its_bytes_have(
    content: str, name: str, bytes_: bytes, mime: str, named: str
) -> None:
    kind = content_type.detect_file_type(io.BytesIO(bytes_), message(content, name))
    assert (kind.mime, content_type.rename_file(name, kind)) == (mime, named)


def test_the_declared_type_decides_where_the_bytes_do_not() -> None:
    assert (
        content_type.detect_file_type(io.BytesIO(MP4), message("audio", "a", "audio/mp4")).mime
        == "audio/mp4"
    )


HOSTILE = {
    "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "an SVG behind a declaration": (
        b'\xef\xbb\xbf <?xml version="1.0"?><!-- x --><!DOCTYPE svg><svg/>'
    ),
    "an SVG with a prefix": b'<s:svg xmlns:s="http://www.w3.org/2000/svg"/>',
    "a page": b"<!DOCTYPE html><title>x</title>",
    "a page in UTF-16": "<html><script>".encode("utf-16"),
    "a page without a head": b"\n<p>hello<script>alert(1)</script>",
    "a Windows program": b"MZ\x90\x00",
    "a Linux program": b"\x7fELF\x02",
    "a script": b"#!/bin/sh\nrm -rf /",
    "a Java class": b"\xca\xfe\xba\xbe\x00",
    "an app": zipped("AndroidManifest.xml", "classes.dex"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("content", ["image", "document"])
def test_pages_and_programs_are_refused_under_any_name(what: str, content: str) -> None:
    with pytest.raises(FileRefusedError) as refused:
        content_type.detect_file_type(
            io.BytesIO(HOSTILE[what]), message(content, "image.jpg", "image/jpeg")
        )
    assert refused.value.reason == "hostile"


@pytest.mark.parametrize(
    "name", ["run.bat", "page.html", "macro.vbs", "setup.msi", "tool.jar", "x.JS"]
)
def test_a_file_that_a_computer_may_run_is_refused_by_its_name(name: str) -> None:
    for content in (b"echo hello", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", zipped("a")):
        with pytest.raises(FileRefusedError, match="may run"):
            content_type.detect_file_type(io.BytesIO(content), message("document", name))


@pytest.mark.parametrize(
    ("content", "bytes_"),
    [
        ("image", b"%PDF-1.7"),
        ("image", b"just text"),
        ("video", jpeg()),
        ("voice", zipped("a")),
        ("image", MP4),
    ],
)
def test_a_file_of_a_different_type_than_declared_is_refused(content: str, bytes_: bytes) -> None:
    with pytest.raises(FileRefusedError) as refused:
        content_type.detect_file_type(io.BytesIO(bytes_), message(content, f"{content}.jpg"))
    assert refused.value.reason == "wrong"


def bomb_of_members() -> bytes:
    """Return the end of an archive that declares 65,535 files."""
    return (
        b"PK\x03\x04"
        + bytes(26)
        + b"PK\x05\x06"
        + struct.pack("<HHHHLLH", 0, 0, 65535, 65535, 100, 0, 0)
    )


@pytest.mark.parametrize(
    "bytes_",
    [
        png(50_000, 50_000),
        jpeg(60_000, 60_000, thumbnail=jpeg(10, 10) * 100),
        b"GIF89a" + struct.pack("<HH", 65535, 65535),
        b"RIFF\x00\x00\x00\x00WEBPVP8X" + bytes(8) + b"\xff\xff\xff" * 2,
        zipped("zeros", content=bytes(30_000_000)),
        bomb_of_members(),
    ],
    ids=["png", "jpeg", "gif", "webp", "zip of zeros", "zip of many"],
)
def test_a_bomb_is_refused(bytes_: bytes) -> None:
    with pytest.raises(FileRefusedError) as refused:
        content_type.detect_file_type(io.BytesIO(bytes_), message("document", "file"))
    assert refused.value.reason == "bomb"


def test_the_largest_picture_of_a_camera_is_accepted() -> None:
    assert (
        content_type.detect_file_type(
            io.BytesIO(jpeg(16_320, 12_240)), message("image", "photo.jpg")
        ).extension
        == "jpg"
    )


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(FileRefusedError) as refused:
        content_type.detect_file_type(io.BytesIO(b""), message("document", "file"))
    assert refused.value.reason == "empty"


SOME = st.sampled_from(
    [png(), jpeg(), MP4, M4A, zipped("a", "word/x"), b"RIFF\x00\x00\x00\x00WEBPVP8L", b"BM", b"PK"]
)


@given(
    st.binary(max_size=300),
    SOME,
    st.integers(0, 100),
    st.sampled_from(["image", "document", "video", "voice"]),
)
def test_any_bytes_have_a_type_or_are_refused(
    tail: bytes, head: bytes, cut: int, content: str
) -> None:
    """Broken files are accepted or refused, without any further error."""
    try:
        kind = content_type.detect_file_type(
            io.BytesIO(head[: len(head) - cut] + tail), message(content, "file.jpg")
        )
    except FileRefusedError:
        return
    assert kind.extension
    assert "/" in kind.mime
    assert "html" not in kind.mime
    assert "svg" not in kind.mime
