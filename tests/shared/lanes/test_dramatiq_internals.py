"""Fails when the internals of Dramatiq that the broker depends on change."""

import hashlib
import inspect
from typing import Any

import dramatiq
import pytest
from dramatiq import Broker, Message, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import Retries
from dramatiq.worker import ConsumerThread, Worker, WorkerThread

REVIEWED = "2.2.1"
LEANS_ON: dict[Any, str] = {
    # what is leaned on, of each: the hash of its source
    Broker.__init__: "33a99850fc70",  # the attributes of a broker
    Broker.emit_before: "6153a5c27e89",  # the hooks of the middleware
    Broker.emit_after: "cb2ae2753fa4",  # the hooks of the middleware
    Broker.add_middleware: "b99ac9db0e5e",  # asks for declared queues
    Broker.get_declared_queues: "e30f3350ef8a",  # reads `queues`
    RedisBroker.declare_queue: "f6bfd2eab0ce",  # ours emits the same, without a delay queue
    RedisBroker.enqueue: "8a81d1b1e098",  # ours emits the same
    Retries.after_process_message: "d88a4a458b8a",  # enqueues the very message that was processed
    Message.copy: "7022ed74280d",  # merges options
    Message.decode: "757eaec26681",
    MessageProxy.__getattr__: "4092401351ef",  # the claim is on the proxy
    Worker.__init__: "63b32f58a979",  # prefetch
    Worker.start: "d9d7a708be25",  # before_worker_boot comes before the first consumer
    Worker.stop: "af7d3f33ae8e",  # threads end, then requeue and close
    Worker._add_worker: "167da364aa09",  # noqa: SLF001 - reads `work_queue` and `worker_timeout`
    Worker._add_consumer: "77c8892ce932",  # noqa: SLF001
    ConsumerThread.run: "a82a8efb986f",  # closes and rebuilds the consumer after an error
    ConsumerThread.handle_message: "687e40a82da6",
    ConsumerThread.post_process_message: "d2bba383331b",  # retried every 5 s
    ConsumerThread.requeue_messages: "d00991971cd6",
    ConsumerThread.close: "d13ece3176fe",  # requeues, then closes the consumer
    WorkerThread.run: "aa0e1022d6b6",  # looks whether to end after each `get`
    WorkerThread.process_message: "b70d3c6c438a",  # emits process_message, then settles
}


def fingerprint(function: Any) -> str:
    lines = inspect.getsource(function).splitlines()
    return hashlib.sha256("\n".join(line.strip() for line in lines).encode()).hexdigest()[:12]


@pytest.mark.parametrize("function", LEANS_ON, ids=lambda function: function.__qualname__)
def test_dramatiq_still_is_what_the_broker_was_written_for(function: Any) -> None:
    where = f"{function.__module__}.{function.__qualname__}"
    assert fingerprint(function) == LEANS_ON[function], (
        f"{where} differs from Dramatiq {REVIEWED} (this is {dramatiq.__version__}). Read "
        "the change, check shared/lanes/broker.py, consumer.py and exchange.py, run "
        "`pytest -m faults tests/shared`, "
        f'then set its fingerprint here to "{fingerprint(function)}".'
    )


def test_the_pinned_version_is_the_one_that_was_reviewed() -> None:
    assert dramatiq.__version__ == REVIEWED, (
        "review what test_dramatiq_internals.py lists, then set REVIEWED"
    )
