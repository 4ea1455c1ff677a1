"""Pages of an organization with a connected number, and of another organization without one."""

from collections.abc import Iterator

import pytest

from tests.fixtures.system import System
from tests.pipeline.functions.front_end import FrontEnd, connect_by_panel, sign_in


@pytest.fixture
def pages(system: System) -> Iterator[FrontEnd]:
    """Return the pages of a new organization's member."""
    with sign_in(system, system.add_organization()) as signed_in:
        yield signed_in


@pytest.fixture(scope="session")
def connected(system: System) -> Iterator[FrontEnd]:
    """Return the pages of an organization with a connected number, for tests that keep it."""
    with sign_in(system, system.add_organization()) as signed_in:
        connect_by_panel(system, signed_in)
        yield signed_in


@pytest.fixture(scope="session")
def stranger(system: System) -> Iterator[FrontEnd]:
    """Return the pages of another organization, which has no number."""
    with sign_in(system, system.add_organization()) as signed_in:
        yield signed_in
