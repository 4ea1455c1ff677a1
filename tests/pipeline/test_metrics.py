"""A scrape of the running pipeline: each process counts, and Prometheus reads the whole."""

from typing import Any
from uuid import UUID

import redis
from prometheus_client.parser import text_string_to_metric_families

from shared import processes
from shared.redis import keys
from tests.fixtures.promtool import needs_promtool, promtool
from tests.fixtures.system import System
from tests.fixtures.waiting import wait_until

PEER = "79990008800"
MESSAGES = 20
ROLES = {*processes.CONSUMERS, processes.WEB}
AT_WORK = {
    "wpp_events_accepted_total",
    "wpp_messages_sent_total",
    "wpp_messages_received_total",
    "wpp_outcomes_recorded_total",
    "wpp_outcome_recorded_seconds_count",
    "wpp_message_sent_seconds_count",
    "wpp_webhook_handled_seconds_count",
    "wpp_token_mints_total",
    "wpp_token_mint_seconds_count",
}
"""What the web process, the workers of each flow and the recorder count."""


def find_at_work(scrape: bytes) -> set[str]:
    """Return the names of the samples above 0, and the roles that run."""
    samples = [
        sample
        for family in text_string_to_metric_families(scrape.decode())
        for sample in family.samples
        if sample.value > 0
    ]
    roles = {each.labels["role"] for each in samples if each.name == "wpp_processes"}
    return {each.name for each in samples} | roles


@needs_promtool
def test_prometheus_finds_no_fault_with_a_scrape_under_load(
    system: System, number: tuple[UUID, dict[str, Any]]
) -> None:
    """Messages go out, with a new token, and come in until every role runs and has counted."""
    organization_id, integration = number
    account = integration["account_number"]
    system.forget_token(integration["integration_id"])
    with redis.Redis.from_url(system.environment["REDIS_URL"]) as client:
        client.delete(*client.keys(keys.token(account) + "*"))
    with system.service_client(organization_id) as crm, system.phone() as phone:
        for n in range(MESSAGES):
            message = {"to": f"+{PEER}", "text": f"Number {n}"}
            crm.post("/v1/messages", json=message).raise_for_status()
            written = {"from": f"+{PEER}", "text": f"Answer {n}"}
            phone.post(f"/phone/{account}/messages", json=written).raise_for_status()
    missing = ROLES | AT_WORK

    def scrape_at_work() -> bytes | None:
        scrape = system.scrape()
        missing.difference_update(find_at_work(scrape))
        return None if missing else scrape

    try:
        scrape = wait_until(scrape_at_work, "every role to have counted", 40, poll_s=0.5)
    finally:
        assert missing == set()
    promtool("check", "metrics", given=scrape)
