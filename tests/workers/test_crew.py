"""The threads of one process live and die together."""

import threading

import structlog

from workers.crew import EXIT_SOFTWARE, SupervisedThreads


def test_all_end_in_order_when_they_are_told_to() -> None:
    crew = SupervisedThreads()
    ended = []

    def work(name: str) -> None:
        crew.stopping.wait()
        ended.append(name)

    crew.start(work, "a")
    crew.start(work, "b")
    threading.Timer(0.05, crew.stopping.set).start()
    crew.work(work, "main")
    assert crew.end() == 0
    assert sorted(ended) == ["a", "b", "main"]


def test_one_that_fails_is_told_of_and_ends_the_others() -> None:
    """A thread that dies silently leaves a process that looks alive."""
    crew = SupervisedThreads()

    def fail() -> None:
        raise ZeroDivisionError

    with structlog.testing.capture_logs() as told:
        crew.start(fail)
        crew.work(crew.stopping.wait)
        assert crew.end() == EXIT_SOFTWARE
    assert [(line["event"], line["log_level"]) for line in told] == [("process.failed", "critical")]
