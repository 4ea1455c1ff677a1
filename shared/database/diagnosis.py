"""Advice for operators about a database that refuses requests because of its own state."""

import re

from shared.errors import DatabaseError

ADVICE = {
    r"55P03|40P01|40001": (
        "another transaction has locked rows of this organization: find it in pg_stat_activity"
    ),
    r"57014": "these rows take too long: look at the triggers, indexes and load of the tables",
    r"23502": "give the column that it names a default, or let it be null",
    r"(2[0-37]|44|54|P0)[0-9A-Z]{3}": (
        "a rule of the CRM refuses all of these rows: look at the table's triggers and constraints"
    ),
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

REFUSED_KEY = "Invalid API key"
"""The message of Supabase's gateway for a refused key, which has no code."""


def diagnose(error: DatabaseError) -> str | None:
    """Return what an operator has to do; None where waiting may be enough."""
    return advise("401" if REFUSED_KEY in str(error) else error.sqlstate or "")


def advise(code: str) -> str | None:
    """Return the advice for a SQLSTATE or PostgREST code, if there is any."""
    return next((advice for pattern, advice in ADVICE.items() if re.fullmatch(pattern, code)), None)
