"""Routing: the event of a request, its lane, its tenant and its gates."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from shared.events import (
    AnyEvent,
    ChangeEvent,
    MediaEvent,
    Message,
    ProvisionEvent,
    SendEvent,
    WebhookEvent,
)
from shared.lanes.types import Append
from shared.lanes.wire import dump_model, fingerprint
from shared.outcomes import ContentType, MessageOutcome, MessageStatus
from shared.phones import DEFAULT_REGION, normalize
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
PLATFORM_GATE = "platform"
"""Closed while the platform is down: every lane that calls it waits."""


def integration_gate(integration_id: UUID) -> str:
    """Return the gate of an integration, closed while its key is refused or its phone offline."""
    return f"integration:{integration_id}"


def make_webhook_id(account: str, identity: str) -> UUID:
    """Return the id of an event that the platform posted: a retry of it has the same."""
    return uuid5(NAMESPACE_URL, f"wpp:{account}:{identity}")


def route_event(event: AnyEvent, request: str | None = None) -> Append:
    """Return the append of an event, with its lane, tenant and gates.

    Polling for a scan takes minutes, so it has a lane of its own, apart from the organization's
    provisioning. So has each file: no conversation waits for a download. Webhooks and files
    have no gate: a webhook calls nothing, and a file is requested from the platform last of all.
    `request` is the fingerprint of the request; by default that of the event without id and time.
    """
    match event:
        case SendEvent():
            lane = send_lane(event.integration_id, event.to)
            gates = (PLATFORM_GATE, integration_gate(event.integration_id))
            item = _append(event, lane, str(event.organization_id), gates, request)
            return replace(item, max_age_s=event.expires_in_s) if event.expires_in_s else item
        case ChangeEvent():
            lane = send_lane(event.integration_id, event.to)
            gates = (PLATFORM_GATE, integration_gate(event.integration_id))
            item = replace(
                _append(event, lane, str(event.organization_id), gates, request), queue="send"
            )
            return replace(item, max_age_s=REACTION_AGE_S) if event.action == "react" else item
        case ProvisionEvent(action="watch"):
            lane = f"watch:{event.integration_id}"
            return _append(event, lane, str(event.organization_id), (PLATFORM_GATE,), request)
        case ProvisionEvent():
            lane = f"provision:{event.organization_id}"
            return _append(event, lane, str(event.organization_id), (PLATFORM_GATE,), request)
        case MediaEvent():
            return _append(event, f"media:{event.message.id}", event.account, (), request)
        case _:
            lane = f"event:{event.account}:{event.peer}" if event.peer else f"event:{event.account}"
            return _append(event, lane, event.account, (), request)


def _append(
    event: AnyEvent, lane: str, tenant: str, gates: tuple[str, ...], request: str | None
) -> Append:
    if request is None:
        request = fingerprint(event.model_dump(mode="json", exclude={"id", "accepted_at"}))
    return Append(
        id=event.id,
        queue=event.kind,
        lane=lane,
        tenant=tenant,
        body=dump_model(event),
        gates=gates,
        fingerprint=request,
    )


def send_lane(integration_id: UUID, to: str) -> str:
    """Return the lane of a conversation: an integration and a recipient."""
    return f"send:{integration_id}:{to}"


def route_send(
    organization_id: UUID,
    integration_id: UUID,
    message: Message,
    event_id: UUID | None = None,
    region: str = DEFAULT_REGION,
) -> Append:
    """Return the append of a message, with the outcome that shows it as `queued` in Supabase.

    The fingerprint is that of the request and excludes the integration chosen for it. A recipient
    without country code is a number of `region`, the organization's. `event_id` is the one that
    `shared.event_ids` derives from an idempotency key; None is a new message.

    Raises:
        ValueError: the recipient is not a phone number.
    """
    event = SendEvent(
        id=event_id or uuid4(),
        organization_id=organization_id,
        integration_id=integration_id,
        to=normalize(message.to, region),
        **message.model_dump(exclude={"to", "integration_id"}),
    )
    queued = build_message_outcome(event, "queued", event.accepted_at)
    # Without the fields that are None: a field added by a newer version changes no fingerprint.
    request = fingerprint(message.model_dump(mode="json", exclude_none=True))
    return replace(route_event(event, request), outcomes=(queued,))


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
    event: SendEvent, status: MessageStatus, at: datetime, **fields: str | None
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
        content=_content_type(event),
        text=event.text or _describe(event),
        file_url=str(event.media.url) if event.media else None,
        file_name=event.media.filename if event.media else None,
        file_type=event.media.mime if event.media else None,
        status=status,
        metadata=NO_AUTO_RETRY,
        **fields,
    )


def _content_type(event: SendEvent) -> ContentType:
    if event.media:
        return event.media.type
    return "location" if event.location else "text"


def _describe(event: SendEvent) -> str:
    """Return the text to show for a message without text."""
    if location := event.location:
        return location.name or location.address or f"{location.lat}, {location.lng}"
    return ""
