"""The logs of a whole run contain no secret."""

import re
from typing import Any

import httpx
import psycopg

from shared import signed_keys
from tests.fixtures.system import System
from tests.fixtures.waiting import wait_until

PEER, WRITER, TEXT = "79990008002", "79990008003", "A very private sentence"
JWT = re.compile(r"eyJ[\w-]{10,}\.[\w-]+\.")


def find_saved_secrets(system: System) -> set[str]:
    """Return the keys and tokens in the database."""
    with psycopg.connect(system.database_url) as connection:
        found = connection.execute("select secrets from wpp.integration_secrets").fetchall()
    return {
        value
        for (saved,) in found
        for name, value in saved.items()
        if re.search("key|token", name, re.IGNORECASE)
    }


def connect(
    system: System, crm: httpx.Client, phone: httpx.Client, seen: set[str]
) -> dict[str, Any]:
    """Connect an integration; add its QR codes, first key and first token to `seen`."""

    def shown(place: str) -> dict[str, Any] | None:
        state: dict[str, Any] = crm.get(place).json()
        seen.update([state["qrcode"]] if state["qrcode"] else [])
        return state if state["status"] == "qr_issued" and state["qrcode"] else None

    place = f"/v1/integrations/{crm.post('/v1/integrations', json={}).json()['integration_id']}"
    state: dict[str, Any] = wait_until(lambda: shown(place), "a QR code")
    seen.update(wait_until(lambda: find_saved_secrets(system), "a key to be saved"))
    phone.post(f"/phone/{state['account_number']}/scan").raise_for_status()
    wait_until(lambda: crm.get(place).json()["status"] == "connected", "connected")
    return state


def renew_key(crm: httpx.Client, phone: httpx.Client, number: dict[str, Any]) -> None:
    """Revoke the key, and create another with force_recreate."""
    phone.post(
        "/admin/faults", json={"revoked_keys": [number["account_number"]]}
    ).raise_for_status()
    body = {"force_recreate": True, "integration_id": number["integration_id"]}
    assert crm.post("/v1/integrations", json=body).status_code == 202


def send_through_faults(crm: httpx.Client, phone: httpx.Client) -> None:
    """Send messages while the platform fails in several ways."""
    phone.post(
        "/admin/faults", json={"rate_5xx": 0.5, "drop_before": 0.3, "paths": ".*", "limit": 20}
    )
    places = [
        crm.post("/v1/messages", json={"to": PEER, "text": TEXT}).headers["Location"]
        for _ in range(10)
    ]
    wait_until(
        lambda: all(crm.get(place).json()["status"] not in {"queued", "sent"} for place in places),
        "all messages to end",
        within_s=40,
    )
    phone.delete("/admin/faults")


def find_own_secrets(system: System, account: str) -> set[str]:
    """Return the secrets in the settings, and the webhook key that is derived from them."""
    names = ("WPP_SECRET", "WPP_KEY_SECRETS", "SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_ANON_KEY")
    derived = signed_keys.make_webhook_key(account, system.secrets)
    return {system.environment[name] for name in names} | {derived}


def test_no_log_line_contains_a_secret(system: System) -> None:
    """Keys and tokens, old and new, webhook URLs, QR codes, texts and phone numbers."""
    organization_id, secrets = system.add_organization(), set[str]()
    with system.service_client(organization_id) as crm, system.phone() as phone:
        used_key = crm.headers["Authorization"].removeprefix("Bearer ")
        number = connect(system, crm, phone, secrets)
        send_through_faults(crm, phone)
        secrets |= find_saved_secrets(system)
        renew_key(crm, phone, number)
        wait_until(lambda: not find_saved_secrets(system) <= secrets, "the new key")
        phone.post(
            f"/phone/{number['account_number']}/messages", json={"from": f"+{WRITER}", "text": TEXT}
        )
        crm.post("/v1/messages", json={"to": "nobody", "text": TEXT})
        crm.post("/v1/messages", json={"to": PEER, "text": TEXT})
        wait_until(
            lambda: system.rows("chat_messages", message_text=TEXT, is_outgoing="false"),
            "the incoming message",
        )
    codes = {secret for secret in secrets if secret.startswith("2@")}
    secrets |= find_saved_secrets(system)
    assert codes, "no QR code was collected"
    assert len(secrets - codes) >= 4, "fewer than two keys and two tokens were collected"
    secrets |= find_own_secrets(system, number["account_number"]) | {used_key}
    written = system.log.read_text()
    assert written.count("\n") > 10, "the log is empty"
    assert [secret[:6] for secret in secrets if secret in written] == []
    assert [private for private in (TEXT, PEER, WRITER) if private in written] == []
    assert not JWT.search(written), "a JWT was logged"
