"""The corpus (tests/shared/webhooks/corpus), for a chosen account."""

import json
from collections.abc import Iterator
from typing import Any

from tests.shared.webhooks.corpus_files import load_corpus
from tests.shared.webhooks.webhook_events import ACCOUNT


def load_cases(account: str) -> dict[str, dict[str, Any]]:
    """Return the cases by name, with `account` in place of the account of the corpus."""
    text = json.dumps(load_corpus(), ensure_ascii=False)
    cases: dict[str, dict[str, Any]] = json.loads(text.replace(ACCOUNT, account))
    return cases


def iterate_bodies(account: str) -> Iterator[Any]:
    """Yield the body of each case."""
    for case in load_cases(account).values():
        yield case["body"]
