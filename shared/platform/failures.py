"""Maps a failed call to the error that says what is known of its effect.

| what happened                                                | idempotent call | a send        |
| ------------------------------------------------------------ | --------------- | ------------- |
| no connection, no free connection, breaker open, 425         | Unavailable     | Unavailable   |
| no variant of the route is known, or a proxy has no upstream | Unavailable     | Unavailable   |
| 301, 302, 307, 308: redirected before processing             | Unavailable     | Unavailable   |
| 429                                                          | Limited         | Limited       |
| 503 with Retry-After: rejected on purpose                    | Unavailable     | Unavailable   |
| 503 without: may come from a proxy that lost the answer      | Unavailable     | UnknownEffect |
| no answer in time, connection lost, 408, the remaining 5xx   | Unavailable     | UnknownEffect |
| a 2xx with a body that is cut short or unreadable            | Unavailable     | UnknownEffect |
| 401                                                          | Unauthorized    | Unauthorized  |
| 401 to an API key, or any 4xx that calls the key invalid     | InvalidApiKey   |               |
| a 4xx, or `error` in a 2xx: the account is not connected     | Refused         | NotConnected  |
| the remaining 4xx, also 404 with JSON; a 2xx that says error | Refused         | Refused       |

Where the status alone says that a call failed, an unreadable body costs only the reason.
"""

import httpx

from shared.errors import (
    InvalidApiKeyError,
    LimitedError,
    NotConnectedError,
    PlatformError,
    RefusedError,
    RouteMissingError,
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
    httpx.LocalProtocolError,  # an invalid header; httpcore raises it before the first write
)


def check_success(
    endpoint: Endpoint, response: PlatformResponse, secrets: list[str]
) -> PlatformResponse:
    """Return the response if it is a success, else raise its error, which quotes no `secrets`."""
    if response.ok and not (endpoint.status_in_body and response.reports_error):
        return response
    description = f"{endpoint.name}: {response.status}: {response.describe(secrets)}"
    if response.status in REDIRECTS:
        description += "; check WPP_BASE_URL"
    if endpoint.uses_api_key and (response.status == 401 or response.reports_invalid_key):
        msg = (
            f"The platform refused this account's API key ({description}); "
            "connect it again with force_recreate"
        )
        raise InvalidApiKeyError(msg, status=response.status)
    if endpoint.status_in_body and response.reports_not_connected:
        raise NotConnectedError(description, status=response.status)
    raise _build_status_error(endpoint, response, description)


def _build_status_error(
    endpoint: Endpoint, response: PlatformResponse, description: str
) -> PlatformError:
    status = response.status
    retry_after_s = response.retry_after_s
    if status == 401:
        return UnauthorizedError(description, status=status)
    if status == 429:
        return LimitedError(description, retry_after_s=retry_after_s or DEFAULT_RETRY_AFTER_S)
    if status == 425 or status in REDIRECTS or (status == 503 and retry_after_s):
        return UnavailableError(description, status=status, retry_after_s=retry_after_s)
    if status < 500 and status != 408:
        return RefusedError(description, status=status)
    if endpoint.idempotent:
        return UnavailableError(description, status=status)
    return UnknownEffectError(description, status=status)


def build_unreadable_error(endpoint: Endpoint, status: int, reason: str) -> PlatformError:
    """Return the error for an unreadable response; the effect of a send is unknown then."""
    description = f"{endpoint.name}: {status}: unreadable response: {reason}"
    error = UnavailableError if endpoint.idempotent else UnknownEffectError
    return error(description, status=status)


def build_no_answer_error(endpoint: Endpoint, failure: type[Exception]) -> PlatformError:
    """Return the error for a call without an answer."""
    if issubclass(failure, NOT_SENT):
        description = f"{endpoint.name}: the platform was not reached ({failure.__name__})"
        return UnavailableError(description)
    description = f"{endpoint.name}: the platform did not answer ({failure.__name__})"
    return UnavailableError(description) if endpoint.idempotent else UnknownEffectError(description)


def build_no_route_error(endpoint: Endpoint, response: PlatformResponse) -> PlatformError:
    """Return the error for an unknown route, which may come back when a proxy reported it."""
    status = response.status
    variants = ", ".join(endpoint.variants)
    if endpoint.unverified and response.is_route_missing_on_platform:
        description = f"{endpoint.name}: {status}: the platform has no route {variants}"
        return RouteMissingError(description, status=status)
    description = f"{endpoint.name}: {status}: no route {variants}; check WPP_BASE_URL"
    return UnavailableError(description, status=status)
