"""Statuses form a lattice: a message's status depends on its reports, not on their order."""

from itertools import permutations, zip_longest
from typing import Any
from uuid import uuid4

import pytest

from shared.outcomes import EditOutcome
from tests.migrations.conftest import Tenant, at

OWN = "own"
Said = tuple[str, str, float]
"""By whom (own or platform), what, in which second."""


def tell(tenant: Tenant, message: Any, said: Said) -> Any:
    by, status, second = said
    if by == OWN:
        return message.model_copy(
            update={"status": status, "at": at(second), "error": f"{status} at {second}"}
        )
    return tenant.status(status, second, message.task_id, error=f"{status} at {second}")


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        pytest.param([(OWN, "queued", 0), (OWN, "sent", 1)], "sent", id="the platform took it"),
        pytest.param(
            [("p", "delivered", 2), ("p", "read", 3), ("p", "sent", 1)],
            "read",
            id="read is furthest",
        ),
        pytest.param(
            [("p", "read", 1), ("p", "delivered", 9)], "read", id="a late delivered changes nothing"
        ),
        pytest.param(
            [(OWN, "sent", 5), ("p", "failed", 5)], "failed", id="message.dead after it was taken"
        ),
        pytest.param(
            [(OWN, "sent", 5.9), ("p", "failed", 5)],
            "failed",
            id="their clock counts whole seconds",
        ),
        pytest.param(
            [(OWN, "failed", 5), ("p", "sent", 4)], "sent", id="the platform proves it was sent"
        ),
        pytest.param(
            [(OWN, "failed", 5), ("p", "delivered", 4)], "delivered", id="a phone proves it"
        ),
        pytest.param([("p", "failed", 5), ("p", "read", 4)], "read", id="read beats any failure"),
        pytest.param(
            [(OWN, "unknown", 9), ("p", "sent", 1)],
            "sent",
            id="unknown becomes sent, however late we gave up",
        ),
        pytest.param(
            [(OWN, "unknown", 9), ("p", "failed", 1)], "failed", id="unknown becomes failed"
        ),
        pytest.param(
            [(OWN, "unknown", 1), (OWN, "failed", 2)], "failed", id="an operator says it failed"
        ),
        pytest.param(
            [(OWN, "unknown", 1), (OWN, "sent", 2)], "sent", id="an operator had it sent again"
        ),
        pytest.param([(OWN, "failed", 1), (OWN, "sent", 500)], "sent", id="a replay went well"),
        pytest.param(
            [(OWN, "failed", 1), (OWN, "unknown", 500)],
            "unknown",
            id="nobody knows how a replay went",
        ),
        pytest.param(
            [(OWN, "failed", 1), (OWN, "failed", 2)], "failed", id="a replay failed again"
        ),
        pytest.param(
            [("p", "deleted", 1), ("p", "read", 9), (OWN, "sent", 10)],
            "deleted",
            id="deleted stays",
        ),
    ],
)
def test_any_order_of_reports_gives_one_status(tenant: Tenant, said: list[Said], ends: str) -> None:
    stories: list[list[Any]] = []
    for order in permutations(said):
        for copies in (1, 2):
            message = tenant.sent("queued", task_id=f"T{len(stories)}")
            stories.append([message, *(tell(tenant, message, each) for each in order * copies)])
    for step in zip_longest(*stories):  # all stories at once, each batch one step of each of them
        tenant.apply(*filter(None, step))
    rows = tenant.messages()
    assert [row["message_status"] for row in rows] == [ends] * len(stories)
    errors = {row["metadata"].get("error") for row in rows}
    assert len(errors) == 1
    assert (errors == {None}) == (ends not in {"failed", "unknown"})


def test_the_newest_failure_is_the_one_shown(tenant: Tenant) -> None:
    sent = tenant.sent("failed", 1, error="no account")
    tenant.apply(sent, sent.model_copy(update={"at": at(2), "error": "too big"}))
    assert tenant.message()["metadata"]["error"] == "too big"


def test_every_report_is_in_the_history_once(tenant: Tenant) -> None:
    tenant.apply(tenant.sent("queued", task_id="T1"))
    for _ in range(2):
        tenant.apply(tenant.status("read", 3, "T1"), tenant.status("delivered", 2, "T1"))
    history = tenant.rows("select status, source, at from wpp_message_history order by at")
    assert [(row["status"], row["source"], row["at"]) for row in history] == [
        ("queued", "own", at(0)),
        ("delivered", "platform", at(2)),
        ("read", "platform", at(3)),
    ]


def test_a_status_waits_for_its_message(tenant: Tenant) -> None:
    answer = tenant.apply(tenant.status("read", 3, "T1"))
    assert answer["changed"] == []
    assert len(tenant.rows("select * from wpp.parked_outcomes")) == 1
    tenant.apply(tenant.sent(task_id="T1"))
    assert tenant.message()["message_status"] == "read"
    assert tenant.rows("select * from wpp.parked_outcomes") == []


def test_one_parked_status_can_free_another(tenant: Tenant) -> None:
    """`read` names W2; only `delivered`, parked itself under T1, links W2 to T1."""
    tenant.apply(tenant.status("read", 3, "W2"))
    tenant.apply(tenant.status("delivered", 2, task_id="T1", wa_message_id="W2"))
    tenant.apply(tenant.sent(task_id="T1"))
    row = tenant.message()
    assert (row["message_status"], row["metadata"]["waMessageId"]) == ("read", "W2")
    assert tenant.rows("select * from wpp.parked_outcomes") == []


def test_ids_are_added_and_the_external_id_is_never_overwritten(tenant: Tenant) -> None:
    tenant.apply(
        tenant.sent(task_id="T1"), tenant.status("sent", 1, task_id="T1", wa_message_id="W1")
    )
    tenant.apply(tenant.status("delivered", 2, "W1"))
    row = tenant.message()
    assert (row["external_message_id"], row["metadata"]["waMessageId"]) == ("T1", "W1")
    ids = tenant.rows("select external_id from wpp_message_ids order by external_id")
    assert [each["external_id"] for each in ids] == ["T1", "W1"]


def test_the_task_id_may_come_after_the_message(tenant: Tenant) -> None:
    queued = tenant.sent("queued")
    tenant.apply(queued)
    tenant.apply(
        tenant.status("delivered", 3, "T1"),
        queued.model_copy(update={"status": "sent", "task_id": "T1"}),
    )
    row = tenant.message()
    assert (row["message_status"], row["external_message_id"]) == ("delivered", "T1")


def test_a_message_that_arrived_can_be_deleted_by_its_sender(tenant: Tenant) -> None:
    tenant.apply(tenant.status("deleted", 5, "W1"), tenant.arrived(wa_message_id="W1"))
    tenant.apply(tenant.arrived(wa_message_id="W1"))
    assert tenant.message()["message_status"] == "deleted"


def test_the_newest_edit_counts_and_the_first_text_is_kept(tenant: Tenant) -> None:
    message = tenant.arrived(wa_message_id="W1", text="one")
    edits = [tenant.edit("two", 1, "W1"), tenant.edit("three", 2, "W1")]
    for order in permutations([message, message, *edits]):
        tenant.db.execute("truncate chat_messages, wpp.parked_outcomes cascade")
        for each in order:
            tenant.apply(each)
        row = tenant.message()
        assert (row["message_text"], row["metadata"]["original_text"]) == ("three", "one")
        assert "conflicts" not in row["metadata"]


def edit_anew(tenant: Tenant, old: str, new: str, second: float) -> EditOutcome:
    """Return an edit of ours: the platform deleted the message and took another one."""
    edit = tenant.edit(f"Text of {new}", second, old)
    return edit.model_copy(update={"task_id": new, "own": True})


def test_the_status_of_an_edited_message_is_that_of_its_new_text(tenant: Tenant) -> None:
    """In any order, repeated, and by any id: the delete of the former text does not count."""
    message = tenant.sent(task_id="T1")
    reports = [
        tenant.status("read", 5, task_id="T1", wa_message_id="W1"),
        tenant.status("deleted", 10, "T1"),
        edit_anew(tenant, "T1", "T2", 10.5),
        tenant.status("delivered", 11, task_id="T2", wa_message_id="W2"),
    ]
    for order in permutations(reports):
        for size in (1, len(reports)):
            tenant.db.execute("truncate chat_messages, wpp.parked_outcomes cascade")
            tenant.apply(message)
            for start in range(0, len(order), size):
                tenant.apply(*order[start : start + size])
            tenant.apply(*order, tenant.status("deleted", 10, "W1", arrived_at=at(20)))
            row = tenant.message()
            assert row["message_status"] == "delivered"
            assert row["metadata"]["waMessageId"] == "W2"
            assert tenant.rows("select * from wpp.parked_outcomes") == []
            tenant.apply(tenant.status("read", 12, "W2"))
            assert tenant.message()["message_status"] == "read"
            tenant.apply(tenant.status("deleted", 30, "W2"))
            assert tenant.message()["message_status"] == "deleted"


def test_an_edit_anew_is_sent_until_the_platform_reports_on_it(tenant: Tenant) -> None:
    """Its recipient has not read the new text; the history keeps the reports on the former."""
    tenant.apply(tenant.sent(task_id="T1"), tenant.status("read", 5, "T1"))
    tenant.apply(tenant.status("deleted", 9, "T1"))
    assert tenant.message()["message_status"] == "deleted"
    tenant.apply(edit_anew(tenant, "T1", "T2", 10))
    tenant.apply(tenant.status("failed", 11, "T1"))
    assert tenant.message()["message_status"] == "sent"
    history = tenant.rows("select event, status from wpp_message_history order by at")
    assert [(row["event"], row["status"]) for row in history] == [
        ("sent", "sent"),
        ("read", None),
        ("replaced", None),
        ("edited", "sent"),
        ("failed", None),
    ]


def test_reports_on_both_texts_in_the_same_second_count_once(tenant: Tenant) -> None:
    """Whole seconds are the platform's only times."""
    tenant.apply(tenant.sent(task_id="T1"), tenant.status("delivered", 5, "T1"))
    tenant.apply(edit_anew(tenant, "T1", "T2", 5.5), tenant.status("delivered", 5, "T2"))
    assert tenant.message()["message_status"] == "delivered"


def test_a_further_edit_replaces_the_edit_before_it(tenant: Tenant) -> None:
    """Both deletes are of former texts; our own delete of the last text counts."""
    tenant.apply(tenant.sent(task_id="T1"), edit_anew(tenant, "T1", "T2", 5))
    tenant.apply(tenant.status("deleted", 5, "T1"), tenant.status("deleted", 8, "T2"))
    tenant.apply(edit_anew(tenant, "T2", "T3", 8.5), edit_anew(tenant, "T1", "T2", 5))
    tenant.apply(tenant.status("deleted", 8, "T2"), tenant.status("read", 9, "T3"))
    assert tenant.message()["message_status"] == "read"
    tenant.apply(tenant.status("deleted", 20, "T3", own=True))
    assert tenant.message()["message_status"] == "deleted"


def test_the_delete_of_a_replaced_caption_is_not_that_of_its_file(tenant: Tenant) -> None:
    """A caption is a text of its own at the platform; a delete of the file counts."""
    tenant.apply(tenant.sent(task_id="T1"))
    tenant.apply(
        tenant.status("read", 2, task_id="T1", wa_message_id="W1"),
        tenant.status("sent", 3, "T1", "C1", own=True),
    )
    for second, caption in enumerate(("C2", "C3"), 5):
        edit = tenant.edit("New", second + 0.5, "T1", caption)
        tenant.apply(edit.model_copy(update={"own": True}))
        former = f"C{second - 4}"
        tenant.apply(tenant.status("deleted", second, former))
        assert tenant.message()["message_status"] == "read"
    tenant.apply(tenant.status("deleted", 9, "W1"))
    assert tenant.message()["message_status"] == "deleted"


def test_the_newest_reaction_of_each_person_counts(tenant: Tenant) -> None:
    message = tenant.sent(task_id="T1")
    reactions = [
        tenant.reaction("👍", 1, "T1"),
        tenant.reaction("🔥", 2, "T1"),
        tenant.reaction("😂", 1, "T1", outgoing=True),
    ]
    for order in permutations([message, *reactions]):
        tenant.db.execute("truncate chat_messages, wpp.parked_outcomes cascade")
        for each in order:
            tenant.apply(each)
        kept = tenant.message()["metadata"]["reactions"]
        assert {who: reaction["emoji"] for who, reaction in kept.items()} == {
            "79990001122": "🔥",
            "self": "😂",
        }
        assert [row["emoji"] for row in tenant.rows("select emoji from message_reactions")] == [
            "🔥"
        ]
    tenant.apply(tenant.reaction(None, 3, "T1"))
    tenant.apply(tenant.reaction("👍", 1, "T1"))
    assert tenant.rows("select emoji from message_reactions") == []


def test_an_expired_parked_outcome_becomes_a_dead_letter(tenant: Tenant) -> None:
    stranger = Tenant(tenant.db, "0000000000099")
    tenant.apply(tenant.status("read", 3, "T1", "W1"), stranger.arrived())
    keep = "select wpp_expire_parked(now() - interval '1 hour', 10) as expired"
    assert tenant.rows(keep) == [{"expired": 0}]
    tenant.db.execute("update wpp.parked_outcomes set parked_at = parked_at - interval '2 hours'")
    assert tenant.rows(keep) == [{"expired": 2}]
    dead = tenant.rows(
        "select account, organization_id, reason, detail, event from wpp_dead_letters order by "
        "account"
    )
    assert [(row["account"], row["organization_id"], row["reason"]) for row in dead] == [
        (tenant.account, tenant.id, "message_never_came"),
        (stranger.account, None, "account_unknown"),
    ]
    assert dead[0]["detail"] == "no message with id T1, W1"
    assert dead[0]["event"]["status"] == "read"
    assert tenant.rows("select * from wpp.parked_outcomes") == []


def test_a_status_of_another_number_of_the_organization_is_not_ours(tenant: Tenant) -> None:
    """Ids are unique per number: the same task id at a second number is another message."""
    second = Tenant(tenant.db, "0000000000043", id=tenant.id, integration=uuid4())
    second.db.execute(
        "select wpp_save_integration(%s, %s, 'Second', %s)",
        (second.integration, second.id, second.account),
    )
    tenant.apply(tenant.sent(task_id="T1"), second.sent(task_id="T1", second=1))
    tenant.apply(second.status("read", 3, "T1"))
    assert [row["message_status"] for row in tenant.messages()] == ["sent", "read"]
