"""From a message that brings a file to a row that shows it: real Redis, Supabase and platform."""

import base64
import dataclasses
import hashlib
import threading
import time
import tracemalloc
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import UUID

import httpx
import pytest
import redis

from shared import payload_store, routing
from shared.database import DeadLetterQuery
from shared.events import MediaEvent
from shared.lanes.client import Claim, Lanes, Postponed, Settled, Slot
from shared.lanes.records import find_record
from shared.outcomes import MessageOutcome
from shared.redis import keys
from shared.webhooks.attachments import Attachment
from tests.pipeline.inbound.inbound_pipeline import Town, open_town
from tests.workers.media.samples import MP4, base64_of, jpeg, message, png
from tests.workers.media.servers import FileServer, answer
from workers import media
from workers.dead_letters import Replayer
from workers.media import lease
from workers.runner import parse_first
from workers.webhook import handler as webhook

FLAT: dict[str, Any] = {
    "from": "+79990001122",
    "type": "image",
    "text": "[Image] my homework",
    "messageId": "M1",
}


def photo(**file: Any) -> dict[str, Any]:
    return {**FLAT, "media": {"mimetype": "image/jpeg", "filename": "file", **file}}


def serve(town: Town, server: FileServer) -> None:
    """Let files come from this server."""
    town.files.fetcher._private = (server.host,)  # noqa: SLF001 - its port is known only now


@pytest.fixture
def files(town: Town) -> Any:
    """Return a server whose files may be fetched."""
    with FileServer() as server:
        serve(town, server)
        yield server


def test_pain_10_a_picture_is_shown_and_kept(town: Town) -> None:
    """The row is there at once, pending; the file follows under its own key, and the link leads to its bytes."""
    content = jpeg() + bytes(1000)
    town.post(photo(base64=base64_of(content)))
    webhook_only(town)
    (row,) = town.messages()
    assert (row["message_text"], row["metadata"]["media_state"], row["file_url"]) == (
        "my homework",
        "pending",
        None,
    )
    town.settle()
    (row,) = town.messages()
    path = key_of(town, content)
    assert town.stored() == {path: "image/jpeg"}
    assert (row["file_name"], row["file_type"], row["metadata"]["media_state"]) == (
        "image.jpg",
        "image/jpeg",
        "stored",
    )
    assert (row["metadata"]["media_path"], row["metadata"]["media_size"]) == (path, len(content))
    shown = httpx.get(row["file_url"], trust_env=False)
    assert (shown.content, shown.headers["content-type"]) == (content, "image/jpeg")


def key_of(town: Town, content: bytes) -> str:
    """Return where the file of the only message should be."""
    (row,) = town.messages()
    return f"wpp/{town.organization}/{row['id']}-{hashlib.sha256(content).hexdigest()[:16]}.jpg"


def webhook_only(town: Town) -> None:
    town.drain("webhook", webhook)
    town.record()


def test_a_file_is_private(town: Town, town_url: str) -> None:
    """Without the signature nobody gets it."""
    town.post(photo(base64=base64_of(jpeg())))
    town.settle()
    (row,) = town.messages()
    assert "token=" in row["file_url"]
    bare = f"{town_url}/storage/v1/object/public/chat-media/{row['metadata']['media_path']}"
    assert httpx.get(bare, trust_env=False).is_error
    assert httpx.get(row["file_url"].partition("?")[0], trust_env=False).is_error


@pytest.fixture
def town_url(town: Town) -> str:
    return town.shop.supabase.url.rstrip("/")


def test_a_setting_makes_files_public(town: Town) -> None:
    with open_town(town.shop, wpp_media_public=True) as public:
        public.post(photo(base64=base64_of(jpeg())))
        public.settle()
        (row,) = public.messages()
        assert "token=" not in row["file_url"]
        assert httpx.get(row["file_url"], trust_env=False).content == jpeg()
    town.shop.sql("update storage.buckets set public = false where id = 'chat-media'")


def test_the_same_file_again_is_one_object(town: Town) -> None:
    """A worker that is killed after the upload, and a platform that posts twice, leave one object and one row."""
    town.post(photo(base64=base64_of(jpeg())), photo(base64=base64_of(jpeg()), attempt=2))
    webhook_only(town)
    claim = town.ctx.lanes.claim("media", Slot())
    assert claim
    parse_first(MediaEvent, media.handle_media)(
        claim, town.ctx, town.files
    )  # and its verdict is lost
    town.ctx.lanes.conclude(claim, Postponed(0, "its worker stopped"))
    town.settle()
    assert len(town.messages()) == len(town.stored()) == 1
    assert town.messages()[0]["metadata"]["media_state"] == "stored"


def test_pain_37_a_hostile_name_is_no_path(town: Town) -> None:
    """The key is made of ids; the name is shown, and harmless."""
    town.post(photo(base64=base64_of(jpeg()), filename="../../../etc/pass wd\u202egpj.exe"))
    town.settle()
    (row,) = town.messages()
    assert list(town.stored()) == [key_of(town, jpeg())]
    assert "/" not in row["file_name"]
    assert row["file_name"].endswith(".jpg")


def test_pain_37_two_files_of_one_moment_are_two_objects(town: Town) -> None:
    """The old key was the millisecond and the name; both are called `file`."""
    for number in range(2):
        town.post({**photo(base64=base64_of(jpeg() + bytes([number]))), "messageId": f"M{number}"})
    town.settle()
    assert len(town.stored()) == 2
    contents = [httpx.get(row["file_url"], trust_env=False).content for row in town.messages()]
    assert sorted(contents) == [jpeg() + b"\0", jpeg() + b"\1"]


def test_pain_37_a_file_that_is_refused_leaves_no_empty_bubble(town: Town) -> None:
    """The placeholder was cut for the file that then did not come: its name is shown, and why there is nothing."""
    town.post({**photo(base64=base64_of(b"<svg onload='alert(1)'/>")), "text": "[Image]"})
    town.settle()
    (row,) = town.messages()
    assert (row["message_text"], row["file_name"]) == ("", "image.jpg")
    assert row["metadata"]["media_error"]


def test_a_file_comes_from_its_link(town: Town, files: FileServer) -> None:
    content = jpeg() + bytes(300_000)
    files.paths["file.jpg"] = answer(200, content, Content_Type="application/octet-stream")
    town.post(photo(url=f"{files.url}/file.jpg?sig=1"))
    town.settle()
    (row,) = town.messages()
    assert httpx.get(row["file_url"], trust_env=False).content == content


def platform_photo(town: Town, **file: Any) -> str:
    """Let the played platform hold a picture; return its message's id."""
    town.shop.scan(town.account)
    phone = f"{town.shop.platform.url}/phone/{town.account}"
    given = {
        "from": "+79990001122",
        "media": {"mimetype": "image/jpeg", "base64": base64_of(jpeg()), **file},
    }
    posted = httpx.post(f"{phone}/messages", json=given, trust_env=False).raise_for_status()
    return str(posted.json()["messageId"])


@pytest.fixture
def on_the_platform(town: Town) -> str:
    """Return the id of a message whose picture the platform has."""
    town.ctx.platform.start(town.account)
    return platform_photo(town)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_pain_37_an_expired_link_is_fetched_again_from_the_platform(
    town: Town, files: FileServer, on_the_platform: str, status: int
) -> None:
    files.paths["expired"] = answer(status)
    town.post({**photo(url=f"{files.url}/expired"), "messageId": on_the_platform})
    town.settle()
    (row,) = town.messages()
    assert row["metadata"]["media_state"] == "stored"
    assert httpx.get(row["file_url"], trust_env=False).content == jpeg()


def test_a_file_that_nobody_posted_is_asked_of_the_platform(
    town: Town, on_the_platform: str
) -> None:
    town.post({**photo(), "messageId": on_the_platform})
    town.settle()
    assert town.messages()[0]["metadata"]["media_state"] == "stored"


def test_a_forbidden_link_is_asked_of_the_platform_too(town: Town, on_the_platform: str) -> None:
    """What leads into our own network is not followed, and the file is not lost for it."""
    with FileServer(file=answer(200, png())) as inside:
        town.post({**photo(url=f"{inside.url}/file"), "messageId": on_the_platform})
        town.settle()
        assert inside.asked == []
    assert town.messages()[0]["file_type"] == "image/jpeg"


def test_a_server_that_is_down_is_asked_again(
    town: Town, files: FileServer, redis_client: redis.Redis
) -> None:
    files.paths["file"] = answer(503)
    town.post(photo(url=f"{files.url}/file"))
    town.settle()
    assert town.messages()[0]["metadata"]["media_state"] == "pending"
    files.paths["file"] = answer(200, jpeg())
    town.settle_at_last()
    assert town.messages()[0]["metadata"]["media_state"] == "stored"
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
def test_what_is_not_kept_is_said(town: Town, what: str, by_link: bool) -> None:  # noqa: FBT001
    """The message stays, its file is refused with a reason, and nothing of it is in the bucket."""
    content, reason = REFUSED[what]
    if not content and not by_link:
        return  # without any base64 there is no file to begin with
    with (
        open_town(town.shop, wpp_media_limit=1_000_000) as strict,
        FileServer(file=answer(200, content)) as server,
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


def test_a_file_that_is_nowhere_is_refused(town: Town) -> None:
    town.post({**photo(url="http://elsewhere.example/x"), "messageId": None})
    town.settle()
    metadata = town.messages()[0]["metadata"]
    assert (metadata["media_refused"], metadata["media_error"]) == (
        "gone",
        "its link leads to a host that is not in WPP_MEDIA_HOSTS",
    )


def test_what_is_no_base64_is_refused(town: Town) -> None:
    town.post(photo(base64="это не base64"))
    town.settle()
    assert town.messages()[0]["metadata"]["media_refused"] == "wrong"


def test_a_download_holds_nobody_up(town: Town, files: FileServer) -> None:
    """While a file cannot be had, the same conversation goes on."""
    files.paths["file"] = answer(503)
    town.post(
        photo(url=f"{files.url}/file"),
        {**FLAT, "type": "chat", "text": "still there?", "messageId": "M2"},
    )
    town.settle()
    assert [row["message_text"] for row in town.messages()] == ["my homework", "still there?"]


def test_a_file_that_came_before_its_number_waits_for_it(town: Town) -> None:
    """Its account has no integration yet: nobody knows under whose key it belongs."""
    town.shop.sql("delete from wpp_accounts")
    town.shop.sql("delete from messenger_integrations")
    town.redis.delete(
        *town.redis.keys(keys.account_route("*")), *town.redis.keys(keys.route("*")), b"wpp:none"
    )
    town.ctx.route_cache._here.clear()  # noqa: SLF001 - another process
    town.post(photo(base64=base64_of(jpeg())))
    town.settle()
    assert town.messages() == []
    town.ctx.database.integrations.save(
        integration_id=town.integration, organization_id=town.organization, account=town.account
    )
    town.settle_at_last()
    (row,) = town.messages()
    assert row["metadata"]["media_state"] == "stored"


def of(town: Town, **known: Any) -> MessageOutcome:
    """Return the row of a message of this town that brings a picture."""
    return message("image", "image.jpg").model_copy(update={"account": town.account, **known})


def claimed(town: Town, **source: Any) -> Claim:
    """Claim the file of a message, which comes from `source`."""
    event = MediaEvent(id=UUID(int=7), account=town.account, message=of(town), **source)
    town.ctx.lanes.append(routing.route_event(event))
    claim = town.ctx.lanes.claim("media", Slot())
    assert claim
    return claim


def test_what_took_too_long_ends_as_a_dead_letter_and_can_be_replayed(town: Town) -> None:
    claim = claimed(town, base64=base64_of(jpeg()))
    town.ctx.lanes.conclude(
        claim,
        parse_first(MediaEvent, media.dead_letter_media)(
            claim, "expired", "could not be done in time"
        ),
    )
    town.settle()
    (letter,) = town.ctx.database.dead_letters.find(DeadLetterQuery(kind="media"))
    assert (letter.reason, letter.account) == ("expired", town.account)
    assert town.messages()[0]["metadata"]["media_state"] == "refused"
    replayer = Replayer(town.redis, town.ctx.lanes, town.ctx.database, 1000)
    assert replayer.replay([letter]) == (1, 0)
    town.settle()
    assert town.messages()[0]["metadata"]["media_state"] == "stored"


def test_a_blob_lasts_an_hour_after_it_was_stored(town: Town, redis_client: redis.Redis) -> None:
    redis_client.set(keys.payload("x", "digest"), base64_of(jpeg()), ex=100_000)
    verdict = parse_first(MediaEvent, media.handle_media)(
        claimed(town, blob=keys.payload("x", "digest")), town.ctx, town.files
    )
    assert isinstance(verdict, Settled)
    assert redis_client.ttl(keys.payload("x", "digest")) <= payload_store.RELEASED_TTL_S


def test_a_blob_that_is_gone_is_asked_of_the_platform(town: Town, on_the_platform: str) -> None:
    event = MediaEvent(
        id=UUID(int=7),
        account=town.account,
        message=of(town, wa_message_id=on_the_platform),
        blob=keys.payload("gone", "digest"),
    )
    town.ctx.lanes.append(routing.route_event(event))
    town.settle()
    assert town.messages()[0]["metadata"]["media_state"] == "stored"


def test_another_worker_that_has_the_claim_now_is_left_alone(
    town: Town, files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the file is stored at the latest; while it is awaited, after some seconds."""
    files.paths["file"] = answer(200, jpeg() + bytes(300_000))
    claim = claimed(town, url=f"{files.url}/file")
    town.redis.hset(keys.lane_state(claim.lane), "fence", "999")
    for renew_every_s in (60.0, 0.001):
        monkeypatch.setattr(lease, "RENEW_EVERY_S", renew_every_s)
        assert isinstance(
            parse_first(MediaEvent, media.handle_media)(claim, town.ctx, town.files), Postponed
        )
        assert town.stored() == {}


def test_a_claim_lasts_for_as_long_as_its_file_takes(
    town: Town, files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that thinks for longer than a lease before it says anything: nobody else begins with the file."""
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.1)
    short = Lanes(town.redis, town.shop.engine.model_copy(update={"wpp_lease_s": 0.5}))
    ctx = dataclasses.replace(town.ctx, lanes=short)

    def think(request: BaseHTTPRequestHandler) -> None:
        time.sleep(1.5)
        answer(200, jpeg())(request)

    files.paths["file"] = think
    town.ctx.lanes.append(
        routing.route_event(
            MediaEvent(
                id=UUID(int=7), account=town.account, message=of(town), url=f"{files.url}/file"
            )
        )
    )
    claim = short.claim("media", Slot())
    assert claim
    taken: list[int] = []
    over = threading.Event()

    def sweep() -> None:
        while not over.wait(0.1):
            taken.append(len(short.sweep("media").given_up))

    sweeping = threading.Thread(target=sweep)
    sweeping.start()
    verdict = parse_first(MediaEvent, media.handle_media)(claim, ctx, town.files)
    over.set()
    sweeping.join()
    assert isinstance(verdict, Settled)
    assert len(taken) > 5
    assert sum(taken) == 0


def test_a_link_that_leads_to_a_page_is_asked_of_the_platform(
    town: Town, files: FileServer, on_the_platform: str
) -> None:
    """With a 200 the page says that the link has expired."""
    files.paths["expired"] = answer(200, b"<!doctype html><html><body>expired</body></html>")
    town.post({**photo(url=f"{files.url}/expired"), "messageId": on_the_platform})
    town.settle()
    (row,) = town.messages()
    assert row["metadata"]["media_state"] == "stored"
    assert httpx.get(row["file_url"], trust_env=False).content == jpeg()


def test_another_file_under_the_same_id_replaces_nothing(town: Town) -> None:
    """The first one stays shown; the second is kept and said."""
    first, second = jpeg() + b"first", jpeg() + b"second"
    for content in (first, second):
        town.post(photo(base64=base64_of(content)))
        town.settle()
    (row,) = town.messages()
    assert httpx.get(row["file_url"], trust_env=False).content == first
    assert list(row["metadata"]["other_files"]) == [key_of(town, second)]
    assert len(town.stored()) == 2


def test_a_file_for_a_number_that_was_removed_is_kept_like_its_message(town: Town) -> None:
    """What arrives late is filed; nobody asks the platform in the name of a number that is gone."""
    town.ctx.database.integrations.remove(town.integration, town.organization)
    town.ctx.route_cache.refresh(town.integration, town.organization)
    town.post(photo(base64=base64_of(jpeg())), {**photo(), "messageId": "M2"})
    town.settle()
    assert [row["metadata"]["media_state"] for row in town.messages()] == ["stored", "refused"]


def test_memory_does_not_grow_with_the_file(town: Town, redis_client: redis.Redis) -> None:
    """20 MB of base64 in Redis pass through in pieces."""
    redis_client.set(keys.payload("big", "digest"), base64.b64encode(MP4 + bytes(15_000_000)))
    claim = claimed(town, blob=keys.payload("big", "digest"))
    tracemalloc.start()
    try:
        verdict = parse_first(MediaEvent, media.handle_media)(claim, town.ctx, town.files)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(verdict, Settled)
    assert peak < 12_000_000


def test_a_small_file_travels_with_its_event(town: Town) -> None:
    file = Attachment(base64="AAAA", url="https://media.example/x")
    event: Any = routing.route_webhook(town.account, FLAT, "x", "79990001122").event
    key = keys.payload("x", "digest")
    inline: Any = routing.route_media(event, message("image", "x"), file, None)
    beside: Any = routing.route_media(event, message("image", "x"), file, key)
    assert (inline.event.base64, inline.event.blob) == ("AAAA", None)
    assert (beside.event.base64, beside.event.blob) == (None, key)
    assert find_record(town.redis, inline.event.id) is None
