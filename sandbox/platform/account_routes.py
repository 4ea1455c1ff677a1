"""Clients, tokens and accounts: the platform's API as its callers know it, newest contract."""

import secrets
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.platform import caller
from sandbox.platform.errors import ApiError, invalid_token


async def create(request: Request) -> Response:
    """`{organizationId}` → `{apiKey, session, status}`; a revoked key is replaced, any other one handed back."""
    world = caller.world_of(request)
    if not secrets.compare_digest(
        caller.bearer(request).encode(), world.settings.secret.get_secret_value().encode()
    ):
        raise invalid_token()
    organization_id = caller.text(await caller.read_json(request), "organizationId")
    account, created = world.accounts.create(organization_id)
    if account.session in world.faults.plan.revoked_keys:
        world.accounts.renew_key(account)
        world.faults.restore_key(account.session)
    world.ledger.count("clients", organization_id, "created" if created else "handed back")
    answer = {"apiKey": account.api_key, "session": account.session, "status": account.wire_status}
    return JSONResponse(answer)


async def token(request: Request) -> Response:
    """`{apiKey}` → `{token, expiresIn}`."""
    world = caller.world_of(request)
    account = world.accounts.with_key(caller.text(await caller.read_json(request), "apiKey"))
    plan = world.faults.plan
    if (
        account is None
        or account.session in plan.revoked_keys
        or time.time() - account.created_at < plan.new_key_refused_s
    ):
        raise ApiError(403, "Invalid API key")
    world.ledger.minted(account.session)
    answer: dict[str, Any] = {"token": world.tokens.mint(account.session, account.api_key)}
    if world.settings.expires_in:
        answer["expiresIn"] = int(world.tokens.ttl_s)
    return JSONResponse(answer)


async def start(request: Request) -> Response:
    """`{number}` → `{status, qr?}`; idempotent."""
    account = caller.account(request, caller.text(await caller.read_json(request), "number"))
    caller.world_of(request).accounts.start(account)
    return JSONResponse(
        {"status": account.wire_status} | ({"qr": account.qr} if account.qr else {})
    )


async def status(request: Request) -> Response:
    return JSONResponse(
        {"status": caller.account(request, request.path_params["number"]).wire_status}
    )


async def qr(request: Request) -> Response:
    return JSONResponse({"qr": caller.account(request, request.path_params["number"]).qr})


async def register_webhook(request: Request) -> Response:
    account = caller.account(request, request.path_params["session"])
    account.webhook = caller.text(await caller.read_json(request), "url")
    caller.world_of(request).accounts.save(account)
    return JSONResponse({"success": True})


async def stop(request: Request) -> Response:
    world = caller.world_of(request)
    world.accounts.stop(
        caller.account(request, request.path_params["session"]),
        log_out=world.settings.stop_logs_out,
    )
    return JSONResponse({"success": True})


ROUTES = [
    Route("/api/integrations/wpp/create", create, methods=["POST"]),
    Route("/auth/token", token, methods=["POST"]),
    Route("/api/accounts/start", start, methods=["POST"]),
    Route("/api/accounts/{number}/status", status),
    Route("/api/accounts/{number}/qr", qr),
    Route("/internal/session/{session}/webhook", register_webhook, methods=["POST"]),
    Route("/internal/session/{session}/stop", stop, methods=["POST"]),
]
