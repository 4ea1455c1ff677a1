"""What the platform did, counted for tests."""

import time
from collections import Counter
from typing import Any

from sandbox.platform.store import Store

COUNT, MINTED = "count", "minted"


class Ledger:
    """Counts by group, name and result, and when tokens were issued; written to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._minted: list[tuple[str, float]] = [tuple(body) for _, body in store.all(MINTED)]
        for _, (group, name, result, count) in store.all(COUNT):
            self._counts[group, name, result] = count

    def count(self, group: str, name: str, result: str) -> None:
        key = (group, name, result)
        self._counts[key] += 1
        self._store.put(COUNT, "\0".join(key), [*key, self._counts[key]])

    def record_token(self, session: str) -> None:
        entry = (session, time.time())
        self._minted.append(entry)
        self._store.put(MINTED, f"{entry[1]} {len(self._minted)}", entry)

    def clear(self) -> None:
        self._counts.clear()
        self._minted.clear()
        self._store.drop(COUNT)
        self._store.drop(MINTED)

    def snapshot(self) -> dict[str, Any]:
        """Return counts as JSON.

        `{"tokens": {session: {"minted": n, "times": [epoch s]}}, group: {name: {result: n}}}`
        """
        answer: dict[str, Any] = {
            "tokens": {},
            "requests": {},
            "webhooks": {},
            "clients": {},
            "faults": {},
        }
        for session, at in self._minted:
            of_key = answer["tokens"].setdefault(session, {"minted": 0, "times": []})
            of_key["minted"] += 1
            of_key["times"].append(at)
        for (group, name, result), count in self._counts.items():
            answer[group].setdefault(name, {})[result] = count
        return answer
