"""JWTs with HS256, bound to an account and to the API key they were issued for."""

import hashlib
import math
import secrets
import time

import jwt

from sandbox.platform.store import Store

SECRET = "secret"


class Tokens:
    def __init__(self, store: Store, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self._secret: str = dict(store.all(SECRET)).get("jwt") or secrets.token_hex(32)
        store.put(SECRET, "jwt", self._secret)

    def issue(self, session: str, api_key: str) -> str:
        now = time.time()
        claims = {
            "sub": session,
            "key": _make_fingerprint(api_key),
            "iat": int(now),
            "exp": math.ceil(now + self.ttl_s),
            "jti": secrets.token_hex(8),  # two tokens of the same second differ
        }
        return jwt.encode(claims, self._secret, "HS256")

    def read(self, token: str) -> tuple[str, str] | None:
        """Return session and key fingerprint of a valid token of this platform, else None."""
        try:
            claims = jwt.decode(
                token, self._secret, ["HS256"], options={"require": ["sub", "key", "exp"]}
            )
        except jwt.InvalidTokenError:
            return None
        return claims["sub"], claims["key"]

    @staticmethod
    def is_key_of(fingerprint: str, api_key: str) -> bool:
        return secrets.compare_digest(fingerprint, _make_fingerprint(api_key))


def _make_fingerprint(api_key: str) -> str:
    return hashlib.sha256(api_key.encode()).hexdigest()[:16]
