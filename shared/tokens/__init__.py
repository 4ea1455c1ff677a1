"""Tokens: however many workers need the token of an account, one of them asks the platform."""

from shared.tokens.auth import TokenAuth
from shared.tokens.cache import TokenCache

__all__ = ["TokenAuth", "TokenCache"]
