"""Advice for operators about a database that refuses requests because of its own state."""

import re

from shared.errors import DatabaseError

SCHEMA_FAULT = "WPPDB"
"""The SQLSTATE of `wpp_apply` where Postgres' own code would put the blame on the rows."""

ADVICE = {
    SCHEMA_FAULT: (
        "give the column that it names a default, or let it be null; else look at the table's "
        "triggers and constraints"
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
    code = "401" if REFUSED_KEY in str(error) else error.sqlstate or ""
    return next((advice for pattern, advice in ADVICE.items() if re.fullmatch(pattern, code)), None)
