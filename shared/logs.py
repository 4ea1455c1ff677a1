"""Structured logs: a line per event, as JSON or text, with secrets and phones masked."""

import json
import logging
import re
import sys
import time
from collections.abc import MutableMapping
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, Literal, TextIO

import structlog
from pydantic_core import to_json

from shared import phones
from shared.settings import SettingsGroup, load_settings

SECRET_FIELD = re.compile(
    r"secret|token|password|api_?key|authorization|jwt|service_key|webhook_key|(^|_)qr$",
    re.IGNORECASE,
)
SECRET_VALUE = re.compile(
    r"eyJ[\w-]{8,}(?:\.[\w-]*)*"  # a JWT, or its beginning
    r"|wpk_[\w-]{43}"  # a service key
    r"|whsec_[\w+/=-]{20,}"  # a signing secret of a callback
    r"|sb_secret_[\w-]+"  # a key of Supabase
    r"|(?<=/webhooks/wpp/)[^/\s]+/[\w-]{20,}"  # a webhook URL
    r"|(?i:(?<=bearer )|(?<=basic ))[\w.~+/=-]{8,}"
    r"|(?i:(?<=;base64,))[\w+/=-]{32,}"  # a QR code as an image
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"  # user:password in a URL
)
NAMED_VALUE = re.compile(
    r"(?i)(\b(?>\w*?(?:secret|token|password|api_?key)\w*)[\"']?\s*+[:=]\s*+[\"']?)"
    r"[^\s\"',;&}]{6,}"
)
"""A value that its name marks as a secret: in a query, in JSON, in the text of an error.

A name is read once, from its beginning: `tokentokentoken…` is not tried again at every `token`.
"""
PHONE_IN_CONTEXT = re.compile(
    r"(\b(?:send|event):[^:\s]+:)(\d{7,15})\b"  # the lane of a conversation: kind:account:phone
    r"|(\+)(\d{7,15})\b"
    r"|()\b(\d{7,15})(?=@(?:c\.us|s\.whatsapp\.net))"
)
"""A customer's phone, recognized by its context: ids and times have as many digits."""
MARKS = (
    *("eyj", "wpk_", "whsec_", "sb_secret_", "/webhooks/wpp/", "bearer ", "basic ", ";base64,"),
    *("://", "secret", "token", "password", "apikey", "api_key"),
    *("send:", "event:", "+", "@"),
)
"""What every secret and phone has in it or before it: most values of a log line have none."""
MASK = "•••"
SHORT_CHARS = 64
"""Values of this length are often the same: ids, names, addresses."""
LOGS_URLS = ("httpx", "httpcore", "hpack", "uvicorn.access")
"""Loggers of libraries that log whole URLs, which may contain keys."""
HAS_OWN_HANDLERS = ("uvicorn", "uvicorn.error", "dramatiq")
"""Loggers with handlers that would bypass the masking."""


class LogSettings(SettingsGroup):
    wpp_log_format: Literal["json", "text"] = "json"
    wpp_log_level: Literal["debug", "info", "warning", "error"] = "info"


def mask_text(text: str) -> str:
    """Mask secrets and phones in a text."""
    if text.isascii():  # beyond ASCII, letters have more than two cases
        lowered = text.lower()
        if not any([mark in lowered for mark in MARKS]):  # noqa: C419 - a list is twice as fast
            return text
    return mask_marked(text)


@lru_cache(maxsize=4096)
def _mask_short(text: str) -> str:
    return mask_text(text)


def mask_marked(text: str) -> str:
    """Do what `mask_text` does, whether or not a mark of `MARKS` is in the text."""
    return PHONE_IN_CONTEXT.sub(
        _mask_phone, NAMED_VALUE.sub(rf"\1{MASK}", SECRET_VALUE.sub(MASK, text))
    )


def _mask_phone(match: re.Match[str]) -> str:
    before, phone = (part for part in match.groups() if part is not None)
    return f"{before}{phones.mask_phone(phone)}"


def mask_fields(
    _logger: object, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Mask secrets and phones: fields by their name, values by their form (structlog processor)."""
    return {
        name: _mask_short(value)
        if type(value) is str and len(value) <= SHORT_CHARS and _is_plain(name)
        else _mask_field(str(name), value)
        for name, value in fields.items()
    }


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return SECRET_FIELD.search(name) is not None


@lru_cache(maxsize=1024)
def _is_plain(name: object) -> bool:
    return not (str(name).startswith("_") or _is_secret(str(name)))


def _mask_field(name: str, value: object) -> object:
    if name.startswith("_"):  # structlog's own field, removed before the line is written
        return value
    return MASK if value and _is_secret(name) else _mask_value(value)


def _mask_value(value: object) -> object:
    """Mask the text of a value: an exception, a URL or a model may contain a secret."""
    if type(value) is str:
        return mask_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return mask_fields(None, "", value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_mask_value(item) for item in value]
    return mask_text(str(value))


def add_time(
    _logger: object, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Add `timestamp`: ISO 8601 in UTC, with microseconds (structlog processor)."""
    second, micros = divmod(time.time_ns() // 1000, 1_000_000)
    fields["timestamp"] = f"{_format_second(second)}.{micros:06}Z"
    return fields


@lru_cache(maxsize=8)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


_JSON = json.JSONEncoder(separators=(",", ":"), default=repr)


def render_json(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> str:
    """Return a line of JSON, in ASCII (structlog processor)."""
    try:
        line = to_json(fields, inf_nan_mode="constants", fallback=repr)
    except ValueError:  # half of a surrogate pair
        return _JSON.encode(fields)
    return line.decode() if line.isascii() else _JSON.encode(fields)


class LineWriter:
    """The end of structlog's chain: writes a whole line where the records of libraries go.

    A line of ours that becomes a record of `logging` first costs twice as much.
    """

    def __init__(self, name: str, handler: "logging.StreamHandler[TextIO]") -> None:
        self.name = name
        self._handler = handler

    def write(self, line: str) -> None:
        handler = self._handler
        try:
            with handler.lock or nullcontext():
                handler.stream.write(f"{line}\n")
                handler.flush()
        except (OSError, ValueError):  # a log that cannot be written stops nobody
            handler.handleError(logging.makeLogRecord({"msg": line}))

    debug = info = warning = error = critical = write


class LineWriters(structlog.stdlib.LoggerFactory):
    """Makes them, each with the name that a logger of `logging` would have."""

    def __init__(self, handler: "logging.StreamHandler[TextIO]") -> None:
        super().__init__()
        self._handler = handler

    def __call__(self, *names: Any) -> Any:
        return LineWriter(super().__call__(*names).name, self._handler)


def configure_logging(process: str) -> None:
    """Write all logs of this process, those of libraries included, to stdout with masking."""
    settings = load_settings(LogSettings)
    text = settings.wpp_log_format == "text"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
        mask_fields,  # all but what comes now, of which nothing is secret
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False) if text else add_time,
    ]
    renderer: Any = structlog.dev.ConsoleRenderer(colors=False) if text else render_json
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    level = logging.getLevelNamesMapping()[settings.wpp_log_level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=LineWriters(handler),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in LOGS_URLS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in HAS_OWN_HANDLERS:
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True
    structlog.contextvars.bind_contextvars(process=process)
