"""Computes how long a token of the platform is valid, independent of clock differences."""

import math
import re
import time
from typing import Any

import jwt

DEFAULT_LIFETIME_S = 15 * 60
"""Lifetime of the platform's tokens when neither token nor answer states it."""
MAX_LIFETIME_S = 24 * 3600


def read_claims(token: str) -> dict[str, Any]:
    """Return the unverified claims of a JWT; empty for a token in another format.

    The platform verifies its tokens; this process only sends them.
    """
    try:
        return jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return {}


def parse_number(value: object) -> float | None:
    """Return a finite number given as a number or as text, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not re.fullmatch(r"\s*-?\d{1,18}(\.\d{1,9})?\s*", value):
        return None
    found = float(value) if not isinstance(value, int) or abs(value) < 10**18 else math.inf
    return found if math.isfinite(found) else None


def read_expiry_s(token: str) -> float | None:
    """Return the JWT's `exp` in seconds since 1970 by the platform's clock; accepts ms too."""
    return _parse_timestamp_s(read_claims(token).get("exp"))


def read_full_lifetime_s(token: str) -> float | None:
    """Return the seconds from the JWT's `iat` to its `exp`, at most a day; None without both."""
    claims = read_claims(token)
    exp = _parse_timestamp_s(claims.get("exp"))
    iat = _parse_timestamp_s(claims.get("iat"))
    if exp is None or iat is None or exp <= iat:
        return None
    return min(exp - iat, MAX_LIFETIME_S)


def compute_lifetime_s(
    token: str, *, platform_now_s: float | None = None, expires_in: object = None
) -> float:
    """Return the seconds that a token is valid, counted from its answer.

    The lifetime is `exp` minus the platform's time: the answer's Date header if present, else
    `iat`. The platform may hand out an older token again, which the Date header accounts for. The
    local clock may be wrong; it is the last resort, and `expires_in` then limits the result.
    Without a usable `exp` the lifetime is `expires_in` (seconds, as number or text), else
    15 minutes.
    """
    claims = read_claims(token)
    exp = _parse_timestamp_s(claims.get("exp"))
    iat = _parse_timestamp_s(claims.get("iat"))
    stated_s = parse_number(expires_in)
    stated_s = min(stated_s, MAX_LIFETIME_S) if stated_s is not None and stated_s > 0 else None
    full_s = read_full_lifetime_s(token) or MAX_LIFETIME_S
    for now_s, limit_s in (
        (platform_now_s, MAX_LIFETIME_S),
        (iat, MAX_LIFETIME_S),
        (time.time(), stated_s or MAX_LIFETIME_S),
    ):
        if exp is not None and now_s is not None and exp > now_s:
            return _subtract_rounding(min(exp - now_s, full_s, limit_s))
    return stated_s or DEFAULT_LIFETIME_S


def _subtract_rounding(seconds: float) -> float:
    """Return up to a second less: Date and `iat` are truncated to whole seconds."""
    return max(seconds - 1, seconds / 2)


def _parse_timestamp_s(value: object) -> float | None:
    seconds = parse_number(value)
    if seconds is None or seconds <= 0:
        return None
    return seconds / 1000 if seconds > 100_000_000_000 else seconds
