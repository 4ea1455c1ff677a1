"""The job as tutorials teach it: supabase-py and httpx, row by row, one client a thread.

What each queue of stock parts runs. It promises less than the pipeline does: no order, no
deduplication, no history and no events; an ack whose message has no row yet is tried again later.
"""

import os
import threading
from datetime import UTC, datetime
from typing import Any

import httpx
from pydantic import BaseModel
from redis import Redis
from supabase import Client, create_client

from bench.pipeline_sides.acks import read_ack

TOKEN_S = 840
redis = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
_of_thread = threading.local()


class OutgoingMessage(BaseModel):
    organization_id: str
    to: str
    text: str


class UnknownMessageError(Exception):
    """The message of an ack has no row yet."""


def send(message_id: str, organization_id: str, to: str, text: str) -> None:
    """Post a message to the platform and write its row."""
    supabase, http = _clients()
    number: Any = (
        supabase.table("wpp_integrations")
        .select("id, account")
        .eq("organization_id", organization_id)
        .eq("is_primary", value=True)
        .single()
        .execute()
        .data
    )
    client_id = _find_client(supabase, organization_id, to)
    answer = http.post(
        "/api/messages/text",
        json={"type": "text", "to": to.removeprefix("+"), "text": text},
        headers={"Authorization": f"Bearer {_get_token(number['account'])}"},
    )
    answer.raise_for_status()
    now = datetime.now(UTC).isoformat()
    supabase.table("chat_messages").insert(
        {
            "id": message_id,
            "organization_id": organization_id,
            "client_id": client_id,
            "integration_id": number["id"],
            "message_text": text,
            "message_type": "manager",
            "messenger_type": "whatsapp",
            "is_outgoing": True,
            "is_read": True,
            "message_status": "sent",
            "external_message_id": answer.json()["taskId"],
            "created_at": now,
        }
    ).execute()
    supabase.table("clients").update({"last_message_at": now}).eq("id", client_id).execute()


def _find_client(supabase: Client, organization_id: str, phone: str) -> str:
    clients = supabase.table("clients")
    query = clients.select("id").eq("organization_id", organization_id).eq("phone", phone)
    known: Any = query.execute().data
    if not known:
        fresh = {"organization_id": organization_id, "name": phone, "phone": phone}
        known = supabase.table("clients").insert(fresh).execute().data
    return str(known[0]["id"])


def _get_token(account: str) -> str:
    if token := redis.get(f"token:{account}"):
        return str(token)
    answer = _clients()[1].post("/auth/token", json={"apiKey": account})
    token = str(answer.raise_for_status().json()["token"])
    redis.setex(f"token:{account}", TOKEN_S, token)
    return token


def handle(event_id: str, account: str, event: dict[str, Any]) -> None:
    """Write the log entry of an ack, and its status to the row of its message.

    Raises:
        UnknownMessageError: the message has no row yet.
    """
    supabase, _ = _clients()
    supabase.table("wpp_webhook_log").upsert(
        {
            "id": event_id,
            "account": account,
            "event_type": event["type"],
            "payload": event,
            "became": "status",
            "at": datetime.now(UTC).isoformat(),
        }
    ).execute()
    task_id, status = read_ack(event)
    query = supabase.table("chat_messages").update({"message_status": status})
    if not query.eq("external_message_id", task_id).execute().data:
        raise UnknownMessageError(task_id)


def _clients() -> tuple[Client, httpx.Client]:
    """Return the clients of this thread: Supabase's is not made for several."""
    if not hasattr(_of_thread, "clients"):
        _of_thread.clients = (
            create_client(os.environ["SUPABASE_URL"], os.environ["SUPABASE_SERVICE_ROLE_KEY"]),
            httpx.Client(base_url=os.environ["WPP_BASE_URL"], timeout=30),
        )
    found: tuple[Client, httpx.Client] = _of_thread.clients
    return found
