"""The errors that this package raises, as a tree.

PipelineError
├── ConfigurationError        a setting is missing, invalid or contradicts another
│   └── NotDurableError       Redis may lose or evict accepted data
├── OverloadedError           a limit of waiting events or outcomes is reached: try again later
│   └── MovedError            the organization moves to another shard
├── IdempotencyConflictError  the same key was used for a different request
├── AccessError               the credentials are missing or invalid
├── LeaseLostError            the claim has passed to another worker: stop working on it
├── NotUnknownError           the effect of this message is known, so it cannot be resolved
├── NotWaitingError           the message is being sent or has ended, so it cannot be cancelled
├── NotFoundError             the organization has no message or integration with this id
│   └── IntegrationNotFoundError
├── DatabaseError             Supabase answered with an error
│   └── DatabaseUnavailableError    Supabase did not answer: try again
└── PlatformError             a call to the WPP Platform failed; the subclass tells its effect:
    ├── NotSentError          not processed for certain: safe to try again
    │   ├── LimitedError      429, with the time to wait
    │   ├── NotConnectedError the account's phone is not linked: try again once it is linked
    │   └── UnavailableError  the platform was not reached, or asked for a later call
    │       └── TokenPausedError    requests for this account's token are paused
    ├── RefusedError          processed and refused: the same call fails again
    │   └── RouteMissingError the platform lacks the route of an unverified call
    ├── UnauthorizedError     the token was refused (401)
    ├── InvalidApiKeyError    the API key was refused: a new key is needed
    └── UnknownEffectError    the platform may have processed the call

The text of an error is shown to operators and API callers. It names the fault, the place and the
remedy, and contains no key, no token and no message text.
"""

from typing import Self
from uuid import UUID


class PipelineError(Exception):
    """Base class of all errors that this package raises."""

    code = "pipeline_error"


class ConfigurationError(PipelineError):
    code = "configuration"


class NotDurableError(ConfigurationError):
    code = "redis_not_durable"


class OverloadedError(PipelineError):
    """So many events or outcomes wait that no more are accepted; try again after `Retry-After`."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class MovedError(OverloadedError):
    """The organization moves, or has moved, to another shard: its place has to be found again."""

    def __init__(self) -> None:
        super().__init__("the organization moves to another Redis; try again", retry_after_s=1.0)


class IdempotencyConflictError(PipelineError):
    """The Idempotency-Key was used for a different request: a new request needs a new key."""

    code = "idempotency_conflict"

    def __init__(self) -> None:
        super().__init__(
            "this Idempotency-Key was used for a different request; use a new key for a new request"
        )


class AccessError(PipelineError):
    """The credentials are missing, invalid, expired or revoked."""

    code = "access_denied"


class LeaseLostError(PipelineError):
    """The lease of a claim has ended: another worker may have the event now."""

    code = "lease_lost"


class NotUnknownError(PipelineError):
    """Only messages of status `unknown` are settled by hand: the status of the others is known."""

    code = "not_unknown"


class ImpossibleChangeError(PipelineError):
    """A message cannot be changed in this way, now or later."""

    code = "impossible_change"


class NotWaitingError(PipelineError):
    """The message is being sent or has ended: it cannot be cancelled any more."""

    code = "not_waiting"


class NotFoundError(PipelineError):
    """The organization has no such resource; another organization's resources answer the same."""

    code = "not_found"


class IntegrationNotFoundError(NotFoundError):
    def __init__(self, integration_id: UUID) -> None:
        super().__init__(f"no integration {integration_id} in this organization")


class DatabaseError(PipelineError):
    """Supabase answered with an error; `sqlstate` is the five-character code of Postgres."""

    code = "database"

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class DatabaseUnavailableError(DatabaseError):
    """Supabase did not answer in time: the same request may be sent again."""

    code = "database_unavailable"


class PlatformError(PipelineError):
    """A call to the platform failed; `status` is the HTTP status of its answer, if any."""

    code = "platform"

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotSentError(PlatformError):
    code = "not_sent"


class LimitedError(NotSentError):
    code = "limited"

    def __init__(self, message: str, *, retry_after_s: float, status: int | None = 429) -> None:
        super().__init__(message, status=status)
        self.retry_after_s = retry_after_s


class NotConnectedError(NotSentError):
    code = "not_connected"


class UnavailableError(NotSentError):
    """The platform is unavailable; `retry_after_s` is the time to wait, if it is known."""

    code = "platform_unavailable"

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, status=status)
        self.retry_after_s = retry_after_s


class TokenPausedError(UnavailableError):
    code = "token_paused"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.retry_after_s: float = retry_after_s


class RefusedError(PlatformError):
    code = "refused"


class RouteMissingError(RefusedError):
    code = "route_missing"


class UnauthorizedError(PlatformError):
    code = "unauthorized"


class InvalidApiKeyError(PlatformError):
    code = "INVALID_API_KEY"

    @classmethod
    def missing(cls, account: str) -> Self:
        """Return the error for an account that has no API key."""
        return cls(f"account {account} has no key: connect it again with force_recreate")


class UnknownEffectError(PlatformError):
    code = "unknown_effect"
