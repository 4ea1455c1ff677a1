"""Everything that can go wrong, as one tree.

PipelineError
├── ConfigurationError        a setting is missing, contradicts another, or names something unusable
├── NotDurableError           this Redis may forget or evict what was accepted
├── OverloadedError           more is waiting than we may accept: try later
├── IdempotencyConflictError  the same key was used for a different request
├── AccessError               the caller is not who they say, or not known
├── LeaseLostError            the claim has passed to another worker: stop working on it
├── NotUnknownError           what became of this message is known: there is nothing to settle
├── NotFoundError             the organization has no message or integration with this id
│   └── IntegrationNotFoundError
├── DatabaseError             Supabase answered with an error
│   └── DatabaseUnavailableError    Supabase did not answer: try again
└── PlatformError             the WPP Platform; what is known of the effect of the call:
    ├── NotSentError          proven not processed: safe to try again
    │   ├── LimitedError      429, with how long to wait
    │   ├── NotConnectedError the account's phone is not linked: safe to try again when it is
    │   └── UnavailableError  could not be reached, or said when to come back
    │       └── TokenPausedError    nobody asks for a token of this account just now
    ├── RefusedError          processed and refused: trying again changes nothing
    ├── UnauthorizedError     the token was refused (401)
    ├── InvalidApiKeyError    the key was refused: only a new key helps
    └── UnknownEffectError    nobody can know whether it was processed

An error's text goes to operators and callers: it says what was wrong, where, and what to do,
and never holds a key, a token or a message's text.
"""

from typing import Self
from uuid import UUID


class PipelineError(Exception):
    """Any error that this package raises on purpose."""

    code = "pipeline_error"


class ConfigurationError(PipelineError):
    code = "configuration"


class NotDurableError(ConfigurationError):
    code = "redis_not_durable"


class OverloadedError(PipelineError):
    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class IdempotencyConflictError(PipelineError):
    code = "idempotency_conflict"

    def __init__(self) -> None:
        super().__init__(
            "this Idempotency-Key was used for a different request; use a new key for a new request"
        )


class AccessError(PipelineError):
    code = "access_denied"


class LeaseLostError(PipelineError):
    """The lease of a claim has ended: another worker may have the event now."""

    code = "lease_lost"


class NotUnknownError(PipelineError):
    code = "not_unknown"


class NotFoundError(PipelineError):
    code = "not_found"


class IntegrationNotFoundError(NotFoundError):
    def __init__(self, integration_id: UUID) -> None:
        super().__init__(f"no integration {integration_id} in this organization")


class DatabaseError(PipelineError):
    """Supabase refused. `sqlstate` is Postgres' five-character code where there is one."""

    code = "database"

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class DatabaseUnavailableError(DatabaseError):
    code = "database_unavailable"


class PlatformError(PipelineError):
    """The platform call failed. `status` is the HTTP status where there was an answer."""

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
    """Not reached. `retry_after_s` is set where somebody knows when to ask again."""

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
