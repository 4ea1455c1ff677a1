"""The address of a file is asked for its first bytes before the platform gets it."""

from collections.abc import Iterator
from typing import Any

import pytest

from shared.events import SentMedia
from shared.settings import MediaSettings
from tests.workers.media.servers import FileServer, respond
from workers.media.download import LinkFetcher
from workers.media.errors import FileRefusedError, FileUnreachableError
from workers.media.link_check import check_link

PDF = b"%PDF-1.4 " + b"x" * 9000
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>"
LIMIT = 1_000_000


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(
        pdf=respond(200, PDF, Content_Type="application/pdf"),
        png=respond(200, PNG),
        page=respond(200, PAGE, Content_Type="text/html"),
        gone=respond(404, b"not here"),
        forbidden=respond(403),
        broken=respond(500),
        busy=respond(429),
        empty=respond(200),
        large=respond(200, b"%PDF-", Content_Length=str(LIMIT + 1)),
        moved=respond(302, Location="/pdf"),
    ) as running:
        yield running


def check(server: FileServer, path: str, kind: Any = "document", **more: Any) -> str | None:
    settings = MediaSettings(wpp_media_hosts=("*",), wpp_media_private_hosts=(server.host,))
    fetcher = LinkFetcher(settings, "https://wpp.example", ports=range(1, 65_536), timeout_s=20)
    try:
        url = path if "://" in path else f"{server.url}/{path}"
        return check_link(SentMedia(type=kind, url=url, **more), fetcher, LIMIT)
    finally:
        fetcher.close()


@pytest.mark.parametrize(
    ("path", "kind", "more", "mime"),
    [
        ("pdf", "document", {}, "application/pdf"),
        ("moved", "document", {}, "application/pdf"),
        ("png", "image", {}, "image/png"),
        ("png", "document", {"mime": "x/y"}, "x/y"),
        ("page", "document", {"filename": "report.html"}, "text/html"),
    ],
    ids=["by the server", "redirected", "by its bytes", "as given", "a page is meant"],
)
def test_the_type_of_a_file_is_found(
    server: FileServer, path: str, kind: str, more: dict[str, str], mime: str
) -> None:
    assert check(server, path, kind, **more) == mime


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        ("gone", "document", "The file's address answers 404"),
        ("forbidden", "document", "The file's address answers 403"),
        ("page", "document", "The file's address answers with a web page, not with a file"),
        ("page", "image", "The file's address answers with a web page, not with a file"),
        ("pdf", "image", "The file should be image, but is application/pdf"),
        ("empty", "document", "The file is empty"),
        ("large", "document", "The file has 1000001 bytes; at most 1000000 are sent"),
        ("http://no-such-name.invalid/a.pdf", "document", "host name that does not exist"),
        ("http://127.0.0.1:9/a.pdf", "document", "an address that is not public"),
        ("http://169.254.169.254/a.pdf", "document", "an address that is not public"),
    ],
)
def test_an_address_without_the_file_is_refused_with_the_reason(
    server: FileServer, path: str, kind: str, text: str
) -> None:
    with pytest.raises(FileRefusedError) as caught:
        check(server, path, kind)
    assert text in str(caught.value)


@pytest.mark.parametrize(("path", "text"), [("broken", "500"), ("busy", "429")])
def test_a_server_in_trouble_is_asked_again_later(server: FileServer, path: str, text: str) -> None:
    with pytest.raises(FileUnreachableError, match=f"The file's address answers {text}"):
        check(server, path)


def test_a_server_that_is_away_is_asked_again_later(server: FileServer) -> None:
    """Nothing listens there now."""
    server.__exit__(None, None, None)
    with pytest.raises(FileUnreachableError, match="The file's address does not answer"):
        check(server, "pdf")
