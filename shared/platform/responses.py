"""Reading the platform's answers: JSON with fields that come, go and change their names, or no JSON at all."""

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
NO_ROUTE_ON_PLATFORM = re.compile(r"Cannot (GET|POST|DELETE) /|Route (GET|POST|DELETE):")
"""By Express, and by Fastify."""
NO_ROUTE_AT_PROXY = re.compile(r"no Route matched|^Application not found", re.IGNORECASE)
"""By proxies that say it in JSON: Kong, Railway."""
KEY_INVALID = re.compile(rb"invalid[ _-]api[ _-]?key", re.IGNORECASE)
NOT_CONNECTED = re.compile(
    r"\b(account|session|device|instance|whatsapp client)\b[^.]{0,40}?"
    r"\b(not|isn't|no longer) (yet )?(connected|ready|active|started|logged in) ?([.,;:!)]|$)"
    r"|\b(account|session|device|instance|whatsapp client)( is)? (closed|disconnected|offline) ?([.,;:!)]|$)",
    re.IGNORECASE,
)
"""Of the number itself: what is said of a recipient ("not on WhatsApp") has other subjects, or goes on."""
JWT = re.compile(r"eyJ[\w-]+(\.[\w-]*){0,2}")


@dataclass(frozen=True)
class PlatformResponse:
    """`body` and `headers` may hold a key, a token or a QR code: they show in no repr."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @cached_property
    def fields(self) -> dict[str, Any] | None:
        """The JSON object, or None when the body is anything else."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def first(self, *names: str) -> Any:
        """Return the first of these fields that says something, at the root or in `data`."""
        root = self.fields or {}
        inner = root.get("data")
        for fields in (root, inner if isinstance(inner, dict) else {}):
            for name in names:
                if fields.get(name) not in (None, "", [], {}):
                    return fields[name]
        return None

    def word(self, *names: str) -> str:
        """Return such a field in lower case, or nothing when it is no text."""
        found = self.first(*names)
        return found.strip().lower() if isinstance(found, str) else ""

    def identifier(self, *names: str) -> str | None:
        """Return such a field as an identifier: a short text, or a number given as one."""
        return read_identifier(self.first(*names))

    @property
    def says_error(self) -> bool:
        """A success by HTTP that is none: `status: "error"`, or the older `success: false`."""
        return self.word("status") == "error" or (self.fields or {}).get("success") is False

    @property
    def task_id(self) -> str | None:
        """The id of a message that was taken. Older answers name it `ids[0].id`."""
        ids = self.first("ids")
        older = ids[0].get("id") if isinstance(ids, list) and isinstance(ids[0], Mapping) else None
        return self.identifier("taskId", "id") or read_identifier(older)

    @property
    def mentions_error(self) -> bool:
        return bool(self.first("error", "errors"))

    @property
    def calls_key_invalid(self) -> bool:
        """A refusal whose words, whatever else they quote, say that the key is no good."""
        return (
            400 <= self.status < 500
            and self.status != 429
            and bool(KEY_INVALID.search(self.body[:4096]))
        )

    @property
    def denies_connection(self) -> bool:
        """A refusal because the account's own phone is not linked, or not yet: nothing was taken."""
        refused = 400 <= self.status < 500 or (self.ok and self.says_error)
        return refused and bool(NOT_CONNECTED.search(re.sub("[_-]", " ", self._said)))

    @property
    def route_unknown(self) -> bool:
        """The path itself is not known, by the platform or by a proxy before it: nothing was processed.

        Only a JSON object with 404 is the platform's own word, that what the path names is not there.
        """
        if self.status == 405:
            return True
        by_proxy = self.fields is None or bool(NO_ROUTE_AT_PROXY.search(self._said))
        return self.status == 404 and (by_proxy or self.route_denied)

    @property
    def route_denied(self) -> bool:
        """The platform itself runs, and says that it has no such route."""
        return self.status in {404, 405} and bool(NO_ROUTE_ON_PLATFORM.search(self._said))

    @property
    def date_s(self) -> float | None:
        """The platform's clock, in seconds since 1970, as its answer tells it."""
        found = _http_date(self.headers.get("date"))
        return found.timestamp() if found else None

    @property
    def retry_after_s(self) -> float | None:
        """How long to wait, from Retry-After as seconds or as a date: 1 s to 5 minutes, None without one."""
        given = self.headers.get("retry-after", "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d+)?", given):
            seconds = float(given)
        elif at := _http_date(given):
            seconds = at.timestamp() - (self.date_s or datetime.now(UTC).timestamp())
        else:
            return None
        return min(max(seconds, 1.0), MAX_RETRY_AFTER_S)

    def reason(self, ours: Iterable[str] = ()) -> str:
        """Return what the platform said was wrong, in one short line that does not quote `ours`."""
        said = JWT.sub("…", self._said)
        for own in ours:
            said = said.replace(own, "…") if len(own) > 2 else said
            if any(said[at : at + 12] in own for at in range(len(said) - 11)):
                return "it quotes the request, which is not repeated here"
        return said or "no reason given"

    @property
    def _said(self) -> str:
        found: Any = self.first("message", "error", "detail", "reason", "title")
        if isinstance(found, Mapping):
            found = found.get("message") or found.get("code")
        if self.fields is None:
            text = self.body[:4096].decode(errors="replace")
            express = NO_ROUTE_ON_PLATFORM.search(text)
            found = express[0] if express else "an HTML page" if "<" in text[:200] else text
        said = found if isinstance(found, str) else ""
        return " ".join("".join(c if c.isprintable() else " " for c in said).split())[
            :MAX_REASON_LENGTH
        ]


def read_identifier(found: object) -> str | None:
    if isinstance(found, bool) or not isinstance(found, str | int):
        return None
    text = str(found).strip()
    return text if text.isprintable() and 0 < len(text) <= 255 else None


def _http_date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
