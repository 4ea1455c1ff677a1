"""Invalid settings are refused at start, with a message that says what to change."""

import pytest

from shared.errors import ConfigurationError
from shared.settings import NESTED_TIMES, EngineSettings, KeySettings, load_settings


def test_the_default_times_are_consistent() -> None:
    """The engine starts without any setting."""
    assert isinstance(load_settings(EngineSettings), EngineSettings)


@pytest.mark.parametrize(("inner", "outer", "why"), NESTED_TIMES)
def test_inconsistent_times_are_refused(
    inner: str, outer: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names both variables, their values and the reason."""
    monkeypatch.setenv(inner.upper(), "999")
    monkeypatch.setenv(outer.upper(), "999")
    with pytest.raises(ConfigurationError) as refused:
        load_settings(EngineSettings)
    assert f"{inner.upper()} (999) must be below {outer.upper()} (999): {why}" in str(refused.value)


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message contains the name of the environment variable."""
    monkeypatch.delenv("WPP_KEY_SECRETS", raising=False)
    monkeypatch.setenv("WPP_PUBLIC_URL", "http://127.0.0.1")
    with pytest.raises(ConfigurationError, match="WPP_KEY_SECRETS: Field required"):
        load_settings(KeySettings)


def test_a_short_secret_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how to generate a secret."""
    monkeypatch.setenv("WPP_KEY_SECRETS", "tooshort")
    monkeypatch.setenv("WPP_PUBLIC_URL", "http://127.0.0.1")
    with pytest.raises(ConfigurationError, match="openssl rand -hex 32") as refused:
        load_settings(KeySettings)
    assert "tooshort" not in str(refused.value)
