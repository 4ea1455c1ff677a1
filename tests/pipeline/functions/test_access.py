"""Who may call functions, and that every answer is readable for the CRM's pages."""

from typing import Any

import httpx
import pytest

from tests.fixtures.system import System
from tests.pipeline.functions.front_end import FrontEnd
from workers.ingress.functions.endpoint import FUNCTIONS, WEBHOOK

NAMES = sorted([*FUNCTIONS, WEBHOOK])
ORIGIN = {"Origin": "https://crm.example.com"}


def functions(system: System) -> str:
    return f"{system.environment['SUPABASE_URL'].rstrip('/')}/functions/v1"


@pytest.mark.parametrize("name", NAMES)
def test_preflights_are_answered(system: System, name: str) -> None:
    """With and without an Origin, at Supabase's address and at our own."""
    asked = {
        **ORIGIN,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization, x-client-info, apikey, content-type",
    }
    for base in (functions(system), f"{system.url}/functions/v1"):
        bare = httpx.options(f"{base}/{name}", trust_env=False)
        assert bare.status_code in {200, 204}
        preflight = httpx.options(f"{base}/{name}", headers=asked, trust_env=False)
        assert preflight.status_code in {200, 204}
        assert preflight.headers["Access-Control-Allow-Origin"] in {"*", ORIGIN["Origin"]}
        assert {"PUT", "DELETE"} <= set(
            preflight.headers["Access-Control-Allow-Methods"].split(", ")
        )
        allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
        assert all(each in allowed for each in ("authorization", "x-client-info", "apikey"))


@pytest.mark.parametrize("name", [*NAMES, "no-such-function", ""])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nonsense"}], ids=["no", "wrong"])
def test_without_credentials_every_answer_is_readable(
    system: System, name: str, headers: dict[str, str]
) -> None:
    """401 or 404, with CORS; the body is not read, so it may be unreadable."""
    for base in (functions(system), f"{system.url}/functions/v1"):
        answer = httpx.post(
            f"{base}/{name}", headers={**ORIGIN, **headers}, content=b"{", trust_env=False
        )
        assert answer.status_code == (401 if name in FUNCTIONS else 404)
        assert answer.headers["Access-Control-Allow-Origin"] in {"*", ORIGIN["Origin"]}
        if name != WEBHOOK:
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.json()["error"]


DEEP = b'{"a": ' + b"[" * 2000 + b'"\\u0000"' + b"]" * 2000 + b"}"


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"text"', b"\xff", b"[" * 100_000, b"7", DEEP], ids=range(7)
)
def test_a_malformed_body_is_400(connected: FrontEnd, body: bytes) -> None:
    """The error is a text for people."""
    answer = connected.http.post("/functions/v1/wpp-status", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("field", ["clientId", "messageId"])
def test_half_of_a_surrogate_pair_is_400(connected: FrontEnd, name: str, field: str) -> None:
    """A text that was cut within an emoji: the answer is JSON that a page can read."""
    body = f'{{"{field}": "\\ud83d", "emoji": "👍", "newMessage": "x"}}'.encode()
    for method in set(FUNCTIONS[name].methods) - {"GET"}:
        answer = connected.http.request(
            method, f"/functions/v1/{name}", content=body, headers=ORIGIN
        )
        assert (answer.status_code, answer.json()["success"]) == (400, False)
        assert answer.json()["error"]
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Access-Control-Allow-Origin"] in {"*", ORIGIN["Origin"]}


@pytest.mark.parametrize("name", ["wpp-download", "wpp-edit", "wpp-disconnect", "wpp-send"])
def test_a_nul_names_nothing(connected: FrontEnd, name: str) -> None:
    """Postgres has no NUL in texts: an id with it is unknown."""
    named = ("messageId", "integration_id", "clientId")
    body = {**dict.fromkeys(named, "a\0"), "newMessage": "x", "message": "x"}
    answer = connected.call(name, body)
    assert (answer.status, bool(answer.error)) == (404, True)


def test_a_large_body_is_413(connected: FrontEnd) -> None:
    """It is refused by its announced size, as for the API."""
    answer = connected.http.post("/functions/v1/wpp-status", content=b" " * 300_000)
    assert (answer.status_code, answer.json()["success"]) == (413, False)


def test_another_method_is_405(connected: FrontEnd) -> None:
    """`Allow` names the methods that there are."""
    answer = connected.http.delete("/functions/v1/wpp-create")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def ids_of(owner: FrontEnd) -> dict[str, Any]:
    """Return a number of the owner in all its spellings."""
    number = owner.call("wpp-status", {}).data
    return {
        "id": number["integration_id"],
        "account": number["account_number"],
        "session": number["session_name"],
    }


def test_another_organizations_numbers_are_unknown(connected: FrontEnd, stranger: FrontEnd) -> None:
    """In every spelling; an organization that is named in the body has no effect."""
    theirs = ids_of(connected)
    as_them = {
        "organizationId": str(connected.organization_id),
        "organization_id": str(connected.organization_id),
    }
    for name in theirs.values():
        for named in ({"integration_id": name}, {"session_name": name}, {"session": name}):
            body = {**named, **as_them}
            assert stranger.call("wpp-status", body).data["status"] == "disconnected"
            assert stranger.call("wpp-qr", body).status == 404
            assert stranger.call("wpp-start", body).status == 404
            assert stranger.call("wpp-disconnect", body).status == 404
    assert stranger.call("wpp-status", as_them).data["status"] == "disconnected"
    assert connected.call("wpp-status", {}).data["status"] == "connected"
