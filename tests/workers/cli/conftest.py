"""Commands begin without a log, as in a process of their own."""

import pytest
import structlog


@pytest.fixture(autouse=True)
def unconfigured_log() -> None:
    """Forget how an earlier test of this process configured the log: a command keeps it."""
    structlog.reset_defaults()
