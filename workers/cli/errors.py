"""Errors of commands, printed as a sentence instead of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis
import typer
from pydantic import ValidationError

from shared.database.diagnosis import diagnose
from shared.errors import DatabaseError, PipelineError
from workers.process import explain_redis_outage


@contextmanager
def print_errors() -> Iterator[None]:
    """Print an expected error to stderr and exit with code 1; a bug keeps its traceback."""
    try:
        yield
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".lstrip(": ")
            for fault in error.errors()
        )
        _exit("; ".join(faults))
    except DatabaseError as error:
        action = diagnose(error)
        _exit(f"{error}: {action}" if action else str(error))
    except (PipelineError, ValueError) as error:
        _exit(str(error))
    except (redis.ConnectionError, redis.TimeoutError) as error:
        _exit(explain_redis_outage(error))
    except redis.RedisError as error:
        _exit(f"Redis refused the command: {error}")


def _exit(message: str) -> None:
    typer.secho(message, fg=typer.colors.RED, err=True)
    raise typer.Exit(1) from None
