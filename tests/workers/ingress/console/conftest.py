"""An operator who is signed in to the console over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from sandbox.supabase.project import Supabase
from tests.fixtures.ingress_process import IngressProcess
from tests.fixtures.service_keys import store_operator_key


@dataclass(frozen=True)
class SignedIn:
    """A browser's requests to the console: `http` has the cookie."""

    http: httpx.Client
    key: str
    csrf_token: str

    def get(self, path: str, **parameters: Any) -> Any:
        """Return what /console/data/`path` answers."""
        answer = self.http.get(f"/console/data/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Post to /console/data/`path` as the page does; `headers` replace its own."""
        return self.http.post(
            f"/console/data/{path}", json=body or {}, headers={**self.headers, **headers}
        )

    @property
    def headers(self) -> dict[str, str]:
        return {"Origin": str(self.http.base_url).rstrip("/"), "X-CSRF-Token": self.csrf_token}


@contextmanager
def sign_in(ingress: IngressProcess, **credentials: str) -> Iterator[httpx.Client]:
    """Return a client that has signed in with a key or a token, or was refused."""
    with httpx.Client(base_url=ingress.url, timeout=20, trust_env=False) as http:
        http.post("/console/session", json=credentials, headers={"Origin": ingress.url})
        yield http


@pytest.fixture
def operator(ingress_with_supabase: IngressProcess, supabase_world: Supabase) -> Iterator[SignedIn]:
    """Return an operator, signed in with a key to the ingress with Supabase."""
    key = store_operator_key(supabase_world.database_url)
    with sign_in(ingress_with_supabase, key=key) as http:
        yield SignedIn(http, key, http.get("/console/session").json()["csrf_token"])
