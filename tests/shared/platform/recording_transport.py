"""A transport that returns prepared answers, and the platform's client on it."""

import json
from typing import Any
from uuid import uuid4

import httpx
from pydantic import SecretStr

from shared.events import SendEvent
from shared.platform import BearerAuth, Platform
from shared.platform.account import PlatformAccount
from shared.settings import PlatformSettings

ACCOUNT = "42"
KEY = SecretStr("wpp_key_0123456789")
EVENT = SendEvent(
    id=uuid4(),
    organization_id=uuid4(),
    integration_id=uuid4(),
    to="79990001122",
    text="private words",
)
PNG = "iVBORw0KGgoAAAANSUhEUgAA" + "Ab+/" * 30


class RecordingTransport(httpx.MockTransport):
    """Returns prepared answers in order, repeats the last, and records the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        super().__init__(self.answer)
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    @property
    def lines(self) -> list[str]:
        """Method and path of each request."""
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]

    @property
    def body(self) -> Any:
        """The JSON body of the last request, or None."""
        content = self.requests[-1].content
        return json.loads(content) if content else None


def json_response(fields: object = None, status: int = 200, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={} if fields is None else fields, headers=headers)


def text_response(content: str, status: int = 200) -> httpx.Response:
    return httpx.Response(status, text=content)


def open_platform(transport: httpx.BaseTransport) -> Platform:
    settings = PlatformSettings(
        wpp_base_url="http://platform.test/", wpp_secret=SecretStr("the-secret")
    )
    return Platform(settings, transport=transport, deadline_s=2)


def open_account(transport: httpx.BaseTransport) -> PlatformAccount:
    auth = BearerAuth(SecretStr(f"token-of-{ACCOUNT}"))
    return open_platform(transport).as_account(ACCOUNT, auth)


def platform_answering(*answers: httpx.Response | Exception) -> Platform:
    return open_platform(RecordingTransport(*answers))


def account_answering(*answers: httpx.Response | Exception) -> PlatformAccount:
    return open_account(RecordingTransport(*answers))
