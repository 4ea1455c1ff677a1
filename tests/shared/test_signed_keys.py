"""Keys: each stands for one account or one organization, and for nothing else."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.signed_keys import (
    organization_of_key,
    service_key,
    webhook_key,
    webhook_key_fits,
    webhook_url,
)

OLD, NEW = b"the secret of last year, 32 or more", b"the secret of this year, 32 or more"
ORGANIZATION = UUID("6f1f2a8e-9d0b-4a57-8f13-2f5a4c1d0e9b")


def test_a_service_key_names_its_organization() -> None:
    assert organization_of_key(service_key(ORGANIZATION, (NEW,)), (NEW,)) == ORGANIZATION


def test_a_key_is_the_same_each_time() -> None:
    """Handed out keys stay valid over restarts and on every machine: nothing is stored."""
    assert service_key(ORGANIZATION, (NEW,)) == service_key(ORGANIZATION, (NEW, OLD))
    assert webhook_key("acc", (NEW,)) == "Fi8RjO6nj8GUpcQI3WVhJmQiJ7AsdR24A2aZf_Mph5c"


def test_secrets_rotate() -> None:
    """The new one in front: old keys are good until the old secret is dropped, new keys are made with the new one."""
    old_key, old_webhook = service_key(ORGANIZATION, (OLD,)), webhook_key("acc", (OLD,))
    assert organization_of_key(old_key, (NEW, OLD)) == ORGANIZATION
    assert webhook_key_fits("acc", old_webhook, (NEW, OLD))
    assert service_key(ORGANIZATION, (NEW, OLD)) != old_key
    assert organization_of_key(old_key, (NEW,)) is None
    assert not webhook_key_fits("acc", old_webhook, (NEW,))


def test_a_webhook_key_fits_its_account_alone() -> None:
    key = webhook_key("acc", (NEW,))
    assert webhook_key_fits("acc", key, (NEW,))
    assert not webhook_key_fits("acc2", key, (NEW,))
    assert not webhook_key_fits("", key, (NEW,))


def test_a_key_for_one_use_is_none_for_the_other() -> None:
    """An account may be called like an organization's hex."""
    mac = service_key(ORGANIZATION, (NEW,)).rsplit("_", 1)[1]
    assert not webhook_key_fits(ORGANIZATION.hex, mac, (NEW,))
    forged = f"wpp_{ORGANIZATION.hex}_{webhook_key(ORGANIZATION.hex, (NEW,))}"
    assert organization_of_key(forged, (NEW,)) is None


def test_the_key_of_one_organization_does_not_open_another() -> None:
    mac = service_key(ORGANIZATION, (NEW,)).split("_", 2)[2]
    assert organization_of_key(f"wpp_{uuid4().hex}_{mac}", (NEW,)) is None


def test_a_webhook_url_is_where_the_platform_posts() -> None:
    url = webhook_url("https://wpp.example/", "acc", (NEW,))
    assert url == f"https://wpp.example/webhooks/wpp/acc/{webhook_key('acc', (NEW,))}"


def test_keys_are_safe_in_a_url() -> None:
    assert webhook_key("acc", (NEW,)).replace("-", "").replace("_", "").isalnum()


@given(position=st.integers(0, 79), char=st.characters(codec="utf-8"))
def test_a_key_with_any_other_character_is_refused(position: int, char: str) -> None:
    key = service_key(ORGANIZATION, (NEW,))
    changed = key[:position] + char + key[position + 1 :]
    assert organization_of_key(changed, (NEW,)) == (ORGANIZATION if changed == key else None)


@given(text=st.text(st.characters(exclude_categories=()), max_size=100))
def test_anything_else_is_refused_without_a_fuss(text: str) -> None:
    """Also what cannot be written as UTF-8."""
    for candidate in (text, f"wpp_{text}", f"wpp_{ORGANIZATION.hex}_{text}"):
        assert organization_of_key(candidate, (NEW,)) is None
    assert not webhook_key_fits(text, text, (NEW,))
    assert not webhook_key_fits("acc", text, (NEW,))


@pytest.mark.parametrize("cut", [1, 10, 42])
def test_the_beginning_of_a_key_is_refused(cut: int) -> None:
    assert organization_of_key(service_key(ORGANIZATION, (NEW,))[:-cut], (NEW,)) is None
    assert not webhook_key_fits("acc", webhook_key("acc", (NEW,))[:-cut], (NEW,))


def test_without_secrets_nobody_enters() -> None:
    assert organization_of_key(service_key(ORGANIZATION, (NEW,)), ()) is None
