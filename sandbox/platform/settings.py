"""The behaviour of the sandbox: each unknown of the real platform is a setting."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Options of `python -m sandbox.platform`, also read from WPP_SANDBOX_…; times in seconds."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="WPP_SANDBOX_",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_prog_name="python -m sandbox.platform",
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8700, ge=0, le=65_535)
    state: Path | None = Field(
        default=None, description="Folder that keeps everything over a restart. Default: none."
    )
    secret: SecretStr = Field(
        default=SecretStr("sandbox-secret"), description="WPP_SECRET: the bearer for create."
    )

    token_ttl_s: float = Field(default=900, gt=0)
    expires_in: bool = Field(default=True, description="Send `expiresIn` with a token.")

    starting_s: float = Field(default=0.5, ge=0, description="From start to the first QR code.")
    qr_period_s: float = Field(default=20, gt=0, description="How long one QR code can be scanned.")
    qr_limit: int = Field(
        default=6, gt=0, description="QR codes shown before the account goes offline."
    )
    stop_logs_out: bool = Field(default=True, description="A stopped account needs a new scan.")

    sent_s: float = Field(default=0.2, ge=0, description="From accepted to sent.")
    delivered_s: float = Field(default=0.4, ge=0, description="From sent to delivered.")
    read_s: float = Field(default=1.0, ge=0, description="From delivered to read.")

    webhook_shape: Literal["mixed", "flat", "enveloped"] = Field(
        default="mixed",
        description="mixed: conversations flat, sessions and message.sent in an envelope.",
    )
    webhook_attempts: int = Field(default=6, gt=0)
    webhook_backoff_s: float = Field(
        default=0.5, ge=0, description="First pause; each next one is twice as long."
    )
    webhook_timeout_s: float = Field(default=10, gt=0)
    sent_wa_id: bool = Field(default=False, description="Send waMessageId in message.sent.")
    delivery_id: Literal["taskId", "waMessageId"] = "taskId"
    incoming_ids: bool = Field(default=True, description="Send messageId in incoming messages.")
    history: bool = Field(
        default=False, description="Answer what became of an account's messages since a time."
    )
    echo_from: Literal["peer", "own"] = Field(
        default="peer", description="Whose number `from` of an echo is."
    )
