"""What comes in: the versioned events that wait in lanes.

An event is JSON in Redis, written by one process and read by another that may be older or newer:
unknown fields are ignored, a new meaning gets a new `v`.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from shared.outcomes import MessageOutcome
from shared.phones import may_be_phone, normalize

QueueName = Literal["send", "provision", "webhook", "media"]
QUEUE_NAMES: tuple[QueueName, ...] = ("send", "provision", "webhook", "media")

Phone = Annotated[str, StringConstraints(pattern=r"^[1-9]\d{6,14}$")]
"""International digits without a plus, as the platform wants them: 79990001122."""

MAX_TEXT_CHARS = 65_536
"""Characters. WhatsApp's own limit for a text message."""


MAX_EXPIRY_S = 30 * 86_400
"""Seconds. The server's own limit is usually shorter."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class StrictModel(BaseModel):
    """What callers send us: an unknown field is a mistake that they want to hear about."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Media(StrictModel):
    """A file that the platform fetches from `url` by itself.

    It knows images and files. Video, audio and voice go as files, told apart by their names: a voice note arrives as a
    file to play.
    """

    type: Literal["image", "video", "audio", "voice", "document"]
    url: HttpUrl
    filename: str | None = Field(default=None, max_length=255)
    mime: str | None = Field(default=None, max_length=127)


class Location(StrictModel):
    lat: float = Field(ge=-90, le=90)
    lng: float = Field(ge=-180, le=180)
    name: str | None = Field(default=None, max_length=255)
    address: str | None = Field(default=None, max_length=1024)


class Message(StrictModel):
    """A message to one recipient: a text, a file with the text as its caption, or a place."""

    to: str = Field(max_length=64, description="Recipient's phone, in any usual spelling.")
    media: Media | None = None
    location: Location | None = None
    text: str = Field(default="", max_length=MAX_TEXT_CHARS, validate_default=True)
    integration_id: UUID | None = Field(
        default=None,
        description="The number to send from. Default: the organization's primary one.",
    )
    client_id: UUID | None = None
    teacher_id: UUID | None = None
    sender_name: str | None = Field(default=None, max_length=255)
    expires_in_s: int | None = Field(
        default=None,
        ge=1,
        le=MAX_EXPIRY_S,
        description="A message that could not go out for this long fails, such as a one-time code. "
        "Default, and the most: WPP_MAX_AGE_S.",
    )

    @field_validator("to")
    @classmethod
    def _is_a_phone(cls, value: str) -> str:
        if not may_be_phone(value):
            normalize(value)
        return value

    @field_validator("location")
    @classmethod
    def _is_alone(cls, value: Location | None, info: ValidationInfo) -> Location | None:
        if value and info.data.get("media"):
            msg = "give either media or location, not both"
            raise ValueError(msg)
        return value

    @field_validator("text")
    @classmethod
    def _is_there_if_nothing_else_is(cls, value: str, info: ValidationInfo) -> str:
        given = (
            {"media", "location"} - info.data.keys() or info.data["media"] or info.data["location"]
        )
        if not given and not value.strip():
            msg = "give a text, a media or a location"
            raise ValueError(msg)
        return value


class Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    v: Literal[1] = 1
    id: UUID
    accepted_at: datetime = Field(default_factory=utc_now)


class SendEvent(Event):
    """One message of one organization, bound to the integration it leaves from."""

    kind: Literal["send"] = "send"
    organization_id: UUID
    integration_id: UUID
    to: Phone
    text: str = ""
    media: Media | None = None
    location: Location | None = None
    client_id: UUID | None = None
    teacher_id: UUID | None = None
    sender_name: str | None = None
    expires_in_s: int | None = None


class ProvisionEvent(Event):
    """Something to do to one integration of one organization.

    `connect` creates what is missing and starts the account; `watch` looks at an account that has been started
    until it is connected; `disconnect` stops it.
    """

    kind: Literal["provision"] = "provision"
    organization_id: UUID
    integration_id: UUID
    action: Literal["connect", "watch", "disconnect"] = "connect"
    add_new: bool = False
    force_recreate: bool = False
    name: str | None = None


class WebhookEvent(Event):
    """One event as the platform posted it, about one account. `peer` orders it within its conversation.

    `blobs` are the digests of the long texts that wait beside it (shared/payload_store.py), `whole` that of its payload, where
    even the rest of it is too large for a queue.
    """

    kind: Literal["webhook"] = "webhook"
    account: str
    peer: str | None = None
    payload: dict[str, Any]
    blobs: tuple[str, ...] = ()
    whole: str | None = None


class MediaEvent(Event):
    """The file of one message that arrived: where its bytes are, and the row that it belongs to, as it was told.

    `blob` is a key in Redis (base64), `base64` a small file itself, `url` the platform's link. Without any of them, or
    when they fail, the platform is asked for the file by the message's WhatsApp id.
    """

    kind: Literal["media"] = "media"
    account: str
    message: MessageOutcome
    blob: str | None = None
    base64: str | None = None
    url: str | None = None


AnyEvent = Annotated[
    SendEvent | ProvisionEvent | WebhookEvent | MediaEvent, Field(discriminator="kind")
]
