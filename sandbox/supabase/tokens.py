"""The tokens of a project: API keys, users' sessions, signed storage URLs. HS256, as hosted ones."""

import hmac
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import jwt

ALGORITHM = "HS256"
SESSION_S = 3600
KEYS_FROM, KEYS_UNTIL = 1_600_000_000, 2_500_000_000  # 2020 to 2049: the same key at each start
SERVICE_ROLE = "service_role"


@dataclass(frozen=True)
class Secrets:
    """What a project's tokens are made with. `jwt` signs keys and sessions, `storage` signs URLs and nothing else."""

    jwt: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    storage: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    postgres: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    authenticator: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def key(self, role: str) -> str:
        """Return the API key of `role`, "anon" or "service_role": the same one at each start."""
        claims = {
            "iss": "supabase",
            "ref": "local",
            "role": role,
            "iat": KEYS_FROM,
            "exp": KEYS_UNTIL,
        }
        return jwt.encode(claims, self.jwt, ALGORITHM)


def issue(claims: dict[str, Any], secret: str, *, valid_s: int) -> str:
    now = int(time.time())
    return jwt.encode({**claims, "iat": now, "exp": now + valid_s}, secret, ALGORITHM)


def verify(token: str, secret: str) -> dict[str, Any] | None:
    """Return the claims of a token signed with `secret` and not expired, else None."""
    try:
        return jwt.decode(
            token, secret, [ALGORITHM], options={"verify_aud": False, "require": ["exp"]}
        )
    except jwt.InvalidTokenError:
        return None


def same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
