"""The client against the played platform: the whole way from nothing to a message, its end, and its media."""

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
from shared.events import Location, Media, SendEvent
from shared.platform import Platform
from shared.platform.models import CreatedClient
from shared.settings import PlatformSettings
from shared.tokens import TokenAuth, TokenCache
from shared.tokens.store import MintedToken
from tests.shared.tokens.stores import MemoryStore

SECRET = "a-secret-for-create-only"


class World:
    """The played platform, a client of it, and the keys that a database would hold."""

    def __init__(self, server: PlatformServer, redis_client: "redis.Redis") -> None:
        self.store = MemoryStore()
        self.keys = self.store.keys
        self.admin = httpx.Client(base_url=server.url)
        settings = PlatformSettings(wpp_base_url=server.url, wpp_secret=SecretStr(SECRET))
        self.platform = Platform(
            settings, auth=lambda account: TokenAuth(self.tokens, account), deadline_s=3
        )
        self.tokens = TokenCache(redis_client, self.platform.mint_token, self.store)

    def connect(self) -> CreatedClient:
        """Create a client, and scan its code."""
        client = self.platform.create_client(str(uuid4()))
        self.keys[client.account] = client.api_key
        self.platform.start(client.account)
        self.until_status(client.account, "qr_required")
        self.admin.post(f"/phone/{client.account}/scan").raise_for_status()
        self.until_status(client.account, "connected")
        return client

    def until_status(self, account: str, status: str) -> None:
        give_up = time.monotonic() + 5
        while self.platform.status(account) != status:
            assert time.monotonic() < give_up
            time.sleep(0.01)

    def faults(self, **plan: object) -> None:
        self.admin.post("/admin/faults", json=plan).raise_for_status()

    def minted(self, account: str) -> int:
        return int(self.admin.get("/admin/ledger").json()["tokens"][account]["minted"])


@pytest.fixture
def world(redis_client: "redis.Redis") -> Iterator[World]:
    with PlatformServer(
        secret=SECRET, starting_s=0.01, sent_s=0.01, delivered_s=0.01, read_s=0.01
    ) as server:
        found = World(server, redis_client)
        with found.platform, found.admin:
            yield found


def text(to: str = "79990001122", body: str = "Hello") -> SendEvent:
    return SendEvent(id=uuid4(), organization_id=uuid4(), integration_id=uuid4(), to=to, text=body)


def message(kind: str) -> SendEvent:
    if kind == "text":
        return text()
    if kind == "location":
        return text(body="").model_copy(
            update={"location": Location(lat=55.75, lng=37.62, name="Moscow")}
        )
    media = Media.model_validate({"type": kind, "url": "https://files.test/a%20b.bin"})
    return text(body="Look").model_copy(update={"media": media})


def test_the_same_organization_gets_its_client_back(world: World) -> None:
    """Creating is safe to repeat, and hands out one key and one account."""
    first, second = world.platform.create_client("org"), world.platform.create_client("org")
    assert first == second
    assert first.account == "0000000000001"
    assert first.status == "starting"


def test_start_and_qr_hand_out_the_pairing_string_until_connected(world: World) -> None:
    """A started account shows a code to draw, and none once it is connected."""
    client = world.platform.create_client("org")
    world.keys[client.account] = client.api_key
    assert world.platform.start(client.account).status == "starting"
    world.until_status(client.account, "qr_required")
    started, qr = world.platform.start(client.account), world.platform.qr(client.account)
    assert started.status == "qr"
    assert qr == started.qr
    assert qr is not None
    assert qr.startswith("2@")
    assert not qr.is_image
    world.admin.post(f"/phone/{client.account}/scan").raise_for_status()
    assert world.platform.start(client.account).status == "connected"
    assert world.platform.qr(client.account) is None


@pytest.mark.parametrize(
    "kind", ["text", "image", "video", "audio", "voice", "document", "location"]
)
def test_every_kind_of_message_is_taken(world: World, kind: str) -> None:
    """Each kind reaches the platform and comes back with a task id, by which it can be taken back."""
    client = world.connect()
    sent = world.platform.send(client.account, message(kind))
    assert sent.task_id is not None
    assert world.platform.delete(client.account, sent.task_id)
    assert not world.platform.delete(client.account, sent.task_id), "gone already"


def test_a_reaction_and_the_media_of_an_incoming_message(world: World) -> None:
    """What a customer wrote is reacted to by its WhatsApp id, and its file streams in."""
    client = world.connect()
    arrived = world.admin.post(
        f"/phone/{client.account}/messages", json={"from": "79990001122", "image": True}
    ).json()
    world.platform.react(client.account, "79990001122", arrived["messageId"], "👍")
    with world.platform.download_media(client.account, arrived["messageId"]) as found:
        assert found.content_type == "image/png"
        assert found.filename == "file"
        assert b"".join(found.chunks).startswith(b"\x89PNG")


def test_stop_takes_the_account_offline(world: World) -> None:
    """A stopped account is offline."""
    client = world.connect()
    world.platform.stop(client.account)
    assert world.platform.status(client.account) == "offline"


def test_a_phone_that_is_not_linked_takes_nothing(world: World) -> None:
    """A message is refused before it is taken, for a reason that may pass."""
    client = world.connect()
    world.admin.post(f"/phone/{client.account}/unlink").raise_for_status()
    with pytest.raises(NotConnectedError, match="not connected"):
        world.platform.send(client.account, text())


def test_a_wrong_secret_is_unauthorized(world: World, redis_client: "redis.Redis") -> None:
    """A wrong WPP_SECRET is refused with 401, and the error does not show it."""
    url = str(world.admin.base_url)
    settings = PlatformSettings(wpp_base_url=url, wpp_secret=SecretStr("wrong-secret-value"))
    del redis_client
    with (
        Platform(settings, auth=lambda _account: httpx.Auth()) as platform,
        pytest.raises(UnauthorizedError) as caught,
    ):
        platform.create_client("org")
    assert "wrong-secret-value" not in repr(caught.value)


def test_a_revoked_key_asks_the_platform_once(world: World) -> None:
    """20 sends with a refused key: one call to /auth/token, each told the way out; a repaired key works at once."""
    client = world.platform.create_client("org")
    world.keys[client.account] = client.api_key
    world.faults(revoked_keys=[client.account])
    for _ in range(20):
        with pytest.raises(InvalidApiKeyError, match="force_recreate"):
            world.platform.send(client.account, text())
    assert world.admin.get("/admin/ledger").json()["requests"]["POST /auth/token"] == {"403": 1}
    repaired = world.platform.create_client("org")
    world.keys[client.account] = repaired.api_key
    world.tokens.install_first_token(
        client.account, lambda: world.platform.mint_first_token(repaired.api_key)
    )
    assert world.platform.status(client.account) == "starting"


def test_a_new_key_is_asked_with_again(world: World) -> None:
    """The first token of a key that is refused for its first moments comes after 1 s, and then 2."""
    world.faults(new_key_refused_s=0.2)
    client = world.platform.create_client("org")
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        time.sleep(seconds / 10)

    world.tokens.install_first_token(
        client.account, lambda: world.platform.mint_first_token(client.api_key, sleep)
    )
    assert waits == [1, 2]
    assert world.platform.status(client.account) == "starting", "the adopted token serves"


def test_fifty_refused_at_once_mint_once(world: World) -> None:
    """50 threads whose token the platform no longer takes: one more mint, 50 answers."""
    client = world.connect()
    world.tokens.install_first_token(
        client.account, lambda: MintedToken(SecretStr("no-longer-taken"), 900)
    )
    before = world.minted(client.account)
    barrier, sent = threading.Barrier(50), []

    def run() -> None:
        barrier.wait()
        sent.append(world.platform.send(client.account, text()))

    threads = [threading.Thread(target=run) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.task_id for one in sent}) == 50
    assert world.minted(client.account) == before + 1


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
def test_each_fault_is_told_as_what_is_known(
    world: World, plan: dict[str, object], error: type[Exception]
) -> None:
    """A send that suffers a fault raises what is known of its effect, and its text stays out of the error."""
    client = world.connect()
    world.faults(**plan)
    with pytest.raises(error) as caught:
        world.platform.send(client.account, text(body="private words"))
    assert type(caught.value) is error
    assert "private words" not in str(caught.value)
    if isinstance(caught.value, LimitedError):
        assert caught.value.retry_after_s == 7
