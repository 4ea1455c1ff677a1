"""Links lead to public addresses only."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shared.http.public_network import Resolver, is_public
from shared.settings import MediaSettings
from tests.workers.media.servers import FileServer, respond
from workers.media import download
from workers.media.download import WEB_PORTS, LinkFetcher
from workers.media.errors import FileGoneError, FileUnreachableError

FILE = b"\xff\xd8\xff" + bytes(200_000)


PLATFORM = "https://wpp.example"


@contextmanager
def open_fetcher(
    resolve: Resolver | None = None,
    ports: tuple[int, ...] = (),
    timeout_s: float = download.DOWNLOAD_TIMEOUT_S,
    **settings: Any,
) -> Iterator[LinkFetcher]:
    """Open a fetcher for any host, and for `ports` beside the web's, which only root may serve."""
    fetcher = LinkFetcher(
        MediaSettings(**{"wpp_media_hosts": "*"} | settings),
        PLATFORM,
        resolve=resolve,
        ports=WEB_PORTS | set(ports),
        timeout_s=timeout_s,
    )
    try:
        yield fetcher
    finally:
        fetcher.close()


def fetch(
    url: str, resolve: Resolver | None = None, ports: tuple[int, ...] = (), **settings: Any
) -> bytes:
    with open_fetcher(resolve, ports, **settings) as fetcher, fetcher.open(url) as pieces:
        return b"".join(pieces)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",  # noqa: S104 - refused
        ),
        *(
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
        ),
        *(
            "fe80::1%eth0",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
        ),
        *(
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001:0:1::1",
            "2001:db8::1",
            "nonsense",
            "",
        ),
    ],
)
def test_an_address_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::1"]
)
def test_an_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "0x7f.1",
        "2130706433",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0",
        "127.0.0.1.",
    ],
)
def test_our_own_network_is_closed_in_every_spelling(host: str) -> None:
    with FileServer(file=respond(200, FILE)) as server:
        with pytest.raises((FileGoneError, FileUnreachableError)):
            fetch(f"http://{host}:{server.port}/file", ports=(server.port,))
        assert server.requests == []


def test_a_host_of_our_own_network_may_be_allowed_by_name() -> None:
    """With or without its port; further ports of the host stay closed."""
    with FileServer(file=respond(200, FILE)) as server, FileServer(file=respond(200)) as other:
        for allowed in (server.host, "127.0.0.1"):
            assert fetch(f"{server.url}/file", wpp_media_private_hosts=allowed) == FILE
        with pytest.raises(FileGoneError):
            fetch(f"{other.url}/file", ports=(other.port,), wpp_media_private_hosts=server.host)
        assert other.requests == []


def test_a_redirect_to_a_private_address_is_refused() -> None:
    """The host of each redirect is checked."""
    with FileServer(secret=respond(200, b"secret")) as inside:
        redirect = respond(302, Location=f"{inside.url}/secret")
        with FileServer(link=redirect) as server:
            with pytest.raises(FileGoneError, match="not public"):
                fetch(
                    f"{server.url}/link", ports=(inside.port,), wpp_media_private_hosts=server.host
                )
            assert inside.requests == []


def test_a_redirect_to_a_file_is_followed() -> None:
    with FileServer(link=respond(307, Location="/file"), file=respond(200, FILE)) as server:
        assert fetch(f"{server.url}/link", wpp_media_private_hosts=server.host) == FILE


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://example.com/x", "gopher://x", "http://a:b@example.com"],
)
def test_a_redirect_to_anything_but_the_web_is_refused(location: str) -> None:
    with (
        FileServer(link=respond(302, Location=location)) as server,
        pytest.raises(FileGoneError, match="plain"),
    ):
        fetch(f"{server.url}/link", wpp_media_private_hosts=server.host)


def test_the_number_of_redirects_is_limited() -> None:
    with FileServer(link=respond(302, Location="/link")) as server:
        with pytest.raises(FileGoneError, match="too often"):
            fetch(f"{server.url}/link", wpp_media_private_hosts=server.host)
        assert len(server.requests) == download.MAX_REQUESTS


def test_a_name_that_changes_its_address_is_caught() -> None:
    """DNS rebinding: the checked address is the connected address, and all must be public."""
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["8.8.8.8", "127.0.0.1"] if len(asked) == 1 else ["127.0.0.1"]

    with FileServer(file=respond(200, FILE)) as server:
        for _ in range(2):
            with pytest.raises(FileGoneError, match="not public"):
                fetch(f"http://rebinding.example:{server.port}/file", rebinding, (server.port,))
        assert server.requests == []
    assert len(asked) == 2, "a name is looked up once for each connection"


def test_only_listed_hosts_are_requested() -> None:
    """A host is named in full, or with a leading dot for its subdomains."""

    def local(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    with FileServer(file=respond(200, FILE)) as server:
        hosts = {
            "wpp_media_hosts": "cdn.example,.media.example",
            "wpp_media_private_hosts": ".example",
        }
        for host in ("cdn.example", "a.media.example", "CDN.example"):
            assert (
                fetch(f"http://{host}:{server.port}/file", local, (server.port,), **hosts) == FILE
            )
        del hosts["wpp_media_private_hosts"]
        for host in ("evil.example", "xcdn.example", "xmedia.example", "cdn.example.evil.example"):
            with pytest.raises(FileGoneError, match="WPP_MEDIA_HOSTS"):
                fetch(f"http://{host}:{server.port}/file", local, (server.port,), **hosts)


def test_without_a_list_only_the_platform_is_requested() -> None:
    """Without the setting, a link may lead to no further host, public or not."""

    def nowhere(_host: str, _port: int) -> list[str]:
        return []

    with pytest.raises(FileUnreachableError):
        fetch(f"{PLATFORM}/file", nowhere, wpp_media_hosts="")
    for other in ("https://evil.example/file", "https://x.wpp.example/file", "http://8.8.8.8/file"):
        with pytest.raises(FileGoneError, match="WPP_MEDIA_HOSTS"):
            fetch(other, nowhere, wpp_media_hosts="")


@pytest.mark.parametrize("port", [22, 25, 6379, 8080])
def test_only_web_ports_are_requested(port: int) -> None:
    """A link must not reach a mail server through us."""
    with pytest.raises(FileGoneError, match=f"port {port}"):
        fetch(f"http://public.example:{port}/file")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "http://",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://u:p@8.8.8.8/",
        "http://[::1",
    ],
)
def test_an_invalid_link_is_refused(url: str) -> None:
    with pytest.raises(FileGoneError):
        fetch(url)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, FileGoneError) for status in (204, 401, 403, 404, 410)),
        *((status, FileUnreachableError) for status in (408, 429, 500, 503)),
    ],
)
def test_the_status_decides_whether_the_link_is_tried_again(
    status: int, error: type[Exception]
) -> None:
    with FileServer(file=respond(status)) as server, pytest.raises(error):
        fetch(f"{server.url}/file", wpp_media_private_hosts=server.host)


def test_a_refused_connection_is_tried_again() -> None:
    with FileServer() as server:
        gone = server.host
    with pytest.raises(FileUnreachableError):
        fetch(f"http://{gone}/file", wpp_media_private_hosts=gone)


def test_a_truncated_response_is_tried_again() -> None:
    with (
        FileServer(file=respond(200, FILE, Content_Length="900000")) as server,
        pytest.raises(FileUnreachableError),
    ):
        fetch(f"{server.url}/file", wpp_media_private_hosts=server.host)


def test_a_compressed_response_is_refused() -> None:
    """Ten compressed bytes may unpack to ten megabytes."""
    packed = respond(200, b"\x1f\x8b", Content_Encoding="gzip")
    with FileServer(file=packed) as server:
        with pytest.raises(FileGoneError, match="compressed"):
            fetch(f"{server.url}/file", wpp_media_private_hosts=server.host)
        assert server.requests[0][1]["Accept-Encoding"] == "identity"


def test_no_credentials_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy settings and cookies are ignored."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with FileServer(
        file=respond(200, FILE, Set_Cookie="a=b"), link=respond(302, Location="/file")
    ) as server:
        fetch(f"{server.url}/link", wpp_media_private_hosts=server.host)
        assert all(
            not {"Cookie", "Authorization"} & headers.keys() for _, headers in server.requests
        )


def test_a_slow_response_ends_with_the_timeout() -> None:
    """The timeout limits the whole download, not a single read."""
    with FileServer(file=respond(200, FILE, Content_Length="900000")) as server:
        server.paths["file"] = lambda request: (
            respond(200, b"", Content_Length="9")(request),
            request.rfile.read(1),
        )[0]
        with (
            pytest.raises(FileUnreachableError),
            open_fetcher(timeout_s=0.3, wpp_media_private_hosts=server.host) as fetcher,
            fetcher.open(f"{server.url}/file") as chunks,
        ):
            b"".join(chunks)
