"""Sessions of the console: a signed cookie, valid in every web process, for 12 hours at most."""

import base64
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self

from shared import signed_keys
from workers.ingress.console.operators import Operator

COOKIE = "wpp_console"
LIFETIME_S = 12 * 3600
USE = "console session"
CSRF_USE = "console request"


@dataclass(frozen=True)
class ConsoleSession:
    """A browser in which an operator signed in. `expires_s`: in s since 1970."""

    id: str
    expires_s: int
    operator: Operator

    @classmethod
    def begin(cls, operator: Operator) -> Self:
        return cls(secrets.token_hex(16), int(time.time()) + LIFETIME_S, operator)

    @classmethod
    def read(cls, cookie: str, keys: Sequence[bytes]) -> Self | None:
        """Return the session of a cookie that was signed with any of `keys`, unless it ended."""
        text, _, signature = cookie.rpartition(".")
        if not text or not signed_keys.verify(USE, text, signature, keys):
            return None
        session_id, expires_s, operator = json.loads(base64.urlsafe_b64decode(text))
        if expires_s <= time.time():
            return None
        return cls(session_id, expires_s, Operator(**operator))

    def write(self, keys: Sequence[bytes]) -> str:
        """Return the value of the cookie."""
        values = [self.id, self.expires_s, asdict(self.operator)]
        text = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
        return f"{text}.{signed_keys.sign(USE, text, keys[0])}"

    def make_csrf_token(self, keys: Sequence[bytes]) -> str:
        """Return what each change has to name: another site cannot read it."""
        return signed_keys.sign(CSRF_USE, self.id, keys[0])

    def accepts(self, csrf_token: str, keys: Sequence[bytes]) -> bool:
        return signed_keys.verify(CSRF_USE, self.id, csrf_token, keys)
