"""Settings from the environment, in groups: each process asks only for what it uses.

`.env.example` documents every one of them; `tests/test_consistency.py` holds the two together.
"""

import re
from functools import cached_property
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, HttpUrl, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.errors import ConfigurationError


class SettingsGroup(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_file=".env")


SettingsT = TypeVar("SettingsT", bound="SettingsGroup")


class RedisSettings(SettingsGroup):
    """The durable Redis that holds lanes, ledger, outbox, wake-ups and tokens."""

    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"), description="One primary, 6.2 or newer."
    )
    wpp_allow_volatile_redis: bool = Field(
        default=False, description="Accept a Redis that may forget. Experiments only."
    )

    @field_validator("redis_url")
    @classmethod
    def _is_one_of_redis(cls, value: SecretStr) -> SecretStr:
        if not re.match(r"(redis|rediss|unix)://.", value.get_secret_value()):
            msg = "give a URL such as redis://127.0.0.1:6379/0, rediss://… or unix://…"
            raise ValueError(msg)
        return value


NESTED_TIMES = (
    (
        "wpp_http_deadline_s",
        "wpp_lease_s",
        "a call must end before its event is given up, or it could be made twice",
    ),
    ("wpp_lease_s", "wpp_max_age_s", "an event must be tried more than once before it is too old"),
    (
        "wpp_max_age_s",
        "wpp_record_ttl_s",
        "a key must be remembered for as long as its event may still be tried",
    ),
    (
        "wpp_watch_limit_s",
        "wpp_max_age_s",
        "a scan is awaited until its limit, not until the event is too old",
    ),
)
"""Which time has to end within which, and why."""


class EngineSettings(SettingsGroup):
    """How long things may take and how much may wait. Times in seconds."""

    wpp_http_deadline_s: float = Field(
        default=20, gt=0, description="Whole call to the platform, connect to last byte."
    )
    wpp_lease_s: float = Field(
        default=25, gt=0, description="How long a worker may hold an event before it is given up."
    )
    wpp_max_age_s: float = Field(
        default=86_400, gt=0, description="A message that could not go out for this long fails."
    )
    wpp_max_inflight_per_tenant: int = Field(
        default=16,
        gt=0,
        description="Events of one kind of one organization worked on at once; half a process' threads at most.",
    )
    wpp_outbox_limit: int = Field(
        default=250_000,  # 10 minutes without Supabase at 100 events a second, with twice the room; some 110 MB
        gt=0,
        description="Outcomes waiting for Supabase before we refuse more.",
    )
    wpp_waiting_limit: int = Field(
        default=150_000,  # some 200 MB; a campaign fits, and one organization's does not fill Redis for the others
        gt=0,
        description="Events of one kind of one organization waiting for their turn before we refuse more of them.",
    )
    wpp_pace_s: float = Field(
        default=0,
        ge=0,
        description="Pause between two messages of one number, on average. 0: none.",
    )
    wpp_record_ttl_s: int = Field(
        default=8 * 86_400, gt=0, description="How long a finished event answers its key."
    )
    wpp_watch_limit_s: float = Field(
        default=600, gt=0, description="How long a started account is watched for a scan."
    )
    wpp_check_every_s: float = Field(
        default=300, gt=0, description="How often a connected number is looked at."
    )
    wpp_checks_per_second: int = Field(
        default=10, gt=0, description="Looks at connected numbers, over the fleet."
    )
    wpp_silence_s: float = Field(
        default=900,
        gt=0,
        description="A number of which nothing is heard for this long after a message is degraded.",
    )

    @model_validator(mode="after")
    def _nest(self) -> Self:
        """Refuse times of which the inner one could outlast the outer one."""
        for inner, outer, why in NESTED_TIMES:
            if getattr(self, inner) >= getattr(self, outer):
                msg = (
                    f"{inner.upper()} ({getattr(self, inner):g}) must be below {outer.upper()} "
                    f"({getattr(self, outer):g}): {why}"
                )
                raise ValueError(msg)
        return self


class SupabaseSettings(SettingsGroup):
    supabase_url: HttpUrl
    supabase_anon_key: SecretStr
    supabase_service_role_key: SecretStr


class PlatformSettings(SettingsGroup):
    wpp_base_url: HttpUrl
    wpp_secret: SecretStr = Field(
        description="Server-to-server bearer; used for creating clients only."
    )
    wpp_http_transport: Literal["direct", "httpx"] = Field(
        default="direct",
        description="How requests travel: over a stack of connections, or httpx's own pool.",
    )


class KeySettings(SettingsGroup):
    """Secrets that webhook URLs and service keys are derived from: the first one signs, all of them verify."""

    wpp_key_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        min_length=1, description="Comma-separated."
    )
    wpp_public_url: HttpUrl = Field(description="Where the platform reaches our ingress.")

    @field_validator("wpp_key_secrets", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("wpp_key_secrets")
    @classmethod
    def _long_enough(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(secret.get_secret_value()) < 32 for secret in value):
            msg = "each secret needs at least 32 characters; make one with: openssl rand -hex 32"
            raise ValueError(msg)
        return value

    @cached_property
    def secrets(self) -> tuple[bytes, ...]:
        return tuple(secret.get_secret_value().encode() for secret in self.wpp_key_secrets)


class PageSettings(SettingsGroup):
    """The page at /connect."""

    wpp_page_parents: str = Field(
        default="",
        description="Origins that may show the page in a frame and sign it in, separated by spaces.",
    )
    wpp_demo_user: SecretStr | None = Field(
        default=None,
        description="email:password of a user who signs in with one click. Local worlds only.",
    )

    @field_validator("wpp_page_parents")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        if any(not re.fullmatch(r"https?://[\w.-]+(:\d+)?", origin) for origin in value.split()):
            msg = "give origins such as https://crm.example.com, separated by spaces"
            raise ValueError(msg)
        return value


class IngressSettings(SettingsGroup):
    """What the ingress takes of the platform."""

    wpp_body_limit: int = Field(
        default=25 * 1024 * 1024,
        gt=0,
        description="Bytes of one webhook; media come within it as base64.",
    )
    wpp_body_stall_s: float = Field(
        default=10, gt=0, description="How long a webhook's body may pause before it is given up."
    )
    wpp_body_rest_limit: int = Field(
        default=4 * 1024 * 1024,
        gt=0,
        description="Bytes of one webhook beside its long texts: a list's events.",
    )
    wpp_body_deadline_s: float = Field(
        default=60, gt=0, description="How long a webhook's whole body may take."
    )
    wpp_webhook_secret: SecretStr | None = Field(
        default=None,
        description="Shared secret of the old webhook URLs (?account=…). Without it they are closed.",
    )

    wpp_metrics_token: SecretStr | None = Field(
        default=None,
        description="Bearer of GET /metrics (Prometheus). Without it there is no such route.",
    )

    @field_validator("wpp_webhook_secret", "wpp_metrics_token")
    @classmethod
    def _set_or_not(cls, value: SecretStr | None) -> SecretStr | None:
        if value and 0 < len(value.get_secret_value()) < 16:
            msg = (
                "a shared secret needs at least 16 characters; make one with: openssl rand -hex 16"
            )
            raise ValueError(msg)
        return value or None


class MediaSettings(SettingsGroup):
    """Files that arrive, and where they are kept."""

    wpp_media_limit: int = Field(default=50 * 1024 * 1024, gt=0, description="Bytes of one file.")
    wpp_media_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts beside the platform's that files may be fetched from, comma-separated. *: any public.",
    )
    wpp_media_private_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts of our own network (host or host:port) that files may be fetched from.",
    )
    wpp_media_public: bool = Field(
        default=False, description="Make the bucket public, and its links unsigned."
    )
    wpp_media_link_s: int = Field(
        default=365 * 86_400, gt=0, description="How long a signed link to a file is valid."
    )

    @field_validator("wpp_media_hosts", "wpp_media_private_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip().lower().rstrip(".") for part in value.split(",") if part.strip())


class RetentionSettings(SettingsGroup):
    """How long what is only kept for reference stays."""

    wpp_log_days: float = Field(
        default=30,
        gt=0,
        description="How long raw webhooks, replayed dead letters and past session states are kept.",
    )
    wpp_parked_days: float = Field(
        default=7,
        gt=0,
        description="How long a status waits for its message before it becomes a dead letter.",
    )


def load_settings(group: type[SettingsT]) -> SettingsT:
    """Read one group, or say which variable is wrong.

    Raises:
        ConfigurationError: a variable is missing or unusable, each named with what it needs.
    """
    try:
        return group()
    except ValidationError as error:
        faults = "; ".join(
            ": ".join(
                [
                    *(str(part).upper() for part in fault["loc"][:1]),
                    fault["msg"].removeprefix("Value error, "),
                ]
            )
            for fault in error.errors()
        )
        msg = f"cannot start: {faults}. See .env.example."
        raise ConfigurationError(msg) from None
