"""The job as tutorials of asyncio teach it: supabase-py's async client and httpx, row by row.

The same calls as `stock_job`, and the same it leaves out, for queues whose tasks are coroutines.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
from redis.asyncio import Redis
from supabase import AsyncClient, acreate_client

from bench.pipeline_sides.acks import read_ack
from bench.pipeline_sides.stock_job import TOKEN_S, UnknownMessageError

Opened = TypeVar("Opened")
redis = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
http = httpx.AsyncClient(base_url=os.environ["WPP_BASE_URL"], timeout=30)


def open_once(open_client: Callable[[], Awaitable[Opened]]) -> Callable[[], Awaitable[Opened]]:
    """Return a function that opens a client at its first call and returns it at each."""
    opening: list[asyncio.Future[Opened]] = []

    async def get() -> Opened:
        if not opening:
            opening.append(asyncio.ensure_future(open_client()))
        return await opening[0]

    return get


@open_once
async def get_supabase() -> AsyncClient:
    return await acreate_client(os.environ["SUPABASE_URL"], os.environ["SUPABASE_SERVICE_ROLE_KEY"])


async def send(message_id: str, organization_id: str, to: str, text: str) -> None:
    """Post a message to the platform and write its row."""
    supabase = await get_supabase()
    number: Any = (
        await supabase.table("wpp_integrations")
        .select("id, account")
        .eq("organization_id", organization_id)
        .eq("is_primary", value=True)
        .single()
        .execute()
    ).data
    client_id = await _find_client(supabase, organization_id, to)
    answer = await http.post(
        "/api/messages/text",
        json={"type": "text", "to": to.removeprefix("+"), "text": text},
        headers={"Authorization": f"Bearer {await _get_token(number['account'])}"},
    )
    answer.raise_for_status()
    now = datetime.now(UTC).isoformat()
    await (
        supabase.table("chat_messages")
        .insert(
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
        )
        .execute()
    )
    await supabase.table("clients").update({"last_message_at": now}).eq("id", client_id).execute()


async def _find_client(supabase: AsyncClient, organization_id: str, phone: str) -> str:
    clients = supabase.table("clients")
    query = clients.select("id").eq("organization_id", organization_id).eq("phone", phone)
    known: Any = (await query.execute()).data
    if not known:
        fresh = {"organization_id": organization_id, "name": phone, "phone": phone}
        known = (await supabase.table("clients").insert(fresh).execute()).data
    return str(known[0]["id"])


async def _get_token(account: str) -> str:
    if token := await redis.get(f"token:{account}"):
        return str(token)
    answer = await http.post("/auth/token", json={"apiKey": account})
    token = str(answer.raise_for_status().json()["token"])
    await redis.setex(f"token:{account}", TOKEN_S, token)
    return token


async def handle(event_id: str, account: str, event: dict[str, Any]) -> None:
    """Write the log entry of an ack, and its status to the row of its message.

    Raises:
        UnknownMessageError: the message has no row yet.
    """
    supabase = await get_supabase()
    entry = {
        "id": event_id,
        "account": account,
        "event_type": event["type"],
        "payload": event,
        "became": "status",
        "at": datetime.now(UTC).isoformat(),
    }
    await supabase.table("wpp_webhook_log").upsert(entry).execute()
    task_id, status = read_ack(event)
    query = supabase.table("chat_messages").update({"message_status": status})
    if not (await query.eq("external_message_id", task_id).execute()).data:
        raise UnknownMessageError(task_id)
