"""Callbacks: to whom events are posted, and how a post is signed (Standard Webhooks).

The signature is an HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`. While a secret is
replaced, a post has two signatures.
"""

import base64
import binascii
import hashlib
import hmac
import random
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from shared.feed import EventFilter, FeedPage

SECRET_MARK = "whsec_"  # noqa: S105 - the beginning of every secret
SECRET_BYTES = 32
ROTATION_HOURS = 24
"""How long the secret before signs as well."""
RETRY_AFTER_S = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 21_600, 28_800)
"""The pause after each failed attempt at an event, about a day in all; then it is given up."""
JITTER = 0.2
TEST_TYPE = "callback.test"

DeliveryOutcome = Literal["delivered", "failed", "given_up"]


class CallbackRow(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Callback(CallbackRow):
    """A row of `wpp_callbacks`."""

    id: UUID
    organization_id: UUID
    name: str
    url: str
    types: tuple[str, ...]
    integration_id: UUID | None
    secret: SecretStr
    previous_secret: SecretStr | None
    previous_until: datetime | None
    is_enabled: bool
    disabled_reason: str | None
    position: int
    generation: int
    failing_since: datetime | None
    last_success_at: datetime | None
    created_at: datetime

    @property
    def filter(self) -> EventFilter:
        return EventFilter(self.types, str(self.integration_id) if self.integration_id else "")

    def valid_secrets(self, now: datetime) -> list[SecretStr]:
        """Return the secrets that sign at this time, the newest first."""
        is_replaced = self.previous_until is not None and self.previous_until > now
        return [
            self.secret,
            *([self.previous_secret] if self.previous_secret and is_replaced else []),
        ]


class CallbackBatch(CallbackRow):
    callback: Callback
    page: FeedPage


class CallbackEvents(CallbackRow):
    """The next events of callbacks; `callbacks` is the number of all that are enabled."""

    callbacks: int
    batches: list[CallbackBatch]


class Delivery(CallbackRow):
    """An attempt: a row of `wpp_callback_deliveries`."""

    id: int
    callback_id: UUID
    event_id: int | None
    webhook_id: str
    type: str
    attempt: int
    outcome: DeliveryOutcome
    status: int | None
    duration_ms: int | None
    error: str | None
    at: datetime


class PostAttempt(CallbackRow):
    """An attempt as it is recorded. `duration_ms` and `status` are None when none was made."""

    organization_id: UUID
    callback_id: UUID
    event_id: int | None
    webhook_id: str
    type: str
    attempt: int
    outcome: DeliveryOutcome
    status: int | None = None
    duration_ms: int | None = None
    error: str | None = Field(None, max_length=500)


class CallbackHealth(CallbackRow):
    """What an attempt means for its callback; `disabled`: why this attempt has disabled it."""

    failing_since: datetime | None
    disabled: str | None


def make_secret() -> SecretStr:
    """Return a new signing secret: `whsec_` and 32 random bytes in base64."""
    return SecretStr(SECRET_MARK + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode())


def sign(secret: SecretStr, webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the signature of a post by one secret: `v1,<base64>`.

    Raises:
        ValueError: the secret has another form.
    """
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix(SECRET_MARK), validate=True)
    except binascii.Error:
        msg = "a signing secret is whsec_ and base64"
        raise ValueError(msg) from None
    content = f"{webhook_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def build_headers(
    signing: Sequence[SecretStr], webhook_id: str, timestamp_s: int, body: bytes
) -> dict[str, str]:
    """Return the headers of a post, with a signature by each secret."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "wpp-pipeline",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(
            sign(each, webhook_id, timestamp_s, body) for each in signing
        ),
    }


def pause_after(attempts: int) -> float | None:
    """Return the seconds to wait after so many failed attempts; None: give up."""
    if attempts > len(RETRY_AFTER_S):
        return None
    pause_s = RETRY_AFTER_S[attempts - 1]
    return random.uniform(pause_s * (1 - JITTER), pause_s * (1 + JITTER))  # noqa: S311
