"""The connection to Supabase: one client per process, and its many ways to fail as two.

`DatabaseUnavailableError` means that nothing is wrong with what was asked: it may work later, unchanged. That is so
when nobody answered, when Postgres gave up for reasons of its own, and also when a key was refused or a migration is
missing: an operator mends that, and no row may be thrown away for it meanwhile.
"""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from postgrest.exceptions import APIError
from storage3.exceptions import StorageApiError
from supabase import Client, ClientOptions, create_client
from supabase_auth.errors import AuthApiError, AuthError, AuthRetryableError

from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.http.deadline import within
from shared.http.pool import PooledTransport
from shared.settings import SupabaseSettings

WHOLE_S = 15.0
"""One call from its beginning to its last byte, or what the deadline around it leaves, if that is less. Longer than the
8 s that a hosted project gives a statement, so that its own answer arrives."""
TIMEOUT = httpx.Timeout(WHOLE_S, connect=3.0)
CONNECTIONS, KEEPALIVE_S = 100, 5.0

LASTING = re.compile(r"(20|21|22|23|27|44|54|P0)[0-9A-Z]{3}|PGRST1\d\d|400|413")
"""SQLSTATE classes, PostgREST codes and HTTP statuses that the same request would get again: it is wrong itself."""


class Connection:
    """Supabase for one process. `http` is for tests that stand between us and Supabase."""

    def __init__(self, settings: SupabaseSettings, http: httpx.Client | None = None) -> None:
        self._settings = settings
        self._http = http
        self._own: httpx.Client | None = None
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._pid = 0

    @property
    def client(self) -> Client:
        """The client of this process, made at first use: one that was used before a fork mixes up its answers."""
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                self._client = self._connect()
                self._pid = os.getpid()
            return self._client

    def _connect(self) -> Client:
        # No HTTP/2: with several threads it loses acknowledgements when a server closes the connection. The client's
        # own repetition of reads blocks for 7 s.
        http = self._http or self._made()
        options = ClientOptions(
            auto_refresh_token=False,
            persist_session=False,
            postgrest_client_retry=False,
            httpx_client=http,
        )
        key = self._settings.supabase_service_role_key.get_secret_value()
        return create_client(str(self._settings.supabase_url).rstrip("/"), key, options)

    def _made(self) -> httpx.Client:
        self._own = httpx.Client(
            transport=PooledTransport(CONNECTIONS, KEEPALIVE_S),
            timeout=TIMEOUT,
            follow_redirects=True,
        )
        return self._own

    def close(self) -> None:
        """Close what was opened here; the next use opens it anew."""
        with self._lock:
            self._client = None
            if self._own and self._pid == os.getpid():
                self._own.close()


@contextmanager
def map_errors(whole_s: float = WHOLE_S) -> Iterator[None]:
    """Give a call `whole_s`, and turn what supabase raises into our errors.

    Raises:
        DatabaseUnavailableError: it may work later.
        DatabaseError: this will not work; `sqlstate` says why.
    """
    try:
        with within(whole_s):
            yield
    except APIError as error:
        raise _database_error(error) from error
    except AuthApiError as error:
        kind = (
            DatabaseError
            if 400 <= error.status < 500 and error.status != 429
            else DatabaseUnavailableError
        )
        raise _said(kind, error.message) from error
    except (AuthRetryableError, httpx.TransportError) as error:
        raise _said(DatabaseUnavailableError, f"does not answer: {type(error).__name__}") from error
    except StorageApiError as error:
        kind = DatabaseError if str(error.status).startswith("4") else DatabaseUnavailableError
        raise _said(kind, error.message) from error
    except AuthError as error:
        raise _said(DatabaseError, error.message) from error


def _database_error(error: APIError) -> DatabaseError:
    code = error.code or ""
    message = f"{code}: {error.message}" if code else str(error.message)
    if not LASTING.fullmatch(code):
        return DatabaseUnavailableError(f"Supabase: {message}", sqlstate=code or None)
    return DatabaseError(f"Supabase said {message}", sqlstate=code)


def _said(kind: type[DatabaseError], message: str) -> DatabaseError:
    return kind(f"Supabase: {message}")
