"""A real Postgres: its data survives, its password is needed."""

from pathlib import Path

import psycopg
import pytest

from sandbox.errors import SandboxError
from sandbox.ports import free_port
from sandbox.supabase.postgres import Postgres
from sandbox.supabase.project import Supabase


@pytest.fixture
def directory(open_directory: Path, request: pytest.FixtureRequest) -> Path:
    """Return a folder of the test's own that Postgres may enter."""
    return open_directory / str(request.node.name)


def run(postgres: Postgres, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(postgres.admin_url) as connection:
        answer = connection.execute(statement.encode())
        return answer.fetchall() if answer.description else []


def test_a_server_left_on_the_data_is_stopped(directory: Path) -> None:
    """A killed parent left it running; what it acknowledged is there for the next server."""
    left = Postgres(directory, free_port(), "secret", durable=False)
    left.start()
    run(left, "create table survivors as select 1 as number")
    with Postgres(directory, free_port(), "secret", durable=False) as successor:
        with pytest.raises(SandboxError, match="stopped with status 0"):
            left.check()
        assert run(successor, "select number from survivors") == [(1,)]


def test_data_with_another_password_is_named(directory: Path) -> None:
    with Postgres(directory, free_port(), "secret", durable=False) as postgres:
        pass
    other = Postgres(directory, postgres.port, "another", durable=False)
    with pytest.raises(SandboxError, match="made with another password"):
        other.start()


def test_a_wrong_password_is_refused(supabase_world: Supabase) -> None:
    url = supabase_world.postgres.url_for("supabase_admin", "guessed")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)
