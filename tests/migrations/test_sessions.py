"""Sessions, webhook logs and dead letters: the newest state counts in any order."""

from itertools import permutations
from typing import Any
from uuid import uuid4

from shared.outcomes import DeadLetterOutcome, LogOutcome
from tests.migrations.conftest import Tenant, at


def session(tenant: Tenant) -> dict[str, Any]:
    (row,) = tenant.rows("select * from whatsapp_sessions where organization_id = %s", tenant.id)
    return row


def dead(tenant: Tenant, second: float, reason: str = "refused", **given: Any) -> DeadLetterOutcome:
    return DeadLetterOutcome(
        at=at(second),
        id=given.pop("id", tenant.id),
        lane="send:1",
        kind="send",
        reason=reason,
        detail="why",
        attempts=int(second),
        accepted_at=at(0),
        event={"v": 1},
        **given,
    )


def test_a_number_that_was_saved_is_starting(tenant: Tenant) -> None:
    assert session(tenant)["status"] == "starting"


def test_the_newest_state_of_a_session_stands_whatever_came_last(tenant: Tenant) -> None:
    told = [
        tenant.session("starting", 1),
        tenant.session("qr_issued", 2, qr="2@one"),
        tenant.session("qr_issued", 3, qr="2@two"),
        tenant.session("connected", 4),
    ]
    for order in permutations(told):
        tenant.db.execute("truncate whatsapp_sessions")
        for each in order:
            tenant.apply(each)
        row = session(tenant)
        assert (row["status"], row["last_qr_b64"], row["status_at"]) == ("connected", None, at(4))
    assert row["session_name"] == f"wpp_{tenant.account}"


def test_of_two_states_in_one_second_the_later_stage_counts(tenant: Tenant) -> None:
    """The platform's clock counts whole seconds."""
    for order in permutations(
        [tenant.session("connected", 5), tenant.session("qr_issued", 5, qr="2@x")]
    ):
        tenant.db.execute("truncate whatsapp_sessions")
        tenant.apply(*order)
        assert session(tenant)["status"] == "connected"


def test_a_qr_code_has_its_time(tenant: Tenant) -> None:
    tenant.apply(tenant.session("qr_issued", 2, qr="2@one"))
    row = session(tenant)
    assert (row["status"], row["last_qr_b64"], row["last_qr_at"]) == ("qr_issued", "2@one", at(2))


def test_a_session_lost_while_its_code_waits_was_not_scanned(tenant: Tenant) -> None:
    """The platform reports it several times, in its own words: the first is kept beside."""
    tenant.apply(
        tenant.session("qr_issued", 1, qr="2@one"),
        tenant.session("disconnected", 2, reason="autocloseCalled"),
    )
    tenant.apply(tenant.session("disconnected", 3, reason="the platform took the account offline"))
    reason = "the code was not scanned in time: autocloseCalled"
    assert session(tenant)["status_reason"] == reason
    history = tenant.rows("select status, reason from wpp_session_history order by at")
    assert [row["reason"] for row in history if row["status"] == "disconnected"] == [reason]
    tenant.apply(
        tenant.session("qr_issued", 4, qr="2@two"),
        tenant.session("disconnected", 5, reason="the code was not scanned in time"),
    )
    assert session(tenant)["status_reason"] == "the code was not scanned in time"


def test_other_losses_keep_their_reason(tenant: Tenant) -> None:
    """That of a phone which was connected, and the removal of a number."""
    tenant.apply(
        tenant.session("qr_issued", 1, qr="2@one"),
        tenant.session("connected", 2),
        tenant.session("disconnected", 3, reason="offline"),
    )
    assert session(tenant)["status_reason"] == "offline"
    tenant.apply(
        tenant.session("qr_issued", 4, qr="2@two"),
        tenant.session("disconnected", 5, reason="removed"),
    )
    assert session(tenant)["status_reason"] == "removed"


def test_each_change_is_one_row_of_history(tenant: Tenant) -> None:
    told = [
        tenant.session("connected", 1),
        tenant.session("connected", 2),
        tenant.session("error", 3, error="banned"),
    ]
    answer = tenant.apply(*told)
    tenant.apply(*told)
    history = tenant.rows("select status, reason, error, at from wpp_session_history order by at")
    assert [(row["status"], row["error"], row["at"]) for row in history] == [
        ("connected", None, at(1)),
        ("error", "banned", at(3)),
    ]
    assert answer["changed"] == [
        {
            "organization_id": str(tenant.id),
            "integration_id": str(tenant.integration),
            "what": "session",
        }
    ]


def test_an_integration_shows_an_error_until_it_is_solved(tenant: Tenant) -> None:
    query = "select last_error, last_error_at from messenger_integrations"
    tenant.apply(tenant.session("error", 3, error="banned"))
    assert tenant.rows(query) == [{"last_error": "banned", "last_error_at": at(3)}]
    tenant.apply(tenant.session("error", 1, error="older"))
    assert tenant.rows(query) == [{"last_error": "banned", "last_error_at": at(3)}]
    tenant.apply(tenant.session("connected", 4))
    assert tenant.rows(query) == [{"last_error": None, "last_error_at": at(3)}]


def test_a_webhook_is_logged_once_with_its_last_result(tenant: Tenant) -> None:
    log = LogOutcome(
        at=at(1),
        id=uuid4(),
        account=tenant.account,
        event_type="chat",
        payload={"a": 1},
        became="message",
    )
    replayed = log.model_copy(update={"at": at(2), "became": "duplicate"})
    for order in ([log, replayed], [replayed, log], [log, log, replayed]):
        tenant.db.execute("truncate wpp_webhook_log")
        tenant.apply(*order)
        (row,) = tenant.rows("select * from wpp_webhook_log")
        assert (row["became"], row["organization_id"], row["payload"]) == (
            "duplicate",
            tenant.id,
            {"a": 1},
        )


def test_a_webhook_of_an_unknown_account_is_logged(tenant: Tenant) -> None:
    tenant.apply(
        LogOutcome(at=at(1), id=uuid4(), account="9", event_type="x", payload={}, became="parked")
    )
    assert tenant.rows("select account, organization_id from wpp_webhook_log") == [
        {"account": "9", "organization_id": None}
    ]


def pruned(tenant: Tenant, seconds: float, most: int = 10) -> int:
    keep = "select wpp_prune(now() + make_interval(secs => %s), %s) as pruned"
    return int(tenant.rows(keep, seconds, most)[0]["pruned"])


def test_old_webhook_logs_are_deleted_in_parts(tenant: Tenant) -> None:
    for number in range(5):
        log = LogOutcome(
            at=at(number), id=uuid4(), account="9", event_type="x", payload={}, became="parked"
        )
        tenant.apply(log)
    assert pruned(tenant, -60) == 0
    assert [pruned(tenant, 60, most=2) for _ in range(4)] == [2, 2, 1, 0]


def test_replayed_dead_letters_are_deleted_and_open_ones_stay(tenant: Tenant) -> None:
    tenant.apply(dead(tenant, 1), dead(tenant, 1, id=uuid4()))
    assert pruned(tenant, 60) == 0
    tenant.db.execute(
        "update wpp_dead_letters set replayed_at = now() where ctid = (select min(ctid) from "
        "wpp_dead_letters)"
    )
    assert pruned(tenant, 60) == 1
    assert [
        row["replayed_at"] for row in tenant.rows("select replayed_at from wpp_dead_letters")
    ] == [None]


def test_past_states_of_a_session_are_deleted_except_the_latest(
    tenant: Tenant, other: Tenant
) -> None:
    """However old it is: it shows since when a number has its state."""
    year = -365 * 86_400
    tenant.apply(
        *(
            tenant.session(status, year + n)
            for n, status in enumerate(("starting", "qr_issued", "connected"))
        )
    )
    other.apply(other.session("connected", year))
    assert pruned(tenant, -30 * 86_400) == 2
    kept = tenant.rows("select status from wpp_session_history order by account")
    assert kept == [{"status": "connected"}, {"status": "connected"}]


def test_a_dead_letter_is_kept_with_its_organization(tenant: Tenant) -> None:
    tenant.apply(
        dead(tenant, 1, account=tenant.account),
        dead(tenant, 1, id=uuid4(), organization_id=uuid4()),
    )
    assert (
        len(tenant.rows("select * from wpp_dead_letters where organization_id = %s", tenant.id))
        == 1
    )
    assert len(tenant.rows("select * from wpp_dead_letters")) == 2


def test_a_replayed_letter_that_dies_again_is_open_again(tenant: Tenant) -> None:
    def state() -> tuple[str, int, bool]:
        (row,) = tenant.rows("select reason, attempts, replayed_at from wpp_dead_letters")
        return row["reason"], row["attempts"], row["replayed_at"] is not None

    tenant.apply(dead(tenant, 1))
    tenant.db.execute("update wpp_dead_letters set replayed_at = %s", (at(5),))
    tenant.apply(dead(tenant, 1))
    assert state() == ("refused", 1, True)
    tenant.apply(dead(tenant, 9, "expired"))
    assert state() == ("expired", 9, False)
    tenant.apply(dead(tenant, 1))
    assert state() == ("expired", 9, False)


def test_a_late_report_of_a_removed_number_makes_no_row_anew(tenant: Tenant) -> None:
    """The CRM's page has deleted the row; of a number that is there, a lost row is made again."""
    tenant.db.execute("truncate whatsapp_sessions")
    tenant.apply(tenant.session("connected", 1))
    assert session(tenant)["status"] == "connected"
    tenant.db.execute("select wpp_remove_integration(%s, %s)", (tenant.integration, tenant.id))
    tenant.db.execute("delete from whatsapp_sessions")
    tenant.apply(tenant.session("disconnected", 2))
    assert tenant.rows("select from whatsapp_sessions") == []
