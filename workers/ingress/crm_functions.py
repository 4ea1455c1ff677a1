"""The CRM's own edge functions: calls that are not ours are passed on to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import httpx

from shared.errors import PipelineError

TIMEOUT = httpx.Timeout(60, connect=5)
PASSED_ON = ("authorization", "apikey", "content-type", "x-client-info")
MARK = "x-wpp-passed-on"
"""A header of calls that were passed on: one that comes back here is passed on no further."""


class CrmFunctionError(PipelineError):
    """A call cannot be passed on; `status` is the answer's."""

    code = "crm_function"

    def __init__(self, text: str, status: HTTPStatus) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class PassedOn:
    """A call to pass on as it came."""

    name: str
    method: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class CrmAnswer:
    status: int
    content: bytes
    content_type: str | None


class CrmFunctions:
    """The functions at `WPP_CRM_FUNCTIONS_URL`; without it there are none."""

    def __init__(self, url: str | None, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url.rstrip("/") if url else None
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    @property
    def exist(self) -> bool:
        return self._url is not None

    async def call(self, call: PassedOn) -> CrmAnswer:
        """Return the answer of the CRM's function with the same name.

        Raises:
            CrmFunctionError: there is none, or it does not answer.
        """
        if self._url is None:
            msg = "This organization's messenger is not connected here."
            raise CrmFunctionError(msg, HTTPStatus.NOT_FOUND)
        if MARK in call.headers:
            msg = "WPP_CRM_FUNCTIONS_URL leads back to this server."
            raise CrmFunctionError(msg, HTTPStatus.CONFLICT)
        headers = {name: call.headers[name] for name in PASSED_ON if name in call.headers}
        try:
            answer = await self._open().request(
                call.method,
                f"{self._url}/{call.name}",
                params=dict(call.query),
                content=call.body,
                headers={**headers, MARK: "1"},
            )
        except httpx.HTTPError as error:
            msg = f"The CRM's function does not answer: {type(error).__name__}"
            raise CrmFunctionError(msg, HTTPStatus.BAD_GATEWAY) from None
        return CrmAnswer(answer.status_code, answer.content, answer.headers.get("content-type"))

    async def aclose(self) -> None:
        if self._client:
            await self._client.aclose()

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=TIMEOUT, transport=self._transport, trust_env=False
            )
        return self._client
