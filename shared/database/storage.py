"""Files in the bucket `chat-media` of Supabase Storage."""

import io
import math
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO
from urllib.parse import unquote

from cachetools import TTLCache
from storage3.exceptions import StorageApiError

from shared.database.connection import Connection, map_errors
from shared.errors import DatabaseError
from shared.settings import MediaSettings

BUCKET = "chat-media"
TOO_LARGE = "413"
NOT_FOUND = "404"
MISSING = {"not_found", "NoSuchKey"}
"""What Storage calls a file that it does not have; a missing bucket has another name."""
RECENT_S = 600


class FileTooLargeError(DatabaseError):
    """The file exceeds the size limit of the project or of the bucket, which is below our own."""

    code = "file_too_large"


class FileMissingError(DatabaseError):
    """The bucket has no such file: it was deleted."""


class Storage:
    """The bucket. `media` says whether its links are public or signed, and for how long."""

    def __init__(self, connection: Connection, media: MediaSettings) -> None:
        self._connection = connection
        self._public = media.wpp_media_public
        self._link_s = media.wpp_media_link_s
        self._lock = threading.Lock()
        self._is_prepared = False
        self._recent: TTLCache[str, str] = TTLCache(1000, RECENT_S)
        self._own_link = re.compile(
            rf"{re.escape(connection.base_url)}/storage/v1/object/(?:sign|public)/{BUCKET}/([^?#]+)"
        )

    def upload(self, path: str, file: IO[bytes], mime_type: str) -> str:
        """Store a file under `path`, replacing a former one, and return a link to it.

        The file is streamed from its beginning, without a time limit of our own.

        Raises:
            FileTooLargeError: the project takes no file of this size.
        """
        self._prepare_bucket()
        file.seek(0)
        options = {"content-type": mime_type, "upsert": "true"}
        with (
            map_errors(math.inf),
            _map_too_large(),
            open(os.dup(file.fileno()), "rb") as reader,  # noqa: PTH123 - a descriptor
        ):
            assert isinstance(reader, io.BufferedReader)  # noqa: S101 - storage3 streams this type
            bucket = self._connection.client.storage.from_(BUCKET)
            bucket.upload(path, reader, options)  # type: ignore[arg-type] # a plain dict works
        return self.link(path)

    def link(self, path: str) -> str:
        """Return a link to a file: signed, or plain where the bucket is public.

        Raises:
            FileMissingError: the bucket is not public and has no such file.
        """
        bucket = self._connection.client.storage.from_(BUCKET)
        if self._public:
            return bucket.get_public_url(path).rstrip("?")
        with map_errors(), _map_missing():
            return bucket.create_signed_url(path, self._link_s)["signedUrl"] or ""

    def find_link(self, path: str) -> str | None:
        """Return a link to a file that the bucket has; None if it has none of this path."""
        if self._public:
            with map_errors():
                if not self._connection.client.storage.from_(BUCKET).exists(path):
                    return None
        try:
            return self.link(path)
        except FileMissingError:
            return None

    def recent_link(self, path: str) -> str:
        """Return a link to a file that is at most ten minutes old."""
        if (link := self._recent.get(path)) is None:
            link = self._recent[path] = self.link(path)
        return link

    def find_path(self, url: str) -> str | None:
        """Return the path of the file that one of our links leads to; None for any other URL."""
        found = self._own_link.match(url)
        return unquote(found[1]) if found else None

    def remove(self, paths: list[str]) -> None:
        """Delete files; a file that does not exist is no error."""
        with map_errors():
            self._connection.client.storage.from_(BUCKET).remove(paths)

    def _prepare_bucket(self) -> None:
        """Make the bucket public once, where the settings say so; it is created private."""
        with self._lock:
            if self._public and not self._is_prepared:
                with map_errors():
                    self._connection.client.storage.update_bucket(BUCKET, {"public": True})
            self._is_prepared = True


@contextmanager
def _map_too_large() -> Iterator[None]:
    """Raise FileTooLargeError for the refusal that is about the file's size."""
    try:
        yield
    except StorageApiError as error:
        if str(error.status) == TOO_LARGE or "too large" in error.message.lower():
            raise FileTooLargeError(error.message) from None
        raise


@contextmanager
def _map_missing() -> Iterator[None]:
    """Raise FileMissingError for the refusal that is about the path, not about the bucket."""
    try:
        yield
    except StorageApiError as error:
        if str(error.status) == NOT_FOUND and error.code in MISSING:
            raise FileMissingError(error.message) from None
        raise
