"""The local world's secrets: made once, kept beside its data, readable by us alone."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from sandbox.supabase.tokens import Secrets as ProjectSecrets


@dataclass(frozen=True)
class Secrets:
    """`platform` is the platform's WPP_SECRET, `keys` our WPP_KEY_SECRETS, `supabase` the project's own."""

    platform: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    keys: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    supabase: ProjectSecrets = field(default_factory=ProjectSecrets)

    @classmethod
    def kept_in(cls, file: Path) -> Self:
        """Return those in `file`, or new ones, then kept there (mode 0600)."""
        if file.exists():
            kept = json.loads(file.read_text())
            return cls(**{**kept, "supabase": ProjectSecrets(**kept["supabase"])})
        made = cls()
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".part")
        unfinished.unlink(missing_ok=True)
        with os.fdopen(
            os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
        ) as out:
            json.dump(asdict(made), out)
        unfinished.rename(file)
        return made
