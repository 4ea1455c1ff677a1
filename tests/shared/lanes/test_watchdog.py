import itertools
import threading
import time

from dramatiq import Worker
from dramatiq.brokers.stub import StubBroker

from shared.lanes.watchdog import EXIT_CODE, Watchdog
from tests.shared.lanes.workers import eventually


def test_it_ends_the_process_when_no_reply_comes_any_more() -> None:
    exits: list[int] = []
    broker = StubBroker(middleware=[Watchdog(lambda: 7, limit_s=0.2, exit_process=exits.append)])
    worker = Worker(broker, worker_threads=1, worker_timeout=50)
    began_s = time.monotonic()
    worker.start()
    eventually(lambda: exits)
    assert time.monotonic() - began_s >= 0.15
    worker.stop()
    assert exits == [EXIT_CODE]


def test_it_leaves_a_worker_alone_that_gets_replies() -> None:
    exits: list[int] = []
    count = itertools.count()
    broker = StubBroker(
        middleware=[Watchdog(lambda: next(count), limit_s=0.1, exit_process=exits.append)]
    )
    worker = Worker(broker, worker_threads=1, worker_timeout=50)
    worker.start()
    time.sleep(0.4)
    worker.stop()
    assert exits == []


def test_it_leaves_a_worker_alone_that_has_ended() -> None:
    exits: list[int] = []
    broker = StubBroker(middleware=[Watchdog(lambda: 7, limit_s=12, exit_process=exits.append)])
    worker = Worker(broker, worker_threads=1, worker_timeout=20)
    before = threading.enumerate()
    worker.start()
    watchdogs = [each for each in threading.enumerate() if each.name == "watchdog"]
    [watchdog] = [each for each in watchdogs if each not in before]
    worker.stop()
    watchdog.join(20)
    assert not watchdog.is_alive()
    assert exits == []
