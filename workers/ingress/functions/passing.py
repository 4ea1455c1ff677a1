"""Pass a call on to the CRM's own function of the same name."""

from starlette.responses import Response

from workers.ingress.crm_functions import CrmFunctionError, PassedOn
from workers.ingress.functions.answers import FunctionError
from workers.ingress.functions.calls import FunctionCall


async def pass_on(call: FunctionCall) -> Response:
    """Return the answer of the CRM's function.

    Raises:
        FunctionError: there is none, or it does not answer.
    """
    passed = PassedOn(call.name, call.method, call.query, call.headers, call.body)
    try:
        answer = await call.state.crm_functions.call(passed)
    except CrmFunctionError as error:
        raise FunctionError(str(error), error.status) from None
    return Response(answer.content, answer.status, media_type=answer.content_type)
