"""What an operator does about a database that refuses for reasons of its own: no row is to blame, none is lost."""

import re

from shared.errors import DatabaseError

NO_ROW_S_FAULT = "WPPDB"
"""What `wpp_apply` says where Postgres' own code would blame the rows."""

ADVICE = (
    (
        NO_ROW_S_FAULT,
        "give the column that it names a default, or let it be null; else look at the table's triggers and constraints",
    ),
    (
        r"42501|PGRST30\d|401|403",
        "apply supabase/migrations again, and look at SUPABASE_SERVICE_ROLE_KEY",
    ),
    (
        r"42[0-9A-Z]{3}|3F000|0A000|PGRST2\d\d",
        "apply supabase/migrations again; else undo the change of the table, column, function or trigger that it names",
    ),
    (
        r"53[0-9A-Z]{3}",
        "Supabase has no room or no connection left: look at its disk, its plan and its load",
    ),
)
"""SQLSTATE or PostgREST's code, and what mends it."""

REFUSED_KEY = "Invalid API key"
"""What the gateway of Supabase says, without a code."""


def diagnose(error: DatabaseError) -> str | None:
    """Return what somebody has to do before it can work again; None where waiting may be enough."""
    code = "401" if REFUSED_KEY in str(error) else error.sqlstate or ""
    return next((to_do for pattern, to_do in ADVICE if re.fullmatch(pattern, code)), None)
