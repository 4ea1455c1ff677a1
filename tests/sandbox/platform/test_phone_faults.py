"""The buttons for faults: each begins what it says, and ends it again."""

import html

import httpx
import pytest

from sandbox.platform.faults import FaultPlan
from sandbox.platform.phone_faults import list_faults
from tests.fixtures.waiting import wait_until
from tests.sandbox.platform.conftest import Number, Platform, Receiver

PEER = "79990001122"
NAMES = [each.name for each in list_faults("1", PEER)]


def press(platform: Platform, number: Number, fault: str) -> httpx.Response:
    form = {"fault": fault, "peer": PEER}
    return platform.http.post(f"/phone/{number.session}/faults", data=form)


@pytest.mark.parametrize("name", NAMES)
def test_a_button_begins_a_fault_and_ends_it(platform: Platform, number: Number, name: str) -> None:
    """It says so, and what is expected; nothing of the plan is left at the end."""
    platform.http.follow_redirects = True
    offered = {each.name: each for each in list_faults(number.session, PEER)}
    page = html.unescape(press(platform, number, name).text)
    assert offered[name].expected in page
    assert f"End: {offered[name].title}" in page
    assert page.count("End: ") == 1
    assert "End: " not in press(platform, number, name).text
    plan = platform.http.get("/admin/faults").json()
    assert plan == FaultPlan().model_dump() | {"injected": 0}


def test_faults_of_requests_exclude_each_other_and_the_rest_adds_up(
    platform: Platform, number: Number
) -> None:
    for name in NAMES:
        press(platform, number, name)
    plan = platform.http.get("/admin/faults").json()
    assert (plan["slow"]["rate"], plan["rate_5xx"], plan["limit"]) == (1, 0, None)
    assert (plan["mute"], plan["refused_recipients"]) == ([number.session], [PEER])
    assert (plan["duplicate_webhooks"], plan["reorder_webhooks"]) == (1, True)


def test_a_lost_reply_is_over_with_the_next_message(
    platform: Platform, number: Number, receiver: Receiver
) -> None:
    press(platform, number, "lost_reply")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        number.send()
    assert number.send().is_success
    receiver.wait(6)
    wait_until(lambda: "End: " not in platform.http.get(f"/phone/{number.session}").text)


def test_a_fault_that_does_not_exist_is_refused(platform: Platform, number: Number) -> None:
    assert press(platform, number, "fire").status_code == 400
