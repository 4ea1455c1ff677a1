"""Worker threads wait for messages, and a stop wakes them."""

import threading
import time
from queue import Empty

import pytest

from shared.lanes.work_queue import WorkQueue

LONG_S = 10.0


def test_messages_come_in_order_and_then_none() -> None:
    """`get` waits for as long as it may."""
    queue = WorkQueue()
    queue.put(2)
    queue.put(1)
    assert [queue.get(), queue.get(timeout=LONG_S)] == [1, 2]
    for options in ({"block": False}, {"timeout": 0.01}):
        with pytest.raises(Empty):
            queue.get(**options)


def test_a_message_wakes_a_thread_that_waits() -> None:
    queue = WorkQueue()
    threading.Timer(0.05, queue.put, (1,)).start()
    assert queue.get(timeout=LONG_S) == 1


def test_a_stop_wakes_every_thread_that_waits() -> None:
    """What is left can be taken out: it is handed back."""
    queue = WorkQueue()
    woken = threading.Semaphore(0)

    def wait() -> None:
        with pytest.raises(Empty):
            queue.get(timeout=LONG_S)
        woken.release()

    for _ in range(3):
        threading.Thread(target=wait).start()
    time.sleep(0.05)
    queue.stop()
    assert all(woken.acquire(timeout=LONG_S / 2) for _ in range(3))
    with pytest.raises(Empty):
        queue.get(timeout=LONG_S)
    queue.put(1)
    assert queue.get(block=False) == 1
