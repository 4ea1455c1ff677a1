"""An operator reads sentences, not tracebacks."""

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
    """End with one sentence instead of a traceback, where the sentence says it all."""
    try:
        yield
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".lstrip(": ")
            for fault in error.errors()
        )
        _end("; ".join(faults))
    except DatabaseError as error:
        to_do = diagnose(error)
        _end(f"{error}: {to_do}" if to_do else str(error))
    except (PipelineError, ValueError) as error:
        _end(str(error))
    except (redis.ConnectionError, redis.TimeoutError) as error:
        _end(explain_redis_outage(error))
    except redis.RedisError as error:
        _end(f"Redis refuses: {error}")


def _end(sentence: str) -> None:
    typer.secho(sentence, fg=typer.colors.RED, err=True)
    raise typer.Exit(1) from None
