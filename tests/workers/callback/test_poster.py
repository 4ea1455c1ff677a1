"""Posts reach public addresses only, follow nothing, and end in time."""

import pytest

from shared.settings import CallbackSettings
from tests.fixtures.receiver import Receiver
from tests.fixtures.waiting import Stopwatch
from workers.callback.poster import MAX_ANSWER, Poster

LOCAL = CallbackSettings(wpp_callback_private_hosts=("127.0.0.1",))
HASTY = LOCAL.model_copy(update={"wpp_callback_timeout_s": 0.5})
PUBLIC = CallbackSettings(wpp_callback_private_hosts=())


@pytest.mark.parametrize(
    ("status", "success", "about_receiver"),
    [
        (200, True, False),
        (204, True, False),
        (301, False, False),
        (400, False, False),
        (408, False, True),
        (410, False, False),
        (429, False, True),
        (500, False, True),
        (503, False, True),
    ],
)
def test_an_answer_is_read(
    receiver: Receiver,
    status: int,
    success: bool,  # noqa: FBT001
    about_receiver: bool,  # noqa: FBT001
) -> None:
    receiver.answer = lambda _post: status
    receiver.text = b"because"
    answer = Poster(LOCAL).post(receiver.url, {"X-Mark": "1"}, b"{}")
    assert (answer.status, answer.is_success) == (status, success)
    assert answer.is_about_the_receiver is about_receiver
    assert (answer.error is None) is success
    assert success or "because" in (answer.error or "")
    [post] = receiver.posts
    assert (post.body, post.headers["x-mark"]) == (b"{}", "1")


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    """It could lead into our own network, or take the post to a stranger."""
    receiver.answer = lambda _post: 307
    receiver.headers = {"Location": receiver.url}
    answer = Poster(LOCAL).post(receiver.url, {}, b"{}")
    assert "redirects are not followed" in (answer.error or "")
    assert len(receiver.posts) == 1


def test_a_receiver_that_hangs_costs_its_time_limit(receiver: Receiver) -> None:
    receiver.answer = lambda _post: -30
    with Stopwatch() as watch:
        answer = Poster(HASTY).post(receiver.url, {}, b"{}")
    assert watch.seconds < 2.5
    assert answer.status is None
    assert answer.is_about_the_receiver


def test_a_long_answer_is_cut(receiver: Receiver) -> None:
    receiver.answer = lambda _post: 500
    receiver.text = b"\x00x" * 5_000_000
    answer = Poster(LOCAL).post(receiver.url, {}, b"{}")
    assert len(answer.error or "") <= MAX_ANSWER
    assert "\x00" not in (answer.error or "")


def test_retry_after_is_read(receiver: Receiver) -> None:
    receiver.answer = lambda _post: 429
    receiver.headers = {"Retry-After": "17"}
    assert Poster(LOCAL).post(receiver.url, {}, b"{}").retry_after_s == 17


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:127.0.0.1"]
)
def test_a_name_that_leads_to_a_private_address_is_refused(address: str) -> None:
    """Also if it led to a public address when the callback was created."""
    poster = Poster(PUBLIC, resolve=lambda _host, _port: ["93.184.216.34", address])
    answer = poster.post("https://crm.example.com/hook", {}, b"{}")
    assert answer.status is None
    assert "not public" in (answer.error or "")


@pytest.mark.parametrize(
    "url", ["http://crm.example.com/", "ftp://crm.example.com/", "https://", "x", "https://[::1"]
)
def test_a_url_without_tls_or_without_a_host_is_refused(url: str) -> None:
    answer = Poster(PUBLIC, resolve=lambda _host, _port: ["93.184.216.34"]).post(url, {}, b"{}")
    assert answer.status is None
    assert "the URL cannot be used" in (answer.error or "")


def test_a_receiver_that_is_not_there_is_an_answer(receiver: Receiver) -> None:
    url = receiver.url.rsplit(":", 1)[0] + ":9/"
    assert "ConnectError" in (Poster(LOCAL).post(url, {}, b"{}").error or "")
