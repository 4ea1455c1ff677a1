"""Access tokens of accounts, shared by all workers through Redis."""

from shared.tokens.auth import TokenAuth
from shared.tokens.cache import TokenCache

__all__ = ["TokenAuth", "TokenCache"]
