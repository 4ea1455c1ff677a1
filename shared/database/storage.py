"""The bucket in Supabase Storage that keeps the files which arrive."""

import io
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import httpx
from storage3.exceptions import StorageApiError

from shared.database.connection import Connection, map_errors
from shared.errors import DatabaseError
from shared.settings import MediaSettings, SupabaseSettings

NAME = "chat-media"
TOO_LARGE = "413"


class FileTooLargeError(DatabaseError):
    """The project's own limit for a file, or the bucket's, is lower than ours."""

    code = "file_too_large"


class Bucket:
    """Every method blocks, and raises DatabaseUnavailableError (it may work later) or DatabaseError."""

    def __init__(
        self, supabase: SupabaseSettings, media: MediaSettings, http: httpx.Client | None = None
    ) -> None:
        self._connection = Connection(supabase, http)
        self._public, self._link_s = media.wpp_media_public, media.wpp_media_link_s
        self._lock, self._prepared = threading.Lock(), False

    def keep(self, path: str, file: IO[bytes], mime: str) -> str:
        """Store a file under `path`, in place of what was there, and return a link to it. It is read as it is sent.

        Raises:
            FileTooLargeError: the project takes no file of this size.
        """
        self._prepare()
        file.seek(0)
        options = {"content-type": mime, "upsert": "true"}
        with map_errors(math.inf), _told_apart(), open(os.dup(file.fileno()), "rb") as reader:  # noqa: PTH123 - its descriptor
            assert isinstance(reader, io.BufferedReader)  # noqa: S101 - what storage3 streams
            self._connection.client.storage.from_(NAME).upload(path, reader, options)  # type: ignore[arg-type]
        return self.link(path)

    def link(self, path: str) -> str:
        """Return a link to a file: signed, or plain where the bucket is public."""
        bucket = self._connection.client.storage.from_(NAME)
        if self._public:
            return bucket.get_public_url(path).rstrip("?")
        with map_errors():
            return bucket.create_signed_url(path, self._link_s)["signedUrl"] or ""

    def _prepare(self) -> None:
        """Make the bucket public where a setting says so, once; the migration makes it private."""
        with self._lock:
            if self._public and not self._prepared:
                with map_errors():
                    self._connection.client.storage.update_bucket(NAME, {"public": True})
            self._prepared = True


@contextmanager
def _told_apart() -> Iterator[None]:
    """Tell the one refusal apart that is about the file."""
    try:
        yield
    except StorageApiError as error:
        if str(error.status) == TOO_LARGE or "too large" in error.message.lower():
            raise FileTooLargeError(error.message) from None
        raise
