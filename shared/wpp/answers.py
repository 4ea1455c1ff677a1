"""Reading the platform's answers: JSON with fields that come, go and change their names, or no JSON at all."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, Literal, Self

import httpx
from pydantic import SecretStr

LONGEST_RETRY_AFTER_S = 300.0
REASON_LENGTH = 200
AccountStatus = Literal["connected", "starting", "offline", "qr_required"]
ROUTE_DENIED = re.compile(r"Cannot (GET|POST|DELETE) /|Route (GET|POST|DELETE):")
"""By Express, and by Fastify."""
NOTHING_BEHIND = re.compile(r"no Route matched|^Application not found", re.IGNORECASE)
"""By proxies that say it in JSON: Kong, Railway."""
KEY_INVALID = re.compile(rb"invalid[ _-]api[ _-]?key", re.IGNORECASE)
NOT_CONNECTED = re.compile(
    r"\b(account|session|device|instance|whatsapp client)\b[^.]{0,40}?"
    r"\b(not|isn't|no longer) (yet )?(connected|ready|active|started|logged in) ?([.,;:!)]|$)"
    r"|\b(account|session|device|instance|whatsapp client)( is)? (closed|disconnected|offline) ?([.,;:!)]|$)",
    re.IGNORECASE,
)
"""Of the number itself: what is said of a recipient ("not on WhatsApp") has other subjects, or goes on."""
IMAGE = re.compile(r"(iVBORw0KGgo|/9j/)[A-Za-z0-9+/\s]{60,}={0,2}\s*")
JWT = re.compile(r"eyJ[\w-]+(\.[\w-]*){0,2}")


class Qr(str):
    """What to scan: a raw pairing string to draw as a code, or a ready image as a `data:` URL."""

    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> Self | None:
        """Recognise a raw pairing string, a data URL, and a PNG or JPEG in bare base64."""
        if not isinstance(value, str) or not value.strip():
            return None
        text = value.strip()
        if found := IMAGE.fullmatch(text):
            kind = "png" if found[1].startswith("iVBOR") else "jpeg"
            text = f"data:image/{kind};base64,{''.join(text.split())}"
        return cls(text)

    @property
    def is_image(self) -> bool:
        return self.startswith("data:image")

    def __repr__(self) -> str:
        return "Qr(…)"


@dataclass(frozen=True, slots=True)
class Client:
    """What the platform created, or handed back, for one organization id. `account` is its session id."""

    api_key: SecretStr
    account: str
    status: str


@dataclass(frozen=True, slots=True)
class Started:
    status: Literal["connected", "starting", "qr"]
    qr: Qr | None


@dataclass(frozen=True, slots=True)
class Sent:
    """Taken by the platform. `task_id` is its queue id, where it said one."""

    task_id: str | None


@dataclass(frozen=True, slots=True)
class Download:
    """A media file as it streams in. `length` is what the platform announced, in bytes."""

    content_type: str
    filename: str | None
    length: int | None
    chunks: Iterator[bytes]


@dataclass(frozen=True)
class Answer:
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
        return identifier(self.first(*names))

    @property
    def says_error(self) -> bool:
        """A success by HTTP that is none: `status: "error"`, or the older `success: false`."""
        return self.word("status") == "error" or (self.fields or {}).get("success") is False

    @property
    def task_id(self) -> str | None:
        """The id of a message that was taken. Older answers name it `ids[0].id`."""
        ids = self.first("ids")
        older = ids[0].get("id") if isinstance(ids, list) and isinstance(ids[0], Mapping) else None
        return self.identifier("taskId", "id") or identifier(older)

    @property
    def mentions_error(self) -> bool:
        return bool(self.first("error", "errors"))

    @property
    def calls_key_invalid(self) -> bool:
        """A refusal whose words, whatever else they quote, say that the key is no good."""
        return 400 <= self.status < 500 and self.status != 429 and bool(KEY_INVALID.search(self.body[:4096]))

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
        by_proxy = self.fields is None or bool(NOTHING_BEHIND.search(self._said))
        return self.status == 404 and (by_proxy or self.route_denied)

    @property
    def route_denied(self) -> bool:
        """The platform itself runs, and says that it has no such route."""
        return self.status in {404, 405} and bool(ROUTE_DENIED.search(self._said))

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
        return min(max(seconds, 1.0), LONGEST_RETRY_AFTER_S)

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
            express = ROUTE_DENIED.search(text)
            found = express[0] if express else "an HTML page" if "<" in text[:200] else text
        said = found if isinstance(found, str) else ""
        return " ".join("".join(c if c.isprintable() else " " for c in said).split())[:REASON_LENGTH]


def identifier(found: object) -> str | None:
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
