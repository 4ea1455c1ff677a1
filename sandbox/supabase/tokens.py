"""The tokens of a project: API keys, sessions of users, signed storage URLs. JWT with HS256."""

import hmac
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import jwt

ALGORITHM = "HS256"
SESSION_S = 3600
KEYS_FROM = 1_600_000_000  # 2020; constant, so that the keys are the same at each start
KEYS_UNTIL = 2_500_000_000  # 2049
SERVICE_ROLE = "service_role"


@dataclass(frozen=True)
class Secrets:
    """A project's secrets: `jwt` signs keys and sessions, `storage` signs storage URLs only."""

    jwt: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    storage: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    postgres: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    authenticator: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def make_api_key(self, role: str) -> str:
        """Return the API key of `role` ("anon" or "service_role"), the same at each start."""
        claims = {
            "iss": "supabase",
            "ref": "local",
            "role": role,
            "iat": KEYS_FROM,
            "exp": KEYS_UNTIL,
        }
        return jwt.encode(claims, self.jwt, ALGORITHM)


def sign(claims: dict[str, Any], secret: str, *, valid_s: int) -> str:
    now = int(time.time())
    return jwt.encode({**claims, "iat": now, "exp": now + valid_s}, secret, ALGORITHM)


def verify(token: str, secret: str) -> dict[str, Any] | None:
    """Return the claims of a token that `secret` signed and that has not expired, else None."""
    try:
        return jwt.decode(
            token, secret, [ALGORITHM], options={"verify_aud": False, "require": ["exp"]}
        )
    except jwt.InvalidTokenError:
        return None


def is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
