"""A folder holds a single local world."""

import os
from pathlib import Path

import pytest

from sandbox.errors import SandboxError
from sandbox.lock import lock_directory


def test_a_second_world_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    """The error names the process that holds the folder; afterwards the folder is free."""
    refused = pytest.raises(SandboxError, match=f"already running \\(pid {os.getpid()}\\)")
    with lock_directory(tmp_path), refused, lock_directory(tmp_path):
        pass
    with lock_directory(tmp_path):
        pass
