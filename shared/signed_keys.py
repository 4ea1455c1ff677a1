"""Keys that prove themselves: derived from what they stand for with a server secret (HMAC-SHA256).

No door needs a database to refuse a stranger. The first secret signs and all of them verify, so a secret is rotated
by putting the new one in front, handing out new keys, and dropping the old one later.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from uuid import UUID


def make_webhook_key(account: str, secrets: Sequence[bytes]) -> str:
    """Return the last part of the webhook URL of `account`: 43 URL-safe characters."""
    return _mac("webhook", account, secrets[0])


def verify_webhook_key(account: str, key: str, secrets: Sequence[bytes]) -> bool:
    return _verify("webhook", account, key, secrets)


def make_webhook_url(public_url: str, account: str, secrets: Sequence[bytes]) -> str:
    """Return where the platform posts the events of `account`. Whoever has this URL may post them: keep it secret."""
    return f"{public_url.rstrip('/')}/webhooks/wpp/{account}/{make_webhook_key(account, secrets)}"


def make_service_key(organization_id: UUID, secrets: Sequence[bytes]) -> str:
    """Return the key with which a service acts for one organization, and for no other: wpp_<hex>_<mac>."""
    return f"wpp_{organization_id.hex}_{_mac('service', organization_id.hex, secrets[0])}"


def read_service_key(key: str, secrets: Sequence[bytes]) -> UUID | None:
    """Return the organization that a service key stands for, or None when it is not one of ours."""
    prefix, _, rest = key.partition("_")
    organization, _, mac = rest.partition("_")
    if (
        prefix != "wpp"
        or len(organization) != 32
        or not _verify("service", organization, mac, secrets)
    ):
        return None
    return UUID(hex=organization)


def _mac(use: str, subject: str, secret: bytes) -> str:
    digest = hmac.digest(secret, f"{use}:{subject}".encode(errors="surrogatepass"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _verify(use: str, subject: str, mac: str, secrets: Sequence[bytes]) -> bool:
    given = mac.encode(errors="replace")
    return any(
        hmac.compare_digest(_mac(use, subject, secret).encode(), given) for secret in secrets
    )
