"""What is refused of a callback: its address, or one more of them."""

import ipaddress

from pydantic import HttpUrl

from shared.errors import PipelineError
from shared.http.public_network import is_public, matches_host

PRIVATE_NAMES = (".localhost", ".local", ".internal")


class CallbackUrlError(PipelineError):
    """Nothing may be posted to this address."""

    code = "callback_url_refused"


class TooManyCallbacksError(PipelineError):
    """The organization has as many callbacks as it may."""

    code = "too_many_callbacks"


def check_url(url: HttpUrl, private_hosts: tuple[str, ...]) -> None:
    """Refuse an address without TLS or in a private network, unless a setting names its host.

    A name is looked up when a post is made, and its address is checked then.

    Raises:
        CallbackUrlError: it is refused.
    """
    host, port = (url.host or "").strip("[]").rstrip("."), url.port or 0
    if matches_host(host, port, private_hosts):
        return
    if url.scheme != "https":
        msg = "url: give an https address; events are not posted without TLS"
        raise CallbackUrlError(msg)
    is_private_name = host == "localhost" or host.endswith(PRIVATE_NAMES)
    if is_private_name or (_is_address(host) and not is_public(host)):
        msg = "url: this host is not public"
        raise CallbackUrlError(msg)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
