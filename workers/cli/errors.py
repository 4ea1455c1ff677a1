"""Errors of commands, printed as a sentence instead of a traceback, and exit codes for scripts.

0: done. 1: it could not be done now, or `wpp doctor` and `wpp status` found a fault. 2: the command
or a setting is wrong: an unknown id, an invalid phone, a misspelled option. 130 and 143: it was
stopped by SIGINT (Ctrl-C) or SIGTERM.
"""

import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from shared.stop_signals import exit_on_stop_signals

FAILED = 1
MISTAKEN = 2
INTERRUPTED = 130


class UnknownIdError(ValueError):
    """An id that the command names does not exist."""


@contextmanager
def print_errors() -> Iterator[None]:
    """Print an expected error to stderr and exit with its code; a bug keeps its traceback.

    A stop signal unwinds the block, in the background of a script as well.
    """
    try:
        _log_to_stderr()
        with exit_on_stop_signals():
            yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        exit_with(*explained)


def explain(error: Exception) -> tuple[str, int] | None:  # noqa: PLR0911 - one per kind
    """Return the sentence and the exit code of an expected error; None for a bug."""
    import redis
    from pydantic import ValidationError

    from shared.database.diagnosis import diagnose
    from shared.errors import (
        ConfigurationError,
        DatabaseError,
        NotDurableError,
        NotFoundError,
        PipelineError,
    )
    from workers.process import explain_redis_outage

    match error:
        case ValidationError():
            faults = (
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".lstrip(": ")
                for fault in error.errors()
            )
            return "; ".join(faults), MISTAKEN
        case DatabaseError():
            action = diagnose(error)
            return (f"{error}: {action}" if action else str(error)), FAILED
        case NotDurableError():
            return str(error), FAILED
        case ConfigurationError() | NotFoundError() | ValueError():
            return str(error), MISTAKEN
        case PipelineError():
            return str(error), FAILED
        case redis.ConnectionError() | redis.TimeoutError():
            return explain_redis_outage(error), FAILED
        case redis.RedisError():
            return f"Redis refused the command: {error}", FAILED
    return None


def exit_with(message: str, code: int) -> NoReturn:
    typer.secho(message, fg=typer.colors.RED, err=True)
    raise typer.Exit(code) from None


def _log_to_stderr() -> None:
    """Keep the output of a command free of log lines: warnings go to stderr, the rest nowhere."""
    import structlog

    def drop_chatter(_logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
        if method in {"debug", "info"}:
            raise structlog.DropEvent
        return event

    if not structlog.is_configured():
        structlog.configure(
            processors=[drop_chatter, *structlog.get_config()["processors"]],
            logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        )
