"""A signed key is valid for its account or its organization only."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.signed_keys import (
    make_service_key,
    make_webhook_key,
    make_webhook_url,
    read_service_key,
    verify_webhook_key,
)

OLD = b"the secret of last year, 32 or more"
NEW = b"the secret of this year, 32 or more"
ORGANIZATION = UUID("6f1f2a8e-9d0b-4a57-8f13-2f5a4c1d0e9b")


def test_a_service_key_contains_its_organization() -> None:
    """The organization is read without a database."""
    assert read_service_key(make_service_key(ORGANIZATION, (NEW,)), (NEW,)) == ORGANIZATION


def test_a_key_is_the_same_each_time() -> None:
    """A key stays valid after a restart and on every machine, and nothing is stored."""
    assert make_service_key(ORGANIZATION, (NEW,)) == make_service_key(ORGANIZATION, (NEW, OLD))
    assert make_webhook_key("acc", (NEW,)) == "Fi8RjO6nj8GUpcQI3WVhJmQiJ7AsdR24A2aZf_Mph5c"


def test_secrets_rotate() -> None:
    """Old keys are valid until the old secret is removed; new keys use the first secret."""
    old_key = make_service_key(ORGANIZATION, (OLD,))
    old_webhook = make_webhook_key("acc", (OLD,))
    assert read_service_key(old_key, (NEW, OLD)) == ORGANIZATION
    assert verify_webhook_key("acc", old_webhook, (NEW, OLD))
    assert make_service_key(ORGANIZATION, (NEW, OLD)) != old_key
    assert read_service_key(old_key, (NEW,)) is None
    assert not verify_webhook_key("acc", old_webhook, (NEW,))


def test_a_webhook_key_is_valid_for_its_account_only() -> None:
    """Another account is refused, and so is an empty name."""
    key = make_webhook_key("acc", (NEW,))
    assert verify_webhook_key("acc", key, (NEW,))
    assert not verify_webhook_key("acc2", key, (NEW,))
    assert not verify_webhook_key("", key, (NEW,))


def test_a_webhook_key_is_not_a_service_key() -> None:
    """Not even for an account named like the hex of an organization."""
    mac = make_service_key(ORGANIZATION, (NEW,)).rsplit("_", 1)[1]
    assert not verify_webhook_key(ORGANIZATION.hex, mac, (NEW,))
    forged = f"wpp_{ORGANIZATION.hex}_{make_webhook_key(ORGANIZATION.hex, (NEW,))}"
    assert read_service_key(forged, (NEW,)) is None


def test_a_service_key_is_valid_for_its_organization_only() -> None:
    """The signature of another organization is refused."""
    mac = make_service_key(ORGANIZATION, (NEW,)).split("_", 2)[2]
    assert read_service_key(f"wpp_{uuid4().hex}_{mac}", (NEW,)) is None


def test_a_webhook_url_contains_account_and_key() -> None:
    """A trailing slash of the public URL is ignored."""
    url = make_webhook_url("https://wpp.example/", "acc", (NEW,))
    assert url == f"https://wpp.example/webhooks/wpp/acc/{make_webhook_key('acc', (NEW,))}"


def test_a_key_needs_no_url_encoding() -> None:
    """It consists of letters, digits, minus and underscore."""
    assert make_webhook_key("acc", (NEW,)).replace("-", "").replace("_", "").isalnum()


@given(position=st.integers(0, 79), char=st.characters(codec="utf-8"))
def test_a_changed_key_is_refused(position: int, char: str) -> None:
    """Every character counts."""
    key = make_service_key(ORGANIZATION, (NEW,))
    changed = key[:position] + char + key[position + 1 :]
    assert read_service_key(changed, (NEW,)) == (ORGANIZATION if changed == key else None)


@given(text=st.text(st.characters(exclude_categories=()), max_size=100))
def test_any_other_text_is_refused(text: str) -> None:
    """Including text that cannot be encoded as UTF-8."""
    for candidate in (text, f"wpp_{text}", f"wpp_{ORGANIZATION.hex}_{text}"):
        assert read_service_key(candidate, (NEW,)) is None
    assert not verify_webhook_key(text, text, (NEW,))
    assert not verify_webhook_key("acc", text, (NEW,))


@pytest.mark.parametrize("cut", [1, 10, 42])
def test_a_truncated_key_is_refused(cut: int) -> None:
    """A prefix of a signature is not valid."""
    assert read_service_key(make_service_key(ORGANIZATION, (NEW,))[:-cut], (NEW,)) is None
    assert not verify_webhook_key("acc", make_webhook_key("acc", (NEW,))[:-cut], (NEW,))


def test_without_secrets_every_key_is_refused() -> None:
    """An empty list of secrets verifies nothing."""
    assert read_service_key(make_service_key(ORGANIZATION, (NEW,)), ()) is None
