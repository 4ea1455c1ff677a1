"""Connect to public addresses only, so that a link cannot lead into our own network (SSRF).

The address is checked where the connection is made: a second answer of a name server, or a
redirect, leads to the checked address only.
"""

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

import httpcore
import httpx

from shared.http.deadline import remaining
from shared.http.network import DeadlineBackend, NameResolver

CONNECT_TIMEOUT_S = 5.0
MAX_ADDRESSES = 4
"""Addresses of a name that are tried."""
_MIN_TIMEOUT_S = 0.001
_IPV4_EMBEDDING_NETWORKS = tuple(
    map(
        ipaddress.IPv6Network,
        ("64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", "::/96"),
    )
)
"""IPv6 networks whose addresses embed an IPv4 address: NAT64, Teredo, 6to4, IPv4-compatible."""
_PROTOCOL_ASSIGNMENTS = ipaddress.IPv4Network("192.0.0.0/24")
"""IETF protocol assignments. Older versions of Python know a part of them as private; a cloud
serves its metadata there."""

Resolver = Callable[[str, int], list[str]]
"""Returns the addresses of a host for a port."""


class ForbiddenAddressError(Exception):
    """A name leads to an address that is not public."""


class PublicBackend(httpcore.NetworkBackend):
    """Connects to public addresses, and to hosts for which `is_private_allowed` is true."""

    def __init__(
        self, resolve: Resolver | None, is_private_allowed: Callable[[str, int], bool]
    ) -> None:
        self._inner = DeadlineBackend()
        self._resolve = resolve or _make_resolver()
        self._is_private_allowed = is_private_allowed

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - CONNECT_TIMEOUT_S is shorter
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of `host` that answers.

        Raises:
            ForbiddenAddressError: any of its addresses is not public.
        """
        addresses = self._resolve(host, port)
        if not self._is_private_allowed(host, port) and not all(map(is_public, addresses)):
            msg = "The link leads to an address that is not public"
            raise ForbiddenAddressError(msg)
        last_error: Exception = httpcore.ConnectError("the name has no address")
        for address in addresses[:MAX_ADDRESSES]:
            try:
                return self._inner.connect_tcp(
                    address, port, CONNECT_TIMEOUT_S, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last_error = error
        raise last_error


class PublicTransport(httpx.HTTPTransport):
    """A transport of httpx over a `PublicBackend`; httpx takes such a backend by its pool only.

    No connection is kept: the next request resolves the name again.
    """

    def __init__(
        self, resolve: Resolver | None, is_private_allowed: Callable[[str, int], bool]
    ) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_keepalive_connections=0,
            network_backend=PublicBackend(resolve, is_private_allowed),
        )


def matches_host(host: str, port: int, names: tuple[str, ...]) -> bool:
    """Return whether a host is named, with or without its port, or lies below a `.name`."""
    spellings = {host, f"{host}:{port}", f"[{host}]:{port}"}
    return any(
        name in spellings or (name.startswith(".") and f".{host}".endswith(name)) for name in names
    )


def is_public(address: str) -> bool:
    """Return whether an IP address is public, in any spelling. A malformed address is not."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and (
        parsed.ipv4_mapped
        or parsed.is_site_local
        or any(parsed in network for network in _IPV4_EMBEDDING_NETWORKS)
    ):
        return False
    if isinstance(parsed, ipaddress.IPv4Address) and parsed in _PROTOCOL_ASSIGNMENTS:
        return False
    is_special = parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified
    return parsed.is_global and not is_special


def _make_resolver() -> Resolver:
    """Return the system's resolver, limited to the time that a connection may take."""
    resolver = NameResolver()

    def resolve(host: str, port: int) -> list[str]:
        timeout_s = min(CONNECT_TIMEOUT_S, max(_MIN_TIMEOUT_S, remaining()))
        return resolver.resolve(host, port, timeout_s)

    return resolve
