"""A provisioning process that is killed with SIGKILL at each of its calls."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sandbox.redis import RedisServer
from shared.redis import keys
from shared.settings import EngineSettings
from tests.fixtures.provision_env import ProvisionEnv, supabase_settings, work_until
from tests.workers.provision.test_handler import assert_connected_once

CALLS = 13
"""Calls up to the start of the account and the first poll."""
IN_EVERY_RUN = {(2, True), (3, True)}
"""The client was created, the row was saved; the remaining steps are for `make test-faults`."""
QUICK = {"wpp_lease_s": 1.0, "wpp_http_deadline_s": 0.9}


def list_steps() -> Iterator[object]:
    """Yield the steps; before a call, the state is that after the previous call."""
    for at in range(CALLS):
        for after in (True,) if at else (False, True):
            marks = () if (at, after) in IN_EVERY_RUN else (pytest.mark.faults,)
            yield pytest.param(at, after, marks=marks, id=f"{at}-{'after' if after else 'before'}")


@contextmanager
def run_worker(
    env: ProvisionEnv, redis_url: str, at: int, *, after: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker process that pauses at call number `at`; kill it after the block."""
    supabase = supabase_settings(env.supabase)
    options = {
        "redis": redis_url,
        "supabase": {
            "supabase_url": str(supabase.supabase_url),
            "supabase_anon_key": supabase.supabase_anon_key.get_secret_value(),
            "supabase_service_role_key": supabase.supabase_service_role_key.get_secret_value(),
        },
        "platform": env.platform.url,
        "engine": QUICK,
        "at": at,
        "after": after,
    }
    command = [sys.executable, "-m", "tests.workers.provision.worker_program"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin
        running.stdin.write(json.dumps(options).encode() + b"\n")
        running.stdin.flush()
        try:
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize(("at", "after"), list(list_steps()))
def test_a_connect_survives_sigkill_at_any_call(
    env: ProvisionEnv, redis_server: RedisServer, at: int, *, after: bool
) -> None:
    """Another worker finishes it, and also retries a key that is refused while it is new."""
    env.engine = EngineSettings.model_validate(QUICK)
    organization_id = env.create_organization()
    env.inject_faults(new_key_refused_s=0.3)
    env.enqueue(organization_id)
    with run_worker(env, redis_server.url, at, after=after) as running:
        assert running.stdout
        assert b"paused\n" in running.stdout, "the process ended before the call"
        running.kill()
        assert running.wait() == -9
    with env.worker() as ctx:
        work_until(ctx, lambda: bool(env.client.keys(keys.lane("watch:*"))))
    assert_connected_once(env, organization_id)
