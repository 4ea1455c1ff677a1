"""Webhooks of the platform: authentication, limits, durable storage."""

import base64
import json
import os
import threading
import time
from contextlib import ExitStack, suppress
from typing import Any

import psutil
import pytest
import redis

from shared import payload_store, routing, signed_keys, webhooks
from shared.events import utc_now
from shared.lanes import records
from shared.redis import keys
from shared.settings import EngineSettings
from shared.webhooks import RETRY_WINDOW_S
from tests.fixtures.ingress_process import (
    KEY_SECRET,
    SHARED_SECRET,
    IngressProcess,
    list_accepted_events,
)
from tests.shared.webhooks.webhook_events import ACCOUNT, classify
from workers.ingress.webhooks import storage
from workers.ingress.webhooks.storage import LOOKUP_BATCH

HELLO = {
    "account": ACCOUNT,
    "from": "+79990001122",
    "type": "chat",
    "text": "Hello",
    "messageId": "M1",
}
MEGABYTE = 1 << 20


def image_event(size: int, **fields: Any) -> dict[str, Any]:
    """Return an event with an image of `size` random bytes."""
    content = base64.b64encode(b"\xff\xd8\xff\xe0" + os.urandom(size)).decode()
    return {
        **HELLO,
        "type": "image",
        "text": "[Image]",
        **fields,
        "media": {"mimetype": "image/jpeg", "base64": content},
    }


def test_an_event_is_stored_before_the_response(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """2xx means that Redis has it as it was posted, under the account of the URL."""
    assert ingress.post(HELLO).body == {"ok": True, "events": 1}
    (event,) = list_accepted_events(redis_client)
    assert (event.account, event.peer, event.payload) == (ACCOUNT, "79990001122", HELLO)


def test_the_same_event_twice_is_one(ingress: IngressProcess, redis_client: redis.Redis) -> None:
    """A repeated event is stored once."""
    assert [ingress.post(HELLO).status for _ in range(3)] == [200] * 3
    assert len(list_accepted_events(redis_client)) == 1


@pytest.mark.parametrize(
    "path",
    [
        f"/webhooks/wpp/{ACCOUNT}/wrong",
        f"/webhooks/wpp/other/{signed_keys.make_webhook_key(ACCOUNT, [KEY_SECRET.encode()])}",
        f"/webhooks/wpp/{ACCOUNT}/{signed_keys.make_webhook_key(ACCOUNT, [b'another secret'])}",
        f"/webhooks/wpp/{ACCOUNT}/%ED%A0%80",
        f"/webhooks/wpp?account={ACCOUNT}",
        f"/webhooks/wpp?account={ACCOUNT}&secret=wrong",
        f"/functions/v1/wpp-webhook?account={ACCOUNT}&secret=",
    ],
)
def test_pain_23_a_wrong_url_is_404(
    ingress: IngressProcess, redis_client: redis.Redis, path: str
) -> None:
    """Whichever part of the URL is wrong; nothing is stored."""
    answers = [ingress.post(body, path) for body in (HELLO, b"{")]
    assert [(answer.status, answer.body["code"]) for answer in answers] == [(404, "not_found")] * 2
    assert list_accepted_events(redis_client) == []


@pytest.mark.parametrize("path", ["/webhooks/wpp", "/functions/v1/wpp-webhook"])
def test_legacy_urls_need_the_shared_secret(
    ingress: IngressProcess, redis_client: redis.Redis, path: str
) -> None:
    """In a header or in the URL; the account is in the URL or in the event."""
    assert (
        ingress.post(HELLO, f"{path}?account={ACCOUNT}", {"x-webhook-secret": SHARED_SECRET}).status
        == 200
    )
    assert (
        ingress.post({**HELLO, "messageId": "M2"}, f"{path}?secret={SHARED_SECRET}").status == 200
    )
    assert [
        (event.account, event.payload["messageId"]) for event in list_accepted_events(redis_client)
    ] == [
        (ACCOUNT, "M1"),
        (ACCOUNT, "M2"),
    ]


def test_a_legacy_url_without_an_account_is_400(ingress: IngressProcess) -> None:
    """Neither the URL nor the event names it."""
    body = {"type": "chat", "from": "+79990001122", "text": "x"}
    answer = ingress.post(body, f"/webhooks/wpp?secret={SHARED_SECRET}")
    assert (answer.status, answer.body["code"]) == (400, "malformed")


def test_legacy_urls_are_disabled_without_a_secret(small_ingress: IngressProcess) -> None:
    """Not even an empty secret is accepted."""
    for secret in ("", "None", SHARED_SECRET):
        assert (
            small_ingress.post(HELLO, f"/webhooks/wpp?account={ACCOUNT}&secret={secret}").status
            == 404
        )


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"{",
            b"[1]",
            b'"text"',
            b"\xff\xfe",
            b"null",
            b"[" * 100_000,
            b'{"a":' * 70 + b"1" + b"}" * 70,
        ),
        *(
            b'{"a":"' + b"x" * 50_000,
            b'{"a":"' + b"\xff" * 50_000 + b'"}',
            b'{"a":"' + b"\\q" * 50_000 + b'"}',
        ),
    ],
)
def test_pain_09_a_malformed_body_is_400(
    ingress: IngressProcess, redis_client: redis.Redis, body: bytes
) -> None:
    """Never 500, which would make the platform retry."""
    answer = ingress.post(body)
    assert (answer.status, answer.body["code"]) == (400, "malformed")
    assert list_accepted_events(redis_client) == []


def test_a_list_of_events_is_split(ingress: IngressProcess, redis_client: redis.Redis) -> None:
    """A known event in it is not stored again; the rest is stored."""
    ingress.post(HELLO)
    events = [HELLO, {**HELLO, "messageId": "M2"}, {"type": "qr", "account": ACCOUNT, "qr": "2@A"}]
    assert ingress.post(events).body == {"ok": True, "events": 3}
    assert len(list_accepted_events(redis_client)) == 3


def test_a_file_is_stored_beside_its_event(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """An event with 5 MB takes less than 1 kB of the queue; its base64 outlives it."""
    posted = image_event(5 * MEGABYTE)
    assert ingress.post(posted).status == 200
    (event,) = list_accepted_events(redis_client)
    (digest,) = event.blobs
    assert len(event.model_dump_json()) < 1000
    key = keys.payload(event.id, digest)
    assert redis_client.get(key) == posted["media"]["base64"].encode()
    assert redis_client.ttl(key) > 2 * 86_400
    assert payload_store.referenced_digest(event.payload["media"]["base64"], event.blobs) == digest
    assert payload_store.restore_texts(event.payload, {digest: posted["media"]["base64"]}) == posted


def test_the_files_that_wait_for_an_account_are_bounded(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """Above the limit of bytes they are refused before they are stored."""
    posted = image_event(100_000)
    name = keys.waiting_bytes("webhook")
    redis_client.hset(name, ACCOUNT, EngineSettings().wpp_waiting_bytes_limit)
    answer = ingress.post(posted)
    assert (answer.status, answer.body.get("code")) == (503, "overloaded")
    assert "WPP_WAITING_BYTES_LIMIT" in str(answer.body.get("detail"))
    assert payload_ttls(redis_client) == []
    redis_client.delete(name)
    assert ingress.post(posted).status == 200
    assert int(redis_client.hget(name, ACCOUNT) or 0) > len(posted["media"]["base64"])


def test_the_file_is_part_of_the_identity_of_an_event(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """Although only its digest is left in the event."""
    first, second = image_event(100_000), image_event(100_000)
    assert [ingress.post(each).status for each in (first, first, second)] == [200] * 3
    assert len(list_accepted_events(redis_client)) == 2


def test_files_of_a_list_are_stored_beside_their_events(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """Each event has its own file."""
    pictures = [image_event(50_000, messageId=f"M{n}") for n in range(3)]
    ingress.post(pictures)
    events = list_accepted_events(redis_client)
    assert [len(event.blobs) for event in events] == [1, 1, 1]
    assert len({redis_client.get(keys.payload(event.id, event.blobs[0])) for event in events}) == 3


@pytest.mark.parametrize("size", [24 * MEGABYTE])
def test_a_body_of_nearly_25_megabytes_is_accepted(
    ingress: IngressProcess, redis_client: redis.Redis, size: int
) -> None:
    """The ingress needs less than 2.7 times its size in memory."""
    process = psutil.Process(ingress.pid)
    child = next(iter(process.children()), process)
    posted = json.dumps(image_event(size * 3 // 4)).encode()
    ingress.post(HELLO)
    before, peak, done = child.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, child.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    assert ingress.post(posted).status == 200
    done.set()
    watching.join()
    assert len(list_accepted_events(redis_client)) == 2
    assert peak - before < 2.7 * len(posted), (
        f"{(peak - before) / MEGABYTE:.0f} MB for {len(posted) / MEGABYTE:.0f}"
    )


def test_a_long_text_is_stored_beside_its_event(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """Escapes and non-ASCII text are restored exactly."""
    text = 'Привет, "мир" \\ ' * 5000
    assert ingress.post({**HELLO, "text": text}).status == 200
    (event,) = list_accepted_events(redis_client)
    (digest,) = event.blobs
    kept = payload_store.read_text(redis_client, keys.payload(event.id, digest))
    assert kept == text
    assert payload_store.restore_texts(event.payload, {digest: kept})["text"] == text


def test_a_content_length_above_the_limit_is_413(small_ingress: IngressProcess) -> None:
    """Before the body is read."""
    with small_ingress.open_raw("Content-Length: 100001") as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_above_the_limit_is_413(small_ingress: IngressProcess) -> None:
    """No more than the limit is read."""
    piece = b"%x\r\n%b\r\n" % (60_000, b" " * 60_000)
    with small_ingress.open_raw("Transfer-Encoding: chunked", piece, piece) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_large_body_without_files_is_413(ingress: IngressProcess) -> None:
    """Parsing megabytes of small values would take too long."""
    answer = ingress.post({**HELLO, "list": list(range(800_000))})
    assert (answer.status, answer.body["code"]) == (413, "too_large")


def test_a_list_of_thousands_is_accepted(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """As after an outage, with files among them."""
    events = [
        {**HELLO, "messageId": f"M{n}", "notifyName": "Anna", "raw_from": "79990001122@c.us"}
        for n in range(5000)
    ]
    assert ingress.post([*events, image_event(100_000, messageId="P")]).body == {
        "ok": True,
        "events": 5001,
    }
    kept = list_accepted_events(redis_client)
    assert len(kept) == 5001
    assert [len(event.blobs) for event in kept if event.payload["messageId"] == "P"] == [1]


def test_a_list_without_ids_and_times_is_accepted(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """More events than Redis connections; each is looked up under its earlier identity."""
    events = [
        {"from": "+79990001122", "type": "chat", "text": f"text {n}"}
        for n in range(2 * LOOKUP_BATCH)
    ]
    for _ in range(2):
        assert ingress.post(events).body == {"ok": True, "events": len(events)}
    assert len(list_accepted_events(redis_client)) == len(events)


def test_concurrent_webhooks_wait_for_a_connection(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """More of them than connections to Redis, which is slow meanwhile: all are accepted."""
    with ExitStack() as stack:
        redis_client.client_pause(1500)
        senders = []
        for number in range(200):
            body = b'{"from":"+79990001122","type":"chat","text":"text %d"}' % number
            head = f"Content-Length: {len(body)}"
            senders.append(stack.enter_context(ingress.open_raw(head, body)))
        statuses = [sender.recv(1000).split()[1] for sender in senders]
    assert statuses == [b"200"] * 200
    assert len(list_accepted_events(redis_client)) == 200


def test_too_many_events_are_413(ingress: IngressProcess, redis_client: redis.Redis) -> None:
    """200,000 tiny events are refused with less than a second of CPU; nothing is stored."""
    body = b"[" + b",".join([b'{"type":"chat"}'] * 200_000) + b"]"
    process = psutil.Process(ingress.pid)
    before = sum(process.cpu_times()[:2])
    answer = ingress.post(body)
    assert (answer.status, answer.body["code"]) == (413, "too_large")
    assert sum(process.cpu_times()[:2]) - before < 1
    assert list_accepted_events(redis_client) == []


def test_a_large_event_is_stored_beside_the_queue(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """Its thirty texts are each too short to be cut out."""
    posted = {**HELLO, "texts": ["x" * 32_000 for _ in range(30)], "text": "long " * 20_000}
    assert ingress.post(posted).status == 200
    (event,) = list_accepted_events(redis_client)
    assert len(event.model_dump_json()) < 1000
    assert event.whole
    payload = json.loads(
        payload_store.read_text(redis_client, keys.payload(event.id, event.whole)) or ""
    )
    texts = {
        digest: payload_store.read_text(redis_client, keys.payload(event.id, digest)) or ""
        for digest in event.blobs
    }
    assert payload_store.restore_texts(payload, texts) == posted


def test_malformed_bodies_are_counted(ingress: IngressProcess, redis_client: redis.Redis) -> None:
    """In the hash of unrecognized events."""
    for body in (b"{", b"[1]"):
        ingress.post(body)
    assert redis_client.hgetall(keys.UNRECOGNIZED_EVENTS) == {routing.MALFORMED.encode(): b"2"}


@pytest.mark.parametrize(("seconds", "kept"), [(1, 0), (100, 0), (121, 1)])
def test_a_retry_without_an_id_is_recognized_across_time_windows(
    ingress: IngressProcess, redis_client: redis.Redis, seconds: int, kept: int
) -> None:
    """One event within two minutes, two after that."""
    while time.time() % RETRY_WINDOW_S > RETRY_WINDOW_S - 10:
        time.sleep(1)  # the window before is another one from then on
    said = {"from": "+79990001122", "type": "chat", "text": "ok"}
    earlier = webhooks.identify_event(classify(said, accepted_at=utc_now())).previous
    assert earlier
    first = records.record_key(routing.make_webhook_id(ACCOUNT, earlier))
    redis_client.hset(first, "accepted", str(int((time.time() - seconds) * 1000)))
    assert ingress.post([said, {**HELLO, "messageId": "another"}]).body == {"ok": True, "events": 2}
    assert [event.payload["text"] for event in list_accepted_events(redis_client)].count(
        "ok"
    ) == kept


def payload_ttls(client: redis.Redis) -> list[int]:
    return [client.ttl(key) for key in client.scan_iter(keys.payload("*", "*"))]


def test_a_file_of_a_finished_event_expires_soon(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """The platform posts it again, and no worker will read it."""
    posted = image_event(100_000)
    ingress.post(posted)
    (event,) = list_accepted_events(redis_client)
    redis_client.delete(*redis_client.scan_iter(keys.payload("*", "*")))
    redis_client.hset(records.record_key(event.id), "state", "done")
    assert ingress.post(posted).status == 200
    assert [0 < ttl <= storage.UNACCEPTED_TTL_S for ttl in payload_ttls(redis_client)] == [True]


def test_a_file_of_an_earlier_attempt_is_kept_with_its_event(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """A retry does not extend the TTL of a file that a worker has released."""
    posted = image_event(100_000)
    ingress.post(posted)
    (key,) = redis_client.scan_iter(keys.payload("*", "*"))
    redis_client.expire(key, 10)
    ingress.post(posted)
    assert redis_client.ttl(key) > 2 * 86_400
    redis_client.expire(key, payload_store.RELEASED_TTL_S)
    ingress.post(posted)
    assert redis_client.ttl(key) <= payload_store.RELEASED_TTL_S


def test_a_slow_body_is_408(small_ingress: IngressProcess) -> None:
    """Each byte comes in time, the whole body does not."""
    began = time.monotonic()
    with small_ingress.open_raw("Content-Length: 1000") as connection:
        connection.settimeout(0.2)
        while time.monotonic() - began < 10:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(b" ")
            with suppress(TimeoutError):
                assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
                break
    assert time.monotonic() - began < 5


def test_a_stalled_body_is_408(
    impatient_ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """Nothing is stored."""
    began = time.monotonic()
    with impatient_ingress.open_raw("Content-Length: 100", b'{"account"') as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 5
    assert list_accepted_events(redis_client) == []


def test_a_disconnected_sender_leaves_nothing(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """The next event is stored."""
    ingress.open_raw("Content-Length: 3000000", b'{"account":"' + b"x" * 2_000_000).close()
    assert ingress.post(HELLO).status == 200
    assert len(list_accepted_events(redis_client)) == 1


def test_large_bodies_do_not_delay_small_ones(ingress: IngressProcess) -> None:
    """Half of the small events are answered within 0.5 s while images arrive."""
    posted = json.dumps(image_event(8 * MEGABYTE)).encode()
    waits: list[float] = []
    others = [threading.Thread(target=ingress.post, args=(posted,)) for _ in range(4)]
    for other in others:
        other.start()
    while any(other.is_alive() for other in others) or not waits:
        began = time.monotonic()
        assert ingress.post({**HELLO, "messageId": f"S{len(waits)}"}).status == 200
        waits.append(time.monotonic() - began)
    assert sorted(waits)[len(waits) // 2] < 0.5


def measure_settled_memory(client: redis.Redis) -> int:
    """Return how many bytes Redis uses once it has freed what it can."""
    before, now = -1, 0
    while now != before:
        before, now = now, int(client.info("memory")["used_memory"]) >> 16
        time.sleep(0.2)
    return now << 16


def test_a_full_redis_is_503(ingress: IngressProcess, redis_client: redis.Redis) -> None:
    """A file that does not fit leaves nothing behind."""
    redis_client.client_kill_filter(
        _type="normal", skipme=True
    )  # their buffers, freed meanwhile, would be room
    while ingress.post(HELLO).status != 200:
        time.sleep(0.05)
    held = len(list_accepted_events(redis_client))
    redis_client.config_set("maxmemory", measure_settled_memory(redis_client) + MEGABYTE)
    try:
        answer = ingress.post(image_event(5 * MEGABYTE))
    finally:
        redis_client.config_set("maxmemory", 0)
    assert (answer.status, answer.body.get("code")) == (503, "overloaded")
    assert len(list_accepted_events(redis_client)) == held
    assert payload_ttls(redis_client) == []
