import stat
from pathlib import Path

from sandbox.secrets import Secrets


def test_stay_the_same_and_are_nobody_elses_to_read(tmp_path: Path) -> None:
    file = tmp_path / "new" / "secrets.json"
    made = Secrets.kept_in(file)
    assert Secrets.kept_in(file) == made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_are_never_shown_and_never_alike() -> None:
    made = Secrets()
    values = {
        made.platform,
        made.keys,
        made.supabase.jwt,
        made.supabase.storage,
        made.supabase.postgres,
    }
    assert len(values) == 5
    assert not any(value in repr(made) for value in values)
