"""Creating clients and minting tokens: all known answers, and bad answers."""

import time
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from shared.errors import (
    InvalidApiKeyError,
    LimitedError,
    PlatformError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
)
from tests.shared.platform.recording_transport import (
    KEY,
    RecordingTransport,
    json_response,
    open_platform,
    platform_answering,
    text_response,
)


def test_create_uses_the_secret() -> None:
    transport = RecordingTransport(
        json_response({"apiKey": "k", "session": "0000000000042", "status": "Starting"})
    )
    client = open_platform(transport).create_client("org")
    assert (client.api_key.get_secret_value(), client.account, client.status) == (
        "k",
        "0000000000042",
        "starting",
    )
    assert (transport.lines, transport.body) == (
        ["POST /api/integrations/wpp/create"],
        {"organizationId": "org"},
    )
    assert transport.requests[0].headers["authorization"] == "Bearer the-secret"
    assert "'k'" not in repr(client)


def test_create_without_a_status_is_starting() -> None:
    """Fields under their alternative names are read as well."""
    assert (
        platform_answering(json_response({"apiKey": "k", "session": 42}))
        .create_client("org")
        .status
        == "starting"
    )
    assert (
        platform_answering(json_response({"data": {"apiKey": "k", "number": "42"}}))
        .create_client("org")
        .account
        == "42"
    )


@pytest.mark.parametrize(
    "answer",
    [
        json_response({"session": "42"}),
        json_response({"apiKey": "k"}),
        json_response({"apiKey": {}, "session": "42"}),
        text_response("<html>"),
        text_response(""),
    ],
)
def test_create_without_its_fields_can_be_repeated(answer: httpx.Response) -> None:
    """The same organization gets the same client, so a repetition is safe."""
    with pytest.raises(UnavailableError, match="apiKey"):
        platform_answering(answer).create_client("org")


def test_create_with_a_wrong_secret() -> None:
    with pytest.raises(UnauthorizedError, match="Invalid token"):
        platform_answering(json_response({"error": "Invalid token"}, 401)).create_client("org")


def test_create_after_a_gateway_timeout_can_be_repeated() -> None:
    """The gateway answers 504 when a second number takes too long."""
    with pytest.raises(UnavailableError):
        platform_answering(text_response("<html>Gateway Time-out</html>", 504)).create_client("org")


@pytest.mark.parametrize(
    ("fields", "lifetime_s"),
    [
        ({"token": "opaque"}, 900),
        ({"token": "opaque", "expiresIn": 600}, 600),
        ({"token": "opaque", "expiresIn": "600"}, 600),
        ({"data": {"token": "opaque", "expiresIn": 600}}, 600),
        ({"token": "opaque", "expiresIn": "soon"}, 900),
    ],
)
def test_a_minted_token_and_its_lifetime(fields: dict[str, Any], lifetime_s: float) -> None:
    transport = RecordingTransport(json_response(fields))
    minted = open_platform(transport).mint_token(KEY)
    assert (minted.value.get_secret_value(), minted.lifetime_s) == ("opaque", lifetime_s)
    assert (transport.lines, transport.body) == (
        ["POST /auth/token"],
        {"apiKey": KEY.get_secret_value()},
    )
    assert "authorization" not in transport.requests[0].headers


def test_the_lifetime_of_a_jwt_counts_from_the_date_header() -> None:
    """`exp` minus Date, less the second that Date truncates; the local clock is unused."""
    platform_now = time.time() + 5000
    jwt = "e30.eyJpYXQiOiAxMDAwLCAiZXhwIjogMTkwMH0.c2ln"  # {"iat": 1000, "exp": 1900}
    minted = platform_answering(
        json_response({"token": jwt}, Date=formatdate(1300, usegmt=True))
    ).mint_token(KEY)
    assert minted.lifetime_s == 599
    assert (
        platform_answering(
            json_response({"token": jwt}, Date=formatdate(platform_now, usegmt=True))
        )
        .mint_token(KEY)
        .lifetime_s
        == 899
    )


@pytest.mark.parametrize(
    "answer",
    [
        json_response({"error": "Invalid API key"}, 401),
        json_response({"error": "Invalid API key"}, 403),
        json_response({"message": "invalid api key"}, 400),
        json_response({"error": f"Invalid API key: {KEY.get_secret_value()[:14]}..."}, 403),
        json_response(
            {"message": f"The key {KEY.get_secret_value()} is bad", "error": "INVALID_API_KEY"}, 403
        ),
        json_response({"message": "w" * 300 + " Invalid API key"}, 403),
        text_response("nope", 401),
    ],
)
def test_a_refused_key_names_the_remedy(answer: httpx.Response) -> None:
    """401, or any refusal that calls the key invalid; the error never quotes the key."""
    with pytest.raises(InvalidApiKeyError, match="force_recreate") as caught:
        platform_answering(answer).mint_token(KEY)
    assert KEY.get_secret_value()[:12] not in repr(caught.value)
    assert caught.value.code == "INVALID_API_KEY"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (text_response("<html>blocked by a firewall</html>", 403), RefusedError),
        (json_response({}, 500), UnavailableError),
        (json_response({"error": "Invalid API key"}, 500), UnavailableError),
        (json_response({}, 429), LimitedError),
        (json_response({"error": "Too many calls with an invalid API key"}, 429), LimitedError),
        (json_response({"expiresIn": 900}), UnavailableError),
        (json_response({"token": ""}), UnavailableError),
        (json_response({"token": "two words"}), UnavailableError),
        (json_response({"token": "line\nbreak"}), UnavailableError),
        (json_response({"token": 7}), UnavailableError),
        (text_response("<html>"), UnavailableError),
    ],
)
def test_other_failures_do_not_blame_the_key(
    answer: httpx.Response, error: type[PlatformError]
) -> None:
    """A token that fits no header counts as missing."""
    with pytest.raises(PlatformError) as caught:
        platform_answering(answer).mint_token(KEY)
    assert type(caught.value) is error


def test_the_first_token_is_requested_four_times() -> None:
    """Retries after 1, 2 and 3 s; then the refusal is final."""
    transport = RecordingTransport(json_response({"error": "Invalid API key"}, 403))
    waits: list[float] = []
    with pytest.raises(InvalidApiKeyError):
        open_platform(transport).mint_first_token(KEY, waits.append)
    assert waits == [1, 2, 3]
    assert len(transport.requests) == 4


def test_only_a_refusal_of_a_first_token_is_retried() -> None:
    """An outage is left to the retries of the lane; later tokens are never retried."""
    waits: list[float] = []
    with pytest.raises(UnavailableError):
        platform_answering(json_response({}, 500)).mint_first_token(KEY, waits.append)
    refused = RecordingTransport(json_response({"error": "Invalid API key"}, 403))
    with pytest.raises(InvalidApiKeyError):
        open_platform(refused).mint_token(KEY)
    assert waits == []
    assert len(refused.requests) == 1
