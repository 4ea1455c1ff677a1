"""A provisioning worker as a process, which pauses at a call and waits to be killed.

`python -m tests.workers.provision.worker_program` with a line of JSON on stdin: {"redis",
"supabase": {…}, "platform", "engine": {…}, "at": number of the call, "after": whether the
server gets it before the pause}. It prints "paused" at that call.
"""

import json
import sys
import time

import httpx
import redis

from shared.settings import EngineSettings, SupabaseSettings
from tests.fixtures.provision_env import CutAtCall, CuttingTransport, open_worker, work_until


class PausingTransport(CuttingTransport):
    """Pauses at the call that would be cut."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/wpp_save_token") or len(self._cut.calls) != self._cut.at:
            return super().handle_request(request)
        if self._cut.after:
            self._transport.handle_request(request).read()
        sys.stdout.write("paused\n")
        sys.stdout.flush()
        time.sleep(60)
        raise AssertionError


def main() -> None:
    options = json.loads(sys.stdin.readline())
    cut = CutAtCall(options["at"], options["after"])
    client = redis.Redis.from_url(options["redis"])
    supabase = SupabaseSettings.model_validate(options["supabase"])
    engine = EngineSettings.model_validate(options["engine"])
    with open_worker(
        client,
        supabase,
        options["platform"],
        engine,
        lambda transport: PausingTransport(transport, cut),
    ) as ctx:
        work_until(ctx, lambda: False)


if __name__ == "__main__":
    main()
