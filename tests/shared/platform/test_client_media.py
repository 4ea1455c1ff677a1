"""Files that are fetched, against every answer that the platform was seen to give, and bad ones."""

import httpx
import pytest

from shared.errors import (
    PlatformError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
)
from tests.shared.platform.wire import Wire, platform, says, text


def test_media_streams_with_its_names() -> None:
    headers = {
        "Content-Type": "audio/ogg; codecs=opus",
        "Content-Disposition": 'attachment; filename="../a/b voice.ogg"',
    }
    wire = Wire(httpx.Response(200, content=b"x" * 100_000, headers=headers))
    with platform(wire).download_media("42", "false_7@c.us_3EB0") as found:
        assert (found.content_type, found.filename, found.length) == (
            "audio/ogg; codecs=opus",
            "b voice.ogg",
            100_000,
        )
        assert sum(len(chunk) for chunk in found.chunks) == 100_000
    assert wire.lines == ["GET /api/messages/media/false_7%40c.us_3EB0"]


@pytest.mark.parametrize(
    "disposition", ["", "attachment", 'attachment; filename=""', "inline; filename=/", "\x00"]
)
def test_media_without_a_name(disposition: str) -> None:
    wire = Wire(httpx.Response(200, content=b"x", headers={"Content-Disposition": disposition}))
    with platform(wire).download_media("42", "m") as found:
        assert found.filename is None
        assert found.content_type == "application/octet-stream"


@pytest.mark.parametrize("announced", [True, False])
def test_media_that_is_too_large_is_refused(*, announced: bool) -> None:
    """At once where its length was announced, else as soon as there is too much of it."""
    body = httpx.ByteStream(b"x" * 2000)
    headers = {"Content-Length": "2000"} if announced else {}
    wire = Wire(httpx.Response(200, stream=body, headers=headers))
    with (
        pytest.raises(RefusedError, match="larger than 1000 bytes"),
        platform(wire).download_media("42", "m", max_bytes=1000) as found,
    ):
        list(found.chunks)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (says({"error": "Media not found"}, 404), RefusedError),
        (text("<pre>Cannot GET /api/messages/media/m</pre>", 404), RefusedError),
        (text("404 page not found", 404), UnavailableError),
        (says({}, 401), UnauthorizedError),
        (says({}, 500), UnavailableError),
        (httpx.ReadTimeout(""), UnavailableError),
    ],
)
def test_media_that_is_not_to_be_had(
    answer: httpx.Response | Exception, error: type[PlatformError]
) -> None:
    with pytest.raises(PlatformError) as caught, platform(Wire(answer)).download_media("42", "m"):
        pytest.fail("there is nothing to read")
    assert type(caught.value) is error
