"""The secrets of a local world stay the same and are readable by their owner only."""

import json
import stat
from pathlib import Path

from sandbox.secrets import Secrets


def test_secrets_are_stored_for_the_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "new" / "secrets.json"
    created = Secrets.load_or_create(file)
    assert Secrets.load_or_create(file) == created
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_secrets_differ_and_are_absent_from_repr() -> None:
    created = Secrets()
    values = {
        created.platform,
        created.keys,
        created.service_key,
        created.operator_key,
        created.supabase.jwt,
        created.supabase.storage,
        created.supabase.postgres,
    }
    assert len(values) == 7
    assert not any(value in repr(created) for value in values)


def test_a_secret_that_the_file_lacks_is_added_once(tmp_path: Path) -> None:
    """The file of an earlier version stays valid."""
    file = tmp_path / "secrets.json"
    created = Secrets.load_or_create(file)
    stored = json.loads(file.read_text())
    del stored["service_key"]
    file.write_text(json.dumps(stored))
    completed = Secrets.load_or_create(file)
    assert completed == Secrets.load_or_create(file)
    assert (completed.keys, completed.supabase) == (created.keys, created.supabase)
