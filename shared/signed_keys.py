"""Signed keys: webhook URLs and service keys, derived with HMAC-SHA256 from a server secret.

A key is verified without a database. The first secret signs and every secret verifies. To rotate:
put the new secret first, hand out new keys, remove the old secret later.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from uuid import UUID


def make_webhook_key(account: str, secrets: Sequence[bytes]) -> str:
    """Return the last part of the webhook URL of `account`: 43 URL-safe characters."""
    return _sign("webhook", account, secrets[0])


def verify_webhook_key(account: str, key: str, secrets: Sequence[bytes]) -> bool:
    """Return whether `key` is the webhook key of `account`, in constant time per secret."""
    return _verify("webhook", account, key, secrets)


def make_webhook_url(public_url: str, account: str, secrets: Sequence[bytes]) -> str:
    """Return the URL to which the platform posts the events of `account`.

    The URL is a credential: it authorizes posting events of this account.
    """
    return f"{public_url.rstrip('/')}/webhooks/wpp/{account}/{make_webhook_key(account, secrets)}"


def make_service_key(organization_id: UUID, secrets: Sequence[bytes]) -> str:
    """Return the key with which a service acts for this organization: wpp_<hex>_<mac>."""
    return f"wpp_{organization_id.hex}_{_sign('service', organization_id.hex, secrets[0])}"


def read_service_key(key: str, secrets: Sequence[bytes]) -> UUID | None:
    """Return the organization of a service key, or None for a key that is not valid."""
    prefix, _, rest = key.partition("_")
    organization, _, mac = rest.partition("_")
    if (
        prefix != "wpp"
        or len(organization) != 32
        or not _verify("service", organization, mac, secrets)
    ):
        return None
    return UUID(hex=organization)


def _sign(use: str, subject: str, secret: bytes) -> str:
    digest = hmac.digest(secret, f"{use}:{subject}".encode(errors="surrogatepass"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _verify(use: str, subject: str, mac: str, secrets: Sequence[bytes]) -> bool:
    given = mac.encode(errors="replace")
    return any(
        hmac.compare_digest(_sign(use, subject, secret).encode(), given) for secret in secrets
    )
