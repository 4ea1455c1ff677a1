"""Request and response bodies of /v1/callbacks."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, Field, HttpUrl, UrlConstraints

from shared.callbacks import Callback, Delivery, DeliveryOutcome
from shared.events import StrictModel
from shared.feed import Wanted, format_id

URL = "Where events are posted: an https address on the internet, without a user name."
TYPES = "Only events of these types. Default: all."


def _refuse_credentials(url: HttpUrl) -> HttpUrl:
    if url.username is not None or url.password is not None or url.fragment is not None:
        msg = "a URL with a user name, a password or a fragment is refused"
        raise ValueError(msg)
    return url


CallbackUrl = Annotated[
    HttpUrl, UrlConstraints(max_length=2000), AfterValidator(_refuse_credentials)
]
Name = Annotated[str, Field(max_length=100, description="A name for people.")]
Types = Annotated[list[Wanted], Field(max_length=50, description=TYPES)]


class NewCallback(StrictModel):
    """A callback to be created."""

    url: CallbackUrl = Field(description=URL, examples=["https://crm.example.com/whatsapp"])
    name: Name = ""
    types: Types = Field(default=[], examples=[["message.received", "number.*"]])
    integration_id: UUID | None = Field(
        default=None, description="Only events of this number and its messages. Default: of all."
    )


class ChangedCallback(StrictModel):
    """Changes of a callback; what is left out stays."""

    url: CallbackUrl | None = Field(default=None, description=URL)
    name: Name | None = None
    types: Types | None = None
    is_enabled: bool | None = Field(
        default=None,
        description="False: nothing is posted; events wait for as long as they are stored. True "
        "also ends a pause that failures caused.",
    )


class CallbackState(StrictModel):
    """A callback."""

    id: UUID
    url: str
    name: str
    types: list[str]
    integration_id: UUID | None
    is_enabled: bool
    disabled_reason: str | None = Field(description="Why it was disabled by the server.")
    failing_since: datetime | None = Field(description="Since then no post has succeeded.")
    last_success_at: datetime | None
    created_at: datetime
    secret_hint: str = Field(description="The end of the signing secret.", examples=["…3kQ="])
    secret: str | None = Field(
        default=None,
        description="The signing secret, `whsec_…`: only in the answer that made it.",
    )

    @classmethod
    def from_row(cls, row: Callback, *, with_secret: bool = False) -> Self:
        secret = row.secret.get_secret_value()
        return cls(
            id=row.id,
            url=row.url,
            name=row.name,
            types=list(row.types),
            integration_id=row.integration_id,
            is_enabled=row.is_enabled,
            disabled_reason=None if row.is_enabled else row.disabled_reason,
            failing_since=row.failing_since,
            last_success_at=row.last_success_at,
            created_at=row.created_at,
            secret_hint=f"…{secret[-4:]}",
            secret=secret if with_secret else None,
        )


class DeliveryState(StrictModel):
    """An attempt to post an event to a callback."""

    id: int
    event_id: str | None = Field(description="Null: a test.", examples=["evt_1234"])
    webhook_id: str = Field(description="The header `webhook-id`: the same in each attempt.")
    type: str
    attempt: int = Field(description="From 1.")
    outcome: DeliveryOutcome = Field(
        description="`delivered`; `failed`: it is tried again; `given_up`: it is not."
    )
    status: int | None = Field(description="HTTP status of the answer. Null: none came.")
    duration_ms: int | None
    error: str | None = Field(description="Why it failed, with the beginning of the answer.")
    at: datetime

    @classmethod
    def from_row(cls, row: Delivery) -> Self:
        event_id = None if row.event_id is None else format_id(row.event_id)
        known = row.model_dump(exclude={"event_id", "callback_id"})
        return cls(event_id=event_id, **known)


class DeliveryPage(StrictModel):
    """Attempts, the newest first."""

    items: list[DeliveryState]
    next: str | None = Field(description="`before` of the next page. Null: there is none.")


class PostedEvent(StrictModel):
    """A post that waits for its turn."""

    webhook_id: str = Field(description="The header `webhook-id` that the post will have.")


class Replay(StrictModel):
    """From when on events are posted again."""

    since: datetime = Field(
        description="Every event that was noted since then is posted again, under its id.",
        examples=["2026-11-29T12:00:00Z"],
    )
