"""What is known of the effect of a call that did not succeed.

| what happened                                                        | repeatable call | a send         |
| -------------------------------------------------------------------- | --------------- | -------------- |
| no connection, no free connection, breaker open, 425                 | Unavailable     | Unavailable    |
| no form of the route is known: a proxy's, when nothing is behind it  | Unavailable     | Unavailable    |
| 301, 302, 307, 308: sent elsewhere before anything was processed     | Unavailable     | Unavailable    |
| 429                                                                  | Limited         | Limited        |
| 503 with Retry-After: somebody has turned it away on purpose         | Unavailable     | Unavailable    |
| 503 without: may as well be a proxy that lost an answer              | Unavailable     | UnknownEffect  |
| no answer in time, connection lost, 408, any other 5xx               | Unavailable     | UnknownEffect  |
| a success that is cut short or cannot be read                        | Unavailable     | UnknownEffect  |
| 401                                                                  | Unauthorized    | Unauthorized   |
| 401 to a key instead of a token, any 4xx that calls it invalid       | InvalidApiKey   |                |
| a 4xx, or `error` in a success: the account is not connected         | Refused         | NotConnected   |
| any other 4xx, also 404 in JSON; a success that says `error`         | Refused         | Refused        |

Where the status alone says that a call failed, a body that cannot be read only costs the reason.
"""

import httpx

from shared.errors import (
    InvalidApiKeyError,
    LimitedError,
    NotConnectedError,
    PlatformError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
    UnknownEffectError,
)
from shared.platform.endpoints import Endpoint
from shared.platform.responses import PlatformResponse

DEFAULT_RETRY_AFTER_S = 5.0
REDIRECTS = {301, 302, 307, 308}
NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,  # a header that cannot be written; httpcore raises it before it writes anything
)


def check_success(
    endpoint: Endpoint, answer: PlatformResponse, ours: list[str]
) -> PlatformResponse:
    """Return the answer if it is a success; raise what it says otherwise, without repeating `ours`."""
    if answer.ok and not (endpoint.verdict and answer.says_error):
        return answer
    said = f"{endpoint.name}: {answer.status}: {answer.reason(ours)}"
    if answer.status in REDIRECTS:
        said += "; is WPP_BASE_URL right?"
    if endpoint.takes_key and (answer.status == 401 or answer.calls_key_invalid):
        msg = f"the platform refused this account's API key ({said}); connect it again with force_recreate"
        raise InvalidApiKeyError(msg, status=answer.status)
    if endpoint.verdict and answer.denies_connection:
        raise NotConnectedError(said, status=answer.status)
    raise _build_status_error(endpoint, answer, said)


def _build_status_error(endpoint: Endpoint, answer: PlatformResponse, said: str) -> PlatformError:
    status = answer.status
    if status == 401:
        return UnauthorizedError(said, status=status)
    if status == 429:
        return LimitedError(said, retry_after_s=answer.retry_after_s or DEFAULT_RETRY_AFTER_S)
    if status == 425 or status in REDIRECTS or (status == 503 and answer.retry_after_s):
        return UnavailableError(said, status=status, retry_after_s=answer.retry_after_s)
    if status < 500 and status != 408:
        return RefusedError(said, status=status)
    if endpoint.repeatable:
        return UnavailableError(said, status=status)
    return UnknownEffectError(said, status=status)


def build_unreadable_error(endpoint: Endpoint, status: int, why: str) -> PlatformError:
    """Return the error for an answer that cannot be understood: of a send, nobody knows what became of it."""
    said = f"{endpoint.name}: {status}: the answer cannot be read: {why}"
    kind = UnavailableError if endpoint.repeatable else UnknownEffectError
    return kind(said, status=status)


def build_no_answer_error(endpoint: Endpoint, failure: type[Exception]) -> PlatformError:
    """Return the error for a call without an answer."""
    if issubclass(failure, NOT_SENT):
        return UnavailableError(
            f"{endpoint.name}: the platform was not reached ({failure.__name__})"
        )
    said = f"{endpoint.name}: the platform did not answer ({failure.__name__})"
    return UnavailableError(said) if endpoint.repeatable else UnknownEffectError(said)


def build_no_route_error(endpoint: Endpoint, answer: PlatformResponse) -> PlatformError:
    """Return the error for a route that is not known: by a proxy, it may be there again in a moment."""
    status, forms = answer.status, ", ".join(endpoint.forms)
    if endpoint.unproven and answer.route_denied:
        return RefusedError(
            f"{endpoint.name}: {status}: the platform has no {forms}", status=status
        )
    return UnavailableError(
        f"{endpoint.name}: {status}: nobody knows {forms}; is WPP_BASE_URL right?", status=status
    )
