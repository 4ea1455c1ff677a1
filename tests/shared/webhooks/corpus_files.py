"""The corpus: bodies that the platform posted, with made-up values, and what each becomes."""

import json
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent / "corpus"


def load_corpus() -> dict[str, dict[str, Any]]:
    """Return the cases by name: `case`, `body` and `becomes` each."""
    return {
        f"{file.stem}: {case['case']}": case
        for file in sorted(DIRECTORY.glob("*.json"))
        for case in json.loads(file.read_text(encoding="utf-8"))
    }
