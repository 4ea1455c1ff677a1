"""A wire that gives prepared answers, and the platform's client at its end."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
from pydantic import SecretStr

from shared.events import SendEvent
from shared.platform import BearerAuth, Platform
from shared.settings import PlatformSettings

KEY = SecretStr("wpp_key_0123456789")
EVENT = SendEvent(
    id=uuid4(),
    organization_id=uuid4(),
    integration_id=uuid4(),
    to="79990001122",
    text="private words",
)
PNG = "iVBORw0KGgoAAAANSUhEUgAA" + "Ab+/" * 30


class Wire:
    """Gives prepared answers, one after the other, the last one for ever; keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    @property
    def lines(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]

    @property
    def body(self) -> Any:
        content = self.requests[-1].content
        return json.loads(content) if content else None


def says(fields: object = None, status: int = 200, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={} if fields is None else fields, headers=headers)


def text(content: str, status: int = 200) -> httpx.Response:
    return httpx.Response(status, text=content)


def platform(wire: Wire) -> Platform:
    settings = PlatformSettings(
        wpp_base_url="http://platform.test/", wpp_secret=SecretStr("the-secret")
    )
    auth: Callable[[str], httpx.Auth] = lambda account: BearerAuth(SecretStr(f"token-of-{account}"))  # noqa: E731
    return Platform(settings, auth, transport=httpx.MockTransport(wire), deadline_s=2)
