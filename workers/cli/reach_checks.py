"""Checks of what lies outside: the platform, and the way from it to the ingress."""

import re
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import redis
from pydantic import SecretStr

from shared import settings, signed_keys
from shared.database import Database
from shared.errors import ConfigurationError, InvalidApiKeyError, PipelineError, PlatformError
from shared.platform import Platform
from shared.redis import keys
from workers.cli.findings import Finding

TIMEOUT_S = 5.0
NONCE_TTL_S = 60
LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


def check_platform() -> Iterator[Finding]:
    """Ask for a token with an invalid key: only the platform refuses it so."""
    try:
        given = settings.load_settings(settings.PlatformSettings)
    except ConfigurationError:
        yield Finding("platform", "skipped", "its settings are wrong")
        return
    url = str(given.wpp_base_url)
    action = "check WPP_BASE_URL, and whether this machine reaches it"
    with Platform(given, deadline_s=TIMEOUT_S) as platform:
        try:
            platform.mint_token(SecretStr(f"wpp-doctor-{secrets.token_hex(8)}"))
        except InvalidApiKeyError:
            yield Finding("platform", "ok", "it answers as the platform does")
        except PlatformError as error:
            yield Finding("platform", "fault", f"WPP_BASE_URL: {url}: {error}", action)
        else:
            detail = f"WPP_BASE_URL: {url} gives a token for any key: it is not the platform"
            yield Finding("platform", "fault", detail, action)


def check_platform_key(database: Database) -> Iterator[Finding]:
    """Ask for a token with the key of a connected number: the platform must know its client."""
    found = database.integrations.iterate()
    number = next((each for each in found if each.account and each.is_enabled), None)
    if number is None:
        yield Finding("platform key", "ok", "no number is connected yet, so there is no key to try")
        return
    try:
        given = settings.load_settings(settings.PlatformSettings)
        with Platform(given, deadline_s=TIMEOUT_S) as platform:
            platform.mint_token(database.tokens.api_key(number.account))
    except InvalidApiKeyError as error:
        action = (
            f"connect the number again with force_recreate: wpp connect {number.organization_id}"
        )
        detail = f"the key of number {number.account} is refused: {error}"
        yield Finding("platform key", "fault", detail, action)
    except PipelineError as error:
        yield Finding("platform key", "warning", str(error), "see the other checks")
    else:
        yield Finding("platform key", "ok", f"that of number {number.account} is accepted")


def check_webhooks(client: "redis.Redis") -> Iterator[Finding]:
    """Read a nonce back from the ingress at the address that the platform is given."""
    try:
        given = settings.load_settings(settings.KeySettings)
    except ConfigurationError:
        yield Finding("webhooks", "skipped", "WPP_PUBLIC_URL or WPP_KEY_SECRETS is wrong")
        return
    public = str(given.wpp_public_url).rstrip("/")
    nonce, expected = f"doctor-{secrets.token_hex(8)}", secrets.token_hex(16)
    url = signed_keys.make_webhook_url(public, nonce, given.secrets)
    client.set(keys.reach_check(nonce), expected, ex=NONCE_TTL_S)
    try:
        answer = httpx.get(url, timeout=TIMEOUT_S, trust_env=False)
    except httpx.HTTPError as error:
        action = "is the web process running, and does WPP_PUBLIC_URL lead to it (DNS, proxy, TLS)?"
        yield Finding("webhooks", "fault", f"WPP_PUBLIC_URL: no answer: {error}", action)
        return
    finally:
        client.delete(keys.reach_check(nonce))
    if answer.text != expected:
        detail, action = _explain(answer)
        yield Finding("webhooks", "fault", f"WPP_PUBLIC_URL: {detail}", action)
        return
    local = urlsplit(public).hostname in LOCAL_HOSTS
    only = "; only this machine reaches it" if local else ""
    yield Finding("webhooks", "ok", f"this ingress answers at WPP_PUBLIC_URL{only}")


def _explain(answer: httpx.Response) -> tuple[str, str]:
    """Return who answered in place of this ingress, and what to do."""
    code = _read_code(answer)
    if code == "not_found":
        return (
            "an ingress with other WPP_KEY_SECRETS answers there",
            "give all processes the same WPP_KEY_SECRETS, or point WPP_PUBLIC_URL to this ingress",
        )
    if code == "method_not_allowed":
        return (
            "an ingress of another installation answers there: it has another Redis",
            "give all processes the same REDIS_URL, or point WPP_PUBLIC_URL to this ingress",
        )
    title = re.search(r"<title[^>]*>([^<]*)", answer.text[:10_000], re.IGNORECASE)
    said = " ".join((title[1] if title else answer.text[:80]).split()) or "nothing"
    server = answer.headers.get("server")
    parts = [f"another program answers {answer.status_code}"]
    parts += [f"({server})"] if server else []
    parts += [f"and leads to {answer.headers['location']}"] if answer.is_redirect else []
    detail = f"{' '.join(parts)}: {said}"
    action = "let the proxy pass /webhooks/ on to the web process, or correct WPP_PUBLIC_URL"
    return detail, action


def _read_code(answer: httpx.Response) -> str | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    return body.get("code") if isinstance(body, dict) else None
