"""Good callers: they send each conversation in order, and ask again with the same key until they are answered 202."""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID

import httpx

from tests.faults.environment import Number, Town

PATIENCE_S = 120.0


@dataclass(frozen=True)
class Conversation:
    number: Number
    peer: str

    def text(self, tag: str, seq: int) -> str:
        return f"{tag} {self.peer} {seq}"


@dataclass(frozen=True)
class Sent:
    """A message that the door has accepted: the `seq`th of its conversation."""

    id: UUID
    conversation: Conversation
    seq: int
    text: str


def conversations(
    town: Town, of_each: int, numbers: Sequence[Number] | None = None
) -> list[Conversation]:
    """Return `of_each` conversations of every number."""
    chosen = town.numbers if numbers is None else numbers
    return [
        Conversation(number, f"7999{place:02}{one:05}")
        for place, number in enumerate(chosen)
        for one in range(of_each)
    ]


class Callers:
    """Several callers at once, each with its share of the conversations.

    `tag` begins every text and key, so that tests don't meet. `accepted` grows as they are answered, `answers` counts
    what they were told.
    """

    def __init__(
        self, town: Town, tag: str, among: Sequence[Conversation], *, callers: int = 8
    ) -> None:
        self.accepted: list[Sent] = []
        self.answers: Counter[str] = Counter()
        self._town = town
        self._tag = tag
        self._shares = [among[first::callers] for first in range(min(callers, len(among)))]
        self._lock = threading.Lock()

    def send(self, each: int, *, per_s: float | None = None, first: int = 0) -> list[Sent]:
        """Send `each` messages in every conversation, about `per_s` in all; return all accepted ones."""
        pause_s = len(self._shares) / per_s if per_s else 0.0
        with ThreadPoolExecutor(len(self._shares)) as pool:
            for done in [
                pool.submit(self._share, share, each, pause_s, first) for share in self._shares
            ]:
                done.result()
        return self.accepted

    def _share(self, share: Sequence[Conversation], each: int, pause_s: float, first: int) -> None:
        clients: dict[UUID, httpx.Client] = {}
        try:
            for seq in range(first, first + each):
                for conversation in share:
                    organization_id = conversation.number.organization_id
                    if organization_id not in clients:
                        clients[organization_id] = self._town.caller(organization_id)
                    self._persist(clients[organization_id], conversation, seq)
                    time.sleep(random.uniform(0, 2 * pause_s))  # noqa: S311
        finally:
            for client in clients.values():
                client.close()

    def _persist(self, client: httpx.Client, conversation: Conversation, seq: int) -> None:
        text = conversation.text(self._tag, seq)
        body = {
            "to": f"+{conversation.peer}",
            "text": text,
            "integration_id": str(conversation.number.integration_id),
        }
        until = time.monotonic() + PATIENCE_S
        for attempt in itertools.count(1):
            told, answer = self._ask(client, body, key=text)
            with self._lock:
                self.answers[told] += 1
            if told == "202" and answer is not None:
                with self._lock:
                    self.accepted.append(Sent(UUID(answer.json()["id"]), conversation, seq, text))
                return
            assert answer is None or told == "503", (
                f"a good request was answered {told}: {answer.text}"
            )
            assert time.monotonic() < until, f"not accepted in {attempt} attempts, last {told}"
            time.sleep(
                float(answer.headers["Retry-After"])
                if answer is not None
                else random.uniform(0.1, 0.5)  # noqa: S311
            )

    @staticmethod
    def _ask(
        client: httpx.Client, body: dict[str, str], key: str
    ) -> tuple[str, httpx.Response | None]:
        try:
            answer = client.post("/v1/messages", json=body, headers={"Idempotency-Key": key})
        except httpx.TransportError as error:
            return type(error).__name__, None
        return str(answer.status_code), answer
