"""Download a file from a link that the sender of an event chose.

The host of each redirect is checked like that of the link (`public_network` checks addresses).
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx

from shared.http.deadline import within
from shared.http.public_network import (
    ForbiddenAddressError,
    PublicTransport,
    Resolver,
    matches_host,
)
from shared.settings import MediaSettings
from workers.media.errors import FileGoneError, FileUnreachableError

DOWNLOAD_TIMEOUT_S = 120.0
MAX_REQUESTS = 4
"""The link and its redirects."""
ANY_HOST = "*"
"""In WPP_MEDIA_HOSTS: every public host."""
WEB_PORTS = frozenset({80, 443})
_RETRYABLE_STATUSES = frozenset({408, 425, 429})
_CHUNK_BYTES = 65_536
_DEFAULT_PORTS = {"http": 80, "https": 443}


class LinkFetcher:
    """Downloads from the platform's own host, and from the hosts that the settings allow.

    `ports`: those that hosts beside the platform's may have. `resolve` is for tests.
    """

    def __init__(
        self,
        settings: MediaSettings,
        platform_url: str,
        *,
        resolve: Resolver | None = None,
        ports: Collection[int] = WEB_PORTS,
        timeout_s: float = DOWNLOAD_TIMEOUT_S,
    ) -> None:
        self._hosts = settings.wpp_media_hosts
        self._private_hosts = settings.wpp_media_private_hosts
        self._platform = _split_host(httpx.URL(platform_url))
        self._ports = ports
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            transport=PublicTransport(resolve, self._is_private_allowed),
            headers={"Accept-Encoding": "identity", "User-Agent": "wpp-pipeline"},
            timeout=None,  # noqa: S113 - `within` limits the whole download
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @contextmanager
    def open(self, url: str) -> Iterator[Iterator[bytes]]:
        """Yield the chunks behind a link.

        Raises:
            FileGoneError: the link is invalid, forbidden or expired.
            FileUnreachableError: the server does not answer now.
        """
        with within(self._timeout_s):
            response = self._follow_redirects(url)
            try:
                yield _read_chunks(response)
            finally:
                response.close()

    def peek(self, url: str, max_bytes: int, max_size: int) -> "Peek":
        """Return the first bytes behind a link, and what the server says of the rest.

        Nothing is read of a file that has more than `max_size` bytes.

        Raises:
            FileGoneError, FileUnreachableError: as `open`.
        """
        with within(self._timeout_s):
            response = self._follow_redirects(url)
            try:
                size = _read_size(response)
                is_read = size is None or size <= max_size
                head = _read_head(response, max_bytes) if is_read else b""
            finally:
                response.close()
        return Peek(head, response.headers.get("content-type", ""), size)

    def _follow_redirects(self, link: str) -> httpx.Response:
        url = self._check_link(link)
        for _ in range(MAX_REQUESTS):
            response = self._get(url)
            if not response.has_redirect_location:
                return _check_response(response)
            response.close()
            url = self._check_link(str(url.join(response.headers["location"])))
        msg = "The link is redirected too often"
        raise FileGoneError(msg)

    def _get(self, url: httpx.URL) -> httpx.Response:
        try:
            return self._http.send(self._http.build_request("GET", url), stream=True)
        except ForbiddenAddressError as error:
            raise FileGoneError(str(error)) from None
        except httpx.HTTPError as error:
            raise FileUnreachableError(type(error).__name__) from None

    def _check_link(self, link: str) -> httpx.URL:
        """Return the URL of a link that may be requested.

        Raises:
            FileGoneError: it is invalid, or its host or port is not allowed.
        """
        try:
            url = httpx.URL(link)
        except (httpx.InvalidURL, ValueError):
            msg = "The link is invalid"
            raise FileGoneError(msg) from None
        if url.scheme not in _DEFAULT_PORTS or not url.host or url.userinfo:
            msg = "The link is not a plain http(s) link"
            raise FileGoneError(msg)
        host, port = _split_host(url)
        if (host, port) == self._platform or self._is_private_allowed(host, port):
            return url
        is_listed = ANY_HOST in self._hosts or matches_host(host, port, self._hosts)
        if host != self._platform[0] and not is_listed:
            msg = "The link leads to a host that is not in WPP_MEDIA_HOSTS"
            raise FileGoneError(msg)
        if port not in self._ports:
            msg = f"The link leads to port {port}, which is not a web server's"
            raise FileGoneError(msg)
        return url

    def _is_private_allowed(self, host: str, port: int) -> bool:
        return matches_host(host, port, self._private_hosts)


class Peek(NamedTuple):
    """The beginning of a file, its declared type, and its size in bytes if that is known."""

    head: bytes
    mime: str
    size: int | None


def _split_host(url: httpx.URL) -> tuple[str, int]:
    return url.raw_host.decode().lower(), url.port or _DEFAULT_PORTS[url.scheme]


def _check_response(response: httpx.Response) -> httpx.Response:
    status = response.status_code
    encoding = response.headers.get("content-encoding", "identity").lower()
    if status == httpx.codes.OK and encoding == "identity":
        return response
    response.close()
    if status == httpx.codes.OK:
        msg = "The file is sent compressed, which was not asked for"
        raise FileGoneError(msg)
    msg = f"The link answers {status}"
    if status >= 500 or status in _RETRYABLE_STATUSES:
        raise FileUnreachableError(msg)
    raise FileGoneError(msg)


def _read_size(response: httpx.Response) -> int | None:
    """Return the announced size in bytes."""
    length = response.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 16 else None


def _read_head(response: httpx.Response, max_bytes: int) -> bytes:
    head = b""
    for chunk in _read_chunks(response):
        head += chunk
        if len(head) >= max_bytes:
            break
    return head[:max_bytes]


def _read_chunks(response: httpx.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_raw(_CHUNK_BYTES)
    except httpx.HTTPError as error:
        raise FileUnreachableError(type(error).__name__) from None
