"""Each case of the corpus, posted to the ingress over HTTP, ends in the rows that the CRM shows."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.outcomes import MessageOutcome
from shared.qr_pictures import read_stored
from tests.fixtures.ingress_process import IngressProcess
from tests.pipeline.inbound.corpus import load_cases
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline

NAMES = list(load_cases(""))
OURS, THEIRS = "true_79990001122@c.us_3EB0BB22", "false_79990001122@c.us_3EB0AA11"
EARLIER = datetime(2026, 1, 1, tzinfo=UTC)
LATER = {"queued": "sent", "sent": "sent"}
"""Statuses that leave a sent message as it is."""


class Case:
    """A case of the corpus, with an organization and an integration of its own."""

    def __init__(self, pipeline: InboundPipeline, number: int, name: str) -> None:
        self.name, self.pipeline = name, pipeline
        self.account, self.organization, self.integration = (
            f"{9_000_000_000_000 + number}",
            uuid4(),
            uuid4(),
        )
        found = load_cases(self.account)[name]
        self.body, self.becomes = found["body"], found["becomes"]

    @property
    def expected(self) -> list[dict[str, Any]]:
        return [outcome for each in self.becomes for outcome in each["outcomes"]]

    @property
    def before(self) -> int:
        """The number of messages that `prepare` creates."""
        return 5 if self.name.startswith(("statuses", "changes")) else 0

    def connect(self) -> None:
        self.pipeline.env.sql(
            "insert into organizations (id, name) values (%s, 'School')", self.organization
        )
        self.pipeline.ctx.database.integrations.save(
            integration_id=self.integration, organization_id=self.organization, account=self.account
        )

    def prepare(self) -> None:
        """Create the messages that a status, a reaction or an edit names."""
        if not self.before:
            return
        tasks = {"task_77": OURS, "task_79": None, "task_1": None, "task_2": None}
        rows = [
            self.message(outgoing=True, task_id=task, wa_message_id=wa)
            for task, wa in tasks.items()
        ]
        rows.append(self.message(outgoing=False, wa_message_id=THEIRS))
        self.pipeline.ctx.database.outcomes.apply(
            [row.model_dump(mode="json", exclude_none=True) for row in rows]
        )

    def message(self, *, outgoing: bool, **ids: str | None) -> MessageOutcome:
        owner: dict[str, Any] = (
            {"organization_id": self.organization, "integration_id": self.integration}
            if outgoing
            else {"account": self.account}
        )
        status = "sent" if outgoing else "delivered"
        given = {"id": uuid4(), "at": EARLIER, "text": "Before", "phone": PEER, "status": status}
        return MessageOutcome(outgoing=outgoing, **given, **owner, **ids)

    def sql(self, query: str) -> list[dict[str, Any]]:
        return self.pipeline.env.sql(query, self.organization)

    def rows(self) -> list[dict[str, Any]]:
        return self.sql(
            "select m.*, c.phone as client_phone, c.name as client_name from chat_messages m "
            "left join clients c on c.id = m.client_id where m.organization_id = %s "
            "order by m.created_at, m.id"
        )

    def differences(self) -> Iterator[str]:
        """Yield each difference between the rows and the expected result."""
        log = self.pipeline.env.sql(
            "select event_type, became from wpp_webhook_log where account = %s", self.account
        )
        expected_log = sorted(each["became"] for each in self.becomes)
        if sorted(row["became"] for row in log) != expected_log:
            yield f"{self.name}: the log says {log}, and not {expected_log}"
        for outcome in self.expected:
            yield from getattr(self, f"{outcome['type']}_differences")(outcome)
        expected_rows = {
            row.get("wa_message_id") or row.get("text")
            for row in self.expected
            if row["type"] == "message"
        }
        if len(self.rows()) != len(expected_rows) + self.before:
            yield f"{self.name}: it has {len(self.rows())} messages"
        if self.sql("select id from wpp_dead_letters where organization_id = %s"):
            yield f"{self.name}: it left a dead letter"

    def message_differences(self, expected: dict[str, Any]) -> Iterator[str]:
        texts = [row for row in self.rows() if shown_text(row) == expected.get("text", "")]
        if len(texts) != 1:
            yield f"{self.name}: {len(texts)} rows have the text {expected.get('text')!r}"
            return
        (row,) = texts
        state = row["metadata"].get("media_state", "none")
        shown = {
            "outgoing": row["is_outgoing"],
            "phone": (row["client_phone"] or "").removeprefix("+"),
            "status": row["message_status"],
            "wa_message_id": row["external_message_id"],
            "file_type": row["file_type"],
            "peer_name": row["client_name"],
            "content": row["metadata"].get("content", "text"),
            "at": row["created_at"].replace(microsecond=0),
            "integration": row["integration_id"],
        }
        at = {"at": datetime.fromisoformat(expected["at"])} if "at" in expected else {}
        for name, value in {**expected, **at, "integration": self.integration}.items():
            if name in shown and shown[name] != value:
                yield f"{self.name}: {name} is {shown[name]!r}, and not {value!r}"
        if expected.get("media_state") == "pending" and state not in {
            "stored",
            "refused",
            "pending",
        }:
            yield f"{self.name}: its file is {state}"

    def status_differences(self, expected: dict[str, Any]) -> Iterator[str]:
        row = self.find_row(expected)
        now = LATER.get(expected["status"], expected["status"])
        if (row["message_status"], row["metadata"].get("error")) != (now, expected.get("error")):
            error = row["metadata"].get("error")
            yield f"{self.name}: the message is {row['message_status']} ({error}), not {now}"

    def reaction_differences(self, expected: dict[str, Any]) -> Iterator[str]:
        who = "self" if expected["outgoing"] else expected["phone"]
        shown = self.find_row(expected)["metadata"].get("reactions", {}).get(who, {}).get("emoji")
        if shown != expected.get("emoji"):
            yield f"{self.name}: the reaction is {shown}"

    def edit_differences(self, expected: dict[str, Any]) -> Iterator[str]:
        row = self.find_row(expected)
        if (row["message_text"], row["metadata"].get("original_text")) != (
            expected["text"],
            "Before",
        ):
            yield f"{self.name}: the text is {row['message_text']}"

    def session_differences(self, expected: dict[str, Any]) -> Iterator[str]:
        (row,) = self.sql("select * from whatsapp_sessions where organization_id = %s")
        code = read_stored(row["last_qr_b64"]) if row["last_qr_b64"] else None
        if (row["status"], code) != (expected["status"], expected.get("qr")):
            yield f"{self.name}: the session is {row['status']}, {code}"

    def find_row(self, expected: dict[str, Any]) -> dict[str, Any]:
        """Return the message that any of the external ids names."""
        ids: list[dict[str, UUID]] = self.pipeline.env.sql(
            "select distinct message_id from wpp_message_ids "
            "where account = %s "
            "and external_id in (select wpp.message_key(e) from unnest(%s::text[]) e)",
            self.account,
            expected["external_ids"],
        )
        (row,) = [row for row in self.rows() if row["id"] in {each["message_id"] for each in ids}][
            :1
        ]
        return row


def shown_text(row: dict[str, Any]) -> str:
    """Return the text of a row, without the label in place of a refused file."""
    is_refused = row["metadata"].get("media_state") == "refused" and "stand_in" in row["metadata"]
    return "" if is_refused else row["message_text"]


@pytest.fixture
def processed(pipeline: InboundPipeline, ingress: IngressProcess) -> list[Case]:
    """Return all cases after each was posted, handled and recorded."""
    processed = [Case(pipeline, number, name) for number, name in enumerate(NAMES)]
    for case in processed:
        case.connect()
        case.prepare()
    answers = [ingress.post(case.body, ingress.webhook_path(case.account)) for case in processed]
    assert {answer.status for answer in answers} == {200}
    pipeline.settle()
    return processed


def test_every_case_of_the_corpus_ends_in_its_rows(processed: list[Case]) -> None:
    """Text, contact, status, ids, file, time and log are right, and there is no further row."""
    assert len(processed) > 100
    assert [difference for case in processed for difference in case.differences()] == []


def test_the_corpus_has_every_event_type() -> None:
    kinds = {each["type"] for case in load_cases("").values() for each in case["becomes"]}
    assert kinds >= {
        *(
            "message",
            "echo",
            "status",
            "sent",
            "dead",
            "revoke",
            "edit",
            "reaction",
            "qr",
            "connected",
        ),
        *(
            "disconnected",
            "sla",
            "notice",
            "session_error",
            "session_passing",
            "ignored_chat",
            "unknown",
        ),
    }
