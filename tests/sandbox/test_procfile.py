"""Each process has a file per day, which is kept over restarts."""

from datetime import date, datetime
from pathlib import Path

from sandbox.procfile import DailyFiles

NOON = datetime(2026, 11, 29, 12)  # noqa: DTZ001 - a time of this machine
TOMORROW = datetime(2026, 11, 30, 1)  # noqa: DTZ001


def test_a_restart_appends_to_the_file_of_the_day(tmp_path: Path) -> None:
    for line in ("first start", "second start"):
        files = DailyFiles(tmp_path)
        files.write("send.1", line, NOON)
        files.close()
    assert (tmp_path / "send-2026-11-29.log").read_text() == "first start\nsecond start\n"


def test_a_new_day_begins_a_new_file(tmp_path: Path) -> None:
    files = DailyFiles(tmp_path)
    files.write("web.1", "today", NOON)
    files.write("web.1", "tomorrow", TOMORROW)
    files.write("send.2", "beside the first", NOON)
    files.close()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "web-2026-11-29.log": "today\n",
        "web-2026-11-30.log": "tomorrow\n",
        "send.2-2026-11-29.log": "beside the first\n",
    }


def test_files_are_deleted_after_two_weeks(tmp_path: Path) -> None:
    for day in ("2026-11-14", "2026-11-15", "2026-11-29"):
        (tmp_path / f"send-{day}.log").touch()
    (tmp_path / "redis.log").touch()
    DailyFiles(tmp_path).prune(date(2026, 11, 29))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "redis.log",
        "send-2026-11-15.log",
        "send-2026-11-29.log",
    ]
