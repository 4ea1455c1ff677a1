"""What a whole run logs holds no secret."""

import re

import psycopg

from shared import access
from tests.pipeline.conftest import Running, connected_number, until

PEER, TEXT = "79990008002", "A very private sentence"


def test_nothing_that_is_logged_gives_a_secret_away(running: Running) -> None:
    """Keys, tokens, webhook URLs, QR codes and texts: none of them stands in the log of any process."""
    organization_id = running.organization()
    integration = connected_number(running, organization_id)
    account = integration["account_number"]
    with running.as_service(organization_id) as crm, running.phone() as phone:
        phone.post("/admin/faults", json={"rate_5xx": 0.5, "drop_before": 0.3, "paths": ".*", "limit": 20})
        places = [crm.post("/v1/messages", json={"to": PEER, "text": TEXT}).headers["Location"] for _ in range(10)]
        until(
            lambda: all(crm.get(place).json()["status"] not in {"queued", "sent"} for place in places),
            "all messages to end",
            within_s=40,
        )
        phone.delete("/admin/faults")
        phone.post(f"/phone/{account}/messages", json={"from": f"+{PEER}", "text": TEXT})
        crm.post("/v1/messages", json={"to": "nobody", "text": TEXT})
    with psycopg.connect(running.database_url) as connection:
        found = connection.execute("select settings from public.messenger_integrations").fetchall()
    secrets = {
        value
        for (settings,) in found
        for name, value in settings.items()
        if re.search("key|token", name, re.IGNORECASE)
    }
    secrets |= {running.environment[name] for name in ("WPP_SECRET", "WPP_KEY_SECRETS", "SUPABASE_SERVICE_ROLE_KEY")}
    secrets |= {access.service_key(organization_id, running.secrets), access.webhook_key(account, running.secrets)}
    written = running.log.read_text()
    assert len(secrets) >= 7
    assert written.count("\n") > 10, "nothing was logged, so nothing was looked at"
    assert [secret[:6] for secret in secrets if secret in written] == []
    assert TEXT not in written
    assert not re.search(r"eyJ[\w-]{10,}\.[\w-]+\.", written), "a JWT was logged"
