"""A webhook key is valid for its account only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.signed_keys import make_webhook_key, make_webhook_url, verify_webhook_key

OLD = b"the secret of last year, 32 or more"
NEW = b"the secret of this year, 32 or more"


def test_a_key_is_the_same_each_time() -> None:
    """A key stays valid after a restart and on every machine, and nothing is stored."""
    assert make_webhook_key("acc", (NEW,)) == make_webhook_key("acc", (NEW, OLD))
    assert make_webhook_key("acc", (NEW,)) == "Fi8RjO6nj8GUpcQI3WVhJmQiJ7AsdR24A2aZf_Mph5c"


def test_secrets_rotate() -> None:
    """Old keys are valid until the old secret is removed; new keys use the first secret."""
    old = make_webhook_key("acc", (OLD,))
    assert verify_webhook_key("acc", old, (NEW, OLD))
    assert make_webhook_key("acc", (NEW, OLD)) != old
    assert not verify_webhook_key("acc", old, (NEW,))


def test_a_webhook_key_is_valid_for_its_account_only() -> None:
    """Another account is refused, and so is an empty name."""
    key = make_webhook_key("acc", (NEW,))
    assert verify_webhook_key("acc", key, (NEW,))
    assert not verify_webhook_key("acc2", key, (NEW,))
    assert not verify_webhook_key("", key, (NEW,))


def test_a_webhook_url_contains_account_and_key() -> None:
    """A trailing slash of the public URL is ignored."""
    url = make_webhook_url("https://wpp.example/", "acc", (NEW,))
    assert url == f"https://wpp.example/webhooks/wpp/acc/{make_webhook_key('acc', (NEW,))}"


def test_a_key_needs_no_url_encoding() -> None:
    """It consists of letters, digits, minus and underscore."""
    assert make_webhook_key("acc", (NEW,)).replace("-", "").replace("_", "").isalnum()


@given(position=st.integers(0, 42), char=st.characters(codec="utf-8"))
def test_a_changed_key_is_refused(position: int, char: str) -> None:
    """Every character counts."""
    key = make_webhook_key("acc", (NEW,))
    changed = key[:position] + char + key[position + 1 :]
    assert verify_webhook_key("acc", changed, (NEW,)) == (changed == key)


@given(text=st.text(st.characters(exclude_categories=()), max_size=100))
def test_any_other_text_is_refused(text: str) -> None:
    """Including text that cannot be encoded as UTF-8."""
    assert not verify_webhook_key(text, text, (NEW,))
    assert not verify_webhook_key("acc", text, (NEW,))


@pytest.mark.parametrize("cut", [1, 10, 42])
def test_a_truncated_key_is_refused(cut: int) -> None:
    """A prefix of a signature is not valid."""
    assert not verify_webhook_key("acc", make_webhook_key("acc", (NEW,))[:-cut], (NEW,))


def test_without_secrets_every_key_is_refused() -> None:
    """An empty list of secrets verifies nothing."""
    assert not verify_webhook_key("acc", make_webhook_key("acc", (NEW,)), ())
