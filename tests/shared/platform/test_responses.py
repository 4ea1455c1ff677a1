"""Reading responses: every field name the platform has used, and bodies that are not JSON."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.platform import BearerAuth
from shared.platform.models import CreatedClient, QrCode, StartResult
from shared.platform.responses import PlatformResponse
from shared.tokens.single_flight import Cached, TokenLifetime
from shared.tokens.store import MintedToken, Token

PNG = "iVBORw0KGgoAAAANSUhEUgAA" + "Ab+/" * 30 + "=="


def response(body: object, status: int = 200, **headers: str) -> PlatformResponse:
    """Return a response with these bytes, or with this value as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return PlatformResponse(
        status,
        httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()}),
        raw,
    )


def test_a_raw_pairing_string_is_unchanged() -> None:
    qr = QrCode.read(" 2@AbCdEf/+==,kLm==,nOp== ")
    assert qr == "2@AbCdEf/+==,kLm==,nOp=="
    assert qr is not None
    assert not qr.is_image


@pytest.mark.parametrize(
    "given", [PNG, f"data:image/png;base64,{PNG}", f"{PNG[:40]}\n{PNG[40:]}\n"]
)
def test_an_image_becomes_a_data_url(given: str) -> None:
    """Bare base64 of a PNG, with or without line breaks, and a data URL, are the same image."""
    qr = QrCode.read(given)
    assert qr == f"data:image/png;base64,{PNG}"
    assert qr is not None
    assert qr.is_image


def test_a_jpeg_is_recognized() -> None:
    assert (QrCode.read("/9j/" + "Ab+/" * 30) or "").startswith("data:image/jpeg;base64,/9j/")


@pytest.mark.parametrize("given", [None, "", "  ", 7, {"qr": "x"}, [], True])
def test_other_values_are_no_code(given: object) -> None:
    assert QrCode.read(given) is None


def test_a_code_does_not_show_in_a_repr() -> None:
    """The first phone to scan the code owns the account."""
    assert "AbC" not in repr(QrCode("2@AbCdEf"))


SECRET = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0"


@pytest.mark.parametrize(
    "found",
    [
        response({"apiKey": SECRET, "token": SECRET, "qr": SECRET}, set_cookie=SECRET),
        CreatedClient(SecretStr(SECRET), "42", "starting"),
        StartResult("qr", QrCode(SECRET)),
        MintedToken(SecretStr(SECRET), 900),
        Token(SecretStr(SECRET), 1, datetime.now(UTC)),
        Cached(SECRET, 1, TokenLifetime(900, 840, 600), None),
        BearerAuth(SecretStr(SECRET)),
    ],
    ids=lambda found: type(found).__name__,
)
def test_secrets_do_not_show_in_repr_or_str(found: object) -> None:
    """Repr, str, format, and the repr of a container hide the secret."""
    assert SECRET not in repr(found) + str(found) + f"{found}" + repr([found])


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(body: bytes) -> None:
    """No body makes reading raise."""
    found = response(body, 500)
    assert found.first("a") is None or isinstance(found.fields, dict)
    assert isinstance(found.describe(["secret"]), str)
    assert found.is_route_missing is False


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a shared machine
@given(
    st.dictionaries(
        st.sampled_from(["status", "taskId", "id", "data", "message", "error", "success"]), JSON
    )
)
def test_fields_of_any_type_can_be_read(fields: dict[str, Any]) -> None:
    """Fields of the wrong type count as missing."""
    found = response(fields)
    assert isinstance(found.keyword("status"), str)
    assert found.identifier("taskId", "id") is None or isinstance(
        found.identifier("taskId", "id"), str
    )
    assert isinstance(found.reports_error, bool)
    assert len(found.describe()) <= 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"<html>",
        b'{"cut": "sho',
        b"[]",
        b'"text"',
        b"7",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_body_without_an_object_has_no_fields(body: bytes) -> None:
    """HTML, an empty body, truncated JSON, JSON lists and texts, invalid UTF-8, deep nesting."""
    assert response(body).fields is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"taskId": "task_7", "id": "other"}, "task_7"),
        ({"taskId": None, "id": "msg_1"}, "msg_1"),
        ({"id": 77}, "77"),
        ({"data": {"taskId": "task_7"}}, "task_7"),
        ({"taskId": {"deep": 1}}, None),
        ({"taskId": True}, None),
        ({"taskId": "x" * 300}, None),
        ({}, None),
    ],
)
def test_an_identifier_is_a_short_text_or_a_number(
    fields: dict[str, Any], expected: str | None
) -> None:
    assert response(fields).identifier("taskId", "id") == expected


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b"<!DOCTYPE html><pre>Cannot POST /api/messages/image</pre>", True),
        (404, b"Cannot POST /api/messages/image", True),
        (404, b'{"message": "Route POST:/api/x not found", "error": "Not Found"}', True),
        (404, b'{"message": "Cannot GET /api/x"}', True),
        (404, b"<html>nginx</html>", True),
        (404, b"", True),
        (404, b"404 page not found", True),
        (404, b'{"error": "Message not f', True),
        (404, b'{"message": "no Route matched with those values"}', True),
        (404, b'{"status": "error", "code": 404, "message": "Application not found"}', True),
        (405, b'{"error": "Method Not Allowed"}', True),
        (404, b'{"error": "Message not found"}', False),
        (400, b"Cannot POST /x", False),
        (200, b"Cannot POST /x", False),
    ],
)
def test_a_missing_route_differs_from_a_missing_resource(
    status: int, body: bytes, *, expected: bool
) -> None:
    assert response(body, status).is_route_missing is expected


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"status": "error", "message": "Account 0000000000042 is not connected"}, True),
        (200, {"success": False, "error": "SESSION_NOT_READY"}, True),
        (400, {"error": "Session not connected."}, True),
        (409, {"message": "WhatsApp client is not ready yet"}, False),
        (409, {"message": "The WhatsApp client isn't ready"}, True),
        (404, {"status": "Disconnected", "message": "The session is not active"}, True),
        (409, {"error": {"code": "session_closed"}}, True),
        (200, {"status": "queued", "message": "session not ready"}, False),
        (500, {"error": "Session not connected"}, False),
        (200, {"status": "error", "message": "The phone number is not on WhatsApp"}, False),
        (400, {"error": "Account +79990001122 is not active on WhatsApp"}, False),
        (400, {"error": "to must be a phone number"}, False),
    ],
)
def test_not_connected_differs_from_other_refusals(
    status: int, body: object, *, expected: bool
) -> None:
    """The refusal names the account itself; any further text is a plain refusal."""
    assert response(body, status).reports_not_connected is expected


def test_retry_after_in_seconds_or_as_a_date() -> None:
    """A date is compared with the platform's Date header; both forms are bounded."""
    platform_now = datetime(2031, 5, 1, tzinfo=UTC)
    date = format_datetime(platform_now + timedelta(seconds=40), usegmt=True)
    assert response({}, 429, retry_after="7").retry_after_s == 7
    assert response({}, 429, retry_after="0").retry_after_s == 1
    assert response({}, 429, retry_after="99999").retry_after_s == 300
    assert (
        response(
            {}, 429, retry_after=date, date=format_datetime(platform_now, usegmt=True)
        ).retry_after_s
        == 40
    )
    assert response({}, 429, retry_after=date).retry_after_s == 300
    assert response({}, 429, retry_after="Thu, 01 Jan 1970 00:00:00 GMT").retry_after_s == 1


@pytest.mark.parametrize("given", ["", "soon", "-1", "1e9", "7 8", "Thu, 99 Foo 2031"])
def test_an_invalid_retry_after_is_none(given: str) -> None:
    assert response({}, 429, retry_after=given).retry_after_s is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"message": "Number is not on WhatsApp"}, "Number is not on WhatsApp"),
        ({"error": "Invalid token"}, "Invalid token"),
        ({"error": {"code": "E1", "message": "Too many"}}, "Too many"),
        ({"message": "two\nlines\x1b[0m"}, "two lines [0m"),
        ({"message": "w" * 500}, "w" * 200),
        ({"message": 7}, "no reason given"),
        (b"upstream timed out", "upstream timed out"),
        (b"<html><body>secret page</body></html>", "an HTML page"),
        (b"", "no reason given"),
    ],
)
def test_the_reason_is_one_short_line(body: object, expected: str) -> None:
    assert response(body, 500).describe() == expected


def test_the_reason_quotes_no_secret() -> None:
    """Whole secrets, parts of them, and tokens are hidden."""
    secrets = ["key-0123456789", "Your code is 1234, keep it secret"]
    assert response({"error": "bad key key-0123456789!"}, 400).describe(secrets) == "bad key …!"
    assert "code is" not in response({"error": "cannot send 'Your code is 12...'"}, 400).describe(
        secrets
    )
    assert (
        response({"error": "token eyJhbGciOi.eyJzdWIi.c2ln is bad"}, 401).describe()
        == "token … is bad"
    )
