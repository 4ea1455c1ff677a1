"""Two tries of an event are one, two events are two."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import webhooks
from tests.shared.webhooks.webhook_events import ACCEPTED, ACCOUNT, classify, identity


def identify(payload: dict[str, Any], accepted_at: datetime) -> webhooks.EventIdentity:
    return webhooks.identify_event(classify(payload, accepted_at=accepted_at))


LATER = ACCEPTED + timedelta(days=1)
SAID = {"account": ACCOUNT, "from": "+79990001122", "text": "ok", "type": "chat"}
TOLD = 1770000000
TIMED: dict[str, Any] = SAID | {"timestamp": TOLD}
ENVELOPED = {"id": "evt_1001", "type": "message.incoming", "created": 1770000000, "data": SAID}
STATUS = {"type": "delivery", "account": ACCOUNT, "messageId": "task_77", "status": "delivered"}


@pytest.mark.parametrize("payload", [ENVELOPED, SAID | {"messageId": "M1"}, TIMED, STATUS])
def test_a_retry_is_the_same_event_however_late(payload: dict[str, Any]) -> None:
    assert identity(payload, ACCEPTED) == identity(dict(reversed(payload.items())), LATER)


@pytest.mark.parametrize("counted", [{"attempt": 2}, {"retryCount": 1}])
def test_a_retry_may_count_itself(counted: dict[str, Any]) -> None:
    assert identity(ENVELOPED | counted) == identity(ENVELOPED)


def test_a_retry_may_sign_its_links_anew() -> None:
    first, second = (
        TIMED | {"media": {"url": f"https://media.example/f/1?sig={signature}"}}
        for signature in ("a", "b")
    )
    assert identity(first) == identity(second)
    assert identity(first) != identity(
        TIMED | {"media": {"url": "https://media.example/f/2?sig=a"}}
    )


def test_equal_texts_at_different_times_are_two_messages() -> None:
    assert identity(TIMED) != identity(TIMED | {"timestamp": 1770000005})


@pytest.mark.parametrize("payload", [SAID, {"type": "novelty", "x": 1}])
@pytest.mark.parametrize("second", [0, 1, 60, webhooks.RETRY_WINDOW_S - 1])
def test_without_id_and_time_it_is_the_same_event_only_for_a_while(
    payload: dict[str, Any], second: int
) -> None:
    """A retry comes within seconds, whatever the hour; a person says "ok" again much later."""
    began = ACCEPTED + timedelta(seconds=second)
    once = identify(payload, began)
    for later in (1, webhooks.RETRY_WINDOW_S - 1):
        again = identify(payload, began + timedelta(seconds=later))
        assert once.value in {again.value, again.previous}
    much_later = identify(payload, began + timedelta(seconds=2 * webhooks.RETRY_WINDOW_S))
    assert once.value not in {much_later.value, much_later.previous}


@pytest.mark.parametrize("payload", [ENVELOPED, TIMED, SAID | {"messageId": "M1"}])
def test_what_has_an_id_or_a_time_has_no_earlier_identity(payload: dict[str, Any]) -> None:
    assert identify(payload, ACCEPTED).previous is None


@pytest.mark.parametrize(
    "payload",
    [
        {"type": "connected", "data": {"account": ACCOUNT}},
        {"type": "qr", "data": {"account": ACCOUNT, "qr": "2@A"}},
        {
            "type": "reaction",
            "account": ACCOUNT,
            "from": "+79990001122",
            "emoji": "👍",
            "messageId": "M1",
        },
        {
            "type": "message.edited",
            "data": {"from": "+79990001122", "text": "Hello", "messageId": "M1"},
        },
    ],
)
def test_what_may_return_to_what_it_was_is_new_each_time(payload: dict[str, Any]) -> None:
    """Connected, offline, connected within a minute: three events. So is a reaction that was taken back meanwhile."""
    once, again = (identify(payload, ACCEPTED + timedelta(seconds=s)) for s in (0, 1))
    assert once.value != again.value
    assert again.previous is None


def test_what_is_told_in_one_second_stands_in_the_order_in_which_it_came() -> None:
    """The platform's time has no fractions: each message gets one, the later the later it came."""
    told = datetime.fromtimestamp(TOLD, UTC)
    came = [0.01, 0.5, 0.51, 2, 2.1, 30]
    times = [classify(TIMED, accepted_at=told + timedelta(seconds=second)).at for second in came]
    assert times == sorted(set(times))
    assert {at.replace(microsecond=0) for at in times} == {told}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ENVELOPED, ENVELOPED | {"id": "evt_1002"}),
        (
            ENVELOPED,
            ENVELOPED
            | {"data": SAID | {"text": "the platform restarted, and counts from 1001 again"}},
        ),
        (SAID | {"messageId": "M1"}, SAID | {"messageId": "M2"}),
        (
            SAID | {"messageId": "M1"},
            SAID | {"messageId": "M1", "text": "other content under the same id"},
        ),
        (STATUS, STATUS | {"status": "read"}),
        (STATUS, STATUS | {"messageId": "task_78"}),
        (SAID, SAID | {"from": "+79990001133"}),
        (SAID, SAID | {"fromMe": True}),
        (SAID | {"media": {"base64": "A" * 9000}}, SAID | {"media": {"base64": "A" * 8999 + "B"}}),
        ({"type": "novelty", "x": 1}, {"type": "novelty", "x": 2}),
        ({"type": "novelty", "x": 1}, {"type": "novelty", "x": "1"}),
        ({"type": "qr", "qr": "2@A"}, {"type": "qr", "qr": "2@B"}),
    ],
)
def test_different_events_have_different_identities(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert identity(one) != identity(other)


@pytest.mark.parametrize(
    ("told", "at"),
    [
        (1770000000, "2026-02-02T02:40:00+00:00"),
        (1770000000123, "2026-02-02T02:40:00.123000+00:00"),
        ("1770000000", "2026-02-02T02:40:00+00:00"),
        (1770000000.5, "2026-02-02T02:40:00.500000+00:00"),
        (1770000000123456, "2026-02-02T02:40:00.123456+00:00"),
        ("2026-02-02T05:40:00+03:00", "2026-02-02T05:40:00+03:00"),
    ],
)
def test_the_platforms_time_is_read_in_any_unit(told: object, at: str) -> None:
    found = classify(SAID | {"timestamp": told}, accepted_at=ACCEPTED).at
    assert found.replace(microsecond=found.microsecond if "." in at else 0).isoformat() == at


@pytest.mark.parametrize(
    "told", [0, -1, 17, "soon", True, None, [], 4102444800, "1e999", 10**400, "0001-01-01"]
)
def test_a_time_that_cannot_be_is_not_believed(told: object) -> None:
    assert classify(SAID | {"timestamp": told}, accepted_at=ACCEPTED).at == ACCEPTED


def test_another_account_in_the_payload_is_named_and_not_taken_over() -> None:
    arrival = classify(SAID | {"account": "0000000000043"}, accepted_at=ACCEPTED)
    assert (arrival.account, arrival.foreign_account) == (ACCOUNT, "0000000000043")


@pytest.mark.parametrize("account", [ACCOUNT, f"wpp_{ACCOUNT}"])
def test_the_accounts_own_names_are_no_other_account(account: str) -> None:
    assert classify(SAID | {"account": account}, accepted_at=ACCEPTED).foreign_account is None
    assert (
        webhooks.find_claimed_account(
            webhooks.parse_payload({"type": "qr", "data": {"account": account}})
        )
        == ACCOUNT
    )


def test_a_status_goes_to_the_lane_of_its_conversation_where_its_id_tells_which() -> None:
    """So it can't overtake its message; where nothing tells, it waits in Supabase until the message is known."""
    known = STATUS | {"messageId": "true_79990001122@c.us_3EB0BB22"}
    assert classify(known, accepted_at=ACCEPTED).peer == "79990001122"
    assert classify(STATUS, accepted_at=ACCEPTED).peer is None


@settings(deadline=None)
@given(st.permutations(list(TIMED.items())), st.integers(0, 10**6))
def test_neither_the_order_of_fields_nor_the_hour_changes_an_identity(
    items: list[tuple[str, Any]], seconds: int
) -> None:
    assert identity(dict(items), ACCEPTED + timedelta(seconds=seconds)) == identity(TIMED)
