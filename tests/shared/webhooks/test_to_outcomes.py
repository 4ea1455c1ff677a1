"""Each body of the corpus becomes what its case says."""

from typing import Any

import pytest

from shared import webhooks
from shared.outcomes import LogOutcome, MessageOutcome, Outcome
from tests.shared.webhooks.corpus_files import load_corpus
from tests.shared.webhooks.webhook_events import ACCEPTED, ACCOUNT, interpret

CORPUS = load_corpus()


def shown(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as the corpus writes it: set fields, and the platform's time in seconds."""
    fields = outcome.model_dump(mode="json", exclude_defaults=True, exclude={"id", "own_phone"})
    assert fields.pop("account") == ACCOUNT
    assert fields.pop("arrived_at", None) in {None, "2026-03-01T12:00:00Z"}
    fields["at"] = outcome.at.replace(microsecond=0).isoformat().replace("+00:00", "Z")
    if outcome.at == ACCEPTED:
        del fields["at"]
    return {"type": getattr(outcome, "type")} | fields  # noqa: B009 - in each class


@pytest.mark.parametrize("case", CORPUS.values(), ids=CORPUS)
def test_a_body_becomes_what_the_corpus_says(case: dict[str, Any]) -> None:
    became = []
    for payload in webhooks.split_body(case["body"]).events:
        event, outcomes = interpret(payload)
        *made, log = outcomes
        assert isinstance(log, LogOutcome), "the last outcome is the log's"
        seen = {"type": event.type, "peer": event.peer, "became": log.became}
        seen |= {"foreign": event.foreign_account} if event.foreign_account else {}
        became.append(seen | {"outcomes": [shown(outcome) for outcome in made]})
    assert became == case["becomes"]


def test_the_corpus_has_every_type_of_event() -> None:
    seen = {event["type"] for case in CORPUS.values() for event in case["becomes"]}
    assert seen == {
        *("message", "echo", "qr", "connected", "disconnected", "sent", "status", "sla", "dead"),
        *(
            "reaction",
            "edit",
            "revoke",
            "notice",
            "session_error",
            "session_passing",
            "ignored_chat",
            "unknown",
        ),
    }


def test_a_message_is_one_row_in_every_envelope() -> None:
    fields = {
        "from": "+79990001122",
        "text": "Hello",
        "messageId": "false_79990001122@c.us_3EB0AA11",
    }
    rows = set()
    for payload in (
        {"type": "chat", **fields},
        {"id": "evt_1", "type": "message.incoming", "data": fields},
    ):
        _, (message, _) = interpret(payload)
        assert isinstance(message, MessageOutcome)
        rows.add(message.id)
    assert rows == {webhooks.make_row_id(ACCOUNT, "3EB0AA11", outgoing=False, chat="79990001122")}


def test_a_message_without_an_id_has_its_events_id() -> None:
    """A replay of the event, with its id, ends in the same row."""
    event, (message, log) = interpret({"type": "chat", "from": "+79990001122", "text": "Hello"})
    assert isinstance(message, MessageOutcome)
    assert isinstance(log, LogOutcome)
    assert message.id == log.id
    assert message.wa_message_id is None
    assert event.type == "message"


def test_two_accounts_never_share_a_row() -> None:
    rows = {
        webhooks.make_row_id(account, "M1", outgoing=False, chat=None)
        for account in ("0000000000042", "0000000000043")
    }
    assert len(rows) == 2
