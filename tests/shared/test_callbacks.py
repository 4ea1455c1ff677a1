"""Signatures of posts, as Standard Webhooks define them, and the pauses between attempts."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from shared.callbacks import (
    JITTER,
    RETRY_AFTER_S,
    Callback,
    build_headers,
    make_secret,
    pause_after,
    sign,
)

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def callback(**given: Any) -> Callback:
    defaults: dict[str, Any] = {
        "id": uuid4(),
        "organization_id": uuid4(),
        "name": "",
        "url": "https://crm.example.com/",
        "types": [],
        "integration_id": None,
        "secret": "whsec_bmV3",
        "previous_secret": None,
        "previous_until": None,
        "is_enabled": True,
        "disabled_reason": None,
        "position": 0,
        "generation": 0,
        "failing_since": None,
        "last_success_at": None,
        "created_at": NOW,
    }
    return Callback.model_validate(defaults | given)


def test_a_known_post_has_its_known_signature() -> None:
    """The example that the libraries of Standard Webhooks share."""
    secret = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_long_random_and_unlike_any_before() -> None:
    made = {make_secret().get_secret_value() for _ in range(100)}
    assert len(made) == 100
    assert all(len(base64.b64decode(each.removeprefix("whsec_"))) == 32 for each in made)


def test_a_secret_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        sign(SecretStr("whsec_?"), "evt_1", 1, b"")


def test_a_post_is_signed_by_both_secrets_while_they_are_replaced() -> None:
    both = callback(previous_secret="whsec_b2xk", previous_until=NOW + timedelta(hours=1))
    signing = both.valid_secrets(NOW)
    headers = build_headers(signing, "evt_1", 7, b"{}")
    expected = [
        "v1," + base64.b64encode(hmac.digest(key, b"evt_1.7.{}", hashlib.sha256)).decode()
        for key in (b"new", b"old")
    ]
    assert headers["webhook-signature"] == " ".join(expected)
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("evt_1", "7")
    assert len(both.valid_secrets(NOW + timedelta(hours=2))) == 1


def test_a_callback_shows_no_secret() -> None:
    shown = repr(callback(previous_secret="whsec_b2xk")) + str(callback())
    assert "bmV3" not in shown
    assert "b2xk" not in shown


def test_attempts_are_spread_over_a_day_and_end() -> None:
    pauses = [pause_after(attempts) for attempts in range(1, len(RETRY_AFTER_S) + 2)]
    assert pauses[-1] is None
    for pause, planned in zip(pauses[:-1], RETRY_AFTER_S, strict=True):
        assert pause is not None
        assert planned * (1 - JITTER) <= pause <= planned * (1 + JITTER)
    assert 20 * 3600 < sum(RETRY_AFTER_S) < 30 * 3600
