"""Downloading media: all known answers, and bad answers."""

import httpx
import pytest

from shared.errors import (
    PlatformError,
    RefusedError,
    RouteMissingError,
    UnauthorizedError,
    UnavailableError,
)
from tests.shared.platform.recording_transport import (
    RecordingTransport,
    account_answering,
    json_response,
    open_account,
    text_response,
)


def test_media_streams_with_type_name_and_length() -> None:
    headers = {
        "Content-Type": "audio/ogg; codecs=opus",
        "Content-Disposition": 'attachment; filename="../a/b voice.ogg"',
    }
    transport = RecordingTransport(httpx.Response(200, content=b"x" * 100_000, headers=headers))
    with open_account(transport).download_media("false_7@c.us_3EB0") as found:
        assert (found.content_type, found.filename, found.length) == (
            "audio/ogg; codecs=opus",
            "b voice.ogg",
            100_000,
        )
        assert sum(len(chunk) for chunk in found.chunks) == 100_000
    assert transport.lines == ["GET /api/messages/media/false_7%40c.us_3EB0"]


@pytest.mark.parametrize(
    "disposition", ["", "attachment", 'attachment; filename=""', "inline; filename=/", "\x00"]
)
def test_media_without_a_filename(disposition: str) -> None:
    transport = RecordingTransport(
        httpx.Response(200, content=b"x", headers={"Content-Disposition": disposition})
    )
    with open_account(transport).download_media("m") as found:
        assert found.filename is None
        assert found.content_type == "application/octet-stream"


@pytest.mark.parametrize("announced", [True, False])
def test_media_that_is_too_large_is_refused(*, announced: bool) -> None:
    """By its announced length, else once the limit is passed."""
    body = httpx.ByteStream(b"x" * 2000)
    headers = {"Content-Length": "2000"} if announced else {}
    transport = RecordingTransport(httpx.Response(200, stream=body, headers=headers))
    with (
        pytest.raises(RefusedError, match="larger than 1000 bytes"),
        open_account(transport).download_media("m", max_bytes=1000) as found,
    ):
        list(found.chunks)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (json_response({"error": "Media not found"}, 404), RefusedError),
        (text_response("<pre>Cannot GET /api/messages/media/m</pre>", 404), RouteMissingError),
        (text_response("404 page not found", 404), UnavailableError),
        (json_response({}, 401), UnauthorizedError),
        (json_response({}, 500), UnavailableError),
        (httpx.ReadTimeout(""), UnavailableError),
    ],
)
def test_media_that_cannot_be_downloaded(
    answer: httpx.Response | Exception, error: type[PlatformError]
) -> None:
    with (
        pytest.raises(PlatformError) as caught,
        account_answering(answer).download_media("m"),
    ):
        pytest.fail("the download was opened")
    assert type(caught.value) is error
