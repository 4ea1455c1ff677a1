"""A Redis URL is checked before it is used; a message about it never shows a password."""

import pytest

from shared.redis.client import connect
from shared.redis_url import InvalidRedisUrlError, check_url, parse_sentinel_url

PASSWORD = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://redis",
        "redis://:p%23w@redis:6379",
        "redis://user:a%40b@redis:6379/3?socket_timeout=2.5&max_connections=64",
        "redis://[::1]:6379/0",
        "rediss://user:pw@redis.example.com:6380/0?ssl_cert_reqs=required&ssl_ca_certs=/ca.pem",
        "unix:///run/redis.sock",
        "unix://:pw@/run/redis.sock?db=2",
        "redis+sentinel://one,two:26380,[::1]:26379/mymaster/0",
        "rediss+sentinel://user:pw@one:26379/mymaster?sentinel_password=pw&ssl_cert_reqs=none",
    ],
)
def test_a_valid_url_makes_a_client(url: str) -> None:
    """Making a client and a connection does no I/O."""
    check_url(url)
    with connect(url) as client:
        client.connection_pool.make_connection()


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://x", "give a URL"),
        ("redis://", "give a URL"),
        (f"redis://:{PASSWORD}#x@redis:6379/0", "contains '#'"),
        (f"redis://:p@{PASSWORD}@redis:6379/0", "contains '@' twice"),
        (f"redis://:{PASSWORD}/x@redis:6379/0", "port is no number"),
        (f"redis://:{PASSWORD}?x@redis:6379/0", "port is no number"),
        (f"redis://:12/{PASSWORD}@redis:6379/0", "host is missing"),
        (f"redis://{PASSWORD}/x@redis:6379/0", "database after the address is no number"),
        (f"redis://:{PASSWORD}[@redis:6379/0", "host is malformed"),
        (f"redis://:{PASSWORD}@:6379/0", "host is missing"),
        (f"redis://:{PASSWORD}@redis:99999/0", "port is no number"),
        (f"redis://:{PASSWORD}@redis:0/0", "port is no number"),
        (f"redis://:{PASSWORD}@redis:6379/zero", "database after the address is no number"),
        (f"redis://:{PASSWORD}@redis:6379/0?foo=bar", "unknown option"),
        (f"redis://:{PASSWORD}@redis:6379/0?ssl_cert_reqs=none", "unknown option"),
        (f"redis://:{PASSWORD}@redis:6379/0?db=one", "option db has an invalid value"),
        (f"unix://:{PASSWORD}@redis:6379", "path of the socket"),
        (f"redis+sentinel://:{PASSWORD}@one:26379", "name of the primary is missing"),
        (f"redis+sentinel://:{PASSWORD}@one:x/mymaster", "port is no number"),
        (f"redis+sentinel://:{PASSWORD}@one,,two/mymaster", "host is missing"),
        (f"redis+sentinel://:{PASSWORD}@one/mymaster/zero", "database after the address"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str, fault: str) -> None:
    """The message names the fault, and how to write special characters."""
    for use in (check_url, connect):
        with pytest.raises(InvalidRedisUrlError, match=fault) as error:
            use(url)
        assert PASSWORD not in str(error.value)


def test_a_sentinel_url_names_the_sentinels_the_primary_and_both_passwords() -> None:
    """Ports are 26379 by default; percent-encoded characters are decoded."""
    url = "redis+sentinel://user:p%40w@one,two:26380/my%20master/2?sentinel_password=s%23w"
    parsed = parse_sentinel_url(url)
    assert parsed.sentinels == (("one", 26_379), ("two", 26_380))
    assert (parsed.service, parsed.tls) == ("my master", False)
    assert parsed.options == {"username": "user", "password": "p@w", "db": 2}
    assert parsed.credentials == {"password": "s#w"}
