"""The file of a message reaches its row: with real Redis, Supabase and platform servers."""

import base64
import dataclasses
import hashlib
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import UUID

import httpx
import pytest
import redis

from shared import payload_store, routing
from shared.database import DeadLetterQuery
from shared.events import MediaEvent, WebhookEvent
from shared.lanes.records import find_record
from shared.lanes.types import Claim, ClaimSequence, Postponed, Settled
from shared.outcomes import MessageOutcome
from shared.redis import keys
from shared.webhooks.attachments import Attachment
from tests.draining import parse_first
from tests.fixtures.waiting import wait_until
from tests.pipeline.inbound.inbound_pipeline import InboundPipeline, open_pipeline
from tests.workers.media.samples import MP4, base64_of, jpeg, message, png
from tests.workers.media.servers import FileServer, respond
from tests.workers.send.test_pacing import advance
from workers import media
from workers.dead_letters import Replayer
from workers.webhook import handler as webhook

FLAT: dict[str, Any] = {
    "from": "+79990001122",
    "type": "image",
    "text": "[Image] my homework",
    "messageId": "M1",
}


def photo(**file: Any) -> dict[str, Any]:
    return {**FLAT, "media": {"mimetype": "image/jpeg", "filename": "file", **file}}


def serve(pipeline: InboundPipeline, server: FileServer) -> None:
    """Allow links to this server."""
    pipeline.media.fetcher._private_hosts = (server.host,)  # noqa: SLF001 - a late port


@pytest.fixture
def files(pipeline: InboundPipeline) -> Any:
    """Return a server to which links are allowed."""
    with FileServer() as server:
        serve(pipeline, server)
        yield server


def test_defect_10_a_picture_is_stored_and_shown(pipeline: InboundPipeline) -> None:
    """The row appears at once as pending; the file follows, and the link leads to its bytes."""
    content = jpeg() + bytes(1000)
    pipeline.post(photo(base64=base64_of(content)))
    handle_webhooks(pipeline)
    (row,) = pipeline.messages()
    assert (row["message_text"], row["metadata"]["media_state"], row["file_url"]) == (
        "my homework",
        "pending",
        None,
    )
    pipeline.settle()
    (row,) = pipeline.messages()
    path = expected_key(pipeline, content)
    assert pipeline.stored() == {path: "image/jpeg"}
    assert (row["file_name"], row["file_type"], row["metadata"]["media_state"]) == (
        "image.jpg",
        "image/jpeg",
        "stored",
    )
    assert (row["metadata"]["media_path"], row["metadata"]["media_size"]) == (path, len(content))
    shown = httpx.get(row["file_url"], trust_env=False)
    assert (shown.content, shown.headers["content-type"]) == (content, "image/jpeg")


def expected_key(pipeline: InboundPipeline, content: bytes) -> str:
    """Return the expected key of the only message's file."""
    (row,) = pipeline.messages()
    return f"wpp/{pipeline.organization}/{row['id']}-{hashlib.sha256(content).hexdigest()[:16]}.jpg"


def handle_webhooks(pipeline: InboundPipeline) -> None:
    pipeline.drain("webhook", webhook)
    pipeline.record()


def test_a_file_is_private(pipeline: InboundPipeline, town_url: str) -> None:
    """The link works with its signature only."""
    pipeline.post(photo(base64=base64_of(jpeg())))
    pipeline.settle()
    (row,) = pipeline.messages()
    assert "token=" in row["file_url"]
    bare = f"{town_url}/storage/v1/object/public/chat-media/{row['metadata']['media_path']}"
    assert httpx.get(bare, trust_env=False).is_error
    assert httpx.get(row["file_url"].partition("?")[0], trust_env=False).is_error


@pytest.fixture
def town_url(pipeline: InboundPipeline) -> str:
    return pipeline.env.supabase.url.rstrip("/")


def test_a_setting_makes_files_public(pipeline: InboundPipeline) -> None:
    with open_pipeline(pipeline.env, wpp_media_public=True) as public:
        public.post(photo(base64=base64_of(jpeg())))
        public.settle()
        (row,) = public.messages()
        assert "token=" not in row["file_url"]
        assert httpx.get(row["file_url"], trust_env=False).content == jpeg()
    pipeline.env.sql("update storage.buckets set public = false where id = 'chat-media'")


def test_the_same_file_again_is_one_object(pipeline: InboundPipeline) -> None:
    """A worker killed after the upload and a second post leave a single object and row."""
    pipeline.post(photo(base64=base64_of(jpeg())), photo(base64=base64_of(jpeg()), attempt=2))
    handle_webhooks(pipeline)
    claim = pipeline.ctx.lanes.claim("media", ClaimSequence())
    assert claim
    parse_first(MediaEvent, media.handle_media)(
        claim, pipeline.ctx, pipeline.media
    )  # its result is lost
    pipeline.ctx.lanes.conclude(claim, Postponed(0, "its worker stopped"))
    pipeline.settle()
    assert len(pipeline.messages()) == len(pipeline.stored()) == 1
    assert pipeline.messages()[0]["metadata"]["media_state"] == "stored"


def test_defect_37_a_hostile_name_is_no_path(pipeline: InboundPipeline) -> None:
    """The key consists of ids; the name is shown, and is harmless."""
    pipeline.post(photo(base64=base64_of(jpeg()), filename="../../../etc/pass wd\u202egpj.exe"))
    pipeline.settle()
    (row,) = pipeline.messages()
    assert list(pipeline.stored()) == [expected_key(pipeline, jpeg())]
    assert "/" not in row["file_name"]
    assert row["file_name"].endswith(".jpg")


def test_defect_37_two_files_of_the_same_moment_are_two_objects(pipeline: InboundPipeline) -> None:
    """The previous key was the millisecond and the name; both names are `file`."""
    for number in range(2):
        pipeline.post(
            {**photo(base64=base64_of(jpeg() + bytes([number]))), "messageId": f"M{number}"}
        )
    pipeline.settle()
    assert len(pipeline.stored()) == 2
    contents = [httpx.get(row["file_url"], trust_env=False).content for row in pipeline.messages()]
    assert sorted(contents) == [jpeg() + b"\0", jpeg() + b"\1"]


def test_defect_37_a_refused_file_leaves_no_empty_message(pipeline: InboundPipeline) -> None:
    """The row shows a label, the file's name and the reason, as the placeholder was removed."""
    pipeline.post({**photo(base64=base64_of(b"<svg onload='alert(1)'/>")), "text": "[Image]"})
    pipeline.settle()
    (row,) = pipeline.messages()
    assert (row["message_text"], row["file_name"]) == ("[Image]", "image.jpg")
    assert row["metadata"]["media_error"]


def test_a_file_comes_from_its_link(pipeline: InboundPipeline, files: FileServer) -> None:
    content = jpeg() + bytes(300_000)
    files.paths["file.jpg"] = respond(200, content, Content_Type="application/octet-stream")
    pipeline.post(photo(url=f"{files.url}/file.jpg?sig=1"))
    pipeline.settle()
    (row,) = pipeline.messages()
    assert httpx.get(row["file_url"], trust_env=False).content == content


def platform_photo(pipeline: InboundPipeline, **file: Any) -> str:
    """Let the sandbox platform hold a picture; return its message id."""
    pipeline.env.scan_qr(pipeline.account)
    phone = f"{pipeline.env.platform.url}/phone/{pipeline.account}"
    given = {
        "from": "+79990001122",
        "media": {"mimetype": "image/jpeg", "base64": base64_of(jpeg()), **file},
    }
    posted = httpx.post(f"{phone}/messages", json=given, trust_env=False).raise_for_status()
    return str(posted.json()["messageId"])


@pytest.fixture
def on_the_platform(pipeline: InboundPipeline) -> str:
    """Return the id of a message whose picture is on the platform."""
    pipeline.ctx.as_account(pipeline.account).start()
    return platform_photo(pipeline)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_defect_37_an_expired_link_is_fetched_again_from_the_platform(
    pipeline: InboundPipeline, files: FileServer, on_the_platform: str, status: int
) -> None:
    files.paths["expired"] = respond(status)
    pipeline.post({**photo(url=f"{files.url}/expired"), "messageId": on_the_platform})
    pipeline.settle()
    (row,) = pipeline.messages()
    assert row["metadata"]["media_state"] == "stored"
    assert httpx.get(row["file_url"], trust_env=False).content == jpeg()


def test_a_file_that_was_not_posted_is_fetched_from_the_platform(
    pipeline: InboundPipeline, on_the_platform: str
) -> None:
    pipeline.post({**photo(), "messageId": on_the_platform})
    pipeline.settle()
    assert pipeline.messages()[0]["metadata"]["media_state"] == "stored"


def test_a_file_behind_a_forbidden_link_is_fetched_from_the_platform(
    pipeline: InboundPipeline, on_the_platform: str
) -> None:
    """A link into our own network is not followed; the platform still has the file."""
    with FileServer(file=respond(200, png())) as inside:
        pipeline.post({**photo(url=f"{inside.url}/file"), "messageId": on_the_platform})
        pipeline.settle()
        assert inside.requests == []
    assert pipeline.messages()[0]["file_type"] == "image/jpeg"


def test_a_server_that_is_down_is_tried_again(
    pipeline: InboundPipeline, files: FileServer, redis_client: redis.Redis
) -> None:
    files.paths["file"] = respond(503)
    pipeline.post(photo(url=f"{files.url}/file"))
    pipeline.settle()
    assert pipeline.messages()[0]["metadata"]["media_state"] == "pending"
    files.paths["file"] = respond(200, jpeg())
    pipeline.settle_all()
    assert pipeline.messages()[0]["metadata"]["media_state"] == "stored"
    assert redis_client.hgetall(keys.waiting("media")) == {}


REFUSED = {
    "an SVG as a picture": (b"<svg onload='alert(1)'/>", "hostile"),
    "a page as a picture": (b"<!doctype html><script>", "hostile"),
    "a program as a picture": (b"MZ\x90", "hostile"),
    "a document as a picture": (b"%PDF-1.7", "wrong"),
    "a bomb": (png(60_000, 60_000), "bomb"),
    "too much": (jpeg() + bytes(2_000_000), "too_large"),
    "nothing": (b"", "empty"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("by_link", [False, True])
def test_a_refused_file_has_a_reason(
    pipeline: InboundPipeline,
    what: str,
    by_link: bool,  # noqa: FBT001
) -> None:
    """The message stays, its file is refused with a reason, and the bucket stays empty."""
    content, reason = REFUSED[what]
    if not content and not by_link:
        return  # an empty base64 is no file
    with (
        open_pipeline(pipeline.env, wpp_media_limit=1_000_000) as strict,
        FileServer(file=respond(200, content)) as server,
    ):
        serve(strict, server)
        strict.post(
            photo(**({"url": f"{server.url}/file"} if by_link else {"base64": base64_of(content)}))
        )
        strict.settle()
        (row,) = strict.messages()
        assert (row["metadata"]["media_state"], row["metadata"]["media_refused"]) == (
            "refused",
            reason,
        )
        assert row["metadata"]["media_error"]
        assert (row["file_url"], row["message_text"]) == (None, "my homework")
        assert strict.stored() == {}


def test_a_file_without_any_source_is_refused(pipeline: InboundPipeline) -> None:
    pipeline.post({**photo(url="http://elsewhere.example/x"), "messageId": None})
    pipeline.settle()
    metadata = pipeline.messages()[0]["metadata"]
    assert (metadata["media_refused"], metadata["media_error"]) == (
        "gone",
        "The link leads to a host that is not in WPP_MEDIA_HOSTS",
    )


def test_invalid_base64_is_refused(pipeline: InboundPipeline) -> None:
    pipeline.post(photo(base64="это не base64"))
    pipeline.settle()
    assert pipeline.messages()[0]["metadata"]["media_refused"] == "wrong"


def test_a_download_delays_no_message(pipeline: InboundPipeline, files: FileServer) -> None:
    """While a file is unavailable, its conversation goes on."""
    files.paths["file"] = respond(503)
    pipeline.post(
        photo(url=f"{files.url}/file"),
        {**FLAT, "type": "chat", "text": "still there?", "messageId": "M2"},
    )
    pipeline.settle()
    assert [row["message_text"] for row in pipeline.messages()] == ["my homework", "still there?"]


def test_a_file_waits_for_the_integration_of_its_account(pipeline: InboundPipeline) -> None:
    """The account has no integration yet, so that its organization is unknown."""
    pipeline.env.sql("delete from wpp_accounts")
    pipeline.env.sql("delete from messenger_integrations")
    pipeline.redis.delete(
        *pipeline.redis.keys(keys.account_route("*")),
        *pipeline.redis.keys(keys.route("*")),
        b"wpp:none",
    )
    pipeline.ctx.route_cache._local.clear()  # noqa: SLF001 - another process
    pipeline.post(photo(base64=base64_of(jpeg())))
    pipeline.settle()
    assert pipeline.messages() == []
    pipeline.ctx.database.integrations.save(
        integration_id=pipeline.integration,
        organization_id=pipeline.organization,
        account=pipeline.account,
    )
    pipeline.settle_all()
    (row,) = pipeline.messages()
    assert row["metadata"]["media_state"] == "stored"


def build_message(pipeline: InboundPipeline, **known: Any) -> MessageOutcome:
    """Return the row of a message of this account with a picture."""
    return message("image", "image.jpg").model_copy(update={"account": pipeline.account, **known})


def claim_file(pipeline: InboundPipeline, **source: Any) -> Claim:
    """Claim a media event whose file is in `source`."""
    event = MediaEvent(
        id=UUID(int=7), account=pipeline.account, message=build_message(pipeline), **source
    )
    pipeline.ctx.lanes.append(routing.route_event(event))
    claim = pipeline.ctx.lanes.claim("media", ClaimSequence())
    assert claim
    return claim


def test_an_expired_event_is_a_dead_letter_and_can_be_replayed(
    pipeline: InboundPipeline,
) -> None:
    claim = claim_file(pipeline, base64=base64_of(jpeg()))
    pipeline.ctx.lanes.conclude(
        claim,
        parse_first(MediaEvent, media.dead_letter_media)(
            claim, "expired", "could not be done in time"
        ),
    )
    pipeline.settle()
    (letter,) = pipeline.ctx.database.dead_letters.find(DeadLetterQuery(kind="media"))
    assert (letter.reason, letter.account) == ("expired", pipeline.account)
    assert pipeline.messages()[0]["metadata"]["media_state"] == "refused"
    replayer = Replayer(pipeline.redis, pipeline.ctx.lanes, pipeline.ctx.database, 1000)
    assert replayer.replay([letter]) == (1, 0)
    pipeline.settle()
    assert pipeline.messages()[0]["metadata"]["media_state"] == "stored"


def test_a_blob_expires_an_hour_after_it_was_stored(
    pipeline: InboundPipeline, redis_client: redis.Redis
) -> None:
    redis_client.set(keys.payload("x", "digest"), base64_of(jpeg()), ex=100_000)
    result = parse_first(MediaEvent, media.handle_media)(
        claim_file(pipeline, blob=keys.payload("x", "digest")), pipeline.ctx, pipeline.media
    )
    assert isinstance(result, Settled)
    assert redis_client.ttl(keys.payload("x", "digest")) <= payload_store.RELEASED_TTL_S


def test_the_file_of_an_expired_blob_is_fetched_from_the_platform(
    pipeline: InboundPipeline, on_the_platform: str
) -> None:
    event = MediaEvent(
        id=UUID(int=7),
        account=pipeline.account,
        message=build_message(pipeline, wa_message_id=on_the_platform),
        blob=keys.payload("gone", "digest"),
    )
    pipeline.ctx.lanes.append(routing.route_event(event))
    pipeline.settle()
    assert pipeline.messages()[0]["metadata"]["media_state"] == "stored"


def test_a_file_is_not_stored_after_the_claim_was_lost(
    pipeline: InboundPipeline, files: FileServer
) -> None:
    """The lease is checked before the upload, and every few seconds during the download."""
    files.paths["file"] = respond(200, jpeg() + bytes(300_000))
    claim = claim_file(pipeline, url=f"{files.url}/file")
    pipeline.redis.hset(keys.lane_state(claim.lane), "fence", "999")
    for renew_every_s in (60.0, 0.001):
        ctx = dataclasses.replace(pipeline.media, renew_every_s=renew_every_s)
        assert isinstance(
            parse_first(MediaEvent, media.handle_media)(claim, pipeline.ctx, ctx),
            Postponed,
        )
        assert pipeline.stored() == {}


def test_a_claim_is_renewed_while_its_file_is_fetched(
    pipeline: InboundPipeline, files: FileServer
) -> None:
    """A server answers after two leases: the claim is renewed, and not swept.

    The clock of the lanes is set forward, so that a pause of the machine ends no lease.
    """
    lanes, lease_s = pipeline.ctx.lanes, pipeline.env.engine.wpp_lease_s
    taken: list[int] = []

    def read_end() -> float:
        return float(pipeline.redis.zscore(keys.leases("media"), lane) or 0)

    def think(request: BaseHTTPRequestHandler) -> None:
        for _ in range(3):
            before, sweeps = read_end(), len(taken)
            wait_until(lambda: read_end() > before, "a renewal")  # noqa: B023
            advance(pipeline.redis, lease_s * 2 / 3)
            wait_until(lambda: len(taken) > sweeps + 1, "a sweep")  # noqa: B023
        respond(200, jpeg())(request)

    files.paths["file"] = think
    pipeline.ctx.lanes.append(
        routing.route_event(
            MediaEvent(
                id=UUID(int=7),
                account=pipeline.account,
                message=build_message(pipeline),
                url=f"{files.url}/file",
            )
        )
    )
    claim = lanes.claim("media", ClaimSequence())
    assert claim
    lane = claim.lane
    over = threading.Event()

    def sweep() -> None:
        while not over.wait(0.1):
            taken.append(len(lanes.sweep("media").expired_claims))

    sweeping = threading.Thread(target=sweep)
    sweeping.start()
    result = parse_first(MediaEvent, media.handle_media)(
        claim, pipeline.ctx, dataclasses.replace(pipeline.media, renew_every_s=0.1)
    )
    over.set()
    sweeping.join()
    assert isinstance(result, Settled)
    assert len(taken) > 5
    assert sum(taken) == 0


def test_a_file_whose_link_leads_to_a_page_is_fetched_from_the_platform(
    pipeline: InboundPipeline, files: FileServer, on_the_platform: str
) -> None:
    """A page with status 200 says that the link has expired."""
    files.paths["expired"] = respond(200, b"<!doctype html><html><body>expired</body></html>")
    pipeline.post({**photo(url=f"{files.url}/expired"), "messageId": on_the_platform})
    pipeline.settle()
    (row,) = pipeline.messages()
    assert row["metadata"]["media_state"] == "stored"
    assert httpx.get(row["file_url"], trust_env=False).content == jpeg()


def test_another_file_under_the_same_id_replaces_nothing(pipeline: InboundPipeline) -> None:
    """The first file stays shown; the second is stored and named in the metadata."""
    first, second = jpeg() + b"first", jpeg() + b"second"
    for content in (first, second):
        pipeline.post(photo(base64=base64_of(content)))
        pipeline.settle()
    (row,) = pipeline.messages()
    assert httpx.get(row["file_url"], trust_env=False).content == first
    assert list(row["metadata"]["other_files"]) == [expected_key(pipeline, second)]
    assert len(pipeline.stored()) == 2


def test_a_file_of_a_removed_integration_is_stored_like_its_message(
    pipeline: InboundPipeline,
) -> None:
    """A posted file is stored; the platform is not called for a removed number."""
    pipeline.ctx.database.integrations.remove(pipeline.integration, pipeline.organization)
    pipeline.ctx.route_cache.refresh(pipeline.integration, pipeline.organization)
    pipeline.post(photo(base64=base64_of(jpeg())), {**photo(), "messageId": "M2"})
    pipeline.settle()
    assert [row["metadata"]["media_state"] for row in pipeline.messages()] == ["stored", "refused"]


def test_memory_does_not_grow_with_the_file(
    pipeline: InboundPipeline, redis_client: redis.Redis
) -> None:
    """20 MB of base64 pass from Redis in chunks."""
    redis_client.set(keys.payload("big", "digest"), base64.b64encode(MP4 + bytes(15_000_000)))
    claim = claim_file(pipeline, blob=keys.payload("big", "digest"))
    tracemalloc.start()
    try:
        result = parse_first(MediaEvent, media.handle_media)(claim, pipeline.ctx, pipeline.media)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(result, Settled)
    assert peak < 12_000_000


def test_a_small_file_travels_with_its_event(pipeline: InboundPipeline) -> None:
    file = Attachment(base64="AAAA", url="https://media.example/x")
    item = routing.route_webhook(pipeline.account, FLAT, "x", "79990001122")
    event = WebhookEvent.model_validate_json(item.body)
    key = keys.payload("x", "digest")
    for blob, carried in ((None, "AAAA"), (key, None)):
        follow = routing.route_media(event, message("image", "x"), file, blob)
        found = MediaEvent.model_validate_json(follow.body)
        assert (found.base64, found.blob) == (carried, blob)
    assert find_record(pipeline.redis, follow.id) is None
