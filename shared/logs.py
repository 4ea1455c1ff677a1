"""Structured logs: one line per event, JSON for machines or text for people, secrets and phones masked in one place."""

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
    r"|sb_secret_[\w-]+"  # a key of Supabase
    r"|(?<=/webhooks/wpp/)[^/\s]+/[\w-]{20,}"  # a webhook URL
    r"|(?i:(?<=bearer )|(?<=basic ))[\w.~+/=-]{8,}"
    r"|(?i:(?<=;base64,))[\w+/=-]{32,}"  # a QR code as an image
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"  # user:password in a URL
)
NAMED_VALUE = re.compile(
    r"(?i)((?:secret|token|password|api_?key)\w*[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&}]{6,}"
)
"""A secret that says so: in a query, in JSON, in an error's text."""
PHONE_IN_CONTEXT = re.compile(
    r"(\b(?:send|event):[^:\s]+:)(\d{7,15})\b"  # the lane of a conversation: one number with one recipient
    r"|(\+)(\d{7,15})\b"
    r"|()\b(\d{7,15})(?=@(?:c\.us|s\.whatsapp\.net))"
)
"""A customer's phone, where what stands around it says so: ids and times have as many digits."""
MASK = "•••"


class LogSettings(SettingsGroup):
    wpp_log_format: Literal["json", "text"] = "json"
    wpp_log_level: Literal["debug", "info", "warning", "error"] = "info"


def mask_text(text: str) -> str:
    return PHONE_IN_CONTEXT.sub(
        _mask_phone, NAMED_VALUE.sub(rf"\1{MASK}", SECRET_VALUE.sub(MASK, text))
    )


def _mask_phone(found: re.Match[str]) -> str:
    before, phone = (part for part in found.groups() if part is not None)
    return f"{before}{phones.mask_phone(phone)}"


def mask_fields(
    _logger: object, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Hide what must not be read in a log: fields by their name, values by their shape."""
    return {name: _mask_field(str(name), value) for name, value in fields.items()}


def _mask_field(name: str, value: object) -> object:
    if name.startswith("_"):  # structlog's own, removed before anything is written
        return value
    return MASK if value and SECRET_FIELD.search(name) else _mask_value(value)


def _mask_value(value: object) -> object:
    """Mask a value as it would be written: an exception, a URL or a model may quote a secret, too."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return mask_fields(None, "", value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_mask_value(item) for item in value]
    return mask_text(str(value))


def configure_logging(process: str) -> None:
    """Send everything that this process logs, its libraries included, to stdout through the mask."""
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
    for chatty in (
        "httpx",
        "httpcore",
        "hpack",
        "uvicorn.access",
    ):  # they log whole URLs, with the keys in them
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for own in ("uvicorn", "uvicorn.error", "dramatiq"):
        logging.getLogger(own).handlers[:] = []
        logging.getLogger(own).propagate = True
    structlog.contextvars.bind_contextvars(process=process)
