"""Routing: the event of a request, its lane, its tenant and its gates."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from shared.callbacks import Callback
from shared.events import (
    AnyEvent,
    CallbackEvent,
    ChangeEvent,
    MediaEvent,
    Message,
    ProvisionEvent,
    Reply,
    SendEvent,
    SentMedia,
    WebhookEvent,
    utc_now,
)
from shared.feed import FeedEvent, format_id
from shared.file_types import find_kind
from shared.lanes.types import Append
from shared.lanes.wire import dump, dump_model, fingerprint, fingerprint_fields
from shared.outcomes import ContentType, MessageOutcome, MessageStatus
from shared.phones import DEFAULT_REGION, normalize
from shared.platform.payloads import choose_filename, list_substitutes
from shared.webhooks.attachments import Attachment

MALFORMED = "(malformed)"
"""Field of `keys.UNRECOGNIZED_EVENTS` that counts bodies which are not an event."""
UNREADABLE_SENDER = "(unreadable sender)"
"""Field of it that counts messages whose sender has no known spelling of an address."""
OTHER_TYPES = "(others)"
MAX_UNRECOGNIZED = 100
"""Maximum number of types in that hash; further types are counted as `OTHER_TYPES`."""
NO_AUTO_RETRY = {"retry_count": 99}
"""Metadata of our messages. Each open chat of the CRM sends a failed message again, without an end,
while this count is below the organization's maximum: what can be tried again is tried here."""
REACTION_AGE_S = 60.0
"""How long a reaction is tried: it makes no sense hours later."""
RESOLVED_FIELDS = {"to", "integration_id", "media", "reply_to", "send_at", "delay_s"}
"""Fields of a message that its event has in another form."""
_KEPT_FIELDS = tuple(Message.model_fields.keys() - RESOLVED_FIELDS - {"location", "contact"})
_CONTACT_FIELDS = ("client_id", "teacher_id", "sender_name")
_TEXT_FIELDS = {"to", "text", "integration_id", "expires_in_s", "priority", *_CONTACT_FIELDS}
"""Fields of a message that `route_text` reads."""
PLATFORM_GATE = "platform"
"""Closed while the platform is down: every lane that calls it waits."""


class Resolved(NamedTuple):
    """What a request names by an id, looked up: the phone, the file, the answered message.

    `phone` is in international digits; by default the request's `to` is read.
    """

    phone: str | None = None
    media: SentMedia | None = None
    reply: Reply | None = None


NOT_RESOLVED = Resolved()


def integration_gate(integration_id: UUID | str) -> str:
    """Return the gate of an integration, closed while its key is refused or its phone offline."""
    return f"integration:{integration_id}"


def callback_gate(callback_id: UUID) -> str:
    """Return the gate of a callback, closed for a while after a failed post."""
    return f"callback:{callback_id}"


def route_callback(callback: Callback, event: FeedEvent, again: str = "") -> Append:
    """Return the append of a post, once for each generation of its callback, and each `again`."""
    name = f"callback:{callback.id}:{callback.generation}:{event.id}:{again}"
    post = CallbackEvent(
        id=uuid5(NAMESPACE_URL, name),
        organization_id=callback.organization_id,
        callback_id=callback.id,
        number=event.id,
        webhook_id=format_id(event.id),
        type=event.type,
        key=event.conversation,
        body=event.json_text,
    )
    return route_event(post, "")  # its content is that of the moment of reading: it may differ


def make_webhook_id(account: str, identity: str) -> UUID:
    """Return the id of an event that the platform posted: a retry of it has the same."""
    return uuid5(NAMESPACE_URL, f"wpp:{account}:{identity}")


def route_event(event: AnyEvent, request: str | None = None, **more: Any) -> Append:
    """Return the append of an event, with its lane, tenant and gates.

    Polling for a scan takes minutes, so it has a lane of its own, apart from the organization's
    provisioning. So has each file: no conversation waits for a download. Webhooks and files
    have no gate: a webhook calls nothing, and a file is requested from the platform last of all.
    `request` is the fingerprint of the request; by default that of the event without id and time.
    `more` are further fields of the append.
    """
    match event:
        case CallbackEvent():
            lane = f"callback:{event.callback_id}:{event.key}"
            gate = callback_gate(event.callback_id)
            return _append(event, lane, str(event.organization_id), (gate,), request)
        case SendEvent():
            lane = send_lane(event.integration_id, event.to)
            gates = (PLATFORM_GATE, integration_gate(event.integration_id))
            more |= {
                "level": event.priority,
                "send_at": event.send_at,
                "max_age_s": event.expires_in_s,
            }
            return _append(event, lane, str(event.organization_id), gates, request, **more)
        case ChangeEvent():
            lane = send_lane(event.integration_id, event.to)
            gates = (PLATFORM_GATE, integration_gate(event.integration_id))
            item = replace(
                _append(event, lane, str(event.organization_id), gates, request), queue="send"
            )
            return replace(item, max_age_s=REACTION_AGE_S) if event.action == "react" else item
        case ProvisionEvent():
            is_watch = event.action == "watch"
            lane = (
                f"watch:{event.integration_id}"
                if is_watch
                else f"provision:{event.organization_id}"
            )
            return _append(event, lane, str(event.organization_id), (PLATFORM_GATE,), request)
        case MediaEvent():
            return _append(event, f"media:{event.message.id}", event.account, (), request)
        case _:
            lane = f"event:{event.account}:{event.peer}" if event.peer else f"event:{event.account}"
            return _append(event, lane, event.account, (), request, **more)


def _append(
    event: AnyEvent,
    lane: str,
    tenant: str,
    gates: tuple[str, ...],
    request: str | None,
    **more: Any,
) -> Append:
    if request is None:
        request = fingerprint(
            event.model_dump(mode="json", exclude={"id", "accepted_at", "traceparent"})
        )
    return Append(
        id=event.id,
        queue=event.kind,
        lane=lane,
        tenant=tenant,
        body=dump_model(event),
        gates=gates,
        fingerprint=request,
        version=event.v,
        **more,
    )


def send_lane(integration_id: UUID | str, to: str) -> str:
    """Return the lane of a conversation: an integration and a recipient."""
    return f"send:{integration_id}:{to}"


def read_integration_id(lane: str) -> UUID | None:
    """Return the integration of a conversation's lane; None for another lane, or for none."""
    kind, _, rest = lane.partition(":")
    return UUID(rest.partition(":")[0]) if kind == "send" and rest else None


def route_send(
    organization_id: UUID,
    integration_id: UUID,
    message: Message,
    event_id: UUID | None = None,
    region: str = DEFAULT_REGION,
    resolved: Resolved = NOT_RESOLVED,
) -> Append:
    """Return the append of a message, with the outcome that shows it as `queued` in Supabase.

    The fingerprint is that of the request and excludes the integration chosen for it. A recipient
    without country code is a number of `region`, the organization's. `event_id` is the one that
    `shared.event_ids` derives from an idempotency key; None is a new message.

    Raises:
        ValueError: the recipient is not a phone number.
    """
    now = utc_now()
    event = SendEvent(
        id=event_id or uuid4(),
        accepted_at=now,
        organization_id=organization_id,
        integration_id=integration_id,
        to=resolved.phone or normalize(message.to or "", region),
        media=resolved.media or _as_sent(message),
        reply=resolved.reply,
        send_at=now + timedelta(seconds=message.delay_s) if message.delay_s else message.send_at,
        location=message.location and message.location.model_dump(),
        contact=message.contact and message.contact.model_dump(),
        **{name: getattr(message, name) for name in _KEPT_FIELDS},
    )
    queued = build_message_outcome(event, "queued", event.accepted_at)
    request = fingerprint(_describe_request(message))
    return route_event(event, request, outcomes=(queued,))


def is_text(message: Message) -> bool:
    """Return whether `route_text` takes a message: it has a text, and nothing that it reads not."""
    return message.model_fields_set <= _TEXT_FIELDS


def route_text(
    organization_id: UUID,
    integration_id: UUID,
    message: Message,
    event_id: UUID | None = None,
    region: str = DEFAULT_REGION,
    phone: str | None = None,
) -> Append:
    """Return the append that `route_send` returns, for a message that `is_text`, in half the time.

    The message has validated its fields. So the JSON of the event, and of its outcome, is written
    without their models. `phone` is that of `Resolved`.

    Raises:
        ValueError: the recipient is not a phone number.
    """
    at, phone = utc_now(), phone or normalize(message.to or "", region)
    message_id = event_id or uuid4()
    ids = {"organization_id": str(organization_id), "integration_id": str(integration_id)}
    about = {
        name: value for name in _CONTACT_FIELDS if (value := getattr(message, name)) is not None
    }
    request = {"to": message.to, "text": message.text, **about}
    if message.integration_id is not None:
        request["integration_id"] = message.integration_id
    limit = {} if message.expires_in_s is None else {"expires_in_s": message.expires_in_s}
    event = {
        "v": 1,
        "id": str(message_id),
        "accepted_at": at,
        "kind": "send",
        **ids,
        "to": phone,
        "text": message.text,
        **about,
        **limit,
        "priority": message.priority,
    }
    outcome = {
        "v": 1,
        "at": at,
        "type": "message",
        "id": event["id"],
        **ids,
        "outgoing": True,
        "phone": phone,
        **about,
        "content": "text",
        "text": message.text,
        "media_state": "none",
        "status": "queued",
        "metadata": NO_AUTO_RETRY,
    }
    if message.priority != "normal":
        request["priority"] = message.priority
    return Append(
        id=message_id,
        queue="send",
        lane=send_lane(ids["integration_id"], phone),
        tenant=ids["organization_id"],
        body=dump(event),
        gates=(PLATFORM_GATE, integration_gate(ids["integration_id"])),
        fingerprint=fingerprint_fields({**request, **limit}),
        max_age_s=message.expires_in_s,
        level=message.priority,
        rows=(dump(outcome),),
    )


def _describe_request(message: Message) -> dict[str, Any]:
    """Return what a client asked for: a field added by a newer version changes no fingerprint."""
    described = message.model_dump(mode="json", exclude_none=True)
    if message.priority == "normal":
        del described["priority"]
    return described


def _as_sent(message: Message) -> SentMedia | None:
    if message.media is None:
        return None
    values = message.media.model_dump(exclude={"url", "file_id"})
    return SentMedia(url=str(message.media.url or ""), **values)


def route_provision(event: ProvisionEvent, delay_s: float = 0) -> Append:
    """Return the append of a provisioning event, to be processed after `delay_s`."""
    return replace(route_event(event), delay_s=delay_s)


def route_webhook(
    account: str,
    payload: dict[str, Any],
    identity: str,
    peer: str | None,
    blobs: tuple[str, ...] = (),
    whole: str | None = None,
) -> Append:
    """Return the append of an event that the platform posted, deduplicated by `identity`.

    `peer` is the customer in its conversation. `blobs` and `whole` as in `WebhookEvent`.
    """
    event = WebhookEvent(
        id=make_webhook_id(account, identity),
        account=account,
        peer=peer,
        payload={} if whole else payload,
        blobs=blobs,
        whole=whole,
    )
    # The id tells what is the same. The payload does not: it may differ in a retry of the platform.
    return route_event(event, "")


def route_media(
    event: WebhookEvent, message: MessageOutcome, file: Attachment | None, blob: str | None
) -> Append:
    """Return the append of the file of an incoming message; `blob` is the key of its content."""
    base64 = file.base64 if file and not blob else None
    return route_event(
        MediaEvent(
            id=uuid5(NAMESPACE_URL, f"wpp:media:{event.id}"),
            account=event.account,
            message=message,
            blob=blob,
            base64=base64,
            url=file.url if file else None,
        )
    )


def build_message_outcome(
    event: SendEvent, status: MessageStatus, at: datetime, **fields: Any
) -> MessageOutcome:
    """Return the outcome of an outgoing message in `status`, with the given fields."""
    return MessageOutcome(
        at=at,
        id=event.id,
        organization_id=event.organization_id,
        integration_id=event.integration_id,
        outgoing=True,
        phone=event.to,
        client_id=event.client_id,
        teacher_id=event.teacher_id,
        sender_name=event.sender_name,
        content=find_content(event),
        text=event.text or _describe(event),
        file_url=event.media.url if event.media else None,
        file_name=_name_file(event.media) if event.media else None,
        file_type=_find_mime(event.media) if event.media else None,
        status=status,
        metadata=_build_metadata(event),
        **fields,
    )


def find_content(event: SendEvent) -> ContentType:
    """Return the kind of a message."""
    if event.media:
        return event.media.type
    if event.contact:
        return "contact"
    return "location" if event.location else "text"


def _describe(event: SendEvent) -> str:
    """Return the text to show for a message without text, as for one that arrives."""
    if location := event.location:
        return location.name or location.address or f"{location.lat}, {location.lng}"
    if contact := event.contact:
        return ", ".join((contact.name, *contact.phones))
    return ""


def _name_file(media: SentMedia) -> str | None:
    """Return the name that the recipient sees; an image has none."""
    return media.filename if media.type == "image" else choose_filename(media)


def _find_mime(media: SentMedia) -> str | None:
    return media.mime or find_kind(media.url, media.filename)[1]


def _build_metadata(event: SendEvent) -> dict[str, Any]:
    metadata: dict[str, Any] = {**NO_AUTO_RETRY}
    if event.location:
        metadata["location"] = event.location.model_dump(exclude_none=True)
    if event.contact:
        metadata["contacts"] = [event.contact.model_dump(mode="json")]
    if event.reply:
        metadata["reply_to_id"] = str(event.reply.message_id)
        if event.reply.wa_message_id:
            metadata["reply_to"] = event.reply.wa_message_id
    if event.media and event.media.path:
        metadata["media_path"] = event.media.path
    if event.send_at:
        metadata["send_at"] = event.send_at.isoformat()
    if substitutes := list_substitutes(event):
        metadata["substitutes"] = substitutes
    return metadata
