"""Creating clients and minting tokens, against every answer that the platform was seen to give, and bad ones."""

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
from tests.shared.platform.wire import KEY, Wire, platform, says, text


def test_create_uses_the_secret() -> None:
    wire = Wire(says({"apiKey": "k", "session": "0000000000042", "status": "Starting"}))
    client = platform(wire).create_client("org")
    assert (client.api_key.get_secret_value(), client.account, client.status) == (
        "k",
        "0000000000042",
        "starting",
    )
    assert (wire.lines, wire.body) == (
        ["POST /api/integrations/wpp/create"],
        {"organizationId": "org"},
    )
    assert wire.requests[0].headers["authorization"] == "Bearer the-secret"
    assert "'k'" not in repr(client)


def test_create_that_says_no_status_has_begun() -> None:
    """Its default; and what is there under another name is read all the same."""
    assert (
        platform(Wire(says({"apiKey": "k", "session": 42}))).create_client("org").status
        == "starting"
    )
    assert (
        platform(Wire(says({"data": {"apiKey": "k", "number": "42"}}))).create_client("org").account
        == "42"
    )


@pytest.mark.parametrize(
    "answer",
    [
        says({"session": "42"}),
        says({"apiKey": "k"}),
        says({"apiKey": {}, "session": "42"}),
        text("<html>"),
        text(""),
    ],
)
def test_create_without_its_fields_is_tried_again(answer: httpx.Response) -> None:
    """The same organization gets the same client: asking again is safe."""
    with pytest.raises(UnavailableError, match="apiKey"):
        platform(Wire(answer)).create_client("org")


def test_create_with_a_wrong_secret() -> None:
    with pytest.raises(UnauthorizedError, match="Invalid token"):
        platform(Wire(says({"error": "Invalid token"}, 401))).create_client("org")


def test_create_that_takes_too_long_is_tried_again() -> None:
    """The gateway's 504 on a second number."""
    with pytest.raises(UnavailableError):
        platform(Wire(text("<html>Gateway Time-out</html>", 504))).create_client("org")


@pytest.mark.parametrize(
    ("fields", "life_s"),
    [
        ({"token": "opaque"}, 900),
        ({"token": "opaque", "expiresIn": 600}, 600),
        ({"token": "opaque", "expiresIn": "600"}, 600),
        ({"data": {"token": "opaque", "expiresIn": 600}}, 600),
        ({"token": "opaque", "expiresIn": "soon"}, 900),
    ],
)
def test_a_minted_token_and_its_life(fields: dict[str, Any], life_s: float) -> None:
    wire = Wire(says(fields))
    minted = platform(wire).mint_token(KEY)
    assert (minted.value.get_secret_value(), minted.life_s) == ("opaque", life_s)
    assert (wire.lines, wire.body) == (["POST /auth/token"], {"apiKey": KEY.get_secret_value()})
    assert "authorization" not in wire.requests[0].headers


def test_a_minted_jwt_lives_by_the_platforms_date() -> None:
    """Whatever our clock says: `exp` minus the answer's Date, less the second that Date cuts off."""
    there = time.time() + 5000
    jwt = "e30.eyJpYXQiOiAxMDAwLCAiZXhwIjogMTkwMH0.c2ln"  # {"iat": 1000, "exp": 1900}
    minted = platform(Wire(says({"token": jwt}, Date=formatdate(1300, usegmt=True)))).mint_token(
        KEY
    )
    assert minted.life_s == 599
    assert (
        platform(Wire(says({"token": jwt}, Date=formatdate(there, usegmt=True))))
        .mint_token(KEY)
        .life_s
        == 899
    )


@pytest.mark.parametrize(
    "answer",
    [
        says({"error": "Invalid API key"}, 401),
        says({"error": "Invalid API key"}, 403),
        says({"message": "invalid api key"}, 400),
        says({"error": f"Invalid API key: {KEY.get_secret_value()[:14]}..."}, 403),
        says(
            {"message": f"The key {KEY.get_secret_value()} is bad", "error": "INVALID_API_KEY"}, 403
        ),
        says({"message": "w" * 300 + " Invalid API key"}, 403),
        text("nope", 401),
    ],
)
def test_a_refused_key_says_the_way_out(answer: httpx.Response) -> None:
    """401, or any refusal that names it, even where it quotes what must not be repeated."""
    with pytest.raises(InvalidApiKeyError, match="force_recreate") as caught:
        platform(Wire(answer)).mint_token(KEY)
    assert KEY.get_secret_value()[:12] not in repr(caught.value)
    assert caught.value.code == "INVALID_API_KEY"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (text("<html>blocked by a firewall</html>", 403), RefusedError),
        (says({}, 500), UnavailableError),
        (says({"error": "Invalid API key"}, 500), UnavailableError),
        (says({}, 429), LimitedError),
        (says({"error": "Too many calls with an invalid API key"}, 429), LimitedError),
        (says({"expiresIn": 900}), UnavailableError),
        (says({"token": ""}), UnavailableError),
        (says({"token": "two words"}), UnavailableError),
        (says({"token": "line\nbreak"}), UnavailableError),
        (says({"token": 7}), UnavailableError),
        (text("<html>"), UnavailableError),
    ],
)
def test_no_token_for_another_reason(answer: httpx.Response, error: type[PlatformError]) -> None:
    """Nothing of which says that the key is bad; nor is anything used that would break a header."""
    with pytest.raises(PlatformError) as caught:
        platform(Wire(answer)).mint_token(KEY)
    assert type(caught.value) is error


def test_the_first_token_is_asked_for_four_times() -> None:
    """After 1, 2 and 3 s, and then the refusal is believed."""
    wire = Wire(says({"error": "Invalid API key"}, 403))
    waits: list[float] = []
    with pytest.raises(InvalidApiKeyError):
        platform(wire).mint_first_token(KEY, waits.append)
    assert waits == [1, 2, 3]
    assert len(wire.requests) == 4


def test_the_first_token_is_not_asked_for_again_for_other_reasons() -> None:
    """A platform that is away is left to the lane's own retries; and other tokens are never asked for again."""
    waits: list[float] = []
    with pytest.raises(UnavailableError):
        platform(Wire(says({}, 500))).mint_first_token(KEY, waits.append)
    refused = Wire(says({"error": "Invalid API key"}, 403))
    with pytest.raises(InvalidApiKeyError):
        platform(refused).mint_token(KEY)
    assert waits == []
    assert len(refused.requests) == 1
