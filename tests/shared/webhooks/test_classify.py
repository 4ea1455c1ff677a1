"""Classification and identity: deliveries of the same event are equal, distinct events differ."""

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
TEXT = {"account": ACCOUNT, "from": "+79990001122", "text": "ok", "type": "chat"}
PLATFORM_TIME = 1770000000
TIMED: dict[str, Any] = TEXT | {"timestamp": PLATFORM_TIME}
ENVELOPED = {"id": "evt_1001", "type": "message.incoming", "created": 1770000000, "data": TEXT}
STATUS = {"type": "delivery", "account": ACCOUNT, "messageId": "task_77", "status": "delivered"}


@pytest.mark.parametrize("payload", [ENVELOPED, TEXT | {"messageId": "M1"}, TIMED, STATUS])
def test_a_late_retry_is_the_same_event(payload: dict[str, Any]) -> None:
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


@pytest.mark.parametrize("payload", [TEXT, {"type": "novelty", "x": 1}])
@pytest.mark.parametrize("second", [0, 1, 60, webhooks.RETRY_WINDOW_S - 1])
def test_without_id_and_time_a_retry_is_the_same_event_within_the_window(
    payload: dict[str, Any], second: int
) -> None:
    """A retry comes within seconds; a person writes "ok" again much later."""
    began = ACCEPTED + timedelta(seconds=second)
    once = identify(payload, began)
    for later in (1, webhooks.RETRY_WINDOW_S - 1):
        again = identify(payload, began + timedelta(seconds=later))
        assert once.value in {again.value, again.previous}
    much_later = identify(payload, began + timedelta(seconds=2 * webhooks.RETRY_WINDOW_S))
    assert once.value not in {much_later.value, much_later.previous}


@pytest.mark.parametrize("payload", [ENVELOPED, TIMED, TEXT | {"messageId": "M1"}])
def test_an_event_with_an_id_or_a_time_has_no_previous_identity(payload: dict[str, Any]) -> None:
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
def test_session_states_and_reactions_are_new_events_each_time(payload: dict[str, Any]) -> None:
    """Connected, offline, connected within a minute are three events; so are repeated reactions."""
    once, again = (identify(payload, ACCEPTED + timedelta(seconds=s)) for s in (0, 1))
    assert once.value != again.value
    assert again.previous is None


def test_messages_of_the_same_second_keep_the_order_of_arrival() -> None:
    """The platform's time has no fraction of a second: the order of event decides it."""
    platform_time = datetime.fromtimestamp(PLATFORM_TIME, UTC)
    came = [0.01, 0.5, 0.51, 2, 2.1, 30]
    times = [
        classify(TIMED, accepted_at=platform_time + timedelta(seconds=second)).at for second in came
    ]
    assert times == sorted(set(times))
    assert {at.replace(microsecond=0) for at in times} == {platform_time}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ENVELOPED, ENVELOPED | {"id": "evt_1002"}),
        (
            ENVELOPED,
            ENVELOPED
            | {"data": TEXT | {"text": "the platform restarted, and counts from 1001 again"}},
        ),
        (TEXT | {"messageId": "M1"}, TEXT | {"messageId": "M2"}),
        (
            TEXT | {"messageId": "M1"},
            TEXT | {"messageId": "M1", "text": "other content under the same id"},
        ),
        (STATUS, STATUS | {"status": "read"}),
        (STATUS, STATUS | {"messageId": "task_78"}),
        (TEXT, TEXT | {"from": "+79990001133"}),
        (TEXT, TEXT | {"fromMe": True}),
        (TEXT | {"media": {"base64": "A" * 9000}}, TEXT | {"media": {"base64": "A" * 8999 + "B"}}),
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
    ("time", "at"),
    [
        (1770000000, "2026-02-02T02:40:00+00:00"),
        (1770000000123, "2026-02-02T02:40:00.123000+00:00"),
        ("1770000000", "2026-02-02T02:40:00+00:00"),
        (1770000000.5, "2026-02-02T02:40:00.500000+00:00"),
        (1770000000123456, "2026-02-02T02:40:00.123456+00:00"),
        ("2026-02-02T05:40:00+03:00", "2026-02-02T05:40:00+03:00"),
    ],
)
def test_the_platforms_time_is_read_in_any_unit(time: object, at: str) -> None:
    found = classify(TEXT | {"timestamp": time}, accepted_at=ACCEPTED).at
    assert found.replace(microsecond=found.microsecond if "." in at else 0).isoformat() == at


@pytest.mark.parametrize(
    "time", [0, -1, 17, "soon", True, None, [], 4102444800, "1e999", 10**400, "0001-01-01"]
)
def test_an_implausible_time_is_ignored(time: object) -> None:
    assert classify(TEXT | {"timestamp": time}, accepted_at=ACCEPTED).at == ACCEPTED


def test_a_foreign_account_in_the_payload_is_reported_and_not_used() -> None:
    event = classify(TEXT | {"account": "0000000000043"}, accepted_at=ACCEPTED)
    assert (event.account, event.foreign_account) == (ACCOUNT, "0000000000043")


@pytest.mark.parametrize("account", [ACCOUNT, f"wpp_{ACCOUNT}"])
def test_every_spelling_of_the_account_is_the_account(account: str) -> None:
    assert classify(TEXT | {"account": account}, accepted_at=ACCEPTED).foreign_account is None
    assert (
        webhooks.find_claimed_account(
            webhooks.parse_payload({"type": "qr", "data": {"account": account}})
        )
        == ACCOUNT
    )


def test_a_status_whose_id_names_the_peer_belongs_to_its_conversation() -> None:
    """So it cannot overtake its message. A status without a peer waits in Supabase for it."""
    known = STATUS | {"messageId": "true_79990001122@c.us_3EB0BB22"}
    assert classify(known, accepted_at=ACCEPTED).peer == "79990001122"
    assert classify(STATUS, accepted_at=ACCEPTED).peer is None


@settings(deadline=None)
@given(st.permutations(list(TIMED.items())), st.integers(0, 10**6))
def test_field_order_and_arrival_time_do_not_change_an_identity(
    items: list[tuple[str, Any]], seconds: int
) -> None:
    assert identity(dict(items), ACCEPTED + timedelta(seconds=seconds)) == identity(TIMED)
