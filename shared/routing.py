"""How a request becomes an event in its lane: used by the ingress and by the producer alike."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from shared.events import MediaEvent, Message, ProvisionEvent, SendEvent, WebhookEvent
from shared.lanes.client import Append, fingerprint
from shared.outcomes import ContentType, MessageOutcome, MessageStatus
from shared.phones import DEFAULT_REGION, normalize
from shared.webhooks.attachments import Attachment

MALFORMED = "(malformed)"
"""In `keys.UNRECOGNIZED_EVENTS`, the name under which bodies are counted that are no event."""
OTHER_TYPES = "(others)"
MAX_UNRECOGNIZED = 100
"""Names in that hash; whatever is named otherwise is counted as `OTHERS`."""
PLATFORM_GATE = "platform"
"""Closed while the platform itself is down: every lane that calls it waits."""


def integration_gate(integration_id: UUID) -> str:
    """Closed while the key of this integration is refused: its lanes wait for the repair."""
    return f"integration:{integration_id}"


def make_event_id(tenant: UUID | str, idempotency_key: str | None) -> UUID:
    """Return the id of an event: the same one for the same key of the same tenant, for as long as it is remembered.

    Raises:
        ValueError: the key is empty, which would be the same message for all who forgot to make one, or none.
    """
    if idempotency_key is None:
        return uuid4()
    if not idempotency_key:
        msg = "an idempotency key is not empty; without one, give None"
        raise ValueError(msg)
    return uuid5(NAMESPACE_URL, f"wpp:{tenant}:{idempotency_key}")


def route_event(event: SendEvent | ProvisionEvent | WebhookEvent | MediaEvent) -> Append:
    """Return the append of an event: which lane it stands in, and whose turn it takes there.

    Watching an account takes minutes, so it has a lane of its own: the organization's next click doesn't wait for it.
    So has each file: no conversation waits for a download. Files stand at no gate, for the platform is the last place
    that is asked for them; nor do arrivals, which ask nobody.
    """
    match event:
        case SendEvent():
            lane, tenant = send_lane(event.integration_id, event.to), str(event.organization_id)
            gates = (PLATFORM_GATE, integration_gate(event.integration_id))
            return Append(
                event=event,
                kind="send",
                lane=lane,
                tenant=tenant,
                gates=gates,
                max_age_s=event.expires_in_s,
            )
        case ProvisionEvent(action="watch"):
            lane, tenant = f"watch:{event.integration_id}", str(event.organization_id)
            return Append(
                event=event, kind="provision", lane=lane, tenant=tenant, gates=(PLATFORM_GATE,)
            )
        case ProvisionEvent():
            lane, tenant = f"provision:{event.organization_id}", str(event.organization_id)
            return Append(
                event=event, kind="provision", lane=lane, tenant=tenant, gates=(PLATFORM_GATE,)
            )
        case MediaEvent():
            return Append(
                event=event, kind="media", lane=f"media:{event.message.id}", tenant=event.account
            )
        case _:
            lane = f"event:{event.account}:{event.peer}" if event.peer else f"event:{event.account}"
            return Append(event=event, kind="webhook", lane=lane, tenant=event.account)


def send_lane(integration_id: UUID, to: str) -> str:
    """Return the lane of a conversation, one number with one recipient."""
    return f"send:{integration_id}:{to}"


def route_send(
    organization_id: UUID,
    integration_id: UUID,
    message: Message,
    idempotency_key: str | None = None,
    region: str = DEFAULT_REGION,
) -> Append:
    """Return the append of one message. The row appears in Supabase as `queued` by the same atomic step.

    Equal requests are told by what the caller wrote, not by the number that was chosen for them. `region` is the
    organization's: a recipient without a country's code is one of its numbers.

    Raises:
        ValueError: the recipient is no phone there.
    """
    event = SendEvent(
        id=make_event_id(organization_id, idempotency_key),
        organization_id=organization_id,
        integration_id=integration_id,
        to=normalize(message.to, region),
        **message.model_dump(exclude={"to", "integration_id"}),
    )
    queued = build_message_outcome(event, "queued", event.accepted_at)
    same = fingerprint(
        message.model_dump(mode="json", exclude_none=True)
    )  # a field of a newer version changes no key
    return replace(route_event(event), outcomes=(queued,), fingerprint=same)


def route_provision(event: ProvisionEvent, delay_s: float = 0) -> Append:
    """Return the append of one step towards a connected number."""
    return replace(route_event(event), delay_s=delay_s)


def route_webhook(
    account: str,
    payload: dict[str, Any],
    identity: str,
    peer: str | None,
    blobs: tuple[str, ...] = (),
    whole: str | None = None,
) -> Append:
    """Return the append of one event that the platform posted: the same event twice is one.

    `peer` names its conversation. `whole` is the digest of the payload where that waits beside the event.
    """
    event = WebhookEvent(
        id=make_event_id(account, identity),
        account=account,
        peer=peer,
        payload={} if whole else payload,
        blobs=blobs,
        whole=whole,
    )
    return replace(
        route_event(event), fingerprint=identity
    )  # the platform may word a retry differently


def route_media(
    event: WebhookEvent, message: MessageOutcome, file: Attachment | None, blob: str | None
) -> Append:
    """Return the append of the file of a message that `event` brought; `blob` is where its base64 waits, if it does."""
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
    event: SendEvent, status: MessageStatus, at: datetime, **learned: str | None
) -> MessageOutcome:
    """Return the row of an outgoing message in `status`, with what has been learned of it."""
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
        **learned,
    )


def _content_type(event: SendEvent) -> ContentType:
    if event.media:
        return event.media.type
    return "location" if event.location else "text"


def _describe(event: SendEvent) -> str:
    """Return what a list of messages shows for one that has no text."""
    if place := event.location:
        return place.name or place.address or f"{place.lat}, {place.lng}"
    return ""
