"""Advice for operators about a database that refuses requests because of its own state."""

import re

from shared.errors import DatabaseError

LEGACY_KEYS = "legacy keys"
CLOCK_SKEW = "clock skew"
EXPIRED_KEY = "expired key"

ADVICE = {
    r"55P03|40P01|40001": (
        "another transaction has locked rows of this organization: find it in pg_stat_activity"
    ),
    r"57014": "these rows take too long: look at the triggers, indexes and load of the tables",
    r"23502": "give the column that it names a default, or let it be null",
    r"(2[0-37]|44|54|P0)[0-9A-Z]{3}": (
        "a rule of the CRM refuses all of these rows: look at the table's triggers and constraints"
    ),
    r"25006": (
        "Supabase is read-only: its disk is full, or it is a replica; see its dashboard, and check "
        "SUPABASE_URL"
    ),
    LEGACY_KEYS: (
        "this project's legacy keys are disabled: set SUPABASE_ANON_KEY and "
        "SUPABASE_SERVICE_ROLE_KEY to a publishable and a secret key, or enable the legacy keys"
    ),
    CLOCK_SKEW: (
        "the key is not valid yet by Supabase's clock: compare the clocks of Supabase and of the "
        "host that made the key, or wait until it is valid"
    ),
    EXPIRED_KEY: "the key has expired: set SUPABASE_SERVICE_ROLE_KEY to a valid key",
    r"42501|PGRST30\d|401|403": (
        "apply supabase/migrations again, and check SUPABASE_SERVICE_ROLE_KEY"
    ),
    r"42[0-9A-Z]{3}|3F000|0A000|PGRST2\d\d": (
        "apply supabase/migrations again; else undo the change of the table, column, function or "
        "trigger that it names"
    ),
    r"53[0-9A-Z]{3}": (
        "Supabase has no space or no connection left: check its disk, its plan and its load"
    ),
}
"""Advice by SQLSTATE or PostgREST code (a pattern); the first match counts."""

BY_MESSAGE = {
    r"Legacy API keys are disabled": LEGACY_KEYS,
    r"JWT issued at future|JWT not yet valid": CLOCK_SKEW,
    r"JWT expired": EXPIRED_KEY,
    r"Invalid API key": "401",
}
"""What messages (patterns) mean that have no code of their own: those of Supabase's gateway have
none, and PostgREST has one code, PGRST303, for every claim that it refuses."""


def diagnose(error: DatabaseError) -> str | None:
    """Return what an operator has to do; None where waiting may be enough."""
    meanings = (code for pattern, code in BY_MESSAGE.items() if re.search(pattern, str(error)))
    return advise(next(meanings, error.sqlstate or ""))


def advise(code: str) -> str | None:
    """Return the advice for a SQLSTATE or PostgREST code, if there is any."""
    return next((advice for pattern, advice in ADVICE.items() if re.fullmatch(pattern, code)), None)
