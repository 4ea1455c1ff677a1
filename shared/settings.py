"""Settings from the environment, in groups: each process loads only the groups that it uses.

`.env.example` documents every setting; `tests/test_consistency.py` compares it with this module.
"""

import difflib
import os
import re
from collections.abc import Iterator
from functools import cached_property
from ipaddress import ip_network
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import unquote

from dotenv import dotenv_values
from pydantic import Field, HttpUrl, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.errors import ConfigurationError
from shared.pacing import Burst, Jitter, Pacing, PerMinute, Ramp
from shared.redis_url import check_url, read_shards

ENV_FILE = ".env"


class SettingsGroup(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_file=ENV_FILE)


SettingsT = TypeVar("SettingsT", bound="SettingsGroup")


class RedisSettings(SettingsGroup):
    """The durable Redis that stores lanes, event records, the outbox and tokens."""

    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="URL of Redis: one primary, version 6.2 or newer.",
    )
    wpp_allow_volatile_redis: bool = Field(
        default=False,
        description="Accept a Redis that may lose data. For experiments only.",
    )
    wpp_shards: SecretStr = Field(
        default=SecretStr(""),
        description="Several Redis for many organizations: name=URL pairs, separated by spaces; "
        "the first is the home. REDIS_URL is not used then. Empty: one Redis.",
    )
    wpp_shard: str = Field(
        default="",
        description="Name of the shard that this process works for. Empty: the home.",
    )

    @model_validator(mode="before")
    @classmethod
    def _choose_shard(cls, values: Any) -> Any:
        """Have `redis_url` be the URL of the shard of this process."""
        given = values.get("wpp_shards") or ""
        shards = read_shards(given.get_secret_value() if isinstance(given, SecretStr) else given)
        named = values.get("wpp_shard") or ""
        if named and named not in shards:
            known = ", ".join(shards) or "it is empty"
            msg = f"WPP_SHARD ({named}) is not in WPP_SHARDS: {known}"
            raise ValueError(msg)
        return values | {"redis_url": shards[named or next(iter(shards))]} if shards else values

    @field_validator("redis_url")
    @classmethod
    def _check_url(cls, value: SecretStr) -> SecretStr:
        check_url(value.get_secret_value())
        return value

    @cached_property
    def shards(self) -> dict[str, SecretStr]:
        """The URLs of the shards by name, the home first; none for a single Redis."""
        found = read_shards(self.wpp_shards.get_secret_value())
        return {name: SecretStr(url) for name, url in found.items()}

    @property
    def home_url(self) -> SecretStr:
        """The URL of the home, or of the single Redis."""
        return next(iter(self.shards.values()), self.redis_url)

    def at_home(self) -> Self:
        """Return these settings for a process that belongs to no shard: a web process."""
        return self.model_copy(update={"redis_url": self.home_url, "wpp_shard": ""})

    @property
    def shard(self) -> str:
        """The name of the shard of this process; "" for a single Redis."""
        return self.wpp_shard or next(iter(self.shards), "")


NESTED_TIMES = (
    (
        "wpp_http_deadline_s",
        "wpp_lease_s",
        "a call must end before the lease of its event does, or it could be made twice",
    ),
    ("wpp_lease_s", "wpp_max_age_s", "an event must be tried more than once before it is too old"),
    (
        "wpp_max_age_s",
        "wpp_record_ttl_s",
        "an idempotency key must be stored for as long as its event may be tried",
    ),
    (
        "wpp_record_ttl_s",
        "wpp_unknown_ttl_s",
        "a message of unknown effect must answer its idempotency key for longer than a sent one",
    ),
    (
        "wpp_watch_limit_s",
        "wpp_max_age_s",
        "the wait for a scan must end before its event is too old",
    ),
)
"""(shorter time, longer time, reason): the first setting must be below the second."""


class EngineSettings(SettingsGroup):
    """Time limits and queue limits of the workers. Times in seconds."""

    wpp_http_deadline_s: float = Field(
        default=20,
        gt=0,
        description="Time limit of one call to the platform, from connect to the last byte.",
    )
    wpp_lease_s: float = Field(
        default=25,
        gt=0,
        description="Lease of a claimed event. When it ends, the event is taken from its worker.",
    )
    wpp_max_age_s: float = Field(
        default=86_400,
        gt=0,
        description="Age at which an event that was not processed fails.",
    )
    wpp_redis_replicas: int = Field(
        default=0,
        ge=0,
        description="Replicas of Redis that must have an accepted or claimed event. 0: a failover "
        "may lose the last writes.",
    )
    wpp_outbox_limit: int = Field(
        default=250_000,  # 10 minutes without Supabase at 100 events/s, doubled; about 110 MB
        gt=0,
        description="Outcomes that may wait for Supabase before new events are refused.",
    )
    wpp_waiting_limit: int = Field(
        default=150_000,  # about 300 MB: room for the campaigns of several tenants
        gt=0,
        description="Events of one organization and queue that may wait before more are refused.",
    )
    wpp_waiting_bytes_limit: int = Field(
        default=256 * 1024 * 1024,
        gt=0,
        description="Bytes of these events, with the files that wait beside them, before more are "
        "refused.",
    )
    wpp_pace_per_minute: PerMinute = Field(
        default=0,
        description="Messages a minute of one number, on average. 0: no limit.",
    )
    wpp_pace_burst: Burst = Field(
        default=5,
        description="Messages that a number may send at once after a pause.",
    )
    wpp_pace_recipient_per_minute: PerMinute = Field(
        default=0,
        description="Messages a minute to one person, on average. 0: no limit.",
    )
    wpp_pace_recipient_burst: Burst = Field(
        default=5,
        description="Messages that one person may get at once after a pause.",
    )
    wpp_pace_jitter: Jitter = Field(
        default=0.5,
        description="How much the intervals vary: 0.5 is from half to one and a half of them.",
    )
    wpp_warm_up: Annotated[Ramp, NoDecode] = Field(
        default=(),
        description="To how many new people a new number may write on its first day, its second, "
        "and so on, comma-separated. Empty: no warm-up.",
    )
    wpp_warm_up_day_start: int = Field(
        default=6,
        ge=0,
        le=23,
        description="Hour (UTC) at which the day of a warm-up begins.",
    )
    wpp_record_ttl_s: int = Field(
        default=8 * 86_400,
        gt=0,
        description="How long the record of a finished event answers its Idempotency-Key.",
    )
    wpp_webhook_record_ttl_s: int = Field(
        default=2 * 86_400,
        gt=0,
        description="How long a webhook that was handled, or its file, is recognized when the "
        "platform posts it again.",
    )
    wpp_unknown_ttl_s: int = Field(
        default=30 * 86_400,
        gt=0,
        description="How long a message of unknown effect can be resolved.",
    )
    wpp_unknown_limit: int = Field(
        default=10_000,  # about 24 MB
        gt=0,
        description="Messages of unknown effect of one organization that can be resolved; of "
        "older ones, Supabase alone knows.",
    )
    wpp_watch_limit_s: float = Field(
        default=600,
        gt=0,
        description="How long the QR code of a started integration may be scanned.",
    )
    wpp_check_every_s: float = Field(
        default=300,
        gt=0,
        description="Interval between two health checks of a connected integration.",
    )
    wpp_idle_check_s: float = Field(
        default=86_400,
        gt=0,
        description="Interval between two health checks of an integration without a valid token, "
        "which neither sends nor receives.",
    )
    wpp_checks_per_second: int = Field(
        default=10,
        gt=0,
        description="Health checks per second, over all clock processes.",
    )
    wpp_silence_s: float = Field(
        default=900,
        gt=0,
        description="Silence after a sent message that marks an integration as degraded.",
    )

    @field_validator("wpp_warm_up", mode="before")
    @classmethod
    def _split_days(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @cached_property
    def pacing(self) -> Pacing:
        """The pacing of a number whose organization has no settings of its own."""
        return Pacing(
            per_minute=self.wpp_pace_per_minute,
            burst=self.wpp_pace_burst,
            recipient_per_minute=self.wpp_pace_recipient_per_minute,
            recipient_burst=self.wpp_pace_recipient_burst,
            jitter=self.wpp_pace_jitter,
            warm_up=self.wpp_warm_up,
        )

    def record_ttl_s(self, queue: str) -> int:
        """Return how long the record of a finished event of `queue` is kept."""
        webhooks = queue in {"webhook", "media", "callback"}
        return self.wpp_webhook_record_ttl_s if webhooks else self.wpp_record_ttl_s

    @model_validator(mode="after")
    def _check_nested_times(self) -> Self:
        """Refuse time limits that reach the limit around them, and name them all."""
        errors = [
            f"{inner.upper()} ({getattr(self, inner):g}) must be below {outer.upper()} "
            f"({getattr(self, outer):g}): {why}"
            for inner, outer, why in NESTED_TIMES
            if getattr(self, inner) >= getattr(self, outer)
        ]
        if errors:
            raise ValueError("; ".join(errors))
        return self


class SupabaseSettings(SettingsGroup):
    supabase_url: HttpUrl
    supabase_anon_key: SecretStr
    supabase_service_role_key: SecretStr


class PlatformSettings(SettingsGroup):
    wpp_base_url: HttpUrl
    wpp_secret: SecretStr = Field(
        description="Bearer secret of the platform; used only to create clients."
    )
    wpp_http_transport: Literal["direct", "httpx"] = Field(
        default="direct",
        description="HTTP transport: direct (less CPU) or httpx (its own connection pool).",
    )


class KeySettings(SettingsGroup):
    """Secrets of webhook URLs: the first secret signs, every secret verifies."""

    wpp_key_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        min_length=1, description="Comma-separated secrets of at least 32 characters."
    )
    wpp_public_url: HttpUrl = Field(description="URL at which the platform reaches the ingress.")

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
    def _check_length(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
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
        description="Origins that may embed the page and pass it a session, separated by spaces.",
    )
    wpp_demo_user: SecretStr | None = Field(
        default=None,
        description="email:password of a user who signs in with one click. Local use only.",
    )

    @field_validator("wpp_page_parents")
    @classmethod
    def _check_origins(cls, value: str) -> str:
        if any(not re.fullmatch(r"https?://[\w.-]+(:\d+)?", origin) for origin in value.split()):
            msg = "give origins such as https://crm.example.com, separated by spaces"
            raise ValueError(msg)
        return value


QUOTA = r"^(0|[1-9][0-9]{0,8}/[1-9][0-9]{0,4})$"


class IngressSettings(SettingsGroup):
    """Limits and secrets of the ingress."""

    wpp_connection_limit: int = Field(
        default=4000,
        gt=0,
        description="Connections of one web process. Above it, the connection that has been "
        "waiting for its client the longest is closed.",
    )
    wpp_keep_alive_s: int = Field(
        default=75,
        gt=0,
        description="How long an idle connection stays open, in seconds. Longer than the idle "
        "timeout of a proxy in front, which would answer 502 otherwise.",
    )
    wpp_head_deadline_s: float = Field(
        default=10,
        gt=0,
        description="Time limit of the head of a request (request line and headers), in seconds.",
    )
    wpp_api_body_limit: int = Field(
        default=256 * 1024,
        gt=0,
        description="Maximum size of the body of an API request in bytes.",
    )
    wpp_batch_body_limit: int = Field(
        default=4 * 1024 * 1024,
        gt=0,
        description="Maximum size of the body of POST /v1/messages/batch in bytes.",
    )
    wpp_trusted_proxies: str = Field(
        default="127.0.0.1,::1",
        description="Addresses or networks of proxies whose X-Forwarded-For names the client, "
        "comma-separated.",
    )
    wpp_stream_limit: int = Field(
        default=2000,
        gt=0,
        description="Open streams and held responses of one web process.",
    )
    wpp_stream_limit_per_organization: int = Field(
        default=100,
        gt=0,
        description="Of these, streams and held responses of one organization.",
    )
    wpp_session_check_s: float = Field(
        default=30,
        gt=0,
        le=30,  # with the 15 s between two looks of a stream: every 45 s
        description="How long a session that Supabase confirmed is valid without another look-up, "
        "in seconds.",
    )
    supabase_jwt_secret: SecretStr | None = Field(
        default=None,
        description="Secret with which the project signs access tokens, if it signs with a secret. "
        "Unset: Supabase verifies these. Public keys are fetched from Supabase.",
    )
    supabase_jwt_issuer: str = Field(
        default="",
        description="Issuer of access tokens. Empty: SUPABASE_URL/auth/v1.",
    )
    wpp_key_quota: str = Field(
        default="6000/30",
        pattern=QUOTA,
        description="Requests/seconds of a service key or a signed-in user. 0: no limit.",
    )
    wpp_webhook_quota: str = Field(
        default="15000/30",
        pattern=QUOTA,
        description="Requests/seconds that the platform may post for one account. 0: no limit.",
    )
    wpp_address_quota: str = Field(
        default="3000/60",
        pattern=QUOTA,
        description="Requests/seconds of one address without credentials: pages, unknown paths. "
        "0: no limit.",
    )
    wpp_failure_quota: str = Field(
        default="600/60",
        pattern=QUOTA,
        description="Missing or invalid credentials/seconds of one address. 0: no limit.",
    )
    wpp_body_limit: int = Field(
        default=25 * 1024 * 1024,
        gt=0,
        description="Maximum size of a webhook in bytes, with its media as base64.",
    )
    wpp_body_stall_s: float = Field(
        default=10,
        gt=0,
        description="Longest pause within the body of a request, in seconds.",
    )
    wpp_body_rest_limit: int = Field(
        default=4 * 1024 * 1024,
        gt=0,
        description="Maximum size of a webhook without its long texts, in bytes.",
    )
    wpp_body_deadline_s: float = Field(
        default=60, gt=0, description="Time limit of the whole body of a request, in seconds."
    )
    wpp_webhook_secret: SecretStr | None = Field(
        default=None,
        description="Shared secret of the old webhook URLs (?account=…). Unset: they are disabled.",
    )

    wpp_crm_functions_url: HttpUrl | None = Field(
        default=None,
        description="Where the CRM's own edge functions answer, without a final slash. Calls of "
        "messenger-integrations and whatsapp-send that are not ours are passed on to them.",
    )

    wpp_metrics_token: SecretStr | None = Field(
        default=None,
        description="Bearer token of GET /metrics (Prometheus). Unset: the route does not exist.",
    )

    @field_validator("wpp_trusted_proxies")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        for part in filter(None, (part.strip() for part in value.split(","))):
            try:
                ip_network(part)
            except ValueError:
                msg = "give addresses or networks such as 10.0.0.0/8, comma-separated"
                raise ValueError(msg) from None
        return value

    @field_validator("wpp_webhook_secret", "wpp_metrics_token")
    @classmethod
    def _check_shared_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value and 0 < len(value.get_secret_value()) < 16:
            msg = (
                "a shared secret needs at least 16 characters; make one with: openssl rand -hex 16"
            )
            raise ValueError(msg)
        return value or None


def split_hosts(value: object) -> object:
    """Return the hosts of a comma-separated list; leave other values to the validation."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip().lower().rstrip(".") for part in value.split(",") if part.strip())


class MediaSettings(SettingsGroup):
    """Incoming files: limits, allowed sources, storage."""

    wpp_media_limit: int = Field(
        default=50 * 1024 * 1024,
        gt=0,
        description="Maximum size of a file in bytes: received, uploaded, or sent by its address.",
    )
    wpp_media_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts besides the platform's from which files may be downloaded, "
        "comma-separated. *: any public host.",
    )
    wpp_media_private_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Private hosts from which files may be downloaded (host or host:port).",
    )
    wpp_media_public: bool = Field(
        default=False, description="Make the storage bucket public and its links unsigned."
    )
    wpp_media_link_s: int = Field(
        default=365 * 86_400, gt=0, description="Lifetime of a signed link in seconds."
    )

    @field_validator("wpp_media_hosts", "wpp_media_private_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return split_hosts(value)


class CallbackSettings(SettingsGroup):
    """Posts of events to clients."""

    wpp_callback_private_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Private hosts to which events may be posted, also without TLS (host or "
        "host:port). For local worlds and receivers in the own network.",
    )
    wpp_callback_limit: int = Field(default=20, gt=0, description="Callbacks of one organization.")
    wpp_callback_timeout_s: float = Field(
        default=10,
        gt=0,
        le=15,
        description="Time limit of a post, in seconds. Shorter than WPP_LEASE_S.",
    )
    wpp_callback_patience_days: float = Field(
        default=3,
        gt=0,
        description="Days without a successful post after which a failing callback is disabled.",
    )

    @field_validator("wpp_callback_private_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return split_hosts(value)


class RetentionSettings(SettingsGroup):
    """How long reference data is stored."""

    wpp_log_days: float = Field(
        default=30,
        gt=0,
        description="Days that logged webhooks, replayed dead letters and past states are stored.",
    )
    wpp_parked_days: float = Field(
        default=7,
        gt=0,
        description="Days that a status waits for its message before it becomes a dead letter.",
    )
    wpp_event_days: float = Field(
        default=7,
        gt=0,
        description="Days that the events of streams and callbacks are stored.",
    )
    wpp_delivery_days: float = Field(
        default=14,
        gt=0,
        description="Days that the attempts at deliveries of callbacks are stored.",
    )
    wpp_file_days: float = Field(
        default=7,
        gt=0,
        description="Days that an uploaded file is kept that no message uses.",
    )


class TraceSettings(SettingsGroup):
    """Traces for OpenTelemetry. Its SDK reads further variables by itself (docs/traces.md)."""

    otel_exporter_otlp_endpoint: HttpUrl | None = Field(
        default=None,
        description="Where traces go, over OTLP/HTTP; needs the packages of "
        "requirements/traces.txt. Unset: no traces.",
    )

    otel_exporter_otlp_headers: SecretStr = Field(
        default=SecretStr(""),
        description="Headers for that address, such as a key: name=value, comma-separated, the "
        "values percent-encoded.",
    )

    @field_validator("otel_exporter_otlp_endpoint", mode="before")
    @classmethod
    def _read_empty(cls, value: object) -> object:
        return value or None

    @field_validator("otel_exporter_otlp_headers")
    @classmethod
    def _check_headers(cls, value: SecretStr) -> SecretStr:
        if any("=" not in part for part in filter(None, value.get_secret_value().split(","))):
            msg = "give headers as name=value, comma-separated"
            raise ValueError(msg)
        return value

    @property
    def headers(self) -> dict[str, str]:
        pairs = filter(None, self.otel_exporter_otlp_headers.get_secret_value().split(","))
        named = (pair.split("=", 1) for pair in pairs)
        return {name.strip().lower(): unquote(value.strip()) for name, value in named}


SIMILAR = 0.85
"""How alike a name and its misspelling are, from 0 to 1."""


def load_settings(group: type[SettingsT], **values: Any) -> SettingsT:
    """Load a group of settings; `values` come before the environment.

    Raises:
        ConfigurationError: names each variable that is missing or invalid, with its fault.
    """
    try:
        return group(**values)
    except ValidationError as error:
        faults = "; ".join(_describe_fault(fault["loc"], fault["msg"]) for fault in error.errors())
        msg = f"cannot start: {faults}. See .env.example."
        raise ConfigurationError(msg) from None


def _describe_fault(location: tuple[int | str, ...], message: str) -> str:
    """Return "VARIABLE: fault", or the fault alone where it concerns several variables."""
    if not location:
        return message.removeprefix("Value error, ")
    variable = str(location[0]).upper()
    fault = f"{variable}: {message.removeprefix('Value error, ')}"
    if message == "Field required" and (misspelled := _find_misspelled(variable)):
        return f"{fault}, and {misspelled} is no setting: is it misspelled?"
    return fault


def _find_misspelled(variable: str) -> str | None:
    """Return a name that is set, that nothing reads, and that is much like `variable`."""
    known = {name.upper() for group in list_groups() for name in group.model_fields}
    given = {*os.environ, *dotenv_values(ENV_FILE)}
    strange = {name.upper() for name in given} - known
    return next(iter(difflib.get_close_matches(variable, strange, 1, SIMILAR)), None)


def list_groups() -> Iterator[type[SettingsGroup]]:
    """Yield each group of settings that this program has loaded."""
    yield from SettingsGroup.__subclasses__()
