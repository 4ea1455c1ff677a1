"""The connection to Supabase: one client per process, queries, function calls, and their errors.

Supabase fails in two ways. `DatabaseUnavailableError` means that the request is fine and may work
later, unchanged: no answer arrived, Postgres cancelled it for its own reasons, a key was refused or
a migration is missing. An operator mends the last two, and no row may be lost until then.
`DatabaseError` means that the same request fails again.
"""

import json
import math
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import httpx
from postgrest.exceptions import APIError
from pydantic import TypeAdapter
from storage3.exceptions import StorageApiError
from supabase import Client, ClientOptions, create_client
from supabase_auth.errors import AuthApiError, AuthError, AuthRetryableError

from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.http.deadline import within
from shared.http.transports import PooledTransport
from shared.settings import SupabaseSettings

CALL_DEADLINE_S = 15.0
"""The limit of one call, from its start to its last byte; a surrounding deadline may be shorter.

It is longer than the 8 s that a hosted project gives a statement, so that Postgres' error arrives.
"""
TIMEOUT = httpx.Timeout(CALL_DEADLINE_S, connect=3.0)
MAX_CONNECTIONS = 100
KEEPALIVE_S = 5.0

PERMANENT = re.compile(r"(20|21|22|23|27|44|54|P0)[0-9A-Z]{3}|PGRST1\d\d|400|413")
"""SQLSTATE classes, PostgREST codes and HTTP statuses that repeat for the same request."""

SUSPECT = re.compile(r"\\u0000|\\ud[89a-f]|NaN|Infinity")
"""Matches ASCII JSON that may need `storable`. Emoji match as well and stay as they are."""
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

FIRST_ID = str(UUID(int=0))
ROWS = TypeAdapter(list[dict[str, Any]])
Result = TypeVar("Result")


class Connection:
    """Supabase for one process. Its methods raise DatabaseUnavailableError or DatabaseError.

    `http` replaces the HTTP client, for tests. `page_size` is the number of rows that `iterate`
    reads at a time.
    """

    def __init__(
        self, settings: SupabaseSettings, http: httpx.Client | None = None, page_size: int = 500
    ) -> None:
        self._settings = settings
        self._given_http = http
        self._own_http: httpx.Client | None = None
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._pid = 0
        self.page_size = page_size

    @property
    def client(self) -> Client:
        """The client of this process, created at first use.

        After a fork the child creates its own: a shared connection would mix up its answers.
        """
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                self._client = self._create_client()
                self._pid = os.getpid()
            return self._client

    def table(self, name: str) -> Any:
        """Return a query builder for a table or view."""
        return self.client.table(name)

    def rows(self, query: Any) -> list[dict[str, Any]]:
        """Execute a query and return its rows."""
        with map_errors():
            return ROWS.validate_python(query.execute().data)

    def counted(self, query: Any) -> tuple[list[dict[str, Any]], int]:
        """Execute a query that counts, and return a page of its rows and their number."""
        with map_errors():
            answer = query.execute()
            return ROWS.validate_python(answer.data), int(answer.count or 0)

    def iterate(self, query: Callable[[], Any], key: str = "id") -> Iterator[dict[str, Any]]:
        """Return all rows of a query page by page, in the order of a UUID column."""
        last = FIRST_ID
        while True:
            page = self.rows(query().gt(key, last).order(key).limit(self.page_size))
            yield from page
            if len(page) < self.page_size:
                return
            last = page[-1][key]

    def call(self, function: str, returns: type[Result], /, **arguments: Any) -> Result:
        """Call an SQL function with named arguments; `returns` is the type of its result."""
        with map_errors():
            data = self.client.rpc(function, storable(arguments)).execute().data
            return TypeAdapter(returns).validate_python(data)

    @property
    def base_url(self) -> str:
        """The project's address, without a slash at its end."""
        return str(self._settings.supabase_url).rstrip("/")

    def get_json(self, path: str) -> dict[str, Any]:
        """Return a JSON object that the project publishes under `path`; empty if there is none."""
        url = str(self._settings.supabase_url).rstrip("/")
        headers = {"apikey": self._settings.supabase_anon_key.get_secret_value()}
        http = self.client.options.httpx_client
        assert http  # noqa: S101 - `_create_client` sets it
        with map_errors():
            answer = http.get(f"{url}{path}", headers=headers)
        if answer.status_code >= 500:
            status = f"answers {answer.status_code}"
            raise _error(status, is_permanent=False)
        try:
            found = answer.json()
        except ValueError:
            return {}
        return found if answer.is_success and isinstance(found, dict) else {}

    def close(self) -> None:
        """Close this connection's own HTTP client; the next use opens it again."""
        with self._lock:
            self._client = None
            if self._own_http and self._pid == os.getpid():
                self._own_http.close()

    def _create_client(self) -> Client:
        # Without HTTP/2: httpx loses acknowledgements when threads share a connection that the
        # server closes. Without postgrest's retry of reads: it blocks for 7 s.
        options = ClientOptions(
            auto_refresh_token=False,
            persist_session=False,
            postgrest_client_retry=False,
            httpx_client=self._given_http or self._create_http(),
        )
        key = self._settings.supabase_service_role_key.get_secret_value()
        return create_client(str(self._settings.supabase_url).rstrip("/"), key, options)

    def _create_http(self) -> httpx.Client:
        self._own_http = httpx.Client(
            transport=PooledTransport(MAX_CONNECTIONS, KEEPALIVE_S),
            timeout=TIMEOUT,
            follow_redirects=True,
        )
        return self._own_http


@contextmanager
def map_errors(deadline_s: float = CALL_DEADLINE_S) -> Iterator[None]:
    """Limit a call to `deadline_s` and translate the errors of the supabase client.

    Raises:
        DatabaseUnavailableError: the same call may work later.
        DatabaseError: the same call fails again; `sqlstate` says why.
    """
    try:
        with within(deadline_s):
            yield
    except APIError as error:
        raise _from_api_error(error) from error
    except AuthApiError as error:
        is_permanent = 400 <= error.status < 500 and error.status != 429
        raise _error(error.message, is_permanent=is_permanent) from error
    except (AuthRetryableError, httpx.TransportError) as error:
        msg = f"does not answer: {type(error).__name__}"
        raise _error(msg, is_permanent=False) from error
    except StorageApiError as error:
        is_permanent = str(error.status).startswith("4")
        raise _error(error.message, is_permanent=is_permanent) from error
    except ValueError as error:  # a proxy's page, or other JSON
        msg = f"answers, but not as Supabase does: {type(error).__name__}"
        raise _error(msg, is_permanent=False) from error
    except AuthError as error:
        raise _error(error.message, is_permanent=True) from error


def storable(value: Any) -> Any:
    """Return a JSON value that jsonb accepts.

    Senders of WhatsApp messages choose these strings. jsonb has neither NUL nor half a surrogate
    pair: U+FFFD replaces them. JSON has neither NaN nor infinity: null replaces them.
    """
    return _replace_unstorable(value) if SUSPECT.search(json.dumps(value)) else value


def _replace_unstorable(value: Any) -> Any:
    if isinstance(value, str):
        return UNSTORABLE.sub(REPLACEMENT, value)
    if isinstance(value, dict):
        return {_replace_unstorable(key): _replace_unstorable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace_unstorable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _from_api_error(error: APIError) -> DatabaseError:
    code = error.code or ""
    message = f"Supabase: {code}: {error.message}" if code else f"Supabase: {error.message}"
    if PERMANENT.fullmatch(code):
        return DatabaseError(message, sqlstate=code)
    return DatabaseUnavailableError(message, sqlstate=code or None)


def _error(message: str, *, is_permanent: bool) -> DatabaseError:
    kind = DatabaseError if is_permanent else DatabaseUnavailableError
    return kind(f"Supabase: {message}")
