"""A provisioning worker as a process of its own, which stops at one call and waits there to be killed.

`python -m tests.workers.provision_program` with one line of JSON on stdin: {"redis", "supabase": {…}, "platform",
"engine": {…}, "at": number of the call, "after": whether the other side has it by then}. It writes "here" when it
stands there.
"""

import json
import sys
import time

import httpx
import redis

from shared.settings import EngineSettings, SupabaseSettings
from tests.workers.provision.environment import Scissors, Wire, open_worker, work


class Stop(Wire):
    """Stands still where scissors would cut."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if (
            request.url.path.endswith("/wpp_save_token")
            or len(self._scissors.calls) != self._scissors.at
        ):
            return super().handle_request(request)
        if self._scissors.after:
            self._wire.handle_request(request).read()
        sys.stdout.write("here\n")
        sys.stdout.flush()
        time.sleep(60)
        raise AssertionError


def main() -> None:
    given = json.loads(sys.stdin.readline())
    scissors = Scissors(given["at"], given["after"])
    client = redis.Redis.from_url(given["redis"])
    supabase = SupabaseSettings.model_validate(given["supabase"])
    engine = EngineSettings.model_validate(given["engine"])
    with open_worker(
        client, supabase, given["platform"], engine, lambda wire: Stop(wire, scissors)
    ) as ctx:
        work(ctx, lambda: False)


if __name__ == "__main__":
    main()
