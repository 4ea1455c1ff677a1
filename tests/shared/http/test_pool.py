"""Waiting for a connection of the pool. What travels over it is in test_transport."""

import socket
import threading
import time

import httpx
import pytest

from shared.http.deadline import within
from shared.http.pool import PooledTransport


@pytest.mark.parametrize(("left_s", "timeout_s"), [(0.2, 30.0), (0.2, None), (30.0, 0.2)])
def test_a_free_connection_is_waited_for_within_the_deadline(
    left_s: float, timeout_s: float | None
) -> None:
    """All are busy with somebody who says nothing: the nearer end counts, and tells that nothing was sent."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        httpx.Client(transport=PooledTransport(1, 5)) as client,
    ):
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"

        def occupy() -> None:
            with within(1), pytest.raises(httpx.ReadTimeout):
                client.get(url, timeout=30)

        busy = threading.Thread(target=occupy)
        busy.start()
        time.sleep(0.2)
        began = time.monotonic()
        with within(left_s), pytest.raises(httpx.PoolTimeout):
            client.get(url, timeout=httpx.Timeout(30, pool=timeout_s))
        assert 0.15 < time.monotonic() - began < 0.6
        busy.join()
