"""Reads the platform's responses: JSON with field names that vary by version, or no JSON."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import httpx

MAX_RETRY_AFTER_S = 300.0
MAX_REASON_LENGTH = 200
HIDDEN = "the reason quotes the request and is hidden"
NO_ROUTE_ON_PLATFORM = re.compile(r"Cannot (GET|POST|DELETE) /|Route (GET|POST|DELETE):")
"""Messages of Express and of Fastify."""
NO_ROUTE_AT_PROXY = re.compile(r"no Route matched|^Application not found", re.IGNORECASE)
"""JSON messages of proxies: Kong, Railway."""
KEY_INVALID = re.compile(rb"invalid[ _-]api[ _-]?key", re.IGNORECASE)
NOT_CONNECTED = re.compile(
    r"\b(account|session|device|instance|whatsapp client)\b[^.]{0,40}?"
    r"\b(not|isn't|no longer) (yet )?(connected|ready|active|started|logged in) ?([.,;:!)]|$)"
    r"|\b(account|session|device|instance|whatsapp client)( is)?"
    r" (closed|disconnected|offline) ?([.,;:!)]|$)",
    re.IGNORECASE,
)
"""The account itself is not connected.

Messages about a recipient ("not on WhatsApp") have a different subject, or go on after the word.
"""
JWT = re.compile(r"eyJ[\w-]+(\.[\w-]*){0,2}")


@dataclass(frozen=True)
class PlatformResponse:
    """A response that is read to its end.

    `body` and `headers` may hold a key, a token or a QR code, so `repr` omits them.
    """

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @cached_property
    def fields(self) -> dict[str, Any] | None:
        """The JSON object, or None when the body holds none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def first(self, *names: str) -> Any:
        """Return the first of these fields that is not empty, at the root or in `data`."""
        root = self.fields or {}
        inner = root.get("data")
        for fields in (root, inner if isinstance(inner, dict) else {}):
            for name in names:
                if fields.get(name) not in (None, "", [], {}):
                    return fields[name]
        return None

    def keyword(self, *names: str) -> str:
        """Return the first of these fields in lower case, or "" when it is not text."""
        found = self.first(*names)
        return found.strip().lower() if isinstance(found, str) else ""

    def identifier(self, *names: str) -> str | None:
        """Return the first of these fields as an identifier: a short text, or a number."""
        return read_identifier(self.first(*names))

    @property
    def reports_error(self) -> bool:
        """Whether the body reports a failure: `status: "error"`, or the older `success: false`."""
        return self.keyword("status") == "error" or (self.fields or {}).get("success") is False

    @property
    def task_id(self) -> str | None:
        """The id of an accepted message. Older responses name it `ids[0].id`."""
        ids = self.first("ids")
        older = ids[0].get("id") if isinstance(ids, list) and isinstance(ids[0], Mapping) else None
        return self.identifier("taskId", "id") or read_identifier(older)

    @property
    def has_error_field(self) -> bool:
        return bool(self.first("error", "errors"))

    @property
    def reports_invalid_key(self) -> bool:
        """Whether it is a 4xx except 429 with a body that calls the API key invalid."""
        is_refusal = 400 <= self.status < 500 and self.status != 429
        return is_refusal and bool(KEY_INVALID.search(self.body[:4096]))

    @property
    def reports_not_connected(self) -> bool:
        """Whether it is a refusal because the account's phone is not linked: nothing was sent."""
        is_refusal = 400 <= self.status < 500 or (self.ok and self.reports_error)
        return is_refusal and bool(NOT_CONNECTED.search(re.sub("[_-]", " ", self._message)))

    @property
    def is_route_missing(self) -> bool:
        """Whether the platform, or a proxy before it, does not know the path: nothing was done.

        A 404 with a JSON object is the platform's own answer about the resource in the path.
        """
        if self.status != 404:
            return self.status == 405
        is_from_proxy = self.fields is None or bool(NO_ROUTE_AT_PROXY.search(self._message))
        return is_from_proxy or self.is_route_missing_on_platform

    @property
    def is_route_missing_on_platform(self) -> bool:
        """Whether the platform itself answered that it lacks the route."""
        return self.status in {404, 405} and bool(NO_ROUTE_ON_PLATFORM.search(self._message))

    @property
    def date_s(self) -> float | None:
        """The platform's clock from the Date header, in seconds since 1970."""
        found = _parse_http_date(self.headers.get("date"))
        return found.timestamp() if found else None

    @property
    def retry_after_s(self) -> float | None:
        """Seconds to wait, from Retry-After as seconds or a date: 1 s to 5 min, None without it."""
        given = self.headers.get("retry-after", "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d+)?", given):
            seconds = float(given)
        elif at := _parse_http_date(given):
            seconds = at.timestamp() - (self.date_s or datetime.now(UTC).timestamp())
        else:
            return None
        return min(max(seconds, 1.0), MAX_RETRY_AFTER_S)

    def describe(self, secrets: Iterable[str] = ()) -> str:
        """Return the platform's reason in a short line that quotes no `secrets`."""
        message = JWT.sub("…", self._message)
        for secret in secrets:
            message = message.replace(secret, "…") if len(secret) > 2 else message
            if any(message[at : at + 12] in secret for at in range(len(message) - 11)):
                return HIDDEN
        return message or "no reason given"

    @property
    def _message(self) -> str:
        found: Any = self.first("message", "error", "detail", "reason", "title")
        if isinstance(found, Mapping):
            found = found.get("message") or found.get("code")
        if self.fields is None:
            text = self.body[:4096].decode(errors="replace")
            no_route = NO_ROUTE_ON_PLATFORM.search(text)
            found = no_route[0] if no_route else "an HTML page" if "<" in text[:200] else text
        message = found if isinstance(found, str) else ""
        printable = "".join(c if c.isprintable() else " " for c in message)
        return " ".join(printable.split())[:MAX_REASON_LENGTH]


def read_identifier(found: object) -> str | None:
    """Return a short printable text, or a number, as an identifier; None for the rest."""
    if isinstance(found, bool) or not isinstance(found, str | int):
        return None
    text = str(found).strip()
    return text if text.isprintable() and 0 < len(text) <= 255 else None


def _parse_http_date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
