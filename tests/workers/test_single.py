"""The progress of a process that is several parts stands still with any of them."""

from workers.single import ROLES, CommonProgress


def test_progress_stands_still_with_any_part() -> None:
    """It grows once all parts have moved, also when they moved at different looks."""
    counts = [0, 0]
    progress = CommonProgress(lambda: counts[0], lambda: counts[1])
    assert progress() == 0
    counts[0] += 5
    assert [progress(), progress()] == [0, 0]
    counts[1] += 1
    assert progress() == 1
    counts[1] += 1
    assert progress() == 1


def test_it_fills_every_role_but_the_ingress() -> None:
    assert set(ROLES) == {"send", "provision", "webhook", "media", "callback", "record", "clock"}
