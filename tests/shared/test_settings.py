"""Invalid settings are refused at start, with a message that says what to change."""

import pytest

from shared.errors import ConfigurationError
from shared.settings import NESTED_TIMES, EngineSettings, KeySettings, RedisSettings, load_settings


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


def test_a_process_works_on_the_redis_of_its_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A web process works on the home, as does a process without a name."""
    monkeypatch.setenv("WPP_SHARDS", "a=redis://:secret@one/0\n b=redis+sentinel://two,three/m")
    assert load_settings(RedisSettings).shard == "a"
    monkeypatch.setenv("WPP_SHARD", "b")
    settings = load_settings(RedisSettings)
    assert settings.redis_url.get_secret_value() == "redis+sentinel://two,three/m"
    assert list(settings.shards) == ["a", "b"]
    assert settings.at_home().redis_url.get_secret_value() == "redis://:secret@one/0"
    assert settings.at_home().shard == "a"
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("shards", "shard", "fault"),
    [
        ("a=redis://:secret@one b=redis://:secret@one", "", "shard b is listed twice"),
        ("a=redis://:secret@one a=redis://:secret@two", "", "shard a is listed twice"),
        ("a=redis://:secret@one redis://:secret@two", "", "shard 2 is no name=URL"),
        ("A=redis://:secret@one", "", "shard 1 is no name=URL"),
        ("a=secret", "", "shard a: give a URL"),
        ("a=redis://:secret@one", "b", r"WPP_SHARD \(b\) is not in WPP_SHARDS: a"),
        ("", "b", r"WPP_SHARD \(b\) is not in WPP_SHARDS: it is empty"),
    ],
)
def test_wrong_shards_are_refused_without_their_passwords(
    shards: str, shard: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WPP_SHARDS", shards)
    monkeypatch.setenv("WPP_SHARD", shard)
    with pytest.raises(ConfigurationError, match=fault) as refused:
        load_settings(RedisSettings)
    assert "secret" not in str(refused.value)
