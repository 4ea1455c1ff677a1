"""`wpp doctor` checks every table and function of Supabase that shared/database uses."""

import re

from tests.style.source import list_files
from workers.cli.checks import FUNCTIONS, TABLES

SOURCE = "".join(path.read_text(encoding="utf-8") for path in list_files("shared/database"))
OF_THE_CRM = {"client_phone_numbers", "wpp_message_history"}
"""Tables that are read for a single request, and may be missing."""


def test_every_function_that_is_called_is_checked() -> None:
    """A new function gets its line in `FUNCTIONS` of workers/cli/checks.py."""
    called = set(re.findall(r"call\(\s*\"(wpp_[a-z_]+)\"", SOURCE))
    assert called == set(FUNCTIONS)


def test_every_table_that_is_read_is_checked() -> None:
    """A new table gets its line in `TABLES` of workers/cli/checks.py."""
    read = set(re.findall(r"table\(\"([a-z_]+)\"\)", SOURCE))
    assert read <= set(TABLES) | OF_THE_CRM
