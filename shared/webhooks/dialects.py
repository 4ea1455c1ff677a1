"""Rewrite the events of further platforms into the fields of WPPConnect, which the pipeline reads.

Baileys (and Evolution API) nest the ids in `key` and the content in `message`, by type; WAHA adds
its engine's own fields in `_data`; Meta's Cloud API nests the content in a field named by its type.
Fields that an event has already are never replaced.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from shared.webhooks.fields import find_object, find_value, spell_in_camel_case

_WRAPPERS = frozenset(
    {
        *("ephemeralMessage", "viewOnceMessage", "viewOnceMessageV2", "viewOnceMessageV2Extension"),
        *("documentWithCaptionMessage", "editedMessage", "deviceSentMessage", "botInvokeMessage"),
        *("lottieStickerMessage", "groupMentionedMessage", "associatedChildMessage"),
    }
)
"""Members of a Baileys message that hold another message."""
_MAX_WRAPPERS = 8
_OTHER_CONTENT = frozenset({"viewOnceMessageV2Extension", "callLogMesssage"})  # sic
_ATTRIBUTES = frozenset({"messageContextInfo", "senderKeyDistributionMessage", "base64"})
"""Members beside the content."""
_ENGINE_ONLY = frozenset(
    {
        *("id", "key", "from", "to", "body", "content", "mimetype", "filename", "url", "base64"),
        *("message", "Message", "Info", "author", "participant", "timestamp", "ack", "status"),
    }
)
"""Fields of `_data` that the event itself has, in WAHA's own spelling."""
_CONTENT_MEMBERS = frozenset(
    {
        *("image", "video", "audio", "voice", "document", "sticker", "edit", "buttonsResponse"),
        *("templateButtonReply", "buttonsResponseMessage"),
    }
)
"""Members that hold the content in Meta's form: {"type": "image", "image": {"caption": …}}."""
_HOLDERS = _CONTENT_MEMBERS | {"key", "_data", "message", "update", "vote"}
_REVOKED, _EDITED = frozenset({0, "0", "REVOKE"}), frozenset({14, "14", "MESSAGE_EDIT"})
"""Types of a Baileys protocol message: as numbers or names."""


def flatten_fields(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of an event with those that its dialect nests or spells otherwise."""
    added: dict[str, Any] = {}
    for name, value in fields.items():
        if "_" in name and (camel := spell_in_camel_case(name)) not in fields:
            added[camel] = value
        elif isinstance(value, dict) and name in _HOLDERS:
            added |= _flatten_holder(name, value, fields)
    if fields.get("messageStubType") and not fields.get("message"):
        added["type"] = added["messageType"] = _name_stub(fields["messageStubType"])
    if not added:
        return fields
    known = {name: value for name, value in fields.items() if value is not None}
    if "messageType" in added and isinstance(known.get("message"), dict):
        del known["message"]
    return added | known


def list_items(body: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the events in a body of Meta's Cloud API, or None for the rest."""
    entries = body.get("entry")
    if not isinstance(entries, list) or "object" not in body:
        return None
    return [item for change in _list_changes(entries) for item in _list_change_items(change)]


def _list_changes(entries: list[Any]) -> Iterator[Mapping[str, Any]]:
    for entry in entries:
        changes = entry.get("changes") if isinstance(entry, dict) else None
        for change in changes if isinstance(changes, list) else ():
            if isinstance(change, dict) and isinstance(change.get("value"), dict):
                yield change


def _list_change_items(change: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the messages and the statuses of a change, or else the change itself."""
    value = change["value"]
    names = {}
    for contact in _list_objects(value.get("contacts")):
        names[str(contact.get("wa_id"))] = find_object(contact, "profile").get("name")
    is_empty = True
    for group, event_type, extra in (
        ("messages", "message.incoming", {}),
        ("message_echoes", "message.incoming", {"fromMe": True}),
        ("statuses", "message.status", {"fromMe": True}),
        ("calls", "call", {}),
    ):
        for item in _list_objects(value.get(group)):
            is_empty = False
            name = names.get(str(item.get("from")))
            yield {"type": event_type, "data": {"pushName": name, **extra, **item}}
    if is_empty:
        yield {"type": str(change.get("field", "unknown")), "data": value}


def _list_objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _flatten_holder(
    name: str, value: Mapping[str, Any], fields: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the fields that a member of an event holds."""
    match name:
        case "key":
            return _flatten_key(value)
        case "_data":
            return _flatten_engine(value, fields)
        case "update":
            return _flatten_update(value, find_object(fields, "key"))
        case "message":
            content = _find_content(value)
            return _flatten_message(value, content) if content else {}
        case "vote":
            return value
        case _:
            return _rename_media(value)


def _flatten_key(key: Mapping[str, Any]) -> dict[str, Any]:
    names = ("remoteJid", "remoteJidAlt", "fromMe", "participant", "participantAlt", "senderPn")
    found = {name: key[name] for name in names if name in key}
    return found | ({"messageId": key["id"]} if key.get("id") else {})


def _flatten_update(update: Mapping[str, Any], key: Mapping[str, Any]) -> dict[str, Any]:
    """Return an update of a Baileys message: a status, an edit or a revocation."""
    flat = {name: value for name, value in update.items() if name not in ("message", "key")}
    message = update.get("message")
    if isinstance(message, dict) and (name := _find_content(message)):
        content = _flatten_message(message, name)
        flat["editedMessageId"] = key.get("id")
        flat["newText"] = find_value(content, "newText", "text", "caption")
    elif update.get("messageStubType") in (1, "REVOKE"):
        flat["revokedMessageId"] = key.get("id")
    return flat


def _flatten_engine(engine: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what WAHA's engine says beside WAHA's own fields."""
    found = {name: value for name, value in engine.items() if name not in _ENGINE_ONLY}
    message = find_value(engine, "message", "Message")
    if isinstance(message, dict) and (name := _find_content(message)):
        content = _flatten_message(message, name)
        if fields.get("media") or fields.get("hasMedia") is False:
            content.pop("mimetype", None)  # the file itself is in `media`
        found |= content
    push_name = find_object(engine, "Info").get("PushName")
    return found | ({"pushName": push_name} if push_name else {})


def _find_content(message: Mapping[str, Any]) -> str | None:
    """Return the member of a Baileys message that holds its content."""
    for name, value in message.items():
        if name in _ATTRIBUTES:
            continue
        is_content = name.endswith(("Message", "MessageV2", "MessageV3")) or name in _OTHER_CONTENT
        if name == "conversation" or (is_content and isinstance(value, dict)):
            return name
    return "senderKeyDistributionMessage" if "senderKeyDistributionMessage" in message else None


def _flatten_message(message: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the content of a Baileys message: its type, and the members of its content."""
    message, name, wrappers = _unwrap(message, name)
    content = message.get(name)
    members = _rename_media(content) if isinstance(content, dict) else {"text": content}
    flat = {**members, "type": name, "messageType": name}
    if any(wrapper.startswith("viewOnce") for wrapper in wrappers):
        flat["isViewOnce"] = True
    if "base64" in message:
        flat["base64"] = message["base64"]
    if name == "protocolMessage":
        flat |= _flatten_protocol(members)
    elif name == "reactionMessage":
        flat["reaction"] = dict(members)
    elif name == "audioMessage" and members.get("ptt"):
        flat["type"] = flat["messageType"] = "ptt"
    return flat | _flatten_context(members.get("contextInfo"))


def _unwrap(message: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], str, list[str]]:
    """Return the message within its wrappers, the name of its content, and the wrappers' names."""
    wrappers: list[str] = []
    while name in _WRAPPERS and len(wrappers) < _MAX_WRAPPERS:
        inner = find_object(find_object(message, name), "message")
        wrappers.append(name)
        if not (found := _find_content(inner)):
            break
        message, name = inner, found
    return message, name, wrappers


def _flatten_protocol(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return a revocation or an edit, which Baileys tells as a protocol message."""
    key = members.get("key")
    flat: dict[str, Any] = {"type": "protocol", "messageType": "protocol", "key": None}
    kind = members.get("type", 0)  # protobuf leaves out the first value
    is_edit = isinstance(kind, int | str) and kind in _EDITED
    if not isinstance(key, dict) or not (is_edit or kind in _REVOKED):
        return flat
    flat |= {"protocolMessageKey": key, "subtype": "message_edit" if is_edit else "sender_revoke"}
    edited = members.get("editedMessage")
    if is_edit and isinstance(edited, dict) and (name := _find_content(edited)):
        content = _flatten_message(edited, name)
        flat["newText"] = find_value(content, "text", "caption")
    return flat


def _flatten_context(context: Any) -> dict[str, Any]:
    if not isinstance(context, dict):
        return {}
    names = ("isForwarded", "externalAdReply", "stanzaId")
    return {name: context[name] for name in names if name in context} | {"contextInfo": context}


def _rename_media(member: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a content; `url` and `id` would be read as the message's own."""
    renamed = {name: value for name, value in member.items() if name not in ("url", "id", "URL")}
    if "mime_type" in member:
        renamed.setdefault("mimetype", member["mime_type"])
    return renamed


def _name_stub(stub: Any) -> str:
    """Return the type of a Baileys message without content: a stub of WhatsApp's own."""
    if stub in (2, "2", "CIPHERTEXT"):
        return "ciphertext"
    calls = {40, 41, 45, 46}
    is_call = stub in calls or (isinstance(stub, str) and stub.startswith("CALL_MISSED"))
    return "call.missed" if is_call else "notification"
