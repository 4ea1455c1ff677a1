"""Events: the versioned messages of the four queues.

An event is JSON in Redis, and its reader may be older or newer than its writer: unknown fields are
ignored, and an incompatible change gets a new `v`.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    UrlConstraints,
    ValidationInfo,
    field_validator,
)

from shared.outcomes import MessageOutcome
from shared.phones import may_be_phone, normalize

QueueName = Literal["send", "provision", "webhook", "media"]
QUEUE_NAMES: tuple[QueueName, ...] = ("send", "provision", "webhook", "media")

Phone = Annotated[str, StringConstraints(pattern=r"^[1-9]\d{6,14}$")]
"""International digits without a plus, as the platform expects them: 79990001122."""

CHANGE = re.compile(rb'"kind"\s*:\s*"change"')

MAX_TEXT_CHARS = 65_536
"""WhatsApp's limit for a text message, in characters."""

MAX_TEXT_BYTES = 131_072
"""The same in bytes of UTF-8: 65,536 Cyrillic letters, or 32,768 emoji."""

MAX_URL_CHARS = 8192
"""Signed URLs of storage services have 1,000 to 4,000 characters."""

MAX_EXPIRY_S = 30 * 86_400
"""Upper bound of `expires_in_s`, in seconds. The deployment's limit is usually lower."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class StrictModel(BaseModel):
    """Base of request bodies: an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _refuse_credentials(url: AnyHttpUrl) -> AnyHttpUrl:
    if url.username is not None or url.password is not None:
        msg = "a URL with a user name or a password is refused: it would be stored and passed on"
        raise ValueError(msg)
    return url


MediaUrl = Annotated[
    AnyHttpUrl, UrlConstraints(max_length=MAX_URL_CHARS), AfterValidator(_refuse_credentials)
]


class Media(StrictModel):
    """A file that the platform downloads from `url`.

    The platform distinguishes images and files. Video, audio and voice are sent as files: a voice
    note arrives as an audio file.
    """

    type: Literal["image", "video", "audio", "voice", "document"]
    url: MediaUrl
    filename: str | None = Field(
        default=None,
        max_length=255,
        description="Name that the recipient sees, without path. Default: the last part of the "
        "URL, with the extension of `mime` if it has none.",
    )
    mime: str | None = Field(default=None, max_length=127)


class Location(StrictModel):
    lat: float = Field(ge=-90, le=90)
    lng: float = Field(ge=-180, le=180)
    name: str | None = Field(default=None, max_length=255)
    address: str | None = Field(default=None, max_length=1024)


class Message(StrictModel):
    """A message to a recipient: a text, a file with the text as its caption, or a location.

    A location has no text: send the text as a message of its own.
    """

    to: str = Field(max_length=64, description="Recipient's phone number, in any usual form.")
    media: Media | None = None
    location: Location | None = None
    text: str = Field(default="", max_length=MAX_TEXT_CHARS, validate_default=True)
    integration_id: UUID | None = Field(
        default=None,
        description="Integration to send from. Default: the organization's primary integration.",
    )
    client_id: UUID | None = None
    teacher_id: UUID | None = None
    sender_name: str | None = Field(default=None, max_length=255)
    expires_in_s: int | None = Field(
        default=None,
        ge=1,
        le=MAX_EXPIRY_S,
        description="The message fails when it could not be sent for this long, in seconds. "
        "Default and maximum: WPP_MAX_AGE_S.",
    )

    @field_validator("to")
    @classmethod
    def _check_phone(cls, value: str) -> str:
        if not may_be_phone(value):
            normalize(value)
        return value

    @field_validator("location")
    @classmethod
    def _check_single_attachment(
        cls, value: Location | None, info: ValidationInfo
    ) -> Location | None:
        if value and info.data.get("media"):
            msg = "give either media or location, not both"
            raise ValueError(msg)
        return value

    @field_validator("text")
    @classmethod
    def _check_text(cls, value: str, info: ValidationInfo) -> str:
        invalid = {"media", "location"} - info.data.keys()  # reported by their own validators
        has_attachment = invalid or info.data["media"] or info.data["location"]
        if not has_attachment and not value.strip():
            msg = "give a text, a media or a location"
            raise ValueError(msg)
        if value and info.data.get("location"):
            msg = "a location has no text: send the text as a message of its own"
            raise ValueError(msg)
        if len(value.encode(errors="replace")) > MAX_TEXT_BYTES:
            msg = f"a text has at most {MAX_TEXT_BYTES} bytes in UTF-8"
            raise ValueError(msg)
        return value


class Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    v: Literal[1] = 1
    id: UUID
    accepted_at: datetime = Field(default_factory=utc_now)


class SendEvent(Event):
    """A message of an organization, with the integration that sends it."""

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


class ChangeEvent(Event):
    """A change of a message: it follows the message in the lane of their conversation.

    `message_id` is the message's row. `task_id` is null while the message itself still waits.
    `edit` deletes the message and sends `text`, with `media`, in its place, under the same row.
    """

    kind: Literal["change"] = "change"
    action: Literal["edit", "delete", "react"]
    organization_id: UUID
    integration_id: UUID
    to: Phone
    message_id: UUID
    task_id: str | None = None
    wa_message_id: str | None = None
    text: str = ""
    media: Media | None = None
    emoji: str = ""


class ProvisionEvent(Event):
    """A change of an integration of an organization.

    `connect` creates the account if needed and starts it, `watch` polls a started account until it
    is connected, `disconnect` stops it.
    """

    kind: Literal["provision"] = "provision"
    organization_id: UUID
    integration_id: UUID
    action: Literal["connect", "watch", "disconnect"] = "connect"
    add_new: bool = False
    force_recreate: bool = False
    name: str | None = None


class WebhookEvent(Event):
    """An event of an account as the platform posted it. Its conversation is with `peer`.

    `blobs` are the digests of its long texts in the payload store. `whole` is the digest of the
    payload itself, when the rest is still too large for a queue.
    """

    kind: Literal["webhook"] = "webhook"
    account: str
    peer: str | None = None
    payload: dict[str, Any]
    blobs: tuple[str, ...] = ()
    whole: str | None = None


class MediaEvent(Event):
    """The file of an incoming message: its source, and the message that it belongs to.

    `blob` is a Redis key (base64 content), `base64` the content of a small file, `url` the
    platform's link. If all are absent or fail, the file is requested from the platform by the
    message's WhatsApp id.
    """

    kind: Literal["media"] = "media"
    account: str
    message: MessageOutcome
    blob: str | None = None
    base64: str | None = None
    url: str | None = None


AnyEvent = Annotated[
    SendEvent | ChangeEvent | ProvisionEvent | WebhookEvent | MediaEvent,
    Field(discriminator="kind"),
]


def is_change(body: bytes) -> bool:
    """Return whether an event of the queue `send` is a change of a message.

    Within a JSON text the quotes would be escaped.
    """
    return CHANGE.search(body) is not None
