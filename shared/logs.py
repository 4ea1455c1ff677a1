"""Structured logs: a line per event, as JSON or text, with secrets and phones masked."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

from shared import phones
from shared.settings import SettingsGroup, load_settings

SECRET_FIELD = re.compile(
    r"secret|token|password|api_?key|authorization|jwt|service_key|webhook_key|(^|_)qr$",
    re.IGNORECASE,
)
SECRET_VALUE = re.compile(
    r"eyJ[\w-]{8,}(?:\.[\w-]*)*"  # a JWT, or its beginning
    r"|wpp_[0-9a-f]{32}_[\w-]{43,}"  # a service key
    r"|wpk_[\w-]{43}"  # a stored service key
    r"|sb_secret_[\w-]+"  # a key of Supabase
    r"|(?<=/webhooks/wpp/)[^/\s]+/[\w-]{20,}"  # a webhook URL
    r"|(?i:(?<=bearer )|(?<=basic ))[\w.~+/=-]{8,}"
    r"|(?i:(?<=;base64,))[\w+/=-]{32,}"  # a QR code as an image
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"  # user:password in a URL
)
NAMED_VALUE = re.compile(
    r"(?i)((?:secret|token|password|api_?key)\w*[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&}]{6,}"
)
"""A value that its name marks as a secret: in a query, in JSON, in the text of an error."""
PHONE_IN_CONTEXT = re.compile(
    r"(\b(?:send|event):[^:\s]+:)(\d{7,15})\b"  # the lane of a conversation: kind:account:phone
    r"|(\+)(\d{7,15})\b"
    r"|()\b(\d{7,15})(?=@(?:c\.us|s\.whatsapp\.net))"
)
"""A customer's phone, recognized by its context: ids and times have as many digits."""
MASK = "•••"
LOGS_URLS = ("httpx", "httpcore", "hpack", "uvicorn.access")
"""Loggers of libraries that log whole URLs, which may contain keys."""
HAS_OWN_HANDLERS = ("uvicorn", "uvicorn.error", "dramatiq")
"""Loggers with handlers that would bypass the masking."""


class LogSettings(SettingsGroup):
    wpp_log_format: Literal["json", "text"] = "json"
    wpp_log_level: Literal["debug", "info", "warning", "error"] = "info"


def mask_text(text: str) -> str:
    """Mask secrets and phones in a text."""
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
    return {name: _mask_field(str(name), value) for name, value in fields.items()}


def _mask_field(name: str, value: object) -> object:
    if name.startswith("_"):  # structlog's own field, removed before the line is written
        return value
    return MASK if value and SECRET_FIELD.search(name) else _mask_value(value)


def _mask_value(value: object) -> object:
    """Mask the text of a value: an exception, a URL or a model may contain a secret."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return mask_fields(None, "", value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_mask_value(item) for item in value]
    return mask_text(str(value))


def configure_logging(process: str) -> None:
    """Write all logs of this process, those of libraries included, to stdout with masking."""
    settings = load_settings(LogSettings)
    text = settings.wpp_log_format == "text"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if text else "iso", utc=not text),
        structlog.processors.format_exc_info,
        mask_fields,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=False) if text else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.wpp_log_level.upper())
    for name in LOGS_URLS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in HAS_OWN_HANDLERS:
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True
    structlog.contextvars.bind_contextvars(process=process)
