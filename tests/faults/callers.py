"""API clients that send in order and retry with the same Idempotency-Key until 202."""

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

from tests.faults.environment import ConnectedIntegration, FaultEnvironment

ACCEPT_WITHIN_S = 120.0
"""How long a caller retries a message before the test fails."""


@dataclass(frozen=True)
class Conversation:
    """An integration and the customer's digits."""

    integration: ConnectedIntegration
    peer: str

    def text(self, tag: str, seq: int) -> str:
        return f"{tag} {self.peer} {seq}"


@dataclass(frozen=True)
class AcceptedMessage:
    """A message that the ingress has accepted: the `seq`th of its conversation."""

    id: UUID
    conversation: Conversation
    seq: int
    text: str
    is_replayed: bool = False
    """The answer was that of an earlier request with this key."""


def make_conversations(
    env: FaultEnvironment,
    per_integration: int,
    integrations: Sequence[ConnectedIntegration] | None = None,
) -> list[Conversation]:
    """Return `per_integration` conversations of every integration."""
    chosen = env.integrations if integrations is None else integrations
    return [
        Conversation(integration, f"7999{position:02}{number:05}")
        for position, integration in enumerate(chosen)
        for number in range(per_integration)
    ]


class Callers:
    """Several callers at once; each has its share of the conversations.

    `tag` begins every text and key and so keeps tests apart. `accepted` holds what was answered
    202, `answers` counts statuses and network errors.
    """

    def __init__(
        self,
        env: FaultEnvironment,
        tag: str,
        conversations: Sequence[Conversation],
        *,
        callers: int = 8,
    ) -> None:
        self.accepted: list[AcceptedMessage] = []
        self.answers: Counter[str] = Counter()
        self._env = env
        self._tag = tag
        count = min(callers, len(conversations))
        self._shares = [conversations[start::callers] for start in range(count)]
        self._lock = threading.Lock()

    def send(
        self, per_conversation: int, *, per_s: float | None = None, first: int = 0
    ) -> list[AcceptedMessage]:
        """Send messages in every conversation, about `per_s` in all; return the accepted ones."""
        pause_s = len(self._shares) / per_s if per_s else 0.0
        numbers = range(first, first + per_conversation)
        with ThreadPoolExecutor(len(self._shares)) as pool:
            for done in [
                pool.submit(self._send_share, share, numbers, pause_s) for share in self._shares
            ]:
                done.result()
        return self.accepted

    def _send_share(self, share: Sequence[Conversation], numbers: range, pause_s: float) -> None:
        clients: dict[UUID, httpx.Client] = {}
        try:
            for seq in numbers:
                for conversation in share:
                    organization_id = conversation.integration.organization_id
                    if organization_id not in clients:
                        clients[organization_id] = self._env.caller(organization_id)
                    self._send_until_accepted(clients[organization_id], conversation, seq)
                    time.sleep(random.uniform(0, 2 * pause_s))  # noqa: S311
        finally:
            for client in clients.values():
                client.close()

    def _send_until_accepted(
        self, client: httpx.Client, conversation: Conversation, seq: int
    ) -> None:
        text = conversation.text(self._tag, seq)
        body = {
            "to": f"+{conversation.peer}",
            "text": text,
            "integration_id": str(conversation.integration.integration_id),
        }
        deadline = time.monotonic() + ACCEPT_WITHIN_S
        for attempt in itertools.count(1):
            result, answer = self._post(client, body, key=text)
            with self._lock:
                self.answers[result] += 1
            if result == "202" and answer is not None:
                is_replayed = answer.headers.get("Idempotent-Replayed") == "true"
                id_ = UUID(answer.json()["id"])
                message = AcceptedMessage(id_, conversation, seq, text, is_replayed)
                with self._lock:
                    self.accepted.append(message)
                return
            assert answer is None or result == "503", (
                f"a valid request was answered {result}: {answer.text}"
            )
            assert time.monotonic() < deadline, f"not accepted in {attempt} attempts: {result}"
            time.sleep(_retry_after_s(answer))

    @staticmethod
    def _post(
        client: httpx.Client, body: dict[str, str], key: str
    ) -> tuple[str, httpx.Response | None]:
        """Return the status or the name of the network error, and the answer."""
        try:
            answer = client.post("/v1/messages", json=body, headers={"Idempotency-Key": key})
        except httpx.TransportError as error:
            return type(error).__name__, None
        return str(answer.status_code), answer


def _retry_after_s(answer: httpx.Response | None) -> float:
    if answer is None:
        return random.uniform(0.1, 0.5)  # noqa: S311
    return float(answer.headers["Retry-After"])
