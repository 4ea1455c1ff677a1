"""Post a body to a client's address: public addresses only, no redirects, bounded in time and size.

The address that was checked is the address that is connected to: see `PublicBackend`.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from shared.http.deadline import within
from shared.http.public_network import (
    ForbiddenAddressError,
    PublicTransport,
    Resolver,
    matches_host,
)
from shared.settings import CallbackSettings

MAX_ANSWER = 500
"""Characters of an answer that are kept for people who look why a post failed."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Answer:
    """What came of a post; `status` is None when no answer came, and `error` says why."""

    status: int | None
    duration_ms: int
    error: str | None = None
    retry_after_s: float | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_about_the_receiver(self) -> bool:
        """Whether the next post would fail as well: no answer, overload, an error of the server."""
        return self.status is None or self.status >= 500 or self.status in {408, 425, 429}


class Poster:
    """Posts to public hosts over TLS, and to the private hosts that the settings name.

    `resolve` is for tests.
    """

    def __init__(self, settings: CallbackSettings, resolve: Resolver | None = None) -> None:
        self._private_hosts = settings.wpp_callback_private_hosts
        self._timeout_s = settings.wpp_callback_timeout_s
        self._http = httpx.Client(
            transport=PublicTransport(resolve, self.is_private_allowed),
            timeout=None,  # noqa: S113 - `within` limits the whole post
            trust_env=False,
        )

    def is_private_allowed(self, host: str, port: int) -> bool:
        return matches_host(host, port, self._private_hosts)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post a body; every failure is an answer."""
        began = time.monotonic()
        try:
            with within(self._timeout_s):
                self._check(url)
                status, text, retry_after = self._send(url, headers, body)
        except ForbiddenAddressError as error:
            return Answer(None, _ms_since(began), str(error))
        except (httpx.InvalidURL, ValueError) as error:
            return Answer(None, _ms_since(began), f"the URL cannot be used: {error}")
        except httpx.TimeoutException:
            return Answer(None, _ms_since(began), f"no answer within {self._timeout_s:g} s")
        except httpx.HTTPError as error:
            return Answer(None, _ms_since(began), f"{type(error).__name__}: {error}"[:MAX_ANSWER])
        error_text = None
        if not 200 <= status < 300:
            redirect = " (redirects are not followed)" if 300 <= status < 400 else ""
            error_text = f"answered {status}{redirect}: {text}".removesuffix(": ")
        return Answer(status, _ms_since(began), error_text, retry_after)

    def _check(self, url: str) -> None:
        """Refuse a URL without TLS, unless its host is a private one that is allowed.

        Raises:
            ValueError: it is refused.
        """
        parsed = httpx.URL(url)
        if parsed.scheme not in _DEFAULT_PORTS or not parsed.host:
            msg = "it is no http(s) URL"
            raise ValueError(msg)
        port = parsed.port or _DEFAULT_PORTS[parsed.scheme]
        if parsed.scheme != "https" and not self.is_private_allowed(parsed.host, port):
            msg = "it has no TLS"
            raise ValueError(msg)

    def _send(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, str, float | None]:
        """Return the status, the beginning of the answer, and its Retry-After in seconds."""
        with self._http.stream("POST", url, headers=dict(headers), content=body) as response:
            text = b""
            if not response.is_success:
                for chunk in response.iter_raw(1024):
                    text += chunk
                    if len(text) >= MAX_ANSWER:
                        break
            waits = response.headers.get("retry-after", "")
            readable = "".join(c for c in text.decode(errors="replace") if c.isprintable())
            retry_after = float(waits) if waits.isascii() and waits.isdigit() else None
            return response.status_code, readable[: MAX_ANSWER - 100], retry_after


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
