"""Checks of the settings alone: missing, wrong, misspelled, and limits that contradict."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from shared import logs, settings  # noqa: F401 - the logs have a group of settings
from shared.errors import ConfigurationError
from workers.cli.findings import Finding

OTHER_NAMES = {
    "REDIS_PASSWORD",
    "REDIS_MAXMEMORY",
    "REDIS_MEM_LIMIT",
    "WPP_FIRST_PORT",
}
"""Variables of docker-compose.yml and of the local world."""
OTHER_PREFIX = "WPP_SANDBOX_"
SIMILAR = 0.85
PROCFILE = Path(__file__).parents[2] / "Procfile"
SHUTDOWN = re.compile(r"--queues (\w+) .*--worker-shutdown-timeout (\d+)")


def check_settings() -> Iterator[Finding]:
    """Load every group of settings, as the processes do when they start."""
    faulty = False
    for group in settings.list_groups():
        try:
            settings.load_settings(group)
        except ConfigurationError as error:
            faulty = True
            text = str(error).removeprefix("cannot start: ").removesuffix(" See .env.example.")
            yield Finding("settings", "fault", text, "set it as .env.example explains")
    if not faulty:
        yield Finding("settings", "ok", "all set")


def check_names(names: list[str]) -> Iterator[Finding]:
    """Find variables that no process reads: a misspelled name has no effect."""
    known = {
        name.upper() for group in settings.list_groups() for name in group.model_fields
    } | OTHER_NAMES
    strange = False
    for name in sorted(set(names) - known):
        close = difflib.get_close_matches(name.upper(), known, 1, SIMILAR)
        ours = name.startswith("WPP_") and not name.startswith(OTHER_PREFIX)
        if not ours and not (close and name.upper().startswith(("SUPABASE_", "REDIS_", "WPP_"))):
            continue
        if close and close[0] == name.upper():
            continue  # pydantic reads names in any case
        strange = True
        action = f"did you mean {close[0]}?" if close else "remove it"
        yield Finding("names", "fault", f"{name} is no setting: it has no effect", action)
    if not strange:
        yield Finding("names", "ok", "no unknown names")


def check_timeouts() -> Iterator[Finding]:
    """Compare limits of different groups, and those of the Procfile."""
    try:
        engine = settings.load_settings(settings.EngineSettings)
        callback = settings.load_settings(settings.CallbackSettings)
    except ConfigurationError:
        yield Finding("timeouts", "skipped", "a limit is wrong, see settings")
        return
    faulty = False
    if callback.wpp_callback_timeout_s >= engine.wpp_lease_s:
        faulty = True
        yield Finding(
            "timeouts",
            "fault",
            f"WPP_CALLBACK_TIMEOUT_S ({callback.wpp_callback_timeout_s:g}) must be below "
            f"WPP_LEASE_S ({engine.wpp_lease_s:g}): an event would be posted twice",
            "lower the one or raise the other, for every process",
        )
    for queue, shutdown_s in _read_shutdown_timeouts():
        if shutdown_s <= engine.wpp_http_deadline_s:
            faulty = True
            yield Finding(
                "timeouts",
                "fault",
                f"WPP_HTTP_DEADLINE_S ({engine.wpp_http_deadline_s:g}) must be below the shutdown "
                f"timeout of {queue} ({shutdown_s:g} s): a stop would cut calls to the platform",
                f"raise --worker-shutdown-timeout of {queue} in the Procfile, and the grace period",
            )
    if not faulty:
        yield Finding("timeouts", "ok", "each limit is within the limit around it")


def _read_shutdown_timeouts() -> list[tuple[str, float]]:
    """Return the shutdown timeout of each queue in s; none where there is no Procfile."""
    text = PROCFILE.read_text(encoding="utf-8") if PROCFILE.exists() else ""
    return [(queue, int(ms) / 1000) for queue, ms in SHUTDOWN.findall(text)]
