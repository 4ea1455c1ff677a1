"""The secrets of a local world, made once and stored beside its data for its owner only."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from sandbox.supabase.tokens import Secrets as ProjectSecrets


@dataclass(frozen=True)
class Secrets:
    """`platform` is WPP_SECRET, `keys` is WPP_KEY_SECRETS, `supabase` belongs to the project."""

    platform: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    keys: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    supabase: ProjectSecrets = field(default_factory=ProjectSecrets)

    @classmethod
    def load_or_create(cls, file: Path) -> Self:
        """Return the secrets in `file`; without it make new secrets and write it (mode 0600)."""
        if file.exists():
            stored = json.loads(file.read_text())
            return cls(**{**stored, "supabase": ProjectSecrets(**stored["supabase"])})
        created = cls()
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".part")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as out:
            json.dump(asdict(created), out)
        unfinished.rename(file)
        return created
