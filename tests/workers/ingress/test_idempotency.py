"""`Idempotency-Key`: repeated requests take effect once, and get the same answer."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import redis

from sandbox.supabase.project import Supabase
from shared.events import Message
from shared.lanes.types import Settled
from shared.producer import Producer
from shared.redis import keys
from tests.fixtures.ingress_process import IngressProcess
from tests.workers.ingress.tenants import Tenant

HELLO = {"to": "+79990001122", "text": "Hello"}


def is_replay(answer: httpx.Response) -> bool:
    return "Idempotent-Replayed" in answer.headers


@pytest.mark.parametrize(
    "path", ["/v1/messages", "/v1/integrations", "{number}/primary", "{number}/refresh"]
)
def test_an_empty_key_is_refused(tenant: Tenant, path: str) -> None:
    """It would make all requests with an empty key equal."""
    answer = tenant.post(path.format(number=tenant.add_integration("42")), HELLO, key="")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def test_the_producer_refuses_an_empty_key(redis_client: redis.Redis) -> None:
    """No key is None."""
    message = Message.model_validate(
        {**HELLO, "integration_id": "00000000-0000-0000-0000-000000000001"}
    )
    with pytest.raises(ValueError, match="key is empty"):
        Producer(redis_client).send(uuid4(), message, idempotency_key="")


def test_a_retry_succeeds_after_its_integration_is_gone(tenant: Tenant) -> None:
    """The message was accepted; another body under its key is still refused."""
    number = UUID(tenant.add_integration("42").rsplit("/", 1)[-1])
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
    assert tenant.count_waiting("send") == 2


def test_a_retry_gets_the_present_status(tenant: Tenant) -> None:
    """Not that of its acceptance: a caller who asks again learns of the failure."""
    tenant.add_integration("42")
    first = tenant.post("/v1/messages", HELLO, key="k")
    assert (first.json()["status"], is_replay(first)) == ("queued", False)
    again = tenant.post("/v1/messages", HELLO, key="k")
    assert (again.json(), is_replay(again)) == (first.json(), True)
    tenant.settle_next("send", Settled("failed", fields={"reason": "400", "code": "refused"}))
    failed = tenant.post("/v1/messages", HELLO, key="k")
    assert (failed.status_code, failed.json()["status"]) == (202, "failed")
    assert failed.json()["id"] == first.json()["id"]


class TestResolution:
    """POST /v1/messages/{id}/resolution."""

    @pytest.fixture
    def message(self, tenant: Tenant) -> str:
        """Return the path of a message of unknown status."""
        tenant.add_integration("42")
        path = tenant.post("/v1/messages", HELLO).headers["Location"]
        tenant.settle_next("send", Settled("unknown"))
        return str(path)

    def test_a_repeated_resolution_is_one(self, tenant: Tenant, message: str) -> None:
        """A retry gets the first answer; another outcome under the same key is refused."""
        first = tenant.post(f"{message}/resolution", {"outcome": "sent"}, key="k")
        again = tenant.post(f"{message}/resolution", {"outcome": "sent"}, key="k")
        assert (first.status_code, first.json()["status"], is_replay(first)) == (200, "sent", False)
        assert (again.status_code, again.json(), is_replay(again)) == (200, first.json(), True)
        assert (
            tenant.post(f"{message}/resolution", {"outcome": "failed"}, key="k").status_code == 422
        )

    def test_a_repeated_again_sends_once(self, tenant: Tenant, message: str) -> None:
        """A retry sends nothing, independent of the status of the message by then."""
        assert (
            tenant.post(f"{message}/resolution", {"outcome": "again"}, key="k").json()["status"]
            == "queued"
        )
        tenant.settle_next("send", Settled("unknown"))
        late = tenant.post(f"{message}/resolution", {"outcome": "again"}, key="k")
        assert (late.status_code, late.json()["status"], tenant.count_waiting("send")) == (
            200,
            "unknown",
            0,
        )
        assert (
            tenant.post(f"{message}/resolution", {"outcome": "again"}, key="k2").json()["status"]
            == "queued"
        )

    def test_concurrent_resolutions_are_one(self, tenant: Tenant, message: str) -> None:
        """Ten equal answers, one further attempt."""
        with ThreadPoolExecutor(10) as pool:
            answers = list(
                pool.map(
                    lambda _: tenant.post(f"{message}/resolution", {"outcome": "again"}, key="k"),
                    range(10),
                )
            )
        assert {answer.status_code for answer in answers} == {200}
        assert tenant.count_waiting("send") == 1

    @pytest.mark.parametrize("key", [None, "k"])
    def test_a_known_status_is_a_conflict(
        self, tenant: Tenant, message: str, key: str | None
    ) -> None:
        """409 names the status; an unknown message is 404."""
        tenant.post(f"{message}/resolution", {"outcome": "sent"})
        answer = tenant.post(f"{message}/resolution", {"outcome": "failed"}, key=key)
        assert (answer.status_code, answer.json()["code"]) == (409, "not_unknown")
        assert "is sent, not unknown" in answer.json()["detail"]
        strange = tenant.post(
            f"/v1/messages/{uuid4()}/resolution",
            {"outcome": "sent"},
            key=key,
        )
        assert strange.status_code == 404

    @pytest.mark.parametrize("outcome", ["sent", "failed", "again"])
    def test_a_message_of_another_organization_stays_unknown(
        self,
        ingress_with_supabase: IngressProcess,
        supabase_world: Supabase,
        tenant: Tenant,
        message: str,
        outcome: str,
    ) -> None:
        """Its id, in a row that a user of this organization has written, resolves no record."""
        event_id = UUID(message.rsplit("/", 1)[-1])
        with psycopg.connect(supabase_world.database_url) as connection:
            connection.execute("delete from chat_messages where id = %s", (event_id,))
        with Tenant.new(ingress_with_supabase, supabase_world, tenant.client) as forger:
            with psycopg.connect(supabase_world.database_url) as connection:
                connection.execute(
                    "insert into chat_messages (id, organization_id, message_text, message_type, "
                    "message_status, is_outgoing) values (%s, %s, 'Hi', 'client', 'unknown', true)",
                    (event_id, forger.id),
                )
            before = tenant.client.hgetall(keys.event(event_id))
            for key in (None, "k"):
                answer = forger.post(f"{message}/resolution", {"outcome": outcome}, key=key)
                assert (answer.status_code, answer.json()["code"]) == (409, "not_unknown")
        assert tenant.client.hgetall(keys.event(event_id)) == before
        assert tenant.count_waiting("send") == 0


class TestConnecting:
    """POST /v1/integrations and its sub-resources."""

    def test_a_key_of_a_connected_integration_is_stored(self, tenant: Tenant) -> None:
        """Another body under that key is refused."""
        path = tenant.add_integration("42")
        answers = [tenant.post("/v1/integrations", {}, key="k") for _ in range(2)]
        assert [(answer.status_code, is_replay(answer)) for answer in answers] == [
            (200, False),
            (200, True),
        ]
        assert answers[0].json() == answers[1].json()
        assert answers[1].headers["Location"] == path
        assert tenant.post("/v1/integrations", {"add_new": True}, key="k").status_code == 422
        assert tenant.count_waiting("provision") == 0

    def test_a_retried_refresh_repeats_the_first_one(self, tenant: Tenant) -> None:
        """Although the status has changed since; the newer polling event continues."""
        path = tenant.add_integration("42", "disconnected")
        first = tenant.post(f"{path}/refresh", key="k")
        assert first.status_code == 202
        connect = tenant.settle_next("provision", Settled("done"))
        tenant.set_status("42", "qr_issued")
        later = tenant.post(f"{path}/refresh")
        watch = tenant.find_pairing_event(path)
        again = tenant.post(f"{path}/refresh", key="k")
        assert (later.status_code, again.status_code, is_replay(again)) == (202, 202, True)
        assert (tenant.count_waiting("provision"), tenant.find_pairing_event(path)) == (1, watch)
        assert connect != tenant.settle_next("provision", Settled("done"))

    def test_a_key_belongs_to_one_route_and_one_integration(self, tenant: Tenant) -> None:
        """Different routes and integrations refuse it."""
        first = tenant.add_integration("42", "disconnected")
        second = tenant.add_integration("43", "disconnected")
        assert tenant.post(f"{first}/refresh", key="k").status_code == 202
        for path in (f"{first}/reconnect", f"{second}/refresh", f"{first}/primary"):
            assert tenant.post(path, key="k").status_code == 422

    def test_a_retry_does_not_repeat_a_failed_connect(self, tenant: Tenant) -> None:
        """A new key, or none, does."""
        failed = tenant.post("/v1/integrations", {}, key="k")
        tenant.settle_next("provision", Settled("failed", fields={"reason": "refused"}))
        again = tenant.post("/v1/integrations", {}, key="k")
        assert (again.json()["integration_id"], again.json()["status"]) == (
            failed.json()["integration_id"],
            "error",
        )
        assert tenant.count_waiting("provision") == 0
        assert tenant.post("/v1/integrations", {}, key="k2").json()["status"] == "starting"
        assert tenant.count_waiting("provision") == 1

    def test_a_retried_primary_does_not_undo_a_later_choice(self, tenant: Tenant) -> None:
        """The response is that of a success, without its effect."""
        first, second = tenant.add_integration("42"), tenant.add_integration("43")
        assert tenant.post(f"{second}/primary", key="k").json()["is_primary"] is True
        assert tenant.post(f"{first}/primary", key="k2").json()["is_primary"] is True
        again = tenant.post(f"{second}/primary", key="k")
        assert (again.status_code, is_replay(again)) == (200, True)
        assert tenant.post(f"{first}/primary", key="k").status_code == 422
        listed: list[dict[str, Any]] = tenant.http.get("/v1/integrations").json()
        assert [each["is_primary"] for each in listed] == [True, False]
        assert first.endswith(listed[0]["integration_id"])

    def test_keys_are_stored_per_organization(self, tenant: Tenant) -> None:
        """The same key of two organizations is two keys."""
        path = tenant.add_integration("42")
        assert tenant.post(f"{path}/primary", key="k").status_code == 200
        stored: list[bytes] = list(tenant.client.scan_iter(keys.idempotency_key("*", "*")))
        assert len(stored) == 1
        assert str(tenant.id).encode() in stored[0]
