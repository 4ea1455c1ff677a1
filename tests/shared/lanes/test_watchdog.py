import itertools
import time

from dramatiq import Worker
from dramatiq.brokers.stub import StubBroker

from shared.lanes.watchdog import EXIT_CODE, Watchdog
from tests.shared.lanes.workers import eventually


def test_it_ends_the_process_when_no_reply_comes_any_more() -> None:
    exits: list[int] = []
    broker = StubBroker(middleware=[Watchdog(lambda: 7, limit_s=0.2, exit_process=exits.append)])
    worker = Worker(broker, worker_threads=1, worker_timeout=50)
    worker.start()
    assert eventually(lambda: exits) >= 0.15
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
    broker = StubBroker(middleware=[Watchdog(lambda: 7, limit_s=0.3, exit_process=exits.append)])
    worker = Worker(broker, worker_threads=1, worker_timeout=20)
    worker.start()
    worker.stop()
    time.sleep(0.5)
    assert exits == []
