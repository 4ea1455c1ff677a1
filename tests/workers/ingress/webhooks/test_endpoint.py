"""The platform's door: who may post, what is taken, and that it is kept."""

import base64
import json
import os
import threading
import time
from contextlib import suppress
from typing import Any

import psutil
import pytest
import redis

from shared import payload_store, routing, signed_keys, webhooks
from shared.events import utc_now
from shared.lanes import records
from shared.redis import keys
from tests.fixtures.ingress_process import (
    KEY_SECRET,
    SHARED_SECRET,
    IngressProcess,
    list_accepted_events,
)
from tests.shared.webhooks.webhook_events import ACCOUNT, classify
from workers.ingress.webhooks import storage

HELLO = {
    "account": ACCOUNT,
    "from": "+79990001122",
    "type": "chat",
    "text": "Hello",
    "messageId": "M1",
}
MEGABYTE = 1 << 20


def picture(size: int, **fields: Any) -> dict[str, Any]:
    """Return an event with a picture of `size` random bytes."""
    content = base64.b64encode(b"\xff\xd8\xff\xe0" + os.urandom(size)).decode()
    return {
        **HELLO,
        "type": "image",
        "text": "[Image]",
        **fields,
        "media": {"mimetype": "image/jpeg", "base64": content},
    }


def test_an_event_is_kept_before_it_is_answered(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """2xx means that Redis has it, as it was posted, under the account of the URL."""
    assert ingress.post(HELLO).body == {"ok": True, "events": 1}
    (event,) = list_accepted_events(redis_client)
    assert (event.account, event.peer, event.payload) == (ACCOUNT, "79990001122", HELLO)


def test_the_same_event_twice_is_one(ingress: IngressProcess, redis_client: redis.Redis) -> None:
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
def test_pain_23_a_stranger_gets_404(
    ingress: IngressProcess, redis_client: redis.Redis, path: str
) -> None:
    """Whichever part of the URL is wrong, and whatever is posted, nothing is said and nothing is kept."""
    answers = [ingress.post(body, path) for body in (HELLO, b"{")]
    assert [(answer.status, answer.body["code"]) for answer in answers] == [(404, "not_found")] * 2
    assert list_accepted_events(redis_client) == []


@pytest.mark.parametrize("path", ["/webhooks/wpp", "/functions/v1/wpp-webhook"])
def test_the_old_urls_need_the_shared_secret(
    ingress: IngressProcess, redis_client: redis.Redis, path: str
) -> None:
    """In a header or in the URL; the account is in the URL too, or else in the event."""
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


def test_an_old_url_without_any_account_is_400(ingress: IngressProcess) -> None:
    body = {"type": "chat", "from": "+79990001122", "text": "x"}
    answer = ingress.post(body, f"/webhooks/wpp?secret={SHARED_SECRET}")
    assert (answer.status, answer.body["code"]) == (400, "malformed")


def test_the_old_urls_are_closed_without_a_secret(small_ingress: IngressProcess) -> None:
    """No setting, no door: not even for an empty secret."""
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
    """What is no event in JSON is said so, once and for all: never a 500 that makes the platform try again."""
    answer = ingress.post(body)
    assert (answer.status, answer.body["code"]) == (400, "malformed")
    assert list_accepted_events(redis_client) == []


def test_a_list_is_split_each_with_its_own_fate(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """One of them is known already: it is no second event, and the others are no worse for it."""
    ingress.post(HELLO)
    events = [HELLO, {**HELLO, "messageId": "M2"}, {"type": "qr", "account": ACCOUNT, "qr": "2@A"}]
    assert ingress.post(events).body == {"ok": True, "events": 3}
    assert len(list_accepted_events(redis_client)) == 3


def test_a_file_waits_beside_its_event(ingress: IngressProcess, redis_client: redis.Redis) -> None:
    """The queue gets some hundred bytes of a picture of 5 MB; its base64 waits for longer than the event may."""
    posted = picture(5 * MEGABYTE)
    assert ingress.post(posted).status == 200
    (event,) = list_accepted_events(redis_client)
    (digest,) = event.blobs
    assert len(event.model_dump_json()) < 1000
    key = keys.payload(event.id, digest)
    assert redis_client.get(key) == posted["media"]["base64"].encode()
    assert redis_client.ttl(key) > 2 * 86_400
    assert payload_store.referenced_digest(event.payload["media"]["base64"], event.blobs) == digest
    assert payload_store.restore_texts(event.payload, {digest: posted["media"]["base64"]}) == posted


def test_the_same_file_twice_is_the_same_event_and_another_is_not(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """A file belongs to what an event is, even where only its digest is left of it."""
    first, second = picture(100_000), picture(100_000)
    assert [ingress.post(each).status for each in (first, first, second)] == [200] * 3
    assert len(list_accepted_events(redis_client)) == 2


def test_files_of_a_list_wait_beside_their_own_events(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    pictures = [picture(50_000, messageId=f"M{n}") for n in range(3)]
    ingress.post(pictures)
    events = list_accepted_events(redis_client)
    assert [len(event.blobs) for event in events] == [1, 1, 1]
    assert len({redis_client.get(keys.payload(event.id, event.blobs[0])) for event in events}) == 3


@pytest.mark.parametrize("size", [24 * MEGABYTE])
def test_a_body_of_nearly_25_megabytes_is_taken(
    ingress: IngressProcess, redis_client: redis.Redis, size: int
) -> None:
    """It costs the ingress little more memory than its own size, and hardly any afterwards."""
    process = psutil.Process(ingress.pid)
    child = next(iter(process.children()), process)
    posted = json.dumps(picture(size * 3 // 4)).encode()
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


def test_a_long_text_waits_beside_its_event_too(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    text = 'Привет, "мир" \\ ' * 5000
    assert ingress.post({**HELLO, "text": text}).status == 200
    (event,) = list_accepted_events(redis_client)
    (digest,) = event.blobs
    kept = payload_store.read_text(redis_client, keys.payload(event.id, digest))
    assert kept == text
    assert payload_store.restore_texts(event.payload, {digest: kept})["text"] == text


def test_what_says_it_is_too_large_is_refused_at_once(small_ingress: IngressProcess) -> None:
    with small_ingress.raw("Content-Length: 100001") as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_what_turns_out_too_large_is_refused(small_ingress: IngressProcess) -> None:
    """Without a length nobody knows before; no more than the limit is read."""
    piece = b"%x\r\n%b\r\n" % (60_000, b" " * 60_000)
    with small_ingress.raw("Transfer-Encoding: chunked", piece, piece) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_much_that_is_no_file_is_refused(ingress: IngressProcess) -> None:
    """Parsing takes its time: megabytes of small things are more than any event has."""
    answer = ingress.post({**HELLO, "list": list(range(800_000))})
    assert (answer.status, answer.body["code"]) == (413, "too_large")


def test_a_list_of_thousands_is_taken(ingress: IngressProcess, redis_client: redis.Redis) -> None:
    """After an outage the platform may bring all of an hour at once, files among them."""
    events = [
        {**HELLO, "messageId": f"M{n}", "notifyName": "Anna", "raw_from": "79990001122@c.us"}
        for n in range(5000)
    ]
    assert ingress.post([*events, picture(100_000, messageId="P")]).body == {
        "ok": True,
        "events": 5001,
    }
    kept = list_accepted_events(redis_client)
    assert len(kept) == 5001
    assert [len(event.blobs) for event in kept if event.payload["messageId"] == "P"] == [1]


def test_no_event_is_large_in_the_queue(ingress: IngressProcess, redis_client: redis.Redis) -> None:
    """Thirty texts, each just too short to be lifted: the event waits beside the queue as one."""
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
    for body in (b"{", b"[1]"):
        ingress.post(body)
    assert redis_client.hgetall(keys.UNRECOGNIZED_EVENTS) == {routing.MALFORMED.encode(): b"2"}


@pytest.mark.parametrize(("seconds", "kept"), [(1, 0), (100, 0), (121, 1)])
def test_a_retry_without_an_id_is_known_across_the_minute(
    ingress: IngressProcess, redis_client: redis.Redis, seconds: int, kept: int
) -> None:
    """Whatever the clock showed when it came first: one event within two minutes, two after that."""
    said = {"from": "+79990001122", "type": "chat", "text": "ok"}
    earlier = webhooks.identify_event(classify(said, accepted_at=utc_now())).previous
    assert earlier
    first = records.record_key(routing.make_event_id(ACCOUNT, earlier))
    redis_client.hset(first, "accepted", str(int((time.time() - seconds) * 1000)))
    assert ingress.post([said, {**HELLO, "messageId": "another"}]).body == {"ok": True, "events": 2}
    assert [event.payload["text"] for event in list_accepted_events(redis_client)].count(
        "ok"
    ) == kept


def blob_ttls(client: redis.Redis) -> list[int]:
    return [client.ttl(key) for key in client.scan_iter(keys.payload("*", "*"))]


def test_a_file_whose_event_was_done_long_ago_does_not_stay(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """The platform posts it again; nobody will ever ask for it."""
    posted = picture(100_000)
    ingress.post(posted)
    (event,) = list_accepted_events(redis_client)
    redis_client.delete(*redis_client.scan_iter(keys.payload("*", "*")))
    redis_client.hset(records.record_key(event.id), "state", "done")
    assert ingress.post(posted).status == 200
    assert [0 < ttl <= storage.UNACCEPTED_TTL_S for ttl in blob_ttls(redis_client)] == [True]


def test_a_file_that_an_earlier_try_left_stays_once_its_event_is_accepted(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    """And one that a worker is done with is not kept for longer by a retry."""
    posted = picture(100_000)
    ingress.post(posted)
    (key,) = redis_client.scan_iter(keys.payload("*", "*"))
    redis_client.expire(key, 10)
    ingress.post(posted)
    assert redis_client.ttl(key) > 2 * 86_400
    redis_client.expire(key, payload_store.RELEASED_TTL_S)
    ingress.post(posted)
    assert redis_client.ttl(key) <= payload_store.RELEASED_TTL_S


def test_who_sends_drop_by_drop_is_given_up(small_ingress: IngressProcess) -> None:
    """Each drop comes in time, the whole doesn't: nobody holds a place for ever."""
    began = time.monotonic()
    with small_ingress.raw("Content-Length: 1000") as connection:
        connection.settimeout(0.2)
        while time.monotonic() - began < 10:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(b" ")
            with suppress(TimeoutError):
                assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
                break
    assert time.monotonic() - began < 5


def test_a_body_that_stalls_is_given_up(ingress: IngressProcess, redis_client: redis.Redis) -> None:
    """Whoever stops in the middle is told so, and holds nothing up."""
    began = time.monotonic()
    with ingress.raw("Content-Length: 100", b'{"account"') as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 5
    assert list_accepted_events(redis_client) == []


def test_who_hangs_up_in_the_middle_leaves_nothing(
    ingress: IngressProcess, redis_client: redis.Redis
) -> None:
    ingress.raw("Content-Length: 3000000", b'{"account":"' + b"x" * 2_000_000).close()
    assert ingress.post(HELLO).status == 200
    assert len(list_accepted_events(redis_client)) == 1


def test_big_bodies_do_not_hold_small_ones_up(ingress: IngressProcess) -> None:
    """While pictures come in from many sides, an event is answered soon."""
    posted = json.dumps(picture(8 * MEGABYTE)).encode()
    waits: list[float] = []
    others = [threading.Thread(target=ingress.post, args=(posted,)) for _ in range(4)]
    for other in others:
        other.start()
    while any(other.is_alive() for other in others):
        began = time.monotonic()
        assert ingress.post({**HELLO, "messageId": f"S{len(waits)}"}).status == 200
        waits.append(time.monotonic() - began)
    assert sorted(waits)[len(waits) // 2] < 0.5


def settled_memory(client: redis.Redis) -> int:
    """Return how many bytes Redis uses once it has freed what it can."""
    before, now = -1, 0
    while now != before:
        before, now = now, int(client.info("memory")["used_memory"]) >> 16
        time.sleep(0.2)
    return now << 16


def test_a_full_redis_is_503(ingress: IngressProcess, redis_client: redis.Redis) -> None:
    """Where a file has no room, nothing is accepted and the platform is told to come back."""
    redis_client.client_kill_filter(
        _type="normal", skipme=True
    )  # their buffers, freed meanwhile, would be room
    while ingress.post(HELLO).status != 200:
        time.sleep(0.05)
    held = len(list_accepted_events(redis_client))
    redis_client.config_set("maxmemory", settled_memory(redis_client) + MEGABYTE)
    try:
        answer = ingress.post(picture(5 * MEGABYTE))
    finally:
        redis_client.config_set("maxmemory", 0)
    assert (answer.status, answer.body.get("code")) == (503, "overloaded")
    assert len(list_accepted_events(redis_client)) == held
    assert blob_ttls(redis_client) == []
