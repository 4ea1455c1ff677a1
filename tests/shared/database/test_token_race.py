"""Saving tokens into settings that other writers change: cache, Redis and Supabase."""

import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import redis
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from sandbox.supabase.project import Supabase
from shared.database import Database
from shared.tokens import TokenCache
from shared.tokens.store import MintedToken
from tests.fixtures.provision_env import supabase_settings

ACCOUNT = "0000000000041"
OpenDatabase = Callable[[httpx.BaseTransport], Database]


@pytest.fixture
def open_database(supabase_world: Supabase, database_url: str) -> Iterator[OpenDatabase]:
    """Return a function that opens Supabase over a transport; one integration has a key."""
    with psycopg.connect(database_url) as db:
        organization, integration = uuid4(), uuid4()
        db.execute("insert into organizations (id, name) values (%s, 'School')", (organization,))
        save = "select wpp_save_integration(%s, %s, 'First', %s, 'key')"
        db.execute(save, (integration, organization, ACCOUNT))
    opened: list[httpx.Client] = []

    def database(wire: httpx.BaseTransport) -> Database:
        opened.append(httpx.Client(transport=wire, timeout=15))
        return Database(supabase_settings(supabase_world), opened[-1])

    yield database
    for client in opened:
        client.close()


def no_mint(_api_key: SecretStr) -> MintedToken:
    msg = "only first tokens are got here"
    raise AssertionError(msg)


def settings_in(database_url: str) -> dict[str, Any]:
    with psycopg.connect(database_url, row_factory=dict_row) as db:
        (row,) = db.execute(
            "select i.settings || s.secrets as settings from messenger_integrations i "
            "join wpp.integration_secrets s on s.integration_id = i.id"
        ).fetchall()
        return dict(row["settings"])


def first(value: str, life_s: float) -> Callable[[], MintedToken]:
    return lambda: MintedToken(SecretStr(value), life_s)


def test_refreshes_and_changes_of_other_keys_at_once_lose_nothing(
    open_database: OpenDatabase, redis_client: "redis.Redis", database_url: str
) -> None:
    """Two processes save tokens every few milliseconds while the CRM writes its own keys."""
    caches = [
        TokenCache(redis_client, no_mint, open_database(httpx.HTTPTransport()).tokens)
        for _ in range(2)
    ]
    refreshed, written = threading.Event(), 0

    def refresh() -> None:
        for turn in range(30):
            caches[turn % 2].install_first_token(ACCOUNT, first(f"token-{turn}", 900 + turn))
        refreshed.set()

    thread = threading.Thread(target=refresh)
    thread.start()
    with psycopg.connect(database_url, autocommit=True) as crm:
        while not refreshed.is_set():
            written += 1
            change = Jsonb({"theirs": written, f"theirs-{written % 10}": written})
            crm.execute("update messenger_integrations set settings = settings || %s", (change,))
    thread.join()
    assert all(cache.flush() for cache in caches)
    settings = settings_in(database_url)
    assert settings["wppJwtToken"] == "token-29"
    assert (settings["theirs"], settings["wppApiKey"], settings["wppAccountNumber"]) == (
        written,
        "key",
        ACCOUNT,
    )
    assert all(settings[f"theirs-{n % 10}"] == n for n in range(max(1, written - 9), written + 1))


class Delayed(httpx.HTTPTransport):
    """A transport that delays the first save of a token until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.go_on = threading.Event(), threading.Event()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/wpp_save_token") and not self.held.is_set():
            self.held.set()
            assert self.go_on.wait(60)
        return super().handle_request(request)


def test_an_older_token_that_arrives_late_leaves_the_newer_one(
    open_database: OpenDatabase, redis_client: "redis.Redis", database_url: str
) -> None:
    """It was the newest when it left; another process's token overtook it."""
    wire = Delayed()
    slow, quick = (
        TokenCache(redis_client, no_mint, open_database(each).tokens)
        for each in (wire, httpx.HTTPTransport())
    )
    slow.install_first_token(ACCOUNT, first("older", 900))
    assert wire.held.wait(30)
    quick.install_first_token(ACCOUNT, first("newer", 901))
    assert quick.flush()
    wire.go_on.set()
    assert slow.flush()
    assert settings_in(database_url)["wppJwtToken"] == "newer"
