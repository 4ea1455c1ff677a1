"""For tests and the curious: the faults in force, and the ledger."""

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.platform.caller import world_of
from sandbox.platform.faults import FaultPlan


async def faults(request: Request) -> Response:
    """GET shows the plan, POST puts another in its place, whole; DELETE ends all faults."""
    held = world_of(request).faults
    if request.method == "POST":
        try:
            held.set(FaultPlan.model_validate_json(await request.body()))
        except ValidationError as error:
            return JSONResponse(
                {"error": error.errors(include_url=False, include_context=False)}, 422
            )
    elif request.method == "DELETE":
        held.set(FaultPlan())
    return JSONResponse(held.plan.model_dump() | {"injected": held.injected})


async def ledger(request: Request) -> Response:
    """GET shows counts and the messages accepted, DELETE begins anew; what was accepted still gets on."""
    world = world_of(request)
    if request.method == "DELETE":
        world.ledger.clear()
        world.messages.clear_ledger()
    return JSONResponse(world.snapshot())


ROUTES = [
    Route("/admin/faults", faults, methods=["GET", "POST", "DELETE"]),
    Route("/admin/ledger", ledger, methods=["GET", "DELETE"]),
]
