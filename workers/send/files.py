"""The file of a message, before it is sent: is it at its address, and what is it?

An address is checked once for all messages and processes that send it: a campaign of thousands
asks its server once in ten minutes. While a worker checks, the messages with the same file wait in
their lanes. A file in our own Storage needs no check: its link is signed when it is sent.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import redis

from shared.events import SendEvent, SentMedia
from shared.http.deadline import within
from shared.lanes.types import Claim, Postponed
from shared.redis import keys
from shared.settings import MediaSettings, PlatformSettings, SupabaseSettings, load_settings
from workers.context import WorkerContext
from workers.media.download import LinkFetcher
from workers.media.errors import FileRefusedError, FileUnreachableError
from workers.media.link_check import CHECK_TIMEOUT_S, check_link
from workers.retry import Backoff

MAX_ATTEMPTS = 5
"""Attempts of a message at an address that does not answer, in about a minute."""
BACKOFF = Backoff(base_s=1, cap_s=20, floor=0.5)
REMEMBERED_S = 600
REFUSED_S = 30
"""How long a refused address is not asked again: a person may mend it."""
LATER_S = 2
CHECKING_S = 10
"""Longer than a check takes."""
TURN_S = 0.25
"""How long the messages with the same file wait for the check before they look again."""
CHECKING = "checking"


@dataclass(frozen=True)
class FileLinks:
    """How addresses are asked. `max_bytes` is the largest file that is sent."""

    fetcher: LinkFetcher
    max_bytes: int


class UnusableFileError(Exception):
    """The file cannot be sent. The text says why, for the sender."""


class _Found(NamedTuple):
    """What a check has found: the MIME type, why the file is refused, or why to come back."""

    mime: str | None = None
    refused: str | None = None
    later: str | None = None


@cache
def open_links() -> FileLinks:
    """Return the link check of this process.

    Our own Supabase may have a private address: the CRM stores its files there.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    settings = load_settings(MediaSettings)
    supabase = load_settings(SupabaseSettings).supabase_url
    own = f"{supabase.host}:{supabase.port}"
    allowed = settings.model_copy(
        update={
            "wpp_media_hosts": ("*",),
            "wpp_media_private_hosts": (*settings.wpp_media_private_hosts, own),
        }
    )
    fetcher = LinkFetcher(
        allowed,
        str(load_settings(PlatformSettings).wpp_base_url),
        ports=range(1, 65_536),
        timeout_s=CHECK_TIMEOUT_S,
    )
    return FileLinks(fetcher, settings.wpp_media_limit)


def prepare_file(event: SendEvent, claim: Claim, ctx: WorkerContext) -> SendEvent | Postponed:
    """Return a message with what is known of its file now, or why it has to wait.

    Raises:
        UnusableFileError: its address does not lead to the file.
        DatabaseError: the link to a file in Storage cannot be signed.
    """
    media = event.media
    if media is None or claim.file_task:
        return event
    if media.path:
        return _replace_media(event, url=ctx.database.storage.recent_link(media.path))
    found = _find(media, claim, ctx)
    if isinstance(found, Postponed):
        return found
    if found.refused:
        raise UnusableFileError(found.refused)
    if found.later:
        if claim.attempts >= MAX_ATTEMPTS:
            raise UnusableFileError(found.later)
        return Postponed(BACKOFF.after(claim.attempts), found.later)
    return event if media.mime or not found.mime else _replace_media(event, mime=found.mime)


def _replace_media(event: SendEvent, **update: str) -> SendEvent:
    assert event.media  # noqa: S101 - the caller has looked
    return event.model_copy(update={"media": event.media.model_copy(update=update)})


def _find(media: SentMedia, claim: Claim, ctx: WorkerContext) -> _Found | Postponed:
    """Return what is known of an address, or what this check finds."""
    text = f"{media.type} {media.mime} {media.filename} {media.url}"
    key = keys.file_link(hashlib.sha256(text.encode()).hexdigest())
    known = _read(ctx.redis, key)
    if known == CHECKING:
        return Postponed(TURN_S, "waits while the address of its file is checked", unstarted=True)
    if isinstance(known, _Found):
        return known
    links = open_links()
    try:
        with within(claim.left_s):
            found = _Found(mime=check_link(media, links.fetcher, links.max_bytes))
        seconds = REMEMBERED_S
    except FileRefusedError as error:
        found, seconds = _Found(refused=str(error)), REFUSED_S
    except FileUnreachableError as error:
        found, seconds = _Found(later=str(error)), LATER_S
    ctx.redis.set(key, json.dumps(found._asdict()), ex=seconds)
    return found


def _read(client: "redis.Redis", key: str) -> _Found | str | None:
    """Return what is known of an address, CHECKING, or None for the worker that has to check it."""
    known: Any = client.get(key)
    if known is None:
        return None if client.set(key, CHECKING, nx=True, ex=CHECKING_S) else CHECKING
    text = known.decode()
    if text == CHECKING:
        return CHECKING
    stored = json.loads(text)
    return _Found(**{name: stored[name] for name in _Found._fields if name in stored})
