"""The secrets of a local world, made once and stored beside its data for its owner only."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from sandbox.supabase.tokens import Secrets as ProjectSecrets
from shared.service_keys import OPERATOR_PREFIX, make_key


@dataclass(frozen=True)
class Secrets:
    """`platform` is WPP_SECRET, `keys` is WPP_KEY_SECRETS, `supabase` belongs to the project.

    `service_key` is the demo organization's, `operator_key` opens the console.
    """

    platform: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    keys: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    service_key: str = field(default_factory=make_key, repr=False)
    operator_key: str = field(default_factory=lambda: make_key(OPERATOR_PREFIX), repr=False)
    supabase: ProjectSecrets = field(default_factory=ProjectSecrets)

    @classmethod
    def load_or_create(cls, file: Path) -> Self:
        """Return the secrets in `file`; make those that it lacks and write it (mode 0600)."""
        stored = json.loads(file.read_text()) if file.exists() else {}
        project = ProjectSecrets(**stored.get("supabase", {}))
        created = cls(**{**stored, "supabase": project})
        if asdict(created) == stored:
            return created
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".part")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as out:
            json.dump(asdict(created), out)
        unfinished.rename(file)
        return created
