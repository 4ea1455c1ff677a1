"""A text leads to what it names."""

from uuid import UUID, uuid4

import pytest

from shared import routing
from shared.events import Message
from shared.lanes.client import Lanes
from shared.settings import EngineSettings
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline
from tests.workers.cli.test_recovery import add_dead_letter
from workers.repair.search import read_phone, search
from workers.repair.shard_clients import ShardClients

__all__ = ["pipeline"]


def find(pipeline: InboundPipeline, text: str) -> list[tuple[str, str]]:
    return [
        (hit.kind, hit.id)
        for hit in search(text, ShardClients({"": pipeline.redis}), pipeline.ctx.database)
    ]


@pytest.fixture
def arrived(pipeline: InboundPipeline) -> str:
    """Return the id of a message of PEER that arrived."""
    pipeline.post({"from": f"+{PEER}", "type": "chat", "text": "Hello", "messageId": "M1"})
    pipeline.settle()
    (row,) = pipeline.messages()
    return str(row["id"])


@pytest.mark.parametrize(
    "spelling", [f"+{PEER}", PEER, f"8 ({PEER[1:4]}) {PEER[4:]}", f"{PEER}@c.us"]
)
def test_a_phone_in_any_spelling_leads_to_its_conversation(
    pipeline: InboundPipeline, arrived: str, spelling: str
) -> None:
    del arrived
    letter = add_dead_letter(pipeline)
    assert find(pipeline, spelling) == [("conversation", PEER), ("dead_letter", str(letter))]


def test_a_message_is_found_by_our_id_and_the_platform_s(
    pipeline: InboundPipeline, arrived: str
) -> None:
    assert find(pipeline, f" {arrived} ")[0] == ("message", arrived)
    assert find(pipeline, "M1") == [], "too short to be an id of the platform"
    pipeline.post({"from": f"+{PEER}", "type": "chat", "text": "Again", "messageId": "3EB0AA12"})
    pipeline.settle()
    assert find(pipeline, "3EB0AA12")[0][0] == "message"


def test_an_accepted_message_is_found_before_it_has_a_row(pipeline: InboundPipeline) -> None:
    lanes = Lanes(pipeline.redis, EngineSettings())
    message = Message(to=PEER, text="Hello")
    item = routing.route_send(pipeline.organization, pipeline.integration, message)
    accepted = lanes.append(item)
    (hit,) = search(str(accepted.id), ShardClients({"": pipeline.redis}), pipeline.ctx.database)
    assert (hit.kind, hit.title, hit.organization_id) == ("message", PEER, pipeline.organization)


def test_an_organization_is_found_by_a_part_of_its_name(pipeline: InboundPipeline) -> None:
    """Words of SQL and of patterns are words."""
    pipeline.env.sql(
        "update organizations set name = %s where id = %s",
        "School 100%_ready",
        pipeline.organization,
    )
    found = [("organization", str(pipeline.organization))]
    assert find(pipeline, "school") == find(pipeline, "0%_R") == found
    assert find(pipeline, str(pipeline.organization)) == found
    assert find(pipeline, "%%") == find(pipeline, "'; drop table x") == find(pipeline, "  ") == []
    (hit,) = search("school", ShardClients({"": pipeline.redis}), pipeline.ctx.database)
    assert (hit.title, hit.organization) == ("School 100%_ready", "School 100%_ready")


def test_a_number_is_found_by_its_account_and_its_id(pipeline: InboundPipeline) -> None:
    number = ("number", str(pipeline.integration))
    assert find(pipeline, pipeline.account) == [number]
    assert find(pipeline, str(pipeline.integration)) == [number]
    assert find(pipeline, str(uuid4())) == []


def test_a_letter_of_another_kind_is_found_by_its_id(pipeline: InboundPipeline) -> None:
    letter = add_dead_letter(pipeline, organization_id=UUID(int=9))
    assert find(pipeline, str(letter)) == [("dead_letter", str(letter))]


@pytest.mark.parametrize("text", ["Acme 2026", "2026", "12345", "a@b", "School No. 5", ""])
def test_other_texts_are_no_phones(text: str) -> None:
    assert read_phone(text) is None
