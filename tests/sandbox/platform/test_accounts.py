"""Clients, keys, tokens, and the way to a connected account."""

import time

import jwt
import pytest

from tests.fixtures.waiting import wait_until
from tests.sandbox.platform.conftest import SECRET, Number, Platform, PlatformFactory, Receiver

CREATE = "/api/integrations/wpp/create"


def test_one_organization_has_one_key_and_one_session(platform: Platform) -> None:
    """The same organizationId gets the same key each time; another id gets another key."""
    first, again, other = (
        platform.number(),
        platform.number(),
        platform.number("org-1__wpp__1a2b3c4d"),
    )
    assert (first.session, first.api_key) == (again.session, again.api_key)
    assert other.api_key != first.api_key
    assert [first.session, other.session] == ["0000000000001", "0000000000002"]
    assert platform.ledger()["clients"]["org-1"] == {"created": 1, "handed back": 1}


def test_create_wants_the_secret_and_an_organization(platform: Platform) -> None:
    wrong = platform.http.post(
        CREATE, headers={"Authorization": "Bearer wrong"}, json={"organizationId": "org-1"}
    )
    assert (wrong.status_code, wrong.json()) == (401, {"error": "Invalid token"})
    empty = platform.http.post(CREATE, headers={"Authorization": f"bearer {SECRET}"}, json={})
    assert (empty.status_code, empty.json()) == (400, {"error": "organizationId is required"})


def test_a_token_is_a_jwt_of_15_minutes(platform: Platform) -> None:
    number = platform.number()
    answer = platform.http.post("/auth/token", json={"apiKey": number.api_key}).json()
    claims = jwt.decode(answer["token"], options={"verify_signature": False})
    assert answer["expiresIn"] == 900
    assert 895 < claims["exp"] - time.time() < 905
    minted = platform.ledger()["tokens"][number.session]
    assert minted["minted"] == len(minted["times"]) == 1


def test_the_answer_need_not_say_how_long_a_token_lives(start_platform: PlatformFactory) -> None:
    platform = start_platform(expires_in=False)
    answer = platform.http.post("/auth/token", json={"apiKey": platform.number().api_key}).json()
    assert set(answer) == {"token"}


def test_a_wrong_key_is_refused_in_the_known_words(platform: Platform) -> None:
    answer = platform.http.post("/auth/token", json={"apiKey": "wrong"})
    assert (answer.status_code, answer.json()) == (403, {"error": "Invalid API key"})


def test_an_expired_token_is_refused(start_platform: PlatformFactory) -> None:
    number = start_platform(token_ttl_s=1).number()

    def ask() -> int:
        return number.ask("GET", f"/api/accounts/{number.session}/status").status_code

    def ask_with_a_new_token() -> int:
        number.token = ""
        return ask()

    wait_until(lambda: ask_with_a_new_token() == 200)
    wait_until(lambda: ask() == 401)
    answer = number.ask("GET", f"/api/accounts/{number.session}/status")
    assert answer.json() == {"error": "Invalid token"}


@pytest.mark.parametrize(
    "token", ["rubbish", jwt.encode({"sub": "0000000000001", "exp": 9e9}, "s" * 32)]
)
def test_a_token_of_somebody_else_is_refused(platform: Platform, token: str) -> None:
    number = platform.number()
    number.token = token
    assert number.start().status_code == 401


def test_no_token_is_refused(platform: Platform) -> None:
    answer = platform.http.post("/api/messages/text", json={"to": "79990001122", "text": "x"})
    assert (answer.status_code, answer.json()) == (401, {"error": "Invalid token"})


def test_a_token_opens_its_own_account_only(platform: Platform) -> None:
    """Every route that names an account refuses the token of another account."""
    number, other = platform.number(), platform.number("org-2")
    answers = [
        other.ask("POST", "/api/accounts/start", number=number.session),
        other.ask("GET", f"/api/accounts/{number.session}/status"),
        other.ask("GET", f"/api/accounts/{number.session}/qr"),
        other.ask("POST", f"/internal/session/{number.session}/webhook", url="http://evil.example"),
        other.ask("POST", f"/internal/session/{number.session}/stop"),
        other.ask("POST", "/api/messages/text", account=number.session, to="79990001122", text="x"),
        other.ask(
            "POST", "/api/messages/text", account=[number.session], to="79990001122", text="x"
        ),
    ]
    assert {answer.status_code for answer in answers} == {403}


def test_starting_leads_over_a_qr_code_to_connected(start_platform: PlatformFactory) -> None:
    slow = start_platform(starting_s=60).number()
    assert slow.start().json() == {"status": "starting"}
    assert slow.qr() is None
    number = start_platform().number()
    assert number.start().json() == {"status": "starting"}
    code = wait_until(number.qr)
    assert code.startswith("2@")
    assert number.start().json() == {"status": "qr", "qr": code}
    assert number.phone("scan", qr=code).json()["status"] == "connected"
    assert number.start().json() == {"status": "connected"}
    assert (number.status(), number.qr()) == ("connected", None)


def test_qr_codes_rotate_and_end_offline(
    start_platform: PlatformFactory, receiver: Receiver
) -> None:
    """Each code is announced once; after the last code the account is offline until a start."""
    number = start_platform(qr_period_s=0.05, qr_limit=3).number()
    number.register(receiver.url)
    number.start()
    bodies = receiver.wait(4)
    assert receiver.types == ["qr", "qr", "qr", "offline"]
    assert len({body["data"]["qr"] for body in bodies[:3]}) == 3
    assert number.status() == "offline"
    number.start()
    assert receiver.wait(5)[4]["type"] == "qr"


def test_an_old_qr_code_cannot_be_scanned(number: Number) -> None:
    number.phone("unlink")
    number.start()
    wait_until(number.qr)
    assert number.phone("scan", qr="2@yesterday").status_code == 409
    assert number.phone("scan", qr=["2@"]).status_code == 409
    assert number.status() == "qr"


def test_stop_logs_out(number: Number, receiver: Receiver) -> None:
    """A stopped account is offline, says so once, and needs a new scan."""
    number.ask("POST", f"/internal/session/{number.session}/stop")
    number.ask("POST", f"/internal/session/{number.session}/stop")
    assert number.status() == "offline"
    number.start()
    wait_until(number.qr)
    receiver.wait(2)
    assert receiver.types == ["offline", "qr"]


def test_stop_may_only_stop_the_session(start_platform: PlatformFactory) -> None:
    number = start_platform(stop_logs_out=False).number().connect()
    number.ask("POST", f"/internal/session/{number.session}/stop")
    number.start()
    wait_until(lambda: number.status() == "connected")


def test_a_phone_back_on_the_network_needs_no_scan(number: Number, receiver: Receiver) -> None:
    number.phone("offline")
    assert number.status() == "offline"
    number.start()
    receiver.wait(2)
    assert receiver.types == ["offline", "connected"]


@pytest.mark.parametrize(
    "path", ["/api/webhooks/1", "/auth/keys", "/api/messages", "/api/messages/video"]
)
def test_unknown_routes_answer_like_express(platform: Platform, path: str) -> None:
    answer = platform.http.post(path, json={})
    assert answer.status_code == 404
    assert f"Cannot POST {path}" in answer.text


def test_a_known_path_with_another_method_is_unknown_too(platform: Platform) -> None:
    answer = platform.http.delete("/api/accounts/0000000000001/status")
    assert (answer.status_code, "Cannot DELETE" in answer.text) == (404, True)


def test_an_unreadable_body_is_refused(platform: Platform) -> None:
    answers = [platform.http.post("/auth/token", content=content) for content in (b"{", b"[]", b"")]
    assert [answer.status_code for answer in answers] == [400, 400, 400]


def test_health(platform: Platform) -> None:
    assert platform.http.get("/health").json() == {"status": "ok"}
