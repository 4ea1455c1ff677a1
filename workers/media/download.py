"""Fetching a file from a link that somebody else wrote, without being led into our own network.

Every hop is checked, and each address where the connection is made: what a name resolved to a moment ago proves
nothing. So no redirect and no second answer of a name server leads anywhere else than to a public address.
"""

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from shared.http.deadline import remaining, within
from shared.http.network import DeadlineBackend, NameResolver
from shared.settings import MediaSettings
from workers.media.errors import FileGoneError, FileUnreachableError

DOWNLOAD_TIMEOUT_S = 120.0
CONNECT_TIMEOUT_S = 5.0
MAX_REQUESTS = 4
ANY_HOST = "*"
"""In place of a host: every one that is public."""
RETRYABLE_STATUSES = {408, 425, 429}
IPV4_EMBEDDING_NETWORKS = tuple(
    map(
        ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", "::/96")
    )
)
"""IPv6 networks whose addresses hold an IPv4 one, which may be any: NAT64, Teredo, 6to4, the mapped and compatible."""
PROTOCOL_ASSIGNMENTS = ipaddress.IPv4Network("192.0.0.0/24")
"""Protocol assignments, of which older versions of Python know a part only; a cloud keeps its metadata there."""

Resolver = Callable[[str, int], list[str]]


class ForbiddenAddressError(Exception):
    """A name leads to an address that is not public."""


class LinkFetcher:
    """Fetches from the platform's own host (that of `platform_url`), and from those that settings name.

    `resolve(host, port)` returns the addresses of a name; it is given by tests only.
    """

    def __init__(
        self, settings: MediaSettings, platform_url: str, resolve: Resolver | None = None
    ) -> None:
        self._hosts, self._private = settings.wpp_media_hosts, settings.wpp_media_private_hosts
        self._platform, self._ports = _place_of(httpx.URL(platform_url)), {80, 443}
        backend = PublicBackend(resolve or _resolver(), self._is_private)
        headers = {"Accept-Encoding": "identity", "User-Agent": "wpp-pipeline"}
        self._http = httpx.Client(
            transport=_Transport(backend),
            headers=headers,
            timeout=None,  # noqa: S113
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    @contextmanager
    def open(self, url: str) -> Iterator[Iterator[bytes]]:
        """Open a link; read its pieces within the `with`.

        Raises:
            GoneError: it leads nowhere, or where we don't go.
            UnreachableError: nobody answers at the moment.
        """
        with within(DOWNLOAD_TIMEOUT_S):
            response = self._follow(url)
            try:
                yield _pieces(response)
            finally:
                response.close()

    def _follow(self, url: str) -> httpx.Response:
        place = self._checked(url)
        for _ in range(MAX_REQUESTS):
            response = self._get(place)
            if not response.has_redirect_location:
                return _found(response)
            response.close()
            place = self._checked(str(place.join(response.headers["location"])))
        msg = "it is redirected too often"
        raise FileGoneError(msg)

    def _get(self, place: httpx.URL) -> httpx.Response:
        try:
            return self._http.send(self._http.build_request("GET", place), stream=True)
        except ForbiddenAddressError as error:
            raise FileGoneError(str(error)) from None
        except httpx.HTTPError as error:
            raise FileUnreachableError(type(error).__name__) from None

    def _checked(self, url: str) -> httpx.URL:
        try:
            place = httpx.URL(url)
        except (httpx.InvalidURL, ValueError):
            msg = "its link is none"
            raise FileGoneError(msg) from None
        if place.scheme not in {"http", "https"} or not place.host or place.userinfo:
            msg = "its link is not a plain http(s) one"
            raise FileGoneError(msg)
        host, port = _place_of(place)
        if (host, port) == self._platform or self._is_private(host, port):
            return place
        if not (
            host == self._platform[0] or ANY_HOST in self._hosts or _named(host, port, self._hosts)
        ):
            msg = "its link leads to a host that is not in WPP_MEDIA_HOSTS"
            raise FileGoneError(msg)
        if port not in self._ports:
            msg = f"its link leads to port {port}, where no web server is"
            raise FileGoneError(msg)
        return place

    def _is_private(self, host: str, port: int) -> bool:
        return _named(host, port, self._private)


class PublicBackend(httpcore.NetworkBackend):
    """Connects to public addresses, and to hosts that are `private` on purpose; within the deadline."""

    def __init__(self, resolve: Resolver, private: Callable[[str, int], bool]) -> None:
        self._inner, self._resolve, self._private = DeadlineBackend(), resolve, private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - ours is shorter
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        found = self._resolve(host, port)
        if not self._private(host, port) and not all(map(is_public, found)):
            msg = "its link leads to an address that is not public"
            raise ForbiddenAddressError(msg)
        last: Exception = httpcore.ConnectError("the name has no address")
        for address in found[:4]:
            try:
                return self._inner.connect_tcp(
                    address, port, CONNECT_TIMEOUT_S, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise last


class _Transport(httpx.HTTPTransport):
    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_keepalive_connections=0,
            network_backend=backend,
        )


def _resolver() -> Resolver:
    """Return what asks the system for a name's addresses now, and no longer than a connection may take."""
    names = NameResolver()
    return lambda host, port: names.resolve(
        host, port, min(CONNECT_TIMEOUT_S, max(0.001, remaining()))
    )


def is_public(address: str) -> bool:
    """Return whether an address belongs to somebody out there, whatever way it is written."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and (
        parsed.ipv4_mapped
        or parsed.is_site_local
        or any(parsed in network for network in IPV4_EMBEDDING_NETWORKS)
    ):
        return False
    if isinstance(parsed, ipaddress.IPv4Address) and parsed in PROTOCOL_ASSIGNMENTS:
        return False
    return parsed.is_global and not (
        parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified
    )


def _place_of(url: httpx.URL) -> tuple[str, int]:
    """Return the host of a link, and its port."""
    return url.raw_host.decode().lower(), url.port or {"http": 80, "https": 443}[url.scheme]


def _named(host: str, port: int, names: tuple[str, ...]) -> bool:
    return any(
        name in {host, f"{host}:{port}", f"[{host}]:{port}"}
        or (name.startswith(".") and f".{host}".endswith(name))
        for name in names
    )


def _found(response: httpx.Response) -> httpx.Response:
    status = response.status_code
    if status == httpx.codes.OK:
        if response.headers.get("content-encoding", "identity").lower() == "identity":
            return response
        response.close()
        msg = "it comes compressed, which we did not ask for"
        raise FileGoneError(msg)
    response.close()
    if status >= 500 or status in RETRYABLE_STATUSES:
        msg = f"its link answers {status}"
        raise FileUnreachableError(msg)
    msg = f"its link answers {status}"
    raise FileGoneError(msg)


def _pieces(response: httpx.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_raw(65_536)
    except httpx.HTTPError as error:
        raise FileUnreachableError(type(error).__name__) from None
