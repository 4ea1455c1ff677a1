"""No secret and no customer's phone is in a log line, from any logger."""

import base64
import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from shared import logs
from shared.errors import ConfigurationError
from shared.service_keys import PREFIX, make_key
from shared.signed_keys import make_webhook_url

SECRETS = (b"a secret of at least 32 characters",)
KEY = PREFIX + 43 * "k"
URL = make_webhook_url("https://wpp.example", "acc_1", SECRETS)
JWT = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
    ".eyJzdWIiOiIxMjM0NTY3ODkwIn0"
    ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
)
QR = base64.b64encode(bytes(range(64))).decode()

SECRETS_IN_TEXT = [
    (KEY, KEY),
    (URL, URL.rsplit("/", 1)[1]),
    (JWT, JWT),
    (f"cut off: {JWT[:60]}", JWT[:60]),
    ("Authorization: Bearer 0123456789abcdef", "0123456789abcdef"),
    ("bearer 0123456789abcdef", "0123456789abcdef"),
    ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA=="),
    ("redis://:pa55word@redis:6379/0", "pa55word"),
    ("postgresql://postgres:pa55word@db:5432/postgres", "pa55word"),
    ("sb_secret_0123456789abcdef", "0123456789abcdef"),
    ("/api/x?secret=0123456789&page=2", "0123456789"),
    ('403 {"apiKey":"0123456789","id":1}', "0123456789"),
    ("api_key: 0123456789", "0123456789"),
    ("{'token': '0123456789'}", "0123456789"),
    ("WPP_SECRET=0123456789", "0123456789"),
    (f"data:image/png;base64,{QR}", QR),
]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Return the logs that the process writes to stdout; restore logging after the test."""
    root = logging.getLogger()
    out = io.StringIO()
    handlers = root.handlers[:]
    level = root.level
    monkeypatch.setattr("sys.stdout", out)
    logs.configure_logging("test")
    yield out
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def fail(text: str) -> None:
    raise RuntimeError(text)


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


@pytest.mark.parametrize(("text", "secret"), SECRETS_IN_TEXT)
def test_every_form_of_a_secret_is_masked(text: str, secret: str) -> None:
    """Keys, tokens, passwords in URLs, webhook URLs and QR codes are replaced by `MASK`."""
    assert secret not in logs.mask_text(text)
    assert logs.MASK in logs.mask_text(text)


@given(before=st.text(max_size=40), after=st.text(max_size=40), secret=st.sampled_from([KEY, JWT]))
def test_a_key_is_masked_in_any_context(before: str, after: str, secret: str) -> None:
    """Any text may precede or follow it."""
    assert secret not in logs.mask_text(before + secret + after)


@given(before=st.text(max_size=40), after=st.text(max_size=40))
def test_a_webhook_key_is_masked_in_its_url(before: str, after: str) -> None:
    """Any text may precede or follow the URL."""
    assert URL.rsplit("/", 1)[1] not in logs.mask_text(f"{before}{URL}{after}")


PARTS = [
    *(
        "eyJ",
        "wpk_",
        43 * "k",
        "whsec_",
        "sb_secret_",
        "/webhooks/wpp/",
        "acc/",
        "Bearer ",
        "BASIC ",
    ),
    *(
        ";BASE64,",
        "://",
        "user:",
        "pass",
        "@",
        "c.us",
        "secret",
        "TOKEN",
        "Password",
        "api_key",
        "apiKey",
    ),
    *(
        "=",
        ": ",
        '"',
        " ",
        "send:",
        "event:",
        "x:",
        "79990001122",
        "+",
        "0123456789",
        "\u017f",
        "\u0131",
    ),
]


@given(text=st.lists(st.sampled_from(PARTS), max_size=8).map("".join))
def test_a_text_without_a_mark_has_nothing_to_mask(text: str) -> None:
    """The short look at a text finds whatever the patterns find."""
    assert logs.mask_text(text) == logs.mask_marked(text)


def test_every_service_key_is_masked() -> None:
    """The pattern covers all keys that `make_key` returns."""
    for _ in range(100):
        assert logs.mask_text(f"refused {make_key()}.") == f"refused {logs.MASK}."


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T06:15:06Z",
        "6f1f2a8e-9d0b-4a57-8f13-2f5a4c1d0e9b",
        "https://wpp.example/health",
        "event 1795253691639 of account 0000000000042",
        "send:6f1f2a8e-9d0b-4a57-8f13-2f5a4c1d0e9b",
        "event:0000000000042",
        "2026-11-21T06:15:06.123456+00:00",
    ],
)
def test_other_text_is_unchanged(text: str) -> None:
    """Times, ids, URLs and lanes stay readable."""
    assert logs.mask_text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "send:6f1f2a8e-9d0b-4a57-8f13-2f5a4c1d0e9b:79990001122",
            "send:6f1f2a8e-9d0b-4a57-8f13-2f5a4c1d0e9b:799…22",
        ),
        ("event:0000000000042:79990001122, again", "event:0000000000042:799…22, again"),
        ("no WhatsApp at +79990001122", "no WhatsApp at +799…22"),
        ("from 79990001122@c.us", "from 799…22@c.us"),
    ],
)
def test_a_phone_is_masked_where_its_context_identifies_it(text: str, shown: str) -> None:
    """It can be recognized and not be called."""
    assert logs.mask_text(text) == shown
    assert logs.mask_fields(None, "", {"lane": text}) == {"lane": shown}


@pytest.mark.parametrize(
    "name", ["token", "wpp_secret", "apiKey", "api_key", "Authorization", "password", "qr", "jwt"]
)
def test_a_field_is_masked_by_its_name_at_any_depth(name: str) -> None:
    """Its value is masked even if its form is not that of a secret."""
    fields = {"outer": [{name: "short"}], name: 12345, "other": "seen"}
    assert logs.mask_fields(None, "", fields) == {
        "outer": [{name: logs.MASK}],
        name: logs.MASK,
        "other": "seen",
    }


def test_an_empty_field_is_not_masked() -> None:
    """The absence of a token is useful and no secret."""
    assert logs.mask_fields(None, "", {"token": None, "qr": ""}) == {"token": None, "qr": ""}


@pytest.mark.parametrize("value", [ValueError(URL), URL.encode(), (URL,), {URL}, {1: URL}, [[URL]]])
def test_values_of_any_type_are_masked(value: object) -> None:
    """Their text is: that of exceptions, bytes and the items of collections."""
    assert URL.rsplit("/", 1)[1] not in str(logs.mask_fields(None, "", {"value": value}))


def test_numbers_and_booleans_keep_their_type() -> None:
    """They are JSON numbers and booleans in the log."""
    fields = {"count": 3, "pause_s": 0.5, "new": True, "reason": None}
    assert logs.mask_fields(None, "", dict(fields)) == fields


def test_a_line_is_one_json_object(written: io.StringIO) -> None:
    """With the event, its fields, level, logger, process and time."""
    structlog.get_logger("wpp").info("message.sent", account="acc_1", took_ms=12)
    [line] = lines(written)
    assert line.pop("timestamp")
    assert line == {
        "event": "message.sent",
        "account": "acc_1",
        "took_ms": 12,
        "level": "info",
        "logger": "wpp",
        "process": "test",
    }


def test_logs_of_libraries_are_masked(written: io.StringIO) -> None:
    """Including format arguments, exceptions and the bound context."""
    library = logging.getLogger("some.library")
    library.warning("POST %s took %d ms", URL, 12)
    try:
        fail(URL)
    except RuntimeError:
        library.exception("failed")
    with structlog.contextvars.bound_contextvars(token=JWT, lane="x"):
        library.warning("within")
    assert URL.rsplit("/", 1)[1] not in written.getvalue()
    assert JWT not in written.getvalue()
    first, second, third = lines(written)
    assert first["event"] == f"POST https://wpp.example/webhooks/wpp/{logs.MASK} took 12 ms"
    assert "RuntimeError" in second["exception"]
    assert (third["lane"], third["token"]) == ("x", logs.MASK)


def test_our_own_exceptions_are_masked(written: io.StringIO) -> None:
    """In the traceback and in a field."""
    try:
        fail(KEY)
    except RuntimeError:
        structlog.get_logger().exception("event.handler_failed", error=RuntimeError(KEY))
    assert KEY not in written.getvalue()
    assert "RuntimeError" in lines(written)[0]["exception"]


def test_libraries_that_log_urls_are_silent(written: io.StringIO) -> None:
    """Their URLs may contain keys."""
    for name in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(name).info("GET %s", URL)
    assert written.getvalue() == ""


def test_the_text_format_is_masked(monkeypatch: pytest.MonkeyPatch, written: io.StringIO) -> None:
    """Including tracebacks and fields."""
    monkeypatch.setenv("WPP_LOG_FORMAT", "text")
    monkeypatch.setattr("sys.stdout", written)
    logs.configure_logging("test")
    try:
        fail(KEY)
    except RuntimeError:
        structlog.get_logger("text").exception("event.handler_failed", url=URL)
    assert "event.handler_failed" in written.getvalue()
    assert "Traceback" in written.getvalue()
    assert KEY not in written.getvalue()
    assert URL.rsplit("/", 1)[1] not in written.getvalue()


def test_a_log_that_cannot_be_written_stops_nobody(
    written: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard error says so, as for the lines of libraries."""
    log = structlog.get_logger("wpp")
    log.info("message.sent")
    written.close()
    log.info("message.sent")
    assert "Logging error" in capsys.readouterr().err


def test_lines_below_the_level_are_left_out(
    monkeypatch: pytest.MonkeyPatch, written: io.StringIO
) -> None:
    """Ours and those of libraries."""
    monkeypatch.setenv("WPP_LOG_LEVEL", "warning")
    monkeypatch.setattr("sys.stdout", written)
    logs.configure_logging("test")
    for log in (structlog.get_logger("quiet"), logging.getLogger("quiet")):
        log.info("left out")
        log.warning("kept")
    assert [line["event"] for line in lines(written)] == ["kept", "kept"]
    assert [line["level"] for line in lines(written)] == ["warning", "warning"]


def test_an_unknown_level_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable."""
    monkeypatch.setenv("WPP_LOG_LEVEL", "loud")
    with pytest.raises(ConfigurationError, match="WPP_LOG_LEVEL"):
        logs.configure_logging("test")


@pytest.mark.parametrize("text", ["Grüße", "\ud83d", "a\nb", "•••"], ids=ascii)
def test_a_line_is_ascii(written: io.StringIO, text: str) -> None:
    """Every output can take it, and a line feed in a text starts no new line."""
    structlog.get_logger("x").info("said", text=text, some=[1.5, None, True, float("inf")])
    assert written.getvalue().isascii()
    [line] = lines(written)
    assert (line["text"], line["some"]) == (text, [1.5, None, True, float("inf")])


def test_a_line_has_its_time_level_logger_and_process(written: io.StringIO) -> None:
    """The time is that of the line, in UTC with microseconds."""
    before = datetime.now(UTC)
    structlog.get_logger("x").warning("said")
    [line] = lines(written)
    assert before <= datetime.fromisoformat(line["timestamp"]) <= datetime.now(UTC)
    named = {name: line[name] for name in ("event", "level", "logger", "process")}
    assert named == {"event": "said", "level": "warning", "logger": "x", "process": "test"}


FORMER_NAMED_VALUE = re.compile(
    r"(?i)((?:secret|token|password|api_?key)\w*[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&}]{6,}"
)
PIECES = ["token", "api_key", "SECRET", "a", "_", "1", " ", ":", "=", '"', "'", "-", ";", "abcdef"]


@given(st.lists(st.sampled_from(PIECES), max_size=24).map("".join))
def test_a_name_that_is_read_once_masks_what_each_try_would(text: str) -> None:
    masked = r"\1" + logs.MASK
    assert logs.NAMED_VALUE.sub(masked, text) == FORMER_NAMED_VALUE.sub(masked, text)
