"""What the field really sends, posted to the ingress over HTTP, ends in the rows of each case.

`arriving.json` has a list of cases: the bodies in the order in which they are posted, the rows
that they give, and the states that the session may have then. "@-300" is 300 seconds ago.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.fixtures.ingress_process import IngressProcess
from tests.pipeline.inbound.inbound_pipeline import InboundPipeline

ACCOUNT = "0000000000001"
TEXT = (Path(__file__).parent / "arriving.json").read_text(encoding="utf-8")
CASES: list[dict[str, Any]] = json.loads(TEXT)


class ArrivingCase:
    """A case with an organization and an account of its own."""

    def __init__(self, pipeline: InboundPipeline, number: int) -> None:
        self.pipeline, self.account = pipeline, f"{9_100_000_000_000 + number}"
        self.organization = uuid4()
        text = json.dumps(CASES[number]).replace(ACCOUNT, self.account)
        text = re.sub(r'"@-([0-9]+)"', lambda ago: str(int(time.time()) - int(ago[1])), text)
        case = json.loads(text)
        self.name, self.bodies, self.expected = case["case"], case["post"], case["rows"]
        self.states = case.get("session")

    def connect(self) -> None:
        self.pipeline.env.sql(
            "insert into organizations (id, name) values (%s, 'School')", self.organization
        )
        self.pipeline.ctx.database.integrations.save(
            integration_id=uuid4(), organization_id=self.organization, account=self.account
        )

    def differences(self) -> Iterator[str]:
        """Yield each difference between the rows and what the case expects."""
        rows = self.pipeline.env.sql(
            "select m.*, c.phone as client_phone, c.name as client_name from chat_messages m "
            "left join clients c on c.id = m.client_id where m.organization_id = %s "
            "order by m.created_at, m.id",
            self.organization,
        )
        shown = sorted(map(self.show, rows), key=str)
        expected = sorted(self.expected, key=lambda row: str((row["text"], row["client"])))
        if [(row["text"], row["client"]) for row in shown] != [
            (row["text"], row["client"]) for row in expected
        ]:
            yield f"{self.name}: {shown}"
            return
        for row, wanted in zip(shown, expected, strict=True):
            metadata = wanted.pop("metadata", {})
            seen = {name: row[name] for name in wanted}
            kept = {name: row["metadata"].get(name) for name in metadata}
            if (seen, kept) != (wanted, metadata):
                yield f"{self.name}: {row}"
        clients = self.pipeline.env.sql(
            "select phone from clients where organization_id = %s", self.organization
        )
        if len(clients) != len({row["client"] for row in expected} - {None}):
            yield f"{self.name}: the clients are {clients}"

    def state_differences(self) -> Iterator[str]:
        if self.states:
            (row,) = self.pipeline.env.sql(
                "select status from whatsapp_sessions where organization_id = %s",
                self.organization,
            )
            if row["status"] not in self.states:
                yield f"{self.name}: the session is {row['status']}"

    def show(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row in the words of the cases."""
        return {
            "text": row["message_text"],
            "client": (row["client_phone"] or "").removeprefix("+") or None,
            "client_name": row["client_name"],
            "outgoing": row["is_outgoing"],
            "read": row["is_read"],
            "status": row["message_status"],
            "file": row["file_type"] if row["file_url"] else None,
            "metadata": row["metadata"],
        }


def test_every_case_ends_in_its_rows(pipeline: InboundPipeline, ingress: IngressProcess) -> None:
    """One row for a message, its contact, text, file and state; no further row and client."""
    cases = [ArrivingCase(pipeline, number) for number in range(len(CASES))]
    for case in cases:
        case.connect()
    for step in range(max(len(case.bodies) for case in cases)):
        for case in cases:
            for body in case.bodies[step : step + 1]:
                answer = ingress.post(body, ingress.webhook_path(case.account))
                assert answer.status == 200, (case.name, answer)
        pipeline.settle()
    found = [
        difference
        for case in cases
        for difference in (*case.differences(), *case.state_differences())
    ]
    assert found == []
    assert pipeline.env.sql("select * from wpp_dead_letters") == []


@pytest.mark.parametrize("field", ["case", "post", "rows"])
def test_each_case_is_complete(field: str) -> None:
    assert all(field in case for case in CASES)
    assert len({case["case"] for case in CASES}) == len(CASES)
