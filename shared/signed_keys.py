"""Signed keys of webhook URLs and sessions, derived with HMAC-SHA256 from a server secret.

A key is verified without a database. The first secret signs and every secret verifies. To rotate:
put the new secret first, register new URLs (`wpp reconnect --all`), remove the old secret later.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache


def make_webhook_key(account: str, secrets: Sequence[bytes]) -> str:
    """Return the last part of the webhook URL of `account`: 43 URL-safe characters."""
    return sign("webhook", account, secrets[0])


def verify_webhook_key(account: str, key: str, secrets: Sequence[bytes]) -> bool:
    """Return whether `key` is the webhook key of `account`, in constant time per secret."""
    return verify("webhook", account, key, secrets)


def make_webhook_url(public_url: str, account: str, secrets: Sequence[bytes]) -> str:
    """Return the URL to which the platform posts the events of `account`.

    The URL is a credential: it authorizes posting events of this account.
    """
    return f"{public_url.rstrip('/')}/webhooks/wpp/{account}/{make_webhook_key(account, secrets)}"


@lru_cache(maxsize=4096)
def sign(use: str, subject: str, secret: bytes) -> str:
    """Return the signature of a text, which is valid for this use only.

    Signatures are remembered: each event of an account comes with the same one.
    """
    digest = hmac.digest(secret, f"{use}:{subject}".encode(errors="surrogatepass"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def verify(use: str, subject: str, mac: str, secrets: Sequence[bytes]) -> bool:
    """Return whether `mac` signs a text for this use, in constant time per secret."""
    given = mac.encode(errors="replace")
    return any(
        hmac.compare_digest(sign(use, subject, secret).encode(), given) for secret in secrets
    )
