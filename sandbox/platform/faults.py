"""Faults on demand: the plan, and the random choice for each request."""

import random
import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Rate = Annotated[float, Field(ge=0, le=1)]
"""Probability for a request or a webhook."""


class Slow(BaseModel):
    """Processed at once, answered `seconds` later."""

    model_config = ConfigDict(extra="forbid")

    rate: Rate = 0
    seconds: float = Field(default=0, ge=0)


class FaultPlan(BaseModel):
    """A request gets 429, 404, 5xx, drop, slow or no fault: the rates sum to 1 at most."""

    model_config = ConfigDict(extra="forbid")

    paths: str = Field(
        default=r"^/api/messages/(text|image|file|location)$",
        description="Which requests get faults.",
    )
    limit: int | None = Field(
        default=None, ge=0, description="The number of faults, then none: `rate_5xx: 1, limit: 3`."
    )
    seed: int | None = None
    latency_s: float = Field(
        default=0, ge=0, description="Every request waits, before it is processed."
    )

    rate_429: Rate = 0
    retry_after_s: float | None = Field(
        default=1, ge=0, description="Retry-After of a 429; null: none."
    )
    rate_404: Rate = Field(
        default=0,
        description="A proxy's 404, as while the platform is deployed: nothing processed.",
    )
    rate_5xx: Rate = 0
    status_5xx: int = Field(default=500, ge=500, le=599)
    processed_5xx: bool = Field(
        default=False, description="A 5xx comes after the request was processed."
    )
    drop_before: Rate = Field(
        default=0, description="Connection closed without an answer, nothing processed."
    )
    drop_after: Rate = Field(
        default=0, description="Processed, then connection closed without an answer."
    )
    slow: Slow = Slow()

    mute: bool | list[str] = Field(
        default=False, description="No webhooks: of all accounts, or of these."
    )
    duplicate_webhooks: Rate = 0
    reorder_webhooks: bool = False
    reorder_s: float = Field(
        default=0.5, ge=0, description="A reordered webhook leaves up to so much later."
    )

    revoked_keys: list[str] = Field(
        default=[], description="Accounts whose key and tokens are refused."
    )
    new_key_refused_s: float = Field(
        default=0, ge=0, description="A key younger than this is refused."
    )
    failing_accounts: list[str] = Field(
        default=[], description="Accounts whose messages are answered with `status_5xx`."
    )
    failing_after_s: float = Field(default=0.05, ge=0, description="When these answers leave.")
    slow_accounts: dict[str, float] = Field(
        default={}, description="Account: seconds until a message is processed and answered."
    )
    account_limits: dict[str, float] = Field(
        default={}, description="Account: messages it takes per second; the rest gets a 429."
    )
    hanging_accounts: list[str] = Field(
        default=[], description="Accounts whose status is answered `hanging_s` later."
    )
    hanging_s: float = Field(default=60, ge=0)
    takes_empty_reactions: bool = Field(
        default=False, description="A reaction without an emoji withdraws: not documented."
    )
    missing_routes: list[str] = Field(
        default=[], description="Kinds of messages, such as location, whose route does not exist."
    )
    refused_recipients: list[str] = Field(
        default=[], description="Digits; a send to one is answered with an error."
    )
    dead_recipients: list[str] = Field(
        default=[], description="Digits; a send to one ends in message.dead."
    )

    @field_validator("paths")
    @classmethod
    def _check_paths(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            msg = f"not a regular expression: {error}"
            raise ValueError(msg) from error
        return value

    @model_validator(mode="after")
    def _check_rates(self) -> "FaultPlan":
        if sum(rate for _, rate in self.fault_rates()) > 1 + 1e-9:
            msg = "the rates of 429, 404, 5xx, drops and slow sum to more than 1"
            raise ValueError(msg)
        return self

    def fault_rates(self) -> Iterator[tuple[str, float]]:
        yield "429", self.rate_429
        yield "404", self.rate_404
        yield "5xx", self.rate_5xx
        yield "drop_before", self.drop_before
        yield "drop_after", self.drop_after
        yield "slow", self.slow.rate


class Faults:
    """The plan in force, in memory only: a restart ends all faults."""

    def __init__(self) -> None:
        self.set(FaultPlan())

    def set(self, plan: FaultPlan) -> None:
        """Replace the whole plan."""
        self.plan = plan
        self.injected = 0
        self._free_at: dict[str, float] = {}
        # two generators: the number of webhooks must not change the faults of requests
        self._random = random.Random(plan.seed)  # noqa: S311 - no secrets
        self._webhook_random = random.Random(plan.seed)  # noqa: S311
        self._paths = re.compile(plan.paths)

    def matches(self, path: str) -> bool:
        return bool(self._paths.search(path))

    def draw_fault(self) -> str | None:
        """Return the kind of fault for a request, or None."""
        if self.plan.limit is not None and self.injected >= self.plan.limit:
            return None
        left = self._random.random()
        for kind, rate in self.plan.fault_rates():
            if left < rate:
                self.injected += 1
                return kind
            left -= rate
        return None

    def take_message(self, session: str, now_s: float) -> bool:
        """Return whether an account's limit allows a message now; a burst of a second's worth."""
        per_s = self.plan.account_limits.get(session)
        if not per_s:
            return True
        free_at = max(self._free_at.get(session, 0.0), now_s - 1)
        if free_at + 1 / per_s > now_s:
            return False
        self._free_at[session] = free_at + 1 / per_s
        return True

    def is_muted(self, session: str) -> bool:
        return session in self.plan.mute if isinstance(self.plan.mute, list) else self.plan.mute

    def draw_duplicate(self) -> bool:
        return self._webhook_random.random() < self.plan.duplicate_webhooks

    def draw_delay_s(self) -> float:
        """Return by how much a webhook is delayed."""
        return (
            self._webhook_random.uniform(0, self.plan.reorder_s)
            if self.plan.reorder_webhooks
            else 0
        )

    def restore_key(self, session: str) -> None:
        self.plan.revoked_keys = [
            revoked for revoked in self.plan.revoked_keys if revoked != session
        ]
