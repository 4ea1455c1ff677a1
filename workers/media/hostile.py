"""Refuse files that would harm the person who opens them: programs, and pages with scripts."""

import re
from collections.abc import Iterable

from workers.media.errors import FileRefusedError, RefusalReason

_AMR_MAGIC = b"#!AMR"
_PROGRAM_MAGIC = (
    b"MZ",  # Windows
    b"\x7fELF",  # Linux
    b"\xfe\xed\xfa\xce",  # macOS, 32 and 64 bits, both byte orders
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",  # macOS universal, Java class
    b"dex\n",  # Android
    b"#!",  # script
    b"L\x00\x00\x00\x01\x14\x02\x00",  # Windows shortcut
)
_PROGRAM_MEMBERS = frozenset({"AndroidManifest.xml", "classes.dex", "META-INF/MANIFEST.MF"})
_ACTIVE_EXTENSIONS = frozenset(
    [
        "html",
        "htm",
        "xhtml",
        "shtml",
        "mht",
        "mhtml",
        "hta",
        "svg",
        "svgz",
        "xml",
        "xsl",
        "xslt",
        "js",
        "mjs",
        "vbs",
        "vbe",
        "wsf",
        "wsh",
        "jse",
        "ps1",
        "psm1",
        "bat",
        "cmd",
        "com",
        "exe",
        "scr",
        "pif",
        "msi",
        "msp",
        "dll",
        "cpl",
        "jar",
        "apk",
        "app",
        "dmg",
        "pkg",
        "deb",
        "rpm",
        "sh",
        "bash",
        "php",
        "phtml",
        "asp",
        "aspx",
        "jsp",
        "cgi",
        "lnk",
        "url",
        "reg",
        "swf",
    ]
)
_ACTIVE_TAG = re.compile(
    rb"<(!doctype\s+html|html|head|body|script|iframe|svg|object|embed|img|\w+:svg)\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!|[a-z])", re.IGNORECASE)
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def refuse_hostile_content(head: bytes) -> None:
    """Check the first bytes of a file.

    Raises:
        FileRefusedError: it is a program, or a page or drawing that may hold scripts.
    """
    if head.startswith(_PROGRAM_MAGIC) and not head.startswith(_AMR_MAGIC):
        raise FileRefusedError(RefusalReason.HOSTILE, "The file is a program")
    if head[:2] in _UTF16_MARKS:
        head = head.decode("utf-16", errors="ignore").encode()
    if is_page(head):
        msg = "The file is a page or a drawing that may hold scripts"
        raise FileRefusedError(RefusalReason.HOSTILE, msg)


def is_page(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a web page."""
    return is_markup(head) and bool(_ACTIVE_TAG.search(head))


def refuse_active_name(extension: str) -> None:
    """Check the extension of a file whose bytes do not decide what opens it.

    Raises:
        FileRefusedError: a browser or an operating system may run it.
    """
    if extension in _ACTIVE_EXTENSIONS:
        msg = f"The file is called .{extension}, which a computer may run"
        raise FileRefusedError(RefusalReason.HOSTILE, msg)


def refuse_program_archive(members: Iterable[str]) -> None:
    """Check the names in a zip archive.

    Raises:
        FileRefusedError: it is an Android or a Java program.
    """
    if _PROGRAM_MEMBERS.intersection(members):
        raise FileRefusedError(RefusalReason.HOSTILE, "The file is a program in an archive")


def is_markup(head: bytes) -> bool:
    """Return whether a file begins as HTML or XML."""
    return bool(_MARKUP.match(head))
