"""What a Redis URL says, and what is wrong with one; no message contains a part of a password.

    redis://[[user]:password@]host[:port][/db]            one address; rediss:// for TLS
    unix://[[user]:password@]/path/to/redis.sock[?db=0]   a socket on this machine
    redis+sentinel://[[user]:password@]host[:port],host2[:port]…/name[/db]

The last form names the sentinels that know the address of the primary `name`, by default on port
26379; rediss+sentinel:// uses TLS for Redis and for the sentinels. User and password are those of
Redis. `?sentinel_password=` and `?sentinel_username=` are those of the sentinels.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

SENTINEL_PORT = 26_379
SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
SHARD_NAME = re.compile(r"[a-z0-9-]{1,32}")
NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?")
TRUTH = re.compile(r"yes|no|true|false|1|0", re.IGNORECASE)
ANYTHING = re.compile(r".+", re.DOTALL)
OPTIONS: Mapping[str, re.Pattern[str]] = {
    "db": re.compile(r"\d{1,9}"),
    "socket_timeout": NUMBER,
    "socket_connect_timeout": NUMBER,
    "health_check_interval": re.compile(r"\d{1,9}"),
    "max_connections": re.compile(r"[1-9]\d{0,8}"),
    "client_name": ANYTHING,
}
TLS_OPTIONS: Mapping[str, re.Pattern[str]] = {
    "ssl_cert_reqs": re.compile(r"none|optional|required"),
    "ssl_ca_certs": ANYTHING,
    "ssl_certfile": ANYTHING,
    "ssl_keyfile": ANYTHING,
    "ssl_check_hostname": TRUTH,
}
SENTINEL_OPTIONS: Mapping[str, re.Pattern[str]] = {
    "sentinel_username": ANYTHING,
    "sentinel_password": ANYTHING,
}
ENCODE = (
    "special characters in a password are percent-encoded: # as %23, / as %2F, ? as %3F, "
    "@ as %40, : as %3A"
)


class InvalidRedisUrlError(ValueError):
    """The text tells an operator what to change, without a part of the URL that may be secret."""


@dataclass(frozen=True)
class SentinelUrl:
    """A parsed sentinel URL; `options` and `credentials` are arguments of redis-py."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    tls: bool
    options: Mapping[str, Any]
    """Of the connections to Redis."""
    credentials: Mapping[str, str]
    """Of the connections to the sentinels."""


def read_shards(text: str) -> dict[str, str]:
    """Return the URLs of `name=URL` pairs, which are separated by white space, by their names.

    Raises:
        InvalidRedisUrlError: a pair is malformed, or two have the same name or URL.
    """
    found: dict[str, str] = {}
    for number, pair in enumerate(text.split(), start=1):
        name, separator, url = pair.partition("=")
        if not separator or not SHARD_NAME.fullmatch(name):
            msg = f"shard {number} is no name=URL; a name has 1 to 32 of a-z, 0-9 and -"
            raise InvalidRedisUrlError(msg)
        try:
            check_url(url)
        except InvalidRedisUrlError as error:
            msg = f"shard {name}: {error}"
            raise InvalidRedisUrlError(msg) from None
        if name in found or url in found.values():
            msg = f"shard {name} is listed twice, or has the address of another"
            raise InvalidRedisUrlError(msg)
        found[name] = url
    return found


def is_sentinel_url(url: str) -> bool:
    return url.partition("://")[0] in {"redis+sentinel", "rediss+sentinel"}


def check_url(url: str) -> None:
    """Raise InvalidRedisUrlError unless a client can be made of `url`."""
    scheme, separator, rest = url.partition("://")
    if scheme not in SCHEMES or not separator or not rest:
        msg = "give a URL such as redis://127.0.0.1:6379/0, rediss://…, unix://… or redis+sentinel://…"
        raise InvalidRedisUrlError(msg)
    if "#" in url:
        msg = f"it contains '#', which ends an address; {ENCODE}"
        raise InvalidRedisUrlError(msg)
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query, keep_blank_values=True)
    except ValueError:
        msg = f"its host is malformed; {ENCODE}"
        raise InvalidRedisUrlError(msg) from None
    if parts.netloc.count("@") > 1:
        msg = f"it contains '@' twice; {ENCODE}"
        raise InvalidRedisUrlError(msg)
    if is_sentinel_url(url):
        parse_sentinel_url(url)
    elif scheme == "unix":
        _check_socket(parts)
    else:
        _check_address(parts)
    _check_options(scheme, query)


def parse_sentinel_url(url: str) -> SentinelUrl:
    """Return the parts of a sentinel URL.

    Raises:
        InvalidRedisUrlError: a part is missing or malformed.
    """
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    name, _, db = parts.path.removeprefix("/").partition("/")
    if not name:
        msg = "the name of the primary is missing: redis+sentinel://host:26379/mymaster/0"
        raise InvalidRedisUrlError(msg)
    _check_db(db)
    options: dict[str, Any] = {"db": int(db)} if db else {}
    user, separator, password = credentials.partition(":")
    if user:
        options["username"] = unquote(user)
    if separator and password:
        options["password"] = unquote(password)
    of_sentinels: dict[str, str] = {}
    for option, values in parse_qs(parts.query).items():
        if option in SENTINEL_OPTIONS:
            of_sentinels[option.removeprefix("sentinel_")] = values[0]
        else:
            options[option] = _convert(option, values[0])
    return SentinelUrl(
        sentinels=tuple(_read_addresses(hosts)),
        service=unquote(name),
        tls=parts.scheme.startswith("rediss"),
        options=options,
        credentials=of_sentinels,
    )


def _read_addresses(hosts: str) -> Iterator[tuple[str, int]]:
    for address in hosts.split(","):
        try:
            parts = urlsplit(f"//{address}")
            port = parts.port
        except ValueError:
            msg = f"a sentinel's port is no number from 1 to 65535; {ENCODE}"
            raise InvalidRedisUrlError(msg) from None
        if not parts.hostname or parts.path or port == 0:
            msg = f"a sentinel's host is missing; {ENCODE}"
            raise InvalidRedisUrlError(msg)
        yield parts.hostname, port or SENTINEL_PORT


def _check_address(parts: SplitResult) -> None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        msg = f"its port is no number from 1 to 65535; {ENCODE}"
        raise InvalidRedisUrlError(msg)
    if not parts.hostname:
        msg = f"its host is missing; {ENCODE}"
        raise InvalidRedisUrlError(msg)
    _check_db(parts.path.removeprefix("/"))


def _check_socket(parts: SplitResult) -> None:
    if not parts.path or parts.port is not None or parts.hostname:
        msg = f"give the path of the socket: unix:///run/redis.sock; {ENCODE}"
        raise InvalidRedisUrlError(msg)


def _check_db(text: str) -> None:
    if not re.fullmatch(r"\d{0,9}", text):
        msg = f"the database after the address is no number; {ENCODE}"
        raise InvalidRedisUrlError(msg)


def _check_options(scheme: str, query: Mapping[str, list[str]]) -> None:
    known = dict(OPTIONS)
    if scheme.startswith("rediss"):
        known |= TLS_OPTIONS
    if scheme.endswith("+sentinel"):
        known |= SENTINEL_OPTIONS
    if any(name not in known for name in query):
        msg = f"it has an unknown option after '?'; known are {', '.join(known)}; {ENCODE}"
        raise InvalidRedisUrlError(msg)
    for name, values in query.items():
        if not known[name].fullmatch(values[0]):
            msg = f"its option {name} has an invalid value"
            raise InvalidRedisUrlError(msg)


def _convert(option: str, text: str) -> Any:
    if OPTIONS.get(option) is NUMBER:
        return float(text)
    if option in {"db", "health_check_interval", "max_connections"}:
        return int(text)
    return text.lower() in {"yes", "true", "1"} if option == "ssl_check_hostname" else text
