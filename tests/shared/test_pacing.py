"""The settings of pacing: what they may be, and how those of an organization change the default."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.pacing import Pacing, PacingChange
from shared.settings import EngineSettings


def test_settings_of_an_organization_replace_those_that_they_name() -> None:
    """An empty warm-up is a setting: there is none."""
    default = Pacing(per_minute=20, burst=3, warm_up=(20, 40))
    assert default.with_change(PacingChange(burst=1, warm_up=())) == Pacing(per_minute=20, burst=1)
    assert default.with_change(PacingChange()) == default


@pytest.mark.parametrize(
    ("settings", "is_off"),
    [
        ({}, True),
        ({"burst": 1}, True),
        ({"per_minute": 1}, False),
        ({"recipient_per_minute": 1}, False),
        ({"warm_up": (20,)}, False),
    ],
)
def test_pacing_is_off_until_it_is_chosen(settings: dict[str, Any], is_off: bool) -> None:  # noqa: FBT001
    assert Pacing(**settings).is_off == is_off


@pytest.mark.parametrize(
    "change",
    [
        {"per_minute": -1},
        {"per_minute": 601},
        {"per_minute": float("nan")},
        {"burst": 0},
        {"jitter": 1},
        {"warm_up": [0]},
        {"warm_up": [1] * 61},
        {"per_hour": 1},
    ],
    ids=str,
)
def test_an_impossible_setting_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PacingChange.model_validate(change)


@pytest.mark.parametrize("stored", [None, [], "20"], ids=str)
def test_what_is_no_object_changes_nothing(stored: object) -> None:
    assert PacingChange.read(stored) == PacingChange()


def test_invalid_settings_hide_no_valid_ones() -> None:
    """A person may have written them into the table."""
    stored = {"per_minute": "fast", "burst": 2, "warm_up": [20, -1], "later": 1}
    assert PacingChange.read(stored) == PacingChange(burst=2)


def test_the_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert EngineSettings().pacing == Pacing()
    monkeypatch.setenv("WPP_PACE_PER_MINUTE", "20")
    monkeypatch.setenv("WPP_WARM_UP", "20, 40,80")
    assert EngineSettings().pacing == Pacing(per_minute=20, warm_up=(20, 40, 80))
