"""The CRM's callers: a signed-in user's pages with their wrapper, and the CRM's own servers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from tests.fixtures.system import System

REPEATED = {408, 429, 500, 502, 503, 504}
REPEATS = 3
PASSWORD = "password"


@dataclass
class FrontEnd:
    """Pages of a user: the wrapper of the functions, and reads of tables as this user.

    The wrapper reads an answer as the CRM's does: its error is `error` or `message` under
    `application/json`; what is not readable for a page of another origin is a failed connection.
    """

    http: httpx.Client
    organization_id: UUID
    user_id: UUID
    attempts: list[int] = field(default_factory=list)

    def call(
        self, function: str, body: Any = None, *, method: str = "POST", query: str = ""
    ) -> "Answer":
        """Call a function with the wrapper's repeats, whose pauses are left out."""
        answer = self._attempt(function, body, method, query)
        for _ in range(REPEATS):
            if answer.status not in REPEATED:
                break
            answer = self._attempt(function, body, method, query)
        return answer

    def get(self, function: str, query: str = "") -> "Answer":
        return self.call(function, method="GET", query=query)

    def read(self, table: str, query: str = "") -> httpx.Response:
        """Read a table as this user, as supabase-js does."""
        return self.http.get(f"/rest/v1/{table}?{query}")

    def _attempt(self, function: str, body: Any, method: str, query: str) -> "Answer":
        response = self.http.request(
            method,
            f"/functions/v1/{function}{query}",
            json=body,
            headers={"Origin": "https://crm.example.com"},
        )
        self.attempts.append(response.status_code)
        assert response.headers["Access-Control-Allow-Origin"] in {"*", "https://crm.example.com"}
        assert "application/json" in response.headers["Content-Type"]
        return Answer(response.status_code, response.json())


@dataclass(frozen=True)
class Answer:
    """What the wrapper hands to a page."""

    status: int
    data: dict[str, Any]

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def error(self) -> str | None:
        return None if self.ok else self.data.get("error") or self.data.get("message")


@contextmanager
def sign_in(system: System, organization_id: UUID) -> Iterator[FrontEnd]:
    """Create a member of an organization and sign them in."""
    base = system.environment["SUPABASE_URL"].rstrip("/")
    anon = system.environment["SUPABASE_ANON_KEY"]
    email = f"{uuid4().hex}@example.com"
    with httpx.Client(base_url=base, headers={"apikey": anon}, trust_env=False) as http:
        created = http.post("/auth/v1/signup", json={"email": email, "password": PASSWORD}).json()
        user_id = UUID(created["user"]["id"])
        with psycopg.connect(system.database_url) as connection:
            connection.execute(
                "insert into public.profiles (id, organization_id, email) values (%s, %s, %s)",
                (user_id, organization_id, email),
            )
        headers = {"apikey": anon, "Authorization": f"Bearer {created['access_token']}"}
        with httpx.Client(base_url=base, headers=headers, timeout=40, trust_env=False) as pages:
            yield FrontEnd(pages, organization_id, user_id)


@contextmanager
def crm_server(system: System) -> Iterator[httpx.Client]:
    """Return a server of the CRM: the service role's key, and no apikey."""
    headers = {"Authorization": f"Bearer {system.environment['SUPABASE_SERVICE_ROLE_KEY']}"}
    base = f"{system.environment['SUPABASE_URL'].rstrip('/')}/functions/v1"
    with httpx.Client(base_url=base, headers=headers, timeout=40, trust_env=False) as http:
        yield http


def connect_by_panel(system: System, pages: FrontEnd, *, add_new: bool = False) -> dict[str, Any]:
    """Connect a number as the panel does: create, poll, scan, poll; return the answer of create."""
    created = pages.call("wpp-create", {"add_new": True} if add_new else {}).data
    account = created["session"]
    deadline = time.monotonic() + 20
    is_scanned = False
    while time.monotonic() < deadline:
        code = pages.get("wpp-qr", f"?session={account}").data["qr"]
        status = pages.call("wpp-status", {"session_name": account, "force": True}).data["status"]
        if status == "connected":
            return created
        if code and not is_scanned:
            with system.phone() as phone:
                phone.post(f"/phone/{account}/scan").raise_for_status()
            is_scanned = True
        time.sleep(0.05)
    pytest.fail(f"the number is {status}, not connected")
