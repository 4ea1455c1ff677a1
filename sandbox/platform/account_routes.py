"""Clients, tokens and accounts: the newest contract of the platform's API."""

import asyncio
import secrets
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox.platform import request_data
from sandbox.platform.errors import ApiError, make_invalid_token_error


async def create_client(request: Request) -> Response:
    """`{organizationId}` → `{apiKey, session, status}`; a revoked key is replaced."""
    state = request_data.get_state(request)
    if not secrets.compare_digest(
        request_data.read_bearer_token(request).encode(),
        state.settings.secret.get_secret_value().encode(),
    ):
        raise make_invalid_token_error()
    organization_id = request_data.require_text(
        await request_data.read_json(request), "organizationId"
    )
    account, created = state.accounts.create(organization_id)
    if account.session in state.faults.plan.revoked_keys:
        state.accounts.replace_key(account)
        state.faults.restore_key(account.session)
    state.ledger.count("clients", organization_id, "created" if created else "handed back")
    answer = {"apiKey": account.api_key, "session": account.session, "status": account.wire_status}
    return JSONResponse(answer)


async def issue_token(request: Request) -> Response:
    """`{apiKey}` → `{token, expiresIn}`."""
    state = request_data.get_state(request)
    account = state.accounts.find_by_key(
        request_data.require_text(await request_data.read_json(request), "apiKey")
    )
    plan = state.faults.plan
    if (
        account is None
        or account.session in plan.revoked_keys
        or time.time() - account.created_at < plan.new_key_refused_s
    ):
        raise ApiError(403, "Invalid API key")
    state.ledger.record_token(account.session)
    answer: dict[str, Any] = {"token": state.tokens.issue(account.session, account.api_key)}
    if state.settings.expires_in:
        answer["expiresIn"] = int(state.tokens.ttl_s)
    return JSONResponse(answer)


async def start_account(request: Request) -> Response:
    """`{number}` → `{status, qr?}`; idempotent."""
    account = request_data.authenticate(
        request, request_data.require_text(await request_data.read_json(request), "number")
    )
    request_data.get_state(request).accounts.start(account)
    return JSONResponse(
        {"status": account.wire_status} | ({"qr": account.qr} if account.qr else {})
    )


async def get_status(request: Request) -> Response:
    account = request_data.authenticate(request, request.path_params["number"])
    faults = request_data.get_state(request).faults
    if account.session in faults.plan.hanging_accounts:
        await asyncio.sleep(faults.plan.hanging_s)
    return JSONResponse({"status": account.wire_status})


async def list_events(request: Request) -> Response:
    """`?since=` (epoch seconds) → `{events: […]}` as webhooks have them, without files.

    404 as for an unknown route where the platform keeps no history.
    """
    state = request_data.get_state(request)
    if not state.settings.history:
        return PlainTextResponse(f"Cannot GET {request.url.path}", 404)
    account = request_data.authenticate(request, request.path_params["number"])
    since = float(request.query_params.get("since", 0))
    return JSONResponse({"events": state.list_events(account, since)})


async def get_qr(request: Request) -> Response:
    return JSONResponse(
        {"qr": request_data.authenticate(request, request.path_params["number"]).qr}
    )


async def register_webhook(request: Request) -> Response:
    account = request_data.authenticate(request, request.path_params["session"])
    account.webhook = request_data.require_text(await request_data.read_json(request), "url")
    request_data.get_state(request).accounts.save(account)
    return JSONResponse({"success": True})


async def stop_account(request: Request) -> Response:
    state = request_data.get_state(request)
    state.accounts.stop(
        request_data.authenticate(request, request.path_params["session"]),
        log_out=state.settings.stop_logs_out,
    )
    return JSONResponse({"success": True})


ROUTES = [
    Route("/api/integrations/wpp/create", create_client, methods=["POST"]),
    Route("/auth/token", issue_token, methods=["POST"]),
    Route("/api/accounts/start", start_account, methods=["POST"]),
    Route("/api/accounts/{number}/status", get_status),
    Route("/api/accounts/{number}/messages", list_events),
    Route("/api/accounts/{number}/qr", get_qr),
    Route("/internal/session/{session}/webhook", register_webhook, methods=["POST"]),
    Route("/internal/session/{session}/stop", stop_account, methods=["POST"]),
]
