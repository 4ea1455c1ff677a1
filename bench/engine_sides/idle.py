"""How many commands an idle fleet sends to Redis.

MONITOR counts the commands of clients. Commands inside a script (MONITOR says `lua`) belong to the
command that called it. A second list names the commands.
"""

import time
from collections import Counter
from threading import Thread

import httpx
import redis

from bench.engine_sides.figures import Figure
from bench.engine_sides.place import Place, procfile, wait_until
from bench.engine_sides.played import playing
from bench.engine_sides.sides import blocked_consumers
from sandbox.ports import LOCALHOST, free_port

SETTLES_S = 4.0
LASTS_S = 60.0
"""Some of the work of an idle fleet comes once a minute."""
MOST_PER_S = 5.0
FLEET = "4 send, provision, 2 webhook, record, clock, web"


def idle() -> list[Figure]:
    """Count both fleets at the same time; print the commands of ours."""
    counts: dict[str, Counter[str]] = {}
    with playing() as played, Place(**played.environment) as here, Place() as there:
        start_ours(here)
        start_stock(there)
        both = [
            Thread(target=lambda: counts.update(ours=count(here))),
            Thread(target=lambda: counts.update(stock=count(there))),
        ]
        time.sleep(SETTLES_S)
        for one in both:
            one.start()
        for one in both:
            one.join()
    ours, stock = (counts[side].total() / LASTS_S for side in ("ours", "stock"))
    which = ", ".join(
        f"{word} {times / LASTS_S:.2f}" for word, times in counts["ours"].most_common()
    )
    print(f"idle fleet ({FLEET}), commands/s: {which}")
    return [Figure("idle fleet of 10 processes", "cmds/s", ours, stock, MOST_PER_S)]


def start_ours(place: Place) -> None:
    lines, port = procfile(), str(free_port())
    for name in ("send", "provision", "webhook", "record", "clock", "web"):
        place.start(lines[name], SEND_PROCESSES="4", WEBHOOK_PROCESSES="2", PORT=port)
    assert wait_until(lambda: blocked_consumers(place) >= 7 and serves(port))
    place.check()


def start_stock(place: Place) -> None:
    """Start the seven workers; this fleet has no recorder, clock or ingress."""
    for queue, processes, threads in (("send", 4, 32), ("provision", 1, 8), ("webhook", 2, 8)):
        place.start(
            f"dramatiq bench.engine_sides.stock_worker --queues {queue}"
            f" -p {processes} -t {threads} --skip-logging"
        )
    assert wait_until(lambda: place.redis.zcard("dramatiq:__heartbeats__") >= 7)


def count(place: Place) -> Counter[str]:
    """Return how often clients sent each command during `LASTS_S`."""
    end, counted = time.time() + LASTS_S, Counter[str]()
    client = redis.Redis(port=place.server.port, host=LOCALHOST)
    Thread(target=_ring, args=(place, end), daemon=True).start()
    with client.monitor() as monitor:
        for told in monitor.listen():
            if told["time"] > end:
                return counted
            if told["client_type"] != "lua":
                counted[_word(told["command"])] += 1
    return counted


def _ring(place: Place, end: float) -> None:
    """MONITOR prints nothing while no command is sent: send commands that it shows."""
    time.sleep(end - time.time() + 0.1)
    place.redis.ping()


def _word(command: str) -> str:
    """Return a command's name, and the step of a script that it asks for."""
    name, *arguments = command.split(" ", 4)
    return f"{name} {arguments[3].split(' ', 1)[0]}" if name == "EVALSHA" else name


def serves(port: str) -> bool:
    try:
        return httpx.get(f"http://{LOCALHOST}:{port}/ready", trust_env=False).is_success
    except httpx.TransportError:
        return False
