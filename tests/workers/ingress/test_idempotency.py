"""`Idempotency-Key` on every POST that has an effect: one effect, the same answer, and no other request."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest
import redis

from shared import routing
from shared.events import Message
from shared.lanes.client import Settled
from shared.producer import Producer
from shared.redis import keys
from tests.workers.ingress.tenants import Tenant

HELLO = {"to": "+79990001122", "text": "Hello"}


def is_replay(answer: httpx.Response) -> bool:
    return "Idempotent-Replayed" in answer.headers


@pytest.mark.parametrize(
    "path", ["/v1/messages", "/v1/integrations", "{number}/primary", "{number}/refresh"]
)
def test_an_empty_key_is_refused(tenant: Tenant, path: str) -> None:
    """Whoever sends one believes to be safe, and would not be."""
    answer = tenant.post(path.format(number=tenant.number("42")), HELLO, key="")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def test_the_producer_refuses_an_empty_key(redis_client: redis.Redis) -> None:
    """`None` is the word for none."""
    message = Message.model_validate(
        {**HELLO, "integration_id": "00000000-0000-0000-0000-000000000001"}
    )
    with pytest.raises(ValueError, match="not empty"):
        Producer(redis_client).send(
            routing.make_event_id("anybody", None), message, idempotency_key=""
        )


def test_a_retry_is_answered_although_its_number_is_gone(tenant: Tenant) -> None:
    """The message was accepted: that is the answer, and another body under its key is still refused."""
    number = UUID(tenant.number("42").rsplit("/", 1)[-1])
    named = {**HELLO, "integration_id": str(number)}
    Producer(tenant.client).send(tenant.id, Message.model_validate(named), "named")
    assert tenant.post("/v1/messages", HELLO, key="primary").status_code == 202
    tenant.database.integrations.remove(number, tenant.id)
    tenant.client.delete(keys.primary_route(tenant.id), keys.route(number))
    for body, key in ((HELLO, "primary"), (named, "named")):
        assert tenant.post("/v1/messages", body).status_code == 404
        again = tenant.post("/v1/messages", body, key=key)
        assert (again.status_code, is_replay(again)) == (202, True)
        assert tenant.post("/v1/messages", {**body, "text": "Other"}, key=key).status_code == 422
    assert tenant.waiting("send") == 2


class TestResolution:
    """POST /v1/messages/{id}/resolution."""

    @pytest.fixture
    def message(self, tenant: Tenant) -> str:
        """Return the path of a message whose effect is unknown."""
        tenant.number("42")
        path = tenant.post("/v1/messages", HELLO).headers["Location"]
        tenant.settle("send", Settled("unknown"))
        return str(path)

    def test_the_same_word_twice_is_one(self, tenant: Tenant, message: str) -> None:
        """The retry of an answer that was lost gets that answer; another word under the same key is refused."""
        first = tenant.post(f"{message}/resolution", {"outcome": "sent"}, key="k")
        again = tenant.post(f"{message}/resolution", {"outcome": "sent"}, key="k")
        assert (first.status_code, first.json()["status"], is_replay(first)) == (200, "sent", False)
        assert (again.status_code, again.json(), is_replay(again)) == (200, first.json(), True)
        assert (
            tenant.post(f"{message}/resolution", {"outcome": "failed"}, key="k").status_code == 422
        )

    def test_once_more_is_once_more_only(self, tenant: Tenant, message: str) -> None:
        """A retry of `again` sends nothing, be the message sent by then or unknown anew."""
        assert (
            tenant.post(f"{message}/resolution", {"outcome": "again"}, key="k").json()["status"]
            == "queued"
        )
        tenant.settle("send", Settled("unknown"))
        late = tenant.post(f"{message}/resolution", {"outcome": "again"}, key="k")
        assert (late.status_code, late.json()["status"], tenant.waiting("send")) == (
            200,
            "unknown",
            0,
        )
        assert (
            tenant.post(f"{message}/resolution", {"outcome": "again"}, key="k2").json()["status"]
            == "queued"
        )

    def test_at_once_is_one(self, tenant: Tenant, message: str) -> None:
        """Ten callers at the same moment: ten equal answers, one more try."""
        with ThreadPoolExecutor(10) as pool:
            answers = list(
                pool.map(
                    lambda _: tenant.post(f"{message}/resolution", {"outcome": "again"}, key="k"),
                    range(10),
                )
            )
        assert {answer.status_code for answer in answers} == {200}
        assert tenant.waiting("send") == 1

    @pytest.mark.parametrize("key", [None, "k"])
    def test_what_is_known_is_a_conflict(
        self, tenant: Tenant, message: str, key: str | None
    ) -> None:
        """409, which says what it is; a message that does not exist is 404."""
        tenant.post(f"{message}/resolution", {"outcome": "sent"})
        answer = tenant.post(f"{message}/resolution", {"outcome": "failed"}, key=key)
        assert (answer.status_code, answer.json()["code"]) == (409, "not_unknown")
        assert "is sent, not unknown" in answer.json()["detail"]
        strange = tenant.post(
            f"/v1/messages/{routing.make_event_id('x', None)}/resolution",
            {"outcome": "sent"},
            key=key,
        )
        assert strange.status_code == 404


class TestConnecting:
    """POST /v1/integrations and what is done to a number."""

    def test_a_key_answered_with_what_was_there_is_kept(self, tenant: Tenant) -> None:
        """A later body under that key is refused, not run."""
        place = tenant.number("42")
        answers = [tenant.post("/v1/integrations", {}, key="k") for _ in range(2)]
        assert [(answer.status_code, is_replay(answer)) for answer in answers] == [
            (200, False),
            (200, True),
        ]
        assert answers[0].json() == answers[1].json()
        assert answers[1].headers["Location"] == place
        assert tenant.post("/v1/integrations", {"add_new": True}, key="k").status_code == 422
        assert tenant.waiting("provision") == 0

    def test_a_retried_refresh_is_the_same_although_its_number_changed(
        self, tenant: Tenant
    ) -> None:
        """What the first one did is what the key stands for; the newer watch goes on."""
        place = tenant.number("42", "disconnected")
        first = tenant.post(f"{place}/refresh", key="k")
        assert first.status_code == 202
        connect = tenant.settle("provision", Settled("done"))
        tenant.become("42", "qr_issued")
        later = tenant.post(f"{place}/refresh")
        watch = tenant.watched(place)
        again = tenant.post(f"{place}/refresh", key="k")
        assert (later.status_code, again.status_code, is_replay(again)) == (202, 202, True)
        assert (tenant.waiting("provision"), tenant.watched(place)) == (1, watch)
        assert connect != tenant.settle("provision", Settled("done"))

    def test_a_key_belongs_to_one_route_and_one_number(self, tenant: Tenant) -> None:
        """Refresh is not reconnect, and one number is not another."""
        place, other = tenant.number("42", "disconnected"), tenant.number("43", "disconnected")
        assert tenant.post(f"{place}/refresh", key="k").status_code == 202
        for path in (f"{place}/reconnect", f"{other}/refresh", f"{place}/primary"):
            assert tenant.post(path, key="k").status_code == 422

    def test_a_failed_connect_is_not_tried_again_by_a_retry(self, tenant: Tenant) -> None:
        """It is the answer; a new key, or none, is a new try."""
        failed = tenant.post("/v1/integrations", {}, key="k")
        tenant.settle("provision", Settled("failed", fields={"reason": "refused"}))
        again = tenant.post("/v1/integrations", {}, key="k")
        assert (again.json()["integration_id"], again.json()["status"]) == (
            failed.json()["integration_id"],
            "error",
        )
        assert tenant.waiting("provision") == 0
        assert tenant.post("/v1/integrations", {}, key="k2").json()["status"] == "starting"
        assert tenant.waiting("provision") == 1

    def test_a_retried_primary_undoes_no_later_choice(self, tenant: Tenant) -> None:
        """The same answer as at first would be, without its effect; for another number the key is refused."""
        first, second = tenant.number("42"), tenant.number("43")
        assert tenant.post(f"{second}/primary", key="k").json()["is_primary"] is True
        assert tenant.post(f"{first}/primary", key="k2").json()["is_primary"] is True
        again = tenant.post(f"{second}/primary", key="k")
        assert (again.status_code, is_replay(again)) == (200, True)
        assert tenant.post(f"{first}/primary", key="k").status_code == 422
        listed: list[dict[str, Any]] = tenant.http.get("/v1/integrations").json()
        assert [each["is_primary"] for each in listed] == [True, False]
        assert first.endswith(listed[0]["integration_id"])

    def test_keys_of_two_organizations_are_two(self, tenant: Tenant) -> None:
        """Nobody's key stands in the way of another's."""
        place = tenant.number("42")
        assert tenant.post(f"{place}/primary", key="k").status_code == 200
        stored: list[bytes] = list(tenant.client.scan_iter(keys.idempotency_key("*", "*")))
        assert len(stored) == 1
        assert str(tenant.id).encode() in stored[0]
