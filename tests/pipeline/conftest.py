"""The whole system, started once for the session."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.fixtures.system import System, connect_integration, run_system


@pytest.fixture(scope="session")
def system(open_directory: Path) -> Iterator[System]:
    """Return the whole system, started as `make up` starts it, on free ports."""
    with run_system(open_directory / "pipeline") as running:
        yield running


@pytest.fixture(scope="session")
def number(system: System) -> tuple[UUID, dict[str, Any]]:
    """Return an organization and its connected integration."""
    organization_id = system.add_organization()
    return organization_id, connect_integration(system, organization_id)
