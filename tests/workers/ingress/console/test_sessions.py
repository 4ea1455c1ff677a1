"""A session is valid as long as its signature, its time and its operator are."""

import time

import pytest

from workers.ingress.console.operators import Operator
from workers.ingress.console.sessions import LIFETIME_S, ConsoleSession

OLD, NEW = b"the secret of before, long enough", b"the secret of today, long enough"
OLGA = Operator("key abc", "operator key 1", "Olga")


def test_a_cookie_is_read_by_every_process_with_the_secret() -> None:
    """Also after a rotation, while the former secret still verifies."""
    session = ConsoleSession.begin(OLGA)
    assert ConsoleSession.read(session.write([OLD]), [NEW, OLD]) == session
    assert ConsoleSession.read(session.write([NEW]), [OLD]) is None


def test_a_cookie_cannot_be_changed() -> None:
    text, _, signature = ConsoleSession.begin(OLGA).write([NEW]).rpartition(".")
    other = ConsoleSession.begin(OLGA).write([NEW]).rpartition(".")[0]
    for cookie in ("", ".", text, f"{text}.", f"{other}.{signature}", f".{signature}"):
        assert ConsoleSession.read(cookie, [NEW]) is None


def test_a_session_ends_after_twelve_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = ConsoleSession.begin(OLGA).write([NEW])
    now_s = time.time()
    for age_s, is_valid in ((LIFETIME_S - 60, True), (LIFETIME_S + 1, False)):
        monkeypatch.setattr(time, "time", lambda age_s=age_s: now_s + age_s)
        assert (ConsoleSession.read(cookie, [NEW]) is not None) is is_valid
    assert LIFETIME_S == 12 * 3600


def test_a_token_counts_for_its_session_only() -> None:
    """And for nothing else that is signed with the same secret."""
    ours, theirs = ConsoleSession.begin(OLGA), ConsoleSession.begin(OLGA)
    token = ours.make_csrf_token([NEW])
    assert ours.accepts(token, [NEW])
    assert not theirs.accepts(token, [NEW])
    assert not ours.accepts(ours.write([NEW]).rpartition(".")[2], [NEW])
