"""`wpp dead`, `unknown`, `policy`, `log` and `lanes` list failures and repair them."""

import json
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from sandbox.redis import RedisServer
from shared import routing
from shared.database import DeadLetterQuery
from shared.events import Message, SendEvent, utc_now
from shared.lanes.client import Lanes
from shared.lanes.records import find_record
from shared.lanes.types import ClaimSequence
from shared.outcomes import DeadLetterOutcome, SetAside
from shared.redis import keys
from shared.settings import EngineSettings
from tests.draining import parse_first
from tests.fixtures.provision_env import supabase_settings
from tests.pipeline.inbound.conftest import pipeline
from tests.pipeline.inbound.inbound_pipeline import PEER, InboundPipeline
from workers.cli import output
from workers.cli.app import app
from workers.send import in_doubt

__all__ = ["pipeline"]

Wpp = Callable[..., str]
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def wpp(
    pipeline: InboundPipeline, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Wpp:
    """Return `wpp` with the settings of `pipeline`: it returns the output and requires success."""
    supabase = supabase_settings(pipeline.env.supabase)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("SUPABASE_URL", str(supabase.supabase_url))
    monkeypatch.setenv("SUPABASE_ANON_KEY", supabase.supabase_anon_key.get_secret_value())
    monkeypatch.setenv(
        "SUPABASE_SERVICE_ROLE_KEY", supabase.supabase_service_role_key.get_secret_value()
    )

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(each) for each in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    return run


def run_failing(*arguments: object) -> str:
    """Return the output of a command that is mistaken, without a traceback."""
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.output


def listed(table: str) -> list[str]:
    """Return the lines below the header of a table."""
    return table.splitlines()[1:]


def add_dead_letter(pipeline: InboundPipeline, text: str = "Hello", **given: Any) -> UUID:
    """Insert the dead letter of a message into Supabase; return its id."""
    message = Message(to=PEER, text=text)
    item = routing.route_send(
        given.get("organization_id") or pipeline.organization,
        given.pop("integration", pipeline.integration),
        message,
    )
    values: dict[str, Any] = {
        "at": utc_now(),
        "organization_id": pipeline.organization,
        "kind": "send",
        "reason": "refused",
        "accepted_at": utc_now(),
    }
    letter = DeadLetterOutcome(
        id=item.id,
        lane=item.lane,
        detail="the platform said no",
        attempts=1,
        event=json.loads(item.body),
        **(values | given),
    )
    pipeline.ctx.database.outcomes.apply([letter.model_dump(mode="json")])
    return item.id


def test_dead_lists_dead_letters_with_their_reasons_newest_first(
    pipeline: InboundPipeline, wpp: Wpp
) -> None:
    first, second = add_dead_letter(pipeline, at=utc_now() - HOUR), add_dead_letter(pipeline)
    assert wpp("dead").splitlines()[0].split()[:4] == ["AT", "KIND", "ID", "OWNER"]
    lines = listed(wpp("dead"))
    assert [str(second) in lines[0], str(first) in lines[1]] == [True, True]
    assert all("refused" in line and "the platform said no" in line for line in lines)
    assert [row["id"] for row in json.loads(wpp("dead", "--json"))] == [str(second), str(first)]
    assert "2 in all" in wpp("dead", "--limit", 1)


@pytest.mark.parametrize(
    ("this", "option"),
    [
        ({"organization_id": UUID(int=7)}, ["--organization", UUID(int=7)]),
        ({"account": "0000000000099"}, ["--account", "0000000000099"]),
        ({"kind": "webhook"}, ["--kind", "webhook"]),
        ({"integration": UUID(int=8)}, ["--number", UUID(int=8)]),
        ({"reason": "expired"}, ["--reason", "expired"]),
        ({"at": utc_now() - 3 * DAY}, ["--until", f"{utc_now() - 2 * DAY:%Y-%m-%dT%H:%M:%S}"]),
        ({"at": utc_now() - DAY / 2}, ["--since", f"{utc_now() - DAY:%Y-%m-%dT%H:%M:%S}"]),
    ],
    ids=["organization", "account", "kind", "number", "reason", "until", "since"],
)
def test_dead_filters_the_list_and_the_replay(
    pipeline: InboundPipeline, wpp: Wpp, this: dict[str, Any], option: list[Any]
) -> None:
    """The same option selects what is listed and what is replayed."""
    wanted = add_dead_letter(pipeline, **({"at": utc_now() - DAY * 1.5} | this))
    other = add_dead_letter(pipeline, at=utc_now() - DAY * 1.5)
    (line,) = listed(wpp("dead", *option))
    assert str(wanted) in line
    assert "1 replayed" in wpp("dead", *option, "--replay", "--rate", 1000)
    assert str(other) in wpp("dead")
    assert str(wanted) not in wpp("dead")


def test_dead_lists_replayed_dead_letters_only_with_replayed(
    pipeline: InboundPipeline, wpp: Wpp
) -> None:
    wanted, other = add_dead_letter(pipeline), add_dead_letter(pipeline)
    assert str(other) not in wpp("dead", "--id", wanted)
    assert "1 replayed, 0 skipped" in wpp("dead", "--id", wanted, "--replay")
    assert wpp("dead", "--id", wanted) == "no dead letters\n"
    assert json.loads(wpp("dead", "--id", wanted, "--replayed", "--json"))[0]["replayed"]
    assert "0 replayed, 1 skipped" in wpp("dead", "--id", wanted, "--replayed", "--replay")


def test_dead_drops_a_dead_letter_and_keeps_who_and_why(
    pipeline: InboundPipeline, wpp: Wpp
) -> None:
    letter_id = add_dead_letter(pipeline)
    assert "--why" in run_failing("dead", "--drop", "--id", letter_id)
    assert "--id" in run_failing("dead", "--drop", "--why", "called")
    drop = ("dead", "--drop", "--id", letter_id, "--why", "called")
    assert wpp(*drop) == "1 dropped\n"
    assert wpp(*drop) == "0 dropped, 1 closed before\n"
    assert wpp("dead") == "no dead letters\n"
    (line,) = listed(wpp("dead", "--replayed"))
    assert "dropped by " in line
    assert line.endswith(": called")


def test_dead_replays_all_matches_beyond_the_limit_of_the_list(
    pipeline: InboundPipeline, wpp: Wpp
) -> None:
    """The replay keeps the order of acceptance and the chosen rate."""
    ids = [
        add_dead_letter(pipeline, text, accepted_at=utc_now() - minutes * HOUR)
        for minutes, text in enumerate("abcde")
    ]
    begin = time.monotonic()
    assert "5 replayed, 0 skipped" in wpp("dead", "--replay", "--limit", 1, "--rate", 10)
    assert time.monotonic() - begin >= 0.5
    waiting: Any = pipeline.redis.lrange(
        keys.lane(routing.send_lane(pipeline.integration, PEER)), 0, -1
    )
    assert [UUID(each.decode()) for each in waiting] == ids[::-1]


def add_unknown_message(pipeline: InboundPipeline, organization_id: UUID, to: str = PEER) -> UUID:
    """Enqueue a message and settle it as unknown; return its id."""
    lanes = Lanes(pipeline.redis, EngineSettings())
    accepted = lanes.append(
        routing.route_send(organization_id, pipeline.integration, Message(to=to, text="Perhaps"))
    )
    claim = lanes.claim("send", ClaimSequence())
    assert claim
    lanes.conclude(
        claim, parse_first(SendEvent, in_doubt.settle_as_unknown)(claim, "its reply was lost", None)
    )
    return accepted.id


def test_unknown_lists_messages_until_they_are_settled(pipeline: InboundPipeline, wpp: Wpp) -> None:
    """It lists all organizations, oldest first, or a single organization."""
    other = pipeline.env.create_organization()
    first = add_unknown_message(pipeline, pipeline.organization)
    second = add_unknown_message(pipeline, other, "79990007777")
    lines = listed(wpp("unknown"))
    assert [str(first) in lines[0], str(second) in lines[1]] == [True, True]
    assert PEER in lines[0]
    assert "its reply was lost" in lines[0]
    (line,) = listed(wpp("unknown", "--organization", other))
    assert str(second) in line
    assert "settled" in wpp("settle", second, "sent")
    assert wpp("unknown", "--organization", other) == "no unknown messages\n"


def test_unknown_shows_both_candidates_of_a_report(pipeline: InboundPipeline, wpp: Wpp) -> None:
    """It proves neither: an operator decides."""
    for _ in range(2):
        add_unknown_message(pipeline, pipeline.organization)
    reported = {"taskId": "T1", "waMessageId": f"true_{PEER}@c.us_3EB0AA11", "status": "sent"}
    pipeline.post({"type": "message.status", "data": reported})
    pipeline.settle()
    lines = wpp("unknown").splitlines()
    assert len(lines) == 5
    for line in (lines[2], lines[4]):
        assert f"perhaps T1 true_{PEER}@c.us_3EB0AA11, reported at" in line


def test_policy_is_printed_and_set(pipeline: InboundPipeline, wpp: Wpp) -> None:
    assert wpp("policy", pipeline.organization).strip() == "hold"
    assert wpp("policy", pipeline.organization, "resend").startswith("resend")
    assert wpp("policy", pipeline.organization).strip() == "resend"
    assert pipeline.ctx.database.policies.resending_organizations() == {pipeline.organization}
    assert wpp("policy", pipeline.organization, "hold").startswith("hold")
    missing = uuid4()
    assert f"there is no organization {missing}" in run_failing("policy", missing, "hold")


def receive(pipeline: InboundPipeline, *texts: str) -> None:
    """Post a webhook for each text and process it."""
    pipeline.post(
        *(
            {"from": f"+{PEER}", "type": "chat", "text": text, "messageId": f"M{text}"}
            for text in texts
        )
    )
    pipeline.settle()


def test_log_lists_webhooks_and_their_results(pipeline: InboundPipeline, wpp: Wpp) -> None:
    receive(pipeline, "one", "two")
    pipeline.post({"type": "poll.created", "id": "evt_1"})
    pipeline.settle()
    assert len(listed(wpp("log", "--account", pipeline.account))) == 3
    (line,) = listed(wpp("log", "--became", "unknown"))
    assert "poll.created" in line
    assert len(listed(wpp("log", "--type", "chat", "--limit", 1))) == 1
    assert wpp("log", "--until", f"{utc_now() - HOUR:%Y-%m-%dT%H:%M:%S}") == "no webhooks\n"
    (row,) = [row for row in pipeline.logged() if row["became"] == "unknown"]
    assert str(row["id"]) in wpp("log", "--id", row["id"])


def test_log_replay_restores_a_deleted_row_without_duplicates(
    pipeline: InboundPipeline, wpp: Wpp
) -> None:
    """Existing rows stay as they are; a replay without a filter is refused."""
    receive(pipeline, "one", "two")
    before = pipeline.messages()
    pipeline.env.sql("delete from chat_messages where message_text = 'one'")
    since = f"{utc_now() - HOUR:%Y-%m-%dT%H:%M:%S}"
    for _ in range(2):
        assert "2 events: 2 outcomes applied, 0 skipped, 0 refused" in wpp(
            "log", "--since", since, "--replay"
        )
        assert [row["id"] for row in pipeline.messages()] == [row["id"] for row in before]
    assert "needs a filter" in run_failing("log", "--replay")


def test_a_replay_of_the_log_tells_its_progress(
    pipeline: InboundPipeline, wpp: Wpp, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(pipeline, "one", "two", "three")
    monkeypatch.setattr(output, "PROGRESS_EVERY_S", 0)
    shown = wpp("log", "--account", pipeline.account, "--replay")
    assert "1 of 3 replayed, " in shown
    assert "2 of 3 replayed, " in shown


def test_log_shows_what_was_not_understood_with_masked_samples(
    pipeline: InboundPipeline, wpp: Wpp
) -> None:
    """By type, the most frequent first; `--replay` says what is still not understood."""
    receive(pipeline, "one")
    for number in range(2):
        secret = {"voter": "79991234567@c.us", "choice": "Anna"}
        pipeline.post({"type": "poll.created", "id": f"evt_{number}", "vote": secret})
    pipeline.post({"type": "delivery", "messageId": "task_77", "status": "teleported"})
    pipeline.settle()
    first, second = listed(wpp("log", "--unrecognized"))
    assert first.split()[:3] == ["2", "poll.created", "unknown"]
    assert "unknown_status" in second
    shown = json.loads(first[first.index("{") :])
    assert json.loads(wpp("log", "--unrecognized", "--json"))[0]["sample"] == shown
    assert shown["vote"] == {"voter": "00000000000@c.us", "choice": "xxxx"}
    assert shown["type"] == "poll.created"
    nothing = wpp("log", "--unrecognized", "--until", "2026-01-01T00:00:00")
    assert nothing == "nothing was not understood\n"
    replayed = wpp("log", "--replay", "--unrecognized")
    assert "3 events: 0 outcomes applied" in replayed
    assert "3 not understood yet" in replayed


def find_s(status: str, text: str) -> int:
    """Return the seconds that stand in the status in place of `N`."""
    found = re.search(re.escape(text).replace("N", r"(\d+)"), status)
    assert found, status
    return int(found[1])


def test_lanes_prints_backlog_gates_outbox_dead_letters_and_clock(
    pipeline: InboundPipeline, wpp: Wpp
) -> None:
    """It also counts webhooks of unrecognized types."""
    assert "the clock has never run" in wpp("lanes")
    add_dead_letter(pipeline)
    bad = {
        "type": "status",
        "at": utc_now().isoformat(),
        "account": pipeline.account,
        "external_ids": None,
    }
    good = {
        "type": "session",
        "at": utc_now().isoformat(),
        "account": pipeline.account,
        "status": "connected",
    }
    pipeline.ctx.database.outcomes.apply([bad, {**good, "reason": "seen"}])
    began = time.monotonic()
    pipeline.post({"type": "poll.created", "id": "evt_1"})
    pipeline.settle()
    accepted = pipeline.ctx.lanes.append(
        routing.route_send(pipeline.organization, pipeline.integration, Message(to=PEER, text="Hi"))
    )
    pipeline.ctx.lanes.close_gate(routing.PLATFORM_GATE, 60, "the platform is in trouble")
    assert pipeline.ctx.lanes.claim("send", ClaimSequence()) is None
    pipeline.outbox.report_blocked("a column is gone: apply supabase/migrations")
    pipeline.outbox.report_set_aside(
        [SetAside(owner="T1", code="55P03", why="lock timeout", retry_at=utc_now(), waiting=7)]
    )
    status = wpp("lanes")
    passed_s = time.monotonic() - began
    assert "7  outcomes of T1 set aside until " in status
    assert ": lock timeout\n" in status
    assert "another transaction has locked rows of this organization" in status
    assert f"1  send       {pipeline.organization}" in status
    assert 59 - passed_s <= find_s(status, "1  lanes held by platform for N s at most: the") <= 60
    assert "at most: the platform is in trouble" in status
    assert (
        find_s(status, "1  outcomes on their way to Supabase, the oldest for N s") <= passed_s + 1
    )
    assert "a column is gone" in status
    assert "2  dead letters (see wpp dead), 1 of them outcomes refused by Supabase" in status
    assert find_s(status, "the clock ran N s ago") <= passed_s + 1
    assert "1  webhooks of an unrecognized type: poll.created" in status
    assert find_record(pipeline.redis, accepted.id)
    pipeline.redis.set(keys.LAST_SWEEP, int((utc_now() - HOUR).timestamp() * 1000))
    assert "the clock has not run for 36" in wpp("lanes")


def test_lanes_works_without_supabase(wpp: Wpp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its settings, dead letters are left out; during an outage, the line names it."""
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    assert "dead letters: Supabase: does not answer" in wpp("lanes")
    monkeypatch.delenv("SUPABASE_URL")
    assert "dead letters" not in wpp("lanes")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SUPABASE_URL", "http://127.0.0.1:9", "does not answer"),
        ("SUPABASE_URL", "nonsense", "SUPABASE_URL"),
        ("SUPABASE_SERVICE_ROLE_KEY", "nonsense", "SUPABASE_SERVICE_ROLE_KEY"),
    ],
)
def test_an_invalid_setting_is_named_in_one_sentence(
    wpp: Wpp, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    del wpp
    monkeypatch.setenv(name, value)
    for command in (["dead"], ["dead", "--replay"], ["log"], ["policy", uuid4()]):
        result = CliRunner().invoke(app, [str(each) for each in command])
        assert result.exit_code == (2 if value == "nonsense" and name == "SUPABASE_URL" else 1)
        assert sentence in result.output
        assert "Traceback" not in result.output


def test_an_id_that_does_not_exist_is_a_mistake(wpp: Wpp) -> None:
    """Exit code 2: a script has misspelled it."""
    del wpp
    missing = uuid4()
    for command in (["dead"], ["dead", "--replay"], ["log"]):
        assert f"{missing}" in run_failing(*command, "--id", missing)
    assert f"no integration {missing}" in run_failing("reconnect", missing)


def test_more_than_200_ids_are_refused(pipeline: InboundPipeline, wpp: Wpp) -> None:
    """The ids travel in a URL; the command names the option instead of listing too much."""
    many = [part for _ in range(201) for part in ("--id", uuid4())]
    del wpp
    assert "ids" in run_failing("dead", *many)
    assert pipeline.ctx.database.dead_letters.count(DeadLetterQuery()) == 0
