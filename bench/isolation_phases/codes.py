"""The calm organization: it sends a code a second and measures when each one arrives."""

import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import psycopg

from bench.isolation_phases.figures import PLATFORM_P99_S, ROW_P99_S, Delays
from tests.faults.environment import ConnectedIntegration, FaultEnvironment

EVERY_S = 1.0
AWAIT_S = 10.0
"""How long codes are awaited after the last one, while the attack goes on."""
ANSWER_WITHIN_S = 30.0
ROW_POLL_S = 0.05
ROWS = """
    select message_text from public.chat_messages
    where organization_id = %s and message_text like %s
      and message_status in ('sent', 'delivered', 'read')
"""


@dataclass
class Codes:
    """Times by text, in seconds since 1970."""

    tag: str
    asked: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    at_platform: dict[str, float] = field(default_factory=dict)
    rows: dict[str, float] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)

    def delays(self, arrivals: dict[str, float]) -> Delays:
        return Delays.of([arrivals.get(text, math.inf) - at for text, at in self.asked.items()])

    @property
    def prompt(self) -> bool:
        """Whether each code arrived within the targets."""
        at_platform, rows = self.delays(self.at_platform), self.delays(self.rows)
        return at_platform.longest <= PLATFORM_P99_S and rows.longest <= ROW_P99_S


def send_codes(env: FaultEnvironment, sender: ConnectedIntegration, count: int) -> Codes:
    """Send `count` codes, one a second whether or not the last was answered; await them all."""
    codes = Codes(f"code-{time.time_ns()}")
    with (
        watch_rows(env, sender, codes),
        env.caller(sender.organization_id, ANSWER_WITHIN_S) as crm,
        ThreadPoolExecutor(count) as pool,
    ):
        began = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, began + number * EVERY_S - time.monotonic()))
            pool.submit(_send_code, crm, codes, number)
        deadline = time.monotonic() + AWAIT_S
        while len(codes.rows) < count and time.monotonic() < deadline:
            time.sleep(ROW_POLL_S)
        codes.at_platform = find_arrivals(env, sender, codes.tag)
    return codes


def _send_code(crm: httpx.Client, codes: Codes, number: int) -> None:
    text = f"{codes.tag} {number}"
    codes.asked[text] = time.time()
    try:
        answer = crm.post("/v1/messages", json={"to": f"+7998{number:07}", "text": text})
    except httpx.TransportError as error:
        codes.refusals.append(type(error).__name__)
        return
    if answer.status_code == httpx.codes.ACCEPTED:
        codes.answered[text] = time.time()
    else:
        codes.refusals.append(str(answer.status_code))


def find_arrivals(
    env: FaultEnvironment, sender: ConnectedIntegration, tag: str
) -> dict[str, float]:
    """Return when the platform got each code, from the sender's own messages."""
    answer = env.http.get(f"{env.platform.url}/phone/{sender.account}/messages")
    messages = answer.raise_for_status().json()["messages"]
    return {each["text"]: each["at"] for each in messages if each["text"].startswith(f"{tag} ")}


@contextmanager
def watch_rows(env: FaultEnvironment, sender: ConnectedIntegration, codes: Codes) -> Iterator[None]:
    """Note when each code's row says that it was sent, to `ROW_POLL_S`, while the block runs."""
    stopping = threading.Event()

    def watch() -> None:
        with psycopg.connect(env.supabase.database_url, autocommit=True) as connection:
            while not stopping.wait(ROW_POLL_S):
                found = connection.execute(ROWS, (sender.organization_id, f"{codes.tag} %"))
                for (text,) in found:
                    codes.rows.setdefault(text, time.time())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
