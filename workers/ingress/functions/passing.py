"""Pass a call on to the CRM's own function of the same name."""

from starlette.responses import Response

from workers.ingress.crm_functions import CrmFunctionError, CrmFunctions, PassedOn
from workers.ingress.functions.answers import FunctionError
from workers.ingress.functions.calls import FunctionCall


async def pass_on(call: FunctionCall) -> Response:
    """Return the answer of the CRM's function; raises what `pass_to` raises."""
    passed = PassedOn(call.name, call.method, call.query, call.headers, call.body)
    return await pass_to(call.state.crm_functions, passed)


async def pass_to(functions: CrmFunctions, passed: PassedOn) -> Response:
    """Return the answer of the CRM's function, also for a call without an organization of ours.

    Raises:
        FunctionError: there is none, or it does not answer.
    """
    try:
        answer = await functions.call(passed)
    except CrmFunctionError as error:
        raise FunctionError(str(error), error.status) from None
    return Response(answer.content, answer.status, media_type=answer.content_type)
