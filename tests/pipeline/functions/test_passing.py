"""Calls that are the CRM's own: passed on to the address of its functions."""

import asyncio
import json
from http import HTTPStatus

import httpx
import pytest

from workers.ingress.crm_functions import MARK, CrmFunctionError, CrmFunctions, PassedOn

URL = "https://crm.example.com/own/"


def passed(**headers: str) -> PassedOn:
    return PassedOn("whatsapp-send", "POST", {"a": "1"}, headers, b'{"message": "Hi"}')


def call(functions: CrmFunctions, given: PassedOn) -> tuple[int, bytes, str | None]:
    async def run() -> tuple[int, bytes, str | None]:
        answer = await functions.call(given)
        await functions.aclose()
        return answer.status, answer.content, answer.content_type

    return asyncio.run(run())


def test_a_call_is_passed_on_as_it_came() -> None:
    """With its query, its body and the caller's credentials; the answer comes back unchanged."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(418, json={"error": "their own"})

    headers = {"authorization": "Bearer a", "apikey": "b", "cookie": "c", "host": "d"}
    status, content, kind = call(CrmFunctions(URL, httpx.MockTransport(answer)), passed(**headers))
    assert (status, json.loads(content), kind) == (
        418,
        {"error": "their own"},
        "application/json",
    )
    [request] = seen
    assert (request.method, str(request.url)) == (
        "POST",
        "https://crm.example.com/own/whatsapp-send?a=1",
    )
    assert request.content == b'{"message": "Hi"}'
    assert (request.headers["authorization"], request.headers["apikey"]) == ("Bearer a", "b")
    assert "cookie" not in request.headers
    assert request.headers["host"] == "crm.example.com"


def fail(_request: httpx.Request) -> httpx.Response:
    msg = "refused"
    raise httpx.ConnectError(msg)


@pytest.mark.parametrize(
    ("url", "headers", "status"),
    [
        (None, {}, HTTPStatus.NOT_FOUND),
        (URL, {MARK: "1"}, HTTPStatus.CONFLICT),
        (URL, {}, HTTPStatus.BAD_GATEWAY),
    ],
    ids=["unset", "loop", "away"],
)
def test_what_cannot_be_passed_on(
    url: str | None, headers: dict[str, str], status: HTTPStatus
) -> None:
    """No address, a call that came back, and a server that is away (the only one to repeat)."""
    with pytest.raises(CrmFunctionError) as caught:
        call(CrmFunctions(url, httpx.MockTransport(fail)), passed(**headers))
    assert caught.value.status is status
