"""What the local world says of a process that ended by itself."""

from pathlib import Path

import pytest

from sandbox.errors import SettingError
from sandbox.pipeline import Ended, Pipeline, find_ended

EVENT = "07:29:58 [critical ] process.cannot_start"
STARTED = "07:29:50 system   | send.1 started (pid=7)"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f"2026-11-30 {EVENT}           reason='cannot start: X: wrong'", "X: wrong"),
        (f'{EVENT} [workers.process] process=web reason="it\'s"', "it's"),
        ("dramatiq: error: argument --threads/-t: invalid int value: 'many'", None),
    ],
)
def test_the_last_line_of_the_first_process_that_ended_is_told(line: str, told: str | None) -> None:
    """The rest ends after it, as honcho stops them."""
    lines = [
        STARTED,
        "07:29:51 web.1    | ready",
        f"07:29:58 send.1   | {line}",
        "07:29:58 web.1    | still here",
        "07:29:58 system   | send.1 stopped (rc=78)",
        "07:29:59 system   | sending SIGTERM to web.1 (pid 8)",
        "07:29:59 system   | web.1 stopped (rc=0)",
    ]
    assert find_ended(lines) == Ended("send.1", 78, told or line)


def test_a_process_without_a_word_is_told_too() -> None:
    assert find_ended([STARTED, "07:30:00 system   | send.1 stopped (rc=-9)"]) == Ended(
        "send.1", -9, ""
    )
    assert find_ended([STARTED]) is None


def test_a_process_that_a_setting_keeps_from_starting_is_told_in_its_own_words(
    tmp_path: Path,
) -> None:
    procfile = tmp_path / "Procfile"
    procfile.write_text("record: python -m workers.recorder\n")
    environment = {"PORT": "9", "REDIS_URL": "x", "WPP_LOG_FORMAT": "text"}
    pipeline = Pipeline(environment, tmp_path / "log", str(procfile))
    with pytest.raises(SettingError, match=r"^record\.1: REDIS_URL: give a URL such as redis"):
        pipeline.start()
