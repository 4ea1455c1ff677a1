"""A running platform with short delays, a receiver of its webhooks, and a client of its API."""

import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.platform.server import PlatformServer, ThreadedServer

SECRET = "the-secret"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Not used on http://, but a client that is given none loads every certificate authority first."""
SHORT_DELAYS = {
    "secret": SECRET,
    "starting_s": 0.01,
    "sent_s": 0.01,
    "delivered_s": 0.01,
    "read_s": 0.01,
    "webhook_backoff_s": 0.02,
}


def wait_until(condition: Callable[[], Any], within_s: float = 20) -> Any:
    """Return what `condition` gives as soon as it is true."""
    give_up = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.01)
    return found


class Receiver:
    """An HTTP server that records webhooks and answers with `statuses` first, then 200.

    Each test has a path of its own: the last post of a platform that has ended may still be read.
    """

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.server = ThreadedServer(self)
        self._path = ""

    def begin(self) -> None:
        """Forget what was received, and overlook what comes to an earlier path."""
        self._path = f"/webhooks/{uuid4()}"
        self.bodies.clear()
        self.statuses.clear()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await Request(scope, receive).json()
        status = 200
        if scope["path"] == self._path:
            self.bodies.append(body)
            status = self.statuses.pop(0) if self.statuses else 200
        answer: Response = JSONResponse({"ok": True}, status)
        await answer(scope, receive, send)

    @property
    def url(self) -> str:
        return f"{self.server.url}{self._path}"

    @property
    def types(self) -> list[str]:
        return [body["type"] for body in self.bodies]

    def wait(self, count: int) -> list[dict[str, Any]]:
        wait_until(lambda: len(self.bodies) >= count)
        return self.bodies


class Number:
    """An account on the platform, as its client sees it."""

    def __init__(self, http: httpx.Client, organization_id: str = "org-1") -> None:
        self.http = http
        created = http.post(
            "/api/integrations/wpp/create",
            headers={"Authorization": f"Bearer {SECRET}"},
            json={"organizationId": organization_id},
        ).json()
        self.session: str = created["session"]
        self.api_key: str = created["apiKey"]
        self.token = ""

    def ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        """Ask with the account's token, fetched once."""
        if not self.token:
            self.token = self.http.post("/auth/token", json={"apiKey": self.api_key}).json()[
                "token"
            ]
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.http.request(method, path, headers=headers, json=body or None)

    def register(self, url: str) -> None:
        assert self.ask("POST", f"/internal/session/{self.session}/webhook", url=url).is_success

    def start(self) -> httpx.Response:
        return self.ask("POST", "/api/accounts/start", number=self.session)

    def status(self) -> str:
        return str(self.ask("GET", f"/api/accounts/{self.session}/status").json()["status"])

    def qr(self) -> str | None:
        code: str | None = self.ask("GET", f"/api/accounts/{self.session}/qr").json()["qr"]
        return code

    def phone(self, action: str, **body: Any) -> httpx.Response:
        return self.http.post(f"/phone/{self.session}/{action}", json=body)

    def connect(self) -> "Number":
        self.start()
        wait_until(self.qr)
        assert self.phone("scan").is_success
        return self

    def send(self, text: str = "Hello", to: str = "79990001122") -> httpx.Response:
        return self.ask("POST", "/api/messages/text", type="text", to=to, text=text)


class Platform:
    """A running platform: `http` is a client with its address."""

    def __init__(self, **options: Any) -> None:
        self._server = PlatformServer(**{**SHORT_DELAYS, **options})
        self._server.__enter__()
        self.port = self._server.port
        self.http = httpx.Client(base_url=self._server.url, timeout=20, verify=NO_TLS)

    def stop(self) -> None:
        self.http.close()
        self._server.__exit__(None, None, None)

    def number(self, organization_id: str = "org-1") -> Number:
        return Number(self.http, organization_id)

    def faults(self, **plan: Any) -> None:
        assert self.http.post("/admin/faults", json=plan).is_success

    def ledger(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/admin/ledger").json()
        return found


PlatformFactory = Callable[..., Platform]


@pytest.fixture
def start_platform() -> Iterator[PlatformFactory]:
    """Return a function that starts a platform with options; `stop` ends it early."""
    started: list[Platform] = []

    def start(**options: Any) -> Platform:
        started.append(Platform(**options))
        return started[-1]

    yield start
    for platform in started:
        platform.stop()


@pytest.fixture
def platform(start_platform: PlatformFactory) -> Platform:
    return start_platform()


@pytest.fixture(scope="session")
def one_receiver() -> Iterator[Receiver]:
    received = Receiver()
    with received.server:
        yield received


@pytest.fixture
def receiver(one_receiver: Receiver) -> Receiver:
    """Return the empty receiver."""
    one_receiver.begin()
    return one_receiver


@pytest.fixture
def number(platform: Platform, receiver: Receiver) -> Number:
    """Return a connected account with a webhook URL; the webhooks of connecting are dropped."""
    connected = platform.number()
    connected.register(receiver.url)
    connected.connect()
    receiver.wait(2)
    receiver.bodies.clear()
    return connected
