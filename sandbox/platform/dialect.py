"""Webhook bodies in the two shapes of the real platform: flat, or in an envelope's `data`."""

import secrets
import time
from dataclasses import replace
from typing import Any

from sandbox.platform.accounts import Account
from sandbox.platform.messages import Message
from sandbox.platform.settings import Settings

PLACEHOLDERS = {
    "chat": "",
    "image": "[Image]",
    "video": "[Video]",
    "audio": "[Audio]",
    "ptt": "[Ptt]",
    "sticker": "[Sticker]",
    "document": "[Document]",
}


class Dialect:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def session(self, event: str, account: Account) -> dict[str, Any]:
        """Return `qr` (with the code), `connected` or `offline`."""
        fields = {"account": account.session} | ({"qr": account.qr} if event == "qr" else {})
        return self._shape_session(event, fields)

    def sent(self, message: Message) -> dict[str, Any]:
        fields = {"account": message.session, "taskId": message.task_id}
        if self._settings.sent_wa_id:
            fields["waMessageId"] = message.wa_id
        return self._shape_session("message.sent", fields)

    def dead(self, message: Message) -> dict[str, Any]:
        return self._shape_session(
            "message.dead", {"account": message.session, "taskId": message.task_id}
        )

    def status(self, message: Message) -> dict[str, Any]:
        """Return `delivery` with a single id, or `message.status` with both."""
        if self._settings.webhook_shape == "enveloped":
            ids = {"taskId": message.task_id, "waMessageId": message.wa_id}
            return _make_envelope(
                "message.status", {"account": message.session, **ids, "status": message.status}
            )
        known = message.task_id if self._settings.delivery_id == "taskId" else message.wa_id
        return {
            "type": "delivery",
            "account": message.session,
            "messageId": known,
            "status": message.status,
        }

    def conversation(self, message: Message, account: Account) -> dict[str, Any]:
        """Return a customer's message, or the echo of a message written on the phone."""
        fields: dict[str, Any] = {
            "account": message.session,
            **self._make_parties(message, account),
        }
        fields["text"] = " ".join(
            part for part in (PLACEHOLDERS[message.type], message.text) if part
        )
        fields["timestamp"] = int(message.at)
        if self._settings.incoming_ids:
            fields["messageId"] = message.wa_id
        if message.direction == "echo":
            fields["fromMe"] = True
        if message.name:
            fields["notifyName"] = message.name
        if message.media:
            fields["media"] = message.media
        if self._settings.webhook_shape == "enveloped":
            return _make_envelope("message.incoming", fields)
        return {"type": message.type, **fields, "from": f"+{fields['from']}"}

    def history(self, message: Message, account: Account) -> dict[str, Any]:
        """Return what the history says of a message: itself without its file, or its status."""
        if message.direction == "api":
            ids = {"taskId": message.task_id, "waMessageId": message.wa_id}
            return _make_envelope("message.status", {**ids, "status": message.status})
        media = {key: value for key, value in (message.media or {}).items() if key != "base64"}
        return self.conversation(replace(message, media=media or None), account)

    def _make_parties(self, message: Message, account: Account) -> dict[str, str]:
        if message.direction == "echo" and self._settings.echo_from == "own":
            return {
                "from": account.phone,
                "raw_from": f"{account.phone}@c.us",
                "to": f"{message.peer}@c.us",
            }
        return {"from": message.peer, "raw_from": f"{message.peer}@c.us"}

    def _shape_session(self, event: str, fields: dict[str, Any]) -> dict[str, Any]:
        return (
            {"type": event, **fields}
            if self._settings.webhook_shape == "flat"
            else _make_envelope(event, fields)
        )


def _make_envelope(event: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"evt_{secrets.token_hex(8)}",
        "type": event,
        "created": int(time.time()),
        "data": data,
    }
