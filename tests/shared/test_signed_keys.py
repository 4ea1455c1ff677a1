"""Keys: each stands for one account or one organization, and for nothing else."""

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

OLD, NEW = b"the secret of last year, 32 or more", b"the secret of this year, 32 or more"
ORGANIZATION = UUID("6f1f2a8e-9d0b-4a57-8f13-2f5a4c1d0e9b")


def test_a_service_key_names_its_organization() -> None:
    assert read_service_key(make_service_key(ORGANIZATION, (NEW,)), (NEW,)) == ORGANIZATION


def test_a_key_is_the_same_each_time() -> None:
    """Handed out keys stay valid over restarts and on every machine: nothing is stored."""
    assert make_service_key(ORGANIZATION, (NEW,)) == make_service_key(ORGANIZATION, (NEW, OLD))
    assert make_webhook_key("acc", (NEW,)) == "Fi8RjO6nj8GUpcQI3WVhJmQiJ7AsdR24A2aZf_Mph5c"


def test_secrets_rotate() -> None:
    """The new one in front: old keys are good until the old secret is dropped, new keys are made with the new one."""
    old_key, old_webhook = make_service_key(ORGANIZATION, (OLD,)), make_webhook_key("acc", (OLD,))
    assert read_service_key(old_key, (NEW, OLD)) == ORGANIZATION
    assert verify_webhook_key("acc", old_webhook, (NEW, OLD))
    assert make_service_key(ORGANIZATION, (NEW, OLD)) != old_key
    assert read_service_key(old_key, (NEW,)) is None
    assert not verify_webhook_key("acc", old_webhook, (NEW,))


def test_a_webhook_key_fits_its_account_alone() -> None:
    key = make_webhook_key("acc", (NEW,))
    assert verify_webhook_key("acc", key, (NEW,))
    assert not verify_webhook_key("acc2", key, (NEW,))
    assert not verify_webhook_key("", key, (NEW,))


def test_a_key_for_one_use_is_none_for_the_other() -> None:
    """An account may be called like an organization's hex."""
    mac = make_service_key(ORGANIZATION, (NEW,)).rsplit("_", 1)[1]
    assert not verify_webhook_key(ORGANIZATION.hex, mac, (NEW,))
    forged = f"wpp_{ORGANIZATION.hex}_{make_webhook_key(ORGANIZATION.hex, (NEW,))}"
    assert read_service_key(forged, (NEW,)) is None


def test_the_key_of_one_organization_does_not_open_another() -> None:
    mac = make_service_key(ORGANIZATION, (NEW,)).split("_", 2)[2]
    assert read_service_key(f"wpp_{uuid4().hex}_{mac}", (NEW,)) is None


def test_a_webhook_url_is_where_the_platform_posts() -> None:
    url = make_webhook_url("https://wpp.example/", "acc", (NEW,))
    assert url == f"https://wpp.example/webhooks/wpp/acc/{make_webhook_key('acc', (NEW,))}"


def test_keys_are_safe_in_a_url() -> None:
    assert make_webhook_key("acc", (NEW,)).replace("-", "").replace("_", "").isalnum()


@given(position=st.integers(0, 79), char=st.characters(codec="utf-8"))
def test_a_key_with_any_other_character_is_refused(position: int, char: str) -> None:
    key = make_service_key(ORGANIZATION, (NEW,))
    changed = key[:position] + char + key[position + 1 :]
    assert read_service_key(changed, (NEW,)) == (ORGANIZATION if changed == key else None)


@given(text=st.text(st.characters(exclude_categories=()), max_size=100))
def test_anything_else_is_refused_without_a_fuss(text: str) -> None:
    """Also what cannot be written as UTF-8."""
    for candidate in (text, f"wpp_{text}", f"wpp_{ORGANIZATION.hex}_{text}"):
        assert read_service_key(candidate, (NEW,)) is None
    assert not verify_webhook_key(text, text, (NEW,))
    assert not verify_webhook_key("acc", text, (NEW,))


@pytest.mark.parametrize("cut", [1, 10, 42])
def test_the_beginning_of_a_key_is_refused(cut: int) -> None:
    assert read_service_key(make_service_key(ORGANIZATION, (NEW,))[:-cut], (NEW,)) is None
    assert not verify_webhook_key("acc", make_webhook_key("acc", (NEW,))[:-cut], (NEW,))


def test_without_secrets_nobody_enters() -> None:
    assert read_service_key(make_service_key(ORGANIZATION, (NEW,)), ()) is None
