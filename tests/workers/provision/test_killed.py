"""Provisioning by a process that is killed with SIGKILL at each of its calls, before or after the other side has it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sandbox.redis import RedisServer
from shared.redis import keys
from shared.settings import EngineSettings
from tests.workers.provision.environment import Shop, supabase_settings, work
from tests.workers.provision.test_handler import whole

CALLS = 13
"""Up to the start of the account, and into the watch that follows."""
IN_EVERY_RUN = {
    (2, True),
    (3, True),
}  # the client was created, the row was saved; the others are for `make test-faults`
QUICK = {"wpp_lease_s": 1.0, "wpp_http_deadline_s": 0.9}


def steps() -> Iterator[object]:
    for at in range(CALLS):
        for after in (
            (True,) if at else (False, True)
        ):  # before a call, the world is as it was after the one before
            marks = () if (at, after) in IN_EVERY_RUN else (pytest.mark.faults,)
            yield pytest.param(at, after, marks=marks, id=f"{at}-{'after' if after else 'before'}")


@contextmanager
def process(
    shop: Shop, redis_url: str, at: int, *, after: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker process until it stands at call number `at`."""
    supabase = supabase_settings(shop.supabase)
    told = {
        "redis": redis_url,
        "supabase": {
            "supabase_url": str(supabase.supabase_url),
            "supabase_anon_key": supabase.supabase_anon_key.get_secret_value(),
            "supabase_service_role_key": supabase.supabase_service_role_key.get_secret_value(),
        },
        "platform": shop.platform.url,
        "engine": QUICK,
        "at": at,
        "after": after,
    }
    command = [sys.executable, "-m", "tests.workers.provision.worker_program"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin
        running.stdin.write(json.dumps(told).encode() + b"\n")
        running.stdin.flush()
        try:
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize(("at", "after"), list(steps()))
def test_killed_at_any_call_it_ends_in_one_of_everything(
    shop: Shop, redis_server: RedisServer, at: int, *, after: bool
) -> None:
    """One client, one row, one account, one watch that counts: whoever takes over finds what was done.

    And waits as patiently for the key, which is refused while it is new.
    """
    shop.engine = EngineSettings.model_validate(QUICK)
    organization_id = shop.organization()
    shop.faults(new_key_refused_s=0.3)
    shop.ask(organization_id)
    with process(shop, redis_server.url, at, after=after) as running:
        assert running.stdout
        assert b"here\n" in running.stdout, (
            "it ended before it stood there"
        )  # after what it logs on its way
        running.kill()
        assert running.wait() == -9
    with shop.worker() as ctx:
        work(ctx, lambda: bool(shop.client.keys(keys.lane("watch:*"))))
    whole(shop, organization_id)
