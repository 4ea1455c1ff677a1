"""How long a token of the platform lives, whatever its answer tells and however far the clocks are apart."""

import base64
import binascii
import json
import math
import re
import time
from typing import Any

DEFAULT_LIFETIME_S = 15 * 60
"""What the platform's tokens live when nothing says otherwise."""
MAX_LIFETIME_S = 24 * 3600


def read_claims(token: str) -> dict[str, Any]:
    """Return the claims of a JWT unverified (we only carry it), or nothing when it is not one."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def parse_number(value: object) -> float | None:
    """Return a finite number given as one or as its text; anything else is None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not re.fullmatch(r"\s*-?\d{1,18}(\.\d{1,9})?\s*", value):
        return None
    found = float(value) if not isinstance(value, int) or abs(value) < 10**18 else math.inf
    return found if math.isfinite(found) else None


def read_expiry_s(token: str) -> float | None:
    """Return the JWT's `exp` in seconds since 1970 by the platform's clock (read as ms where it must be)."""
    return _epoch_s(read_claims(token).get("exp"))


def read_full_lifetime_s(token: str) -> float | None:
    """Return the seconds from the JWT's issue to its end, where it tells both; a day at most."""
    found = read_claims(token)
    exp, iat = _epoch_s(found.get("exp")), _epoch_s(found.get("iat"))
    return (
        min(exp - iat, MAX_LIFETIME_S)
        if exp is not None and iat is not None and exp > iat
        else None
    )


def compute_lifetime_s(
    token: str, *, platform_now_s: float | None = None, expires_in: object = None
) -> float:
    """Return the seconds that a token lives from its answer on.

    From `exp`, seen from the platform's own clock: the answer's Date where it has one (a token that the platform
    issued earlier and hands out again has less left), else `iat`. Our clock may be wrong and is asked only where there
    is neither; it then adds nothing to `expires_in`, a number of seconds or its text, which counts where there is no
    usable `exp`. Else 15 minutes.
    """
    found = read_claims(token)
    exp, iat = _epoch_s(found.get("exp")), _epoch_s(found.get("iat"))
    told = parse_number(expires_in)
    told = min(told, MAX_LIFETIME_S) if told is not None and told > 0 else None
    whole = read_full_lifetime_s(token) or MAX_LIFETIME_S
    for issued, longest in (
        (platform_now_s, MAX_LIFETIME_S),
        (iat, MAX_LIFETIME_S),
        (time.time(), told or MAX_LIFETIME_S),
    ):
        if exp is not None and issued is not None and exp > issued:
            return _whole_seconds(min(exp - issued, whole, longest))
    return told or DEFAULT_LIFETIME_S


def _whole_seconds(seconds: float) -> float:
    """Return less by a second (by half at most): dates and `iat` are cut to whole ones, so up to one is gone."""
    return max(seconds - 1, seconds / 2)


def _epoch_s(value: object) -> float | None:
    seconds = parse_number(value)
    if seconds is None or seconds <= 0:
        return None
    return seconds / 1000 if seconds > 100_000_000_000 else seconds
