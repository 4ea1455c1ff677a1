"""Administration for tests: the faults in force, the ledger, webhooks that wait."""

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.platform.faults import FaultPlan
from sandbox.platform.request_data import get_state


async def handle_faults(request: Request) -> Response:
    """GET returns the fault plan, POST replaces it, DELETE ends all faults."""
    faults = get_state(request).faults
    if request.method == "POST":
        try:
            faults.set(FaultPlan.model_validate_json(await request.body()))
        except ValidationError as error:
            return JSONResponse(
                {"error": error.errors(include_url=False, include_context=False)}, 422
            )
    elif request.method == "DELETE":
        faults.set(FaultPlan())
    return JSONResponse(faults.plan.model_dump() | {"injected": faults.injected})


async def handle_ledger(request: Request) -> Response:
    """GET returns counts and accepted messages, DELETE resets both; messages still progress."""
    state = get_state(request)
    if request.method == "DELETE":
        state.ledger.clear()
        state.messages.clear_ledger()
    return JSONResponse(state.snapshot())


async def drop_webhooks(request: Request) -> Response:
    """DELETE drops the webhooks that wait."""
    get_state(request).webhooks.drop_waiting()
    return Response(status_code=204)


ROUTES = [
    Route("/admin/faults", handle_faults, methods=["GET", "POST", "DELETE"]),
    Route("/admin/ledger", handle_ledger, methods=["GET", "DELETE"]),
    Route("/admin/webhooks", drop_webhooks, methods=["DELETE"]),
]
