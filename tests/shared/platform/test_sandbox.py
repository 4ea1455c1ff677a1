"""The client against the fake platform: from a new account to messages, media and stop."""

import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
import redis
from pydantic import SecretStr

from sandbox.platform.server import PlatformServer
from shared.errors import (
    InvalidApiKeyError,
    LimitedError,
    NotConnectedError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
    UnknownEffectError,
)
from shared.events import SendEvent, SentLocation, SentMedia
from shared.platform import Platform
from shared.platform.account import PlatformAccount
from shared.platform.models import CreatedClient
from shared.settings import PlatformSettings
from shared.tokens import TokenAuth, TokenCache
from shared.tokens.store import MintedToken
from tests.shared.tokens.stores import MemoryStore

SECRET = "a-secret-for-create-only"


class PlatformEnvironment:
    """The fake platform, a client of it, and the API keys that a database would hold."""

    def __init__(self, server: PlatformServer, redis_client: "redis.Redis") -> None:
        self.store = MemoryStore()
        self.keys = self.store.keys
        self.admin = httpx.Client(base_url=server.url)
        settings = PlatformSettings(wpp_base_url=server.url, wpp_secret=SecretStr(SECRET))
        self.platform = Platform(settings, deadline_s=20)
        self.tokens = TokenCache(redis_client, self.platform.mint_token, self.store)

    def as_account(self, account: str) -> PlatformAccount:
        return self.platform.as_account(account, TokenAuth(self.tokens, account))

    def connect(self) -> CreatedClient:
        """Create a client, start its account and scan the QR code."""
        client = self.platform.create_client(str(uuid4()))
        self.keys[client.account] = client.api_key
        self.as_account(client.account).start()
        self.wait_for_status(client.account, "qr_required")
        self.admin.post(f"/phone/{client.account}/scan").raise_for_status()
        self.wait_for_status(client.account, "connected")
        return client

    def wait_for_status(self, account: str, status: str) -> None:
        deadline = time.monotonic() + 20
        while self.as_account(account).get_status() != status:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def set_faults(self, **plan: object) -> None:
        self.admin.post("/admin/faults", json=plan).raise_for_status()

    def count_mints(self, account: str) -> int:
        return int(self.admin.get("/admin/ledger").json()["tokens"][account]["minted"])


@pytest.fixture
def environment(redis_client: "redis.Redis") -> Iterator[PlatformEnvironment]:
    with PlatformServer(
        secret=SECRET, starting_s=0.01, sent_s=0.01, delivered_s=0.01, read_s=0.01
    ) as server:
        found = PlatformEnvironment(server, redis_client)
        with found.platform, found.admin:
            yield found


def text(to: str = "79990001122", body: str = "Hello") -> SendEvent:
    return SendEvent(id=uuid4(), organization_id=uuid4(), integration_id=uuid4(), to=to, text=body)


def message(kind: str) -> SendEvent:
    if kind == "text":
        return text()
    if kind == "location":
        return text(body="").model_copy(
            update={"location": SentLocation(lat=55.75, lng=37.62, name="Moscow")}
        )
    media = SentMedia.model_validate({"type": kind, "url": "https://files.test/a%20b.bin"})
    return text(body="Look").model_copy(update={"media": media})


def test_the_same_organization_gets_its_client_back(environment: PlatformEnvironment) -> None:
    """A repeated create returns the same key and account."""
    first = environment.platform.create_client("org")
    second = environment.platform.create_client("org")
    assert first == second
    assert first.account == "0000000000001"
    assert first.status == "starting"


def test_start_and_qr_return_the_pairing_string_until_connected(
    environment: PlatformEnvironment,
) -> None:
    """A started account has a code to draw, and none once it is connected."""
    client = environment.platform.create_client("org")
    environment.keys[client.account] = client.api_key
    assert environment.as_account(client.account).start().status == "starting"
    environment.wait_for_status(client.account, "qr_required")
    started = environment.as_account(client.account).start()
    qr = environment.as_account(client.account).get_qr()
    assert started.status == "qr"
    assert qr == started.qr
    assert qr is not None
    assert qr.startswith("2@")
    assert not qr.is_image
    environment.admin.post(f"/phone/{client.account}/scan").raise_for_status()
    assert environment.as_account(client.account).start().status == "connected"
    assert environment.as_account(client.account).get_qr() is None


@pytest.mark.parametrize(
    "kind", ["text", "image", "video", "audio", "voice", "document", "location"]
)
def test_every_type_of_message_is_accepted(environment: PlatformEnvironment, kind: str) -> None:
    """Each type gets a task id, by which the message can be deleted."""
    client = environment.connect()
    sent = environment.as_account(client.account).send(message(kind))
    assert sent.task_id is not None
    assert environment.as_account(client.account).delete(sent.task_id)
    assert not environment.as_account(client.account).delete(sent.task_id), "already deleted"


def test_a_reaction_and_the_media_of_an_incoming_message(environment: PlatformEnvironment) -> None:
    """An incoming message gets a reaction by its WhatsApp id, and its file is downloaded."""
    client = environment.connect()
    arrived = environment.admin.post(
        f"/phone/{client.account}/messages", json={"from": "79990001122", "image": True}
    ).json()
    environment.as_account(client.account).react("79990001122", arrived["messageId"], "👍")
    with environment.as_account(client.account).download_media(arrived["messageId"]) as found:
        assert found.content_type == "image/png"
        assert found.filename == "file"
        assert b"".join(found.chunks).startswith(b"\x89PNG")


def test_stop_takes_the_account_offline(environment: PlatformEnvironment) -> None:
    """A stopped account is offline."""
    client = environment.connect()
    environment.as_account(client.account).stop()
    assert environment.as_account(client.account).get_status() == "offline"


def test_an_unlinked_phone_sends_nothing(environment: PlatformEnvironment) -> None:
    """The message is refused before it is accepted, for a temporary reason."""
    client = environment.connect()
    environment.admin.post(f"/phone/{client.account}/unlink").raise_for_status()
    with pytest.raises(NotConnectedError, match="not connected"):
        environment.as_account(client.account).send(text())


def test_a_wrong_secret_is_unauthorized(
    environment: PlatformEnvironment, redis_client: "redis.Redis"
) -> None:
    """A wrong WPP_SECRET is refused with 401, and the error does not show it."""
    url = str(environment.admin.base_url)
    settings = PlatformSettings(wpp_base_url=url, wpp_secret=SecretStr("wrong-secret-value"))
    del redis_client
    with (
        Platform(settings) as platform,
        pytest.raises(UnauthorizedError) as caught,
    ):
        platform.create_client("org")
    assert "wrong-secret-value" not in repr(caught.value)


def test_a_revoked_key_is_tried_once(environment: PlatformEnvironment) -> None:
    """20 sends with a refused key make a single call to /auth/token; a new key works at once."""
    client = environment.platform.create_client("org")
    environment.keys[client.account] = client.api_key
    environment.set_faults(revoked_keys=[client.account])
    for _ in range(20):
        with pytest.raises(InvalidApiKeyError, match="force_recreate"):
            environment.as_account(client.account).send(text())
    assert environment.admin.get("/admin/ledger").json()["requests"]["POST /auth/token"] == {
        "403": 1
    }
    renewed = environment.platform.create_client("org")
    environment.keys[client.account] = renewed.api_key
    environment.tokens.install_first_token(
        client.account, lambda: environment.platform.mint_first_token(renewed.api_key)
    )
    assert environment.as_account(client.account).get_status() == "starting"


def test_the_first_token_of_a_new_key_is_retried(environment: PlatformEnvironment) -> None:
    """A key that is refused at first gets its token after retries at 1 and 2 s."""
    environment.set_faults(new_key_refused_s=3600)
    client = environment.platform.create_client("org")
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            environment.set_faults(new_key_refused_s=0)

    environment.tokens.install_first_token(
        client.account, lambda: environment.platform.mint_first_token(client.api_key, sleep)
    )
    assert waits == [1, 2]
    assert environment.as_account(client.account).get_status() == "starting", (
        "the first token works"
    )


def test_fifty_rejected_tokens_cause_one_mint(environment: PlatformEnvironment) -> None:
    """50 threads with a rejected token: a single mint more, 50 sends."""
    client = environment.connect()
    environment.tokens.install_first_token(
        client.account, lambda: MintedToken(SecretStr("no-longer-valid"), 900)
    )
    before = environment.count_mints(client.account)
    barrier = threading.Barrier(50)
    sent = []

    def run() -> None:
        barrier.wait()
        sent.append(environment.as_account(client.account).send(text()))

    threads = [threading.Thread(target=run) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({result.task_id for result in sent}) == 50
    assert environment.count_mints(client.account) == before + 1


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        ({"rate_429": 1, "retry_after_s": 7}, LimitedError),
        ({"rate_404": 1, "paths": ".*"}, UnavailableError),
        ({"rate_5xx": 1, "status_5xx": 500}, UnknownEffectError),
        ({"rate_5xx": 1, "status_5xx": 502}, UnknownEffectError),
        ({"rate_5xx": 1, "status_5xx": 503}, UnknownEffectError),
        ({"drop_before": 1}, UnknownEffectError),
        ({"drop_after": 1}, UnknownEffectError),
        ({"refused_recipients": ["79990001122"]}, RefusedError),
    ],
)
def test_each_fault_raises_what_is_known(
    environment: PlatformEnvironment, plan: dict[str, object], error: type[Exception]
) -> None:
    """The error of a failed send says what is known of its effect, and omits its text."""
    client = environment.connect()
    environment.set_faults(**plan)
    with pytest.raises(error) as caught:
        environment.as_account(client.account).send(text(body="private words"))
    assert type(caught.value) is error
    assert "private words" not in str(caught.value)
    if isinstance(caught.value, LimitedError):
        assert caught.value.retry_after_s == 7
