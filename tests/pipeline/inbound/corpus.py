"""The corpus (tests/shared/webhooks/corpus), for a chosen account."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.shared.webhooks.webhook_events import ACCOUNT

DIRECTORY = Path(__file__).parents[2] / "shared" / "webhooks" / "corpus"


def load_cases(account: str) -> dict[str, dict[str, Any]]:
    """Return the cases by name, with `account` in place of the account of the corpus."""
    found = {}
    for file in sorted(DIRECTORY.glob("*.json")):
        for case in json.loads(file.read_text().replace(ACCOUNT, account)):
            found[f"{file.stem}: {case['case']}"] = case
    return found


def iterate_bodies(account: str) -> Iterator[Any]:
    for case in load_cases(account).values():
        yield case["body"]
