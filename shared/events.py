"""Events: the versioned messages of the queues.

An event is JSON in Redis, and its reader may be older or newer than its writer. A field that a
reader does not know is kept. A change that an older reader must not overlook, as a new kind or a
field that changes what is sent, raises `NEWEST_VERSION`; the events concerned, and only they, get
it as their `v`. Workers of an earlier version leave these to newer workers (docs/upgrading.md).
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    UrlConstraints,
    ValidationInfo,
    field_validator,
)

from shared.outcomes import MessageOutcome
from shared.phones import may_be_phone, normalize, refuse_address

QueueName = Literal["send", "provision", "webhook", "media", "callback"]
QUEUE_NAMES: tuple[QueueName, ...] = ("send", "provision", "webhook", "media", "callback")

Phone = Annotated[str, StringConstraints(pattern=r"^[1-9]\d{6,14}$")]
"""International digits without a plus, as the platform expects them: 79990001122."""

NEWEST_VERSION = 1
"""The newest version of events that this code reads, and writes where it has to."""

CHANGE = re.compile(rb'"kind"\s*:\s*"change"')

MAX_TEXT_CHARS = 65_536
"""WhatsApp's limit for a text message, in characters."""

MAX_TEXT_BYTES = 131_072
"""The same in bytes of UTF-8: 65,536 Cyrillic letters, or 32,768 emoji."""

MAX_URL_CHARS = 8192
"""Signed URLs of storage services have 1,000 to 4,000 characters."""

MAX_EXPIRY_S = 30 * 86_400
"""Upper bound of `expires_in_s`, in seconds. The deployment's limit is usually lower."""


MAX_DELAY_S = 366 * 86_400
"""How far ahead a message can be scheduled, in seconds."""

Priority = Literal["high", "normal", "low"]
AttachmentT = TypeVar("AttachmentT")


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


MediaType = Literal["image", "video", "audio", "voice", "document"]


class Media(StrictModel):
    """A file that the platform downloads from `url`, or that was uploaded (`file_id`).

    The platform distinguishes images and files. Video, audio and voice are sent as files: a voice
    note arrives as an audio file.
    """

    type: MediaType
    url: MediaUrl | None = None
    file_id: UUID | None = Field(
        default=None,
        validate_default=True,
        description="Id of a file that was uploaded with `POST /v1/files`, in place of `url`.",
    )
    filename: str | None = Field(
        default=None,
        max_length=255,
        description="Name that the recipient sees, without path. Default: the last part of the "
        "URL, with the extension of `mime` if it has none.",
    )
    mime: str | None = Field(default=None, max_length=127)

    @field_validator("file_id")
    @classmethod
    def _check_source(cls, value: UUID | None, info: ValidationInfo) -> UUID | None:
        if "url" in info.data and bool(value) == bool(info.data["url"]):
            msg = "give either a url or a file_id"
            raise ValueError(msg)
        return value


ContactPhone = Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\n]*\d[^\n]*$")]


class Location(StrictModel):
    lat: float = Field(ge=-90, le=90)
    lng: float = Field(ge=-180, le=180)
    name: str | None = Field(default=None, max_length=255)
    address: str | None = Field(default=None, max_length=1024)


class ContactCard(StrictModel):
    """A person to get in touch with. The recipient gets a text with the name and the phones."""

    name: str = Field(min_length=1, max_length=255, pattern=r"\S")
    phones: tuple[ContactPhone, ...] = Field(min_length=1, max_length=5)


class Message(StrictModel):
    """A message to a recipient: a text, a file with the text as its caption, a location, a contact.

    A location and a contact have no text: send the text as a message of its own.
    """

    client_id: UUID | None = Field(
        default=None,
        description="Client of the organization that the message is for. Without `to`, it goes to "
        "the client's stored phone.",
    )
    teacher_id: UUID | None = Field(
        default=None,
        description="Teacher of the organization that the message is for. Without `to`, it goes to "
        "the teacher's stored phone.",
    )
    to: str | None = Field(
        default=None,
        max_length=64,
        validate_default=True,
        description="Recipient's phone number, in any usual form. It may be left out where either "
        "`client_id` or `teacher_id` says who it is.",
        examples=["+79990001122"],
    )
    media: Media | None = None
    location: Location | None = None
    contact: ContactCard | None = None
    reply_to: UUID | None = Field(
        default=None,
        description="Id of a message of the same conversation, sent or received, that this message "
        "answers. Its first lines are quoted above the text.",
    )
    text: str = Field(
        default="",
        max_length=MAX_TEXT_CHARS,
        validate_default=True,
        examples=["Your code is 1234"],
    )
    integration_id: UUID | None = Field(
        default=None,
        description="Integration to send from. Default: the one on which the recipient wrote "
        "last, else the organization's primary, else any that is connected.",
    )
    sender_name: str | None = Field(default=None, max_length=255)
    expires_in_s: int | None = Field(
        default=None,
        ge=1,
        le=MAX_EXPIRY_S,
        description="The message fails when it could not be sent for this long, in seconds; "
        "a scheduled one, from its date on. Default and maximum: WPP_MAX_AGE_S.",
    )
    send_at: AwareDatetime | None = Field(
        default=None,
        description="When to send it, with a time zone: at most 366 days ahead. Other messages of "
        "the conversation go out meanwhile; it then follows what waits there. A date that has "
        "passed is now.",
        examples=["2027-01-31T09:00:00+03:00"],
    )
    delay_s: int | None = Field(
        default=None,
        ge=0,
        le=MAX_DELAY_S,
        description="The same as `send_at`, in seconds from now.",
    )
    priority: Priority = Field(
        default="normal",
        description="`high`: overtakes what waits in other conversations of the organization, as "
        "a one-time code overtakes a campaign. `low`: lets these go first. Within its "
        "conversation, a message keeps its place.",
    )

    @field_validator("to")
    @classmethod
    def _check_phone(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            contacts = [
                info.data[name] for name in ("client_id", "teacher_id") if name in info.data
            ]
            if len(contacts) == 2 and contacts.count(None) != 1:
                msg = "give a phone, or one of client_id and teacher_id in its place"
                raise ValueError(msg)
        elif refusal := refuse_address(value):
            raise ValueError(refusal)
        elif not may_be_phone(value):
            normalize(value)
        return value

    @field_validator("send_at")
    @classmethod
    def _check_date(cls, value: datetime | None) -> datetime | None:
        if value and value - utc_now() > timedelta(seconds=MAX_DELAY_S):
            msg = "at most 366 days ahead"
            raise ValueError(msg)
        return value

    @field_validator("delay_s")
    @classmethod
    def _check_single_date(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("send_at"):
            msg = "give either send_at or delay_s, not both"
            raise ValueError(msg)
        return value

    @field_validator("location", "contact")
    @classmethod
    def _check_single_attachment(cls, value: AttachmentT, info: ValidationInfo) -> AttachmentT:
        if value and any(info.data.get(name) for name in ("media", "location")):
            msg = "give only one of media, location and contact"
            raise ValueError(msg)
        return value

    @field_validator("reply_to")
    @classmethod
    def _check_reply(cls, value: UUID | None, info: ValidationInfo) -> UUID | None:
        if value and info.data.get("location"):
            msg = "a location quotes no message: send the answer as a message of its own"
            raise ValueError(msg)
        return value

    @field_validator("text")
    @classmethod
    def _check_text(cls, value: str, info: ValidationInfo) -> str:
        names = ("media", "location", "contact")
        invalid = set(names) - info.data.keys()  # reported by their own validators
        has_attachment = invalid or any(info.data[name] for name in names)
        if not has_attachment and not value.strip():
            msg = "give a text, a media, a location or a contact"
            raise ValueError(msg)
        if value and (alone := next((n for n in names[1:] if info.data.get(n)), None)):
            msg = f"a {alone} has no text: send the text as a message of its own"
            raise ValueError(msg)
        if len(value.encode(errors="replace")) > MAX_TEXT_BYTES:
            msg = f"a text has at most {MAX_TEXT_BYTES} bytes in UTF-8"
            raise ValueError(msg)
        return value


class SentLocation(Location):
    model_config = ConfigDict(extra="allow")


class SentContact(ContactCard):
    model_config = ConfigDict(extra="allow")


class SentMedia(BaseModel):
    """The file of a message in its lane.

    `url` is where the platform downloads it. A file in our own Storage also has its `path` there:
    its link is signed anew when the message is sent.
    """

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    type: MediaType
    url: str
    filename: str | None = None
    mime: str | None = None
    path: str | None = None


class Reply(BaseModel):
    """What a message answers: the row of that message, its id of WhatsApp, and its first lines."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    message_id: UUID
    wa_message_id: str | None = None
    quote: str


class Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    v: Literal[1] = 1
    id: UUID
    accepted_at: datetime = Field(default_factory=utc_now)
    traceparent: str | None = None
    """The span that it belongs to, where traces are on (docs/traces.md)."""


class SendEvent(Event):
    """A message of an organization, with the integration that sends it."""

    kind: Literal["send"] = "send"
    organization_id: UUID
    integration_id: UUID
    to: Phone
    text: str = ""
    media: SentMedia | None = None
    location: SentLocation | None = None
    contact: SentContact | None = None
    reply: Reply | None = None
    client_id: UUID | None = None
    teacher_id: UUID | None = None
    sender_name: str | None = None
    expires_in_s: int | None = None
    priority: Priority = "normal"
    send_at: datetime | None = None


class ChangeEvent(Event):
    """A change of a message: it follows the message in the lane of their conversation.

    `message_id` is the message's row. `task_id` is null while the message itself still waits.
    `caption_ids` are the platform's ids of texts that followed its file. `edit` deletes the message
    and sends `text`, with `media`, in its place, under the same row; of a file whose caption is a
    text of its own, it replaces that text.
    """

    kind: Literal["change"] = "change"
    action: Literal["edit", "delete", "react"]
    organization_id: UUID
    integration_id: UUID
    to: Phone
    message_id: UUID
    task_id: str | None = None
    caption_ids: tuple[str, ...] = ()
    wa_message_id: str | None = None
    text: str = ""
    media: SentMedia | None = None
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


class CallbackEvent(Event):
    """A post of an event to a callback. `number` is that of the event, None for a test.

    Posts of the same `key`, a conversation or a number, keep their order.
    """

    kind: Literal["callback"] = "callback"
    organization_id: UUID
    callback_id: UUID
    number: int | None = None
    webhook_id: str
    type: str
    key: str = ""
    body: str


AnyEvent = Annotated[
    SendEvent | ChangeEvent | ProvisionEvent | WebhookEvent | MediaEvent | CallbackEvent,
    Field(discriminator="kind"),
]


def is_change(body: bytes) -> bool:
    """Return whether an event of the queue `send` is a change of a message.

    Within a JSON text the quotes would be escaped.
    """
    return CHANGE.search(body) is not None
