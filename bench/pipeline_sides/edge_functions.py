"""The sequence of calls of the CRM's old edge functions: `uvicorn …edge_functions:app`.

`wpp-send` and `wpp-webhook` do all within the request: no queue, nothing is tried again. The calls
are theirs, the language is not: they ran on Deno.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
from fastapi import FastAPI, HTTPException, Request

from bench.pipeline_sides.acks import read_ack

KEY = os.environ["SUPABASE_SERVICE_ROLE_KEY"]
HEADERS = {"apikey": KEY, "Authorization": f"Bearer {KEY}", "Prefer": "return=representation"}
TOKEN_LIFE = timedelta(minutes=14)
tokens: dict[str, tuple[str, datetime]] = {}


@asynccontextmanager
async def open_clients(app: FastAPI) -> AsyncIterator[None]:
    async with (
        httpx.AsyncClient(
            base_url=f"{os.environ['SUPABASE_URL']}/rest/v1", headers=HEADERS, timeout=30
        ) as rest,
        httpx.AsyncClient(base_url=os.environ["WPP_BASE_URL"], timeout=30) as platform,
    ):
        app.state.rest, app.state.platform = rest, platform
        yield


app = FastAPI(lifespan=open_clients)


@app.post("/messages")
async def send(body: dict[str, str], request: Request) -> dict[str, Any]:
    """Find the client and the number, post the message, write its row, touch the client."""
    rest, platform = request.app.state.rest, request.app.state.platform
    organization_id, phone = body["organization_id"], body["to"]
    known = await _select(rest, "clients", organization_id=organization_id, phone=phone)
    if not known:
        fresh = {"organization_id": organization_id, "name": phone, "phone": phone}
        known = (await rest.post("/clients", json=fresh)).raise_for_status().json()
    last = {"client_id": known[0]["id"], "is_outgoing": "false", "order": "created_at.desc"}
    await _select(rest, "chat_messages", limit="1", **last)  # which number it wrote to last
    numbers = await _select(
        rest, "wpp_integrations", organization_id=organization_id, is_primary="true"
    )
    token = await _get_token(rest, platform, numbers[0]["account"])
    answer = await platform.post(
        "/api/messages/text",
        json={"type": "text", "to": phone.removeprefix("+"), "text": body["text"]},
        headers={"Authorization": f"Bearer {token}"},
    )
    if answer.is_error:
        raise HTTPException(500, answer.text)
    now = datetime.now(UTC).isoformat()
    row = {
        "organization_id": organization_id,
        "client_id": known[0]["id"],
        "message_text": body["text"],
        "message_type": "manager",
        "messenger_type": "whatsapp",
        "is_outgoing": True,
        "is_read": True,
        "message_status": "sent",
        "external_message_id": answer.json()["taskId"],
    }
    (await rest.post("/chat_messages", json=row)).raise_for_status()
    touched = await rest.patch(
        "/clients", params={"id": f"eq.{known[0]['id']}"}, json={"last_message_at": now}
    )
    touched.raise_for_status()
    return {"success": True, "taskId": row["external_message_id"]}


@app.post("/webhooks/{account}")
async def receive(account: str, event: dict[str, Any], request: Request) -> dict[str, bool]:
    """Log the event, find the number, write the status; errors of the database are ignored."""
    rest = request.app.state.rest
    entry = {
        "id": str(uuid4()),
        "account": account,
        "event_type": event["type"],
        "payload": event,
        "became": "status",
        "at": datetime.now(UTC).isoformat(),
    }
    await rest.post("/wpp_webhook_log", json=entry)
    await _select(rest, "wpp_integrations", account=account)
    task_id, status = read_ack(event)
    await rest.patch(
        "/chat_messages",
        params={"external_message_id": f"eq.{task_id}"},
        json={"message_status": status},
    )
    return {"ok": True}


@app.get("/ready")
async def ready() -> dict[str, bool]:
    return {"ok": True}


async def _select(rest: httpx.AsyncClient, table: str, **equal: str) -> list[dict[str, Any]]:
    plain = {"limit", "order"}
    params = {name: value if name in plain else f"eq.{value}" for name, value in equal.items()}
    rows: list[dict[str, Any]] = (await rest.get(f"/{table}", params=params)).json()
    return rows


async def _get_token(rest: httpx.AsyncClient, platform: httpx.AsyncClient, account: str) -> str:
    token, ends = tokens.get(account, ("", datetime.now(UTC)))
    if ends > datetime.now(UTC):
        return token
    settings = (await rest.post("/rpc/wpp_settings", json={"account": account})).json()
    answer = await platform.post("/auth/token", json={"apiKey": settings["wppApiKey"]})
    token = str(answer.raise_for_status().json()["token"])
    tokens[account] = token, datetime.now(UTC) + TOKEN_LIFE
    return token
