"""How a process starts, or says why it cannot."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis
import structlog

from shared.errors import ConfigurationError

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: starting it again changes nothing, its configuration has to."""
EXIT_UNAVAILABLE = 75
"""EX_TEMPFAIL: starting it again may do."""

log = structlog.get_logger()


@contextmanager
def exit_on_startup_error() -> Iterator[None]:
    """Turn what keeps a process from starting into one line of the log and an exit code of its own."""
    try:
        yield
    except ConfigurationError as error:
        log.critical("process.cannot_start", reason=str(error))
        raise SystemExit(EXIT_CONFIG) from None
    except (redis.ConnectionError, redis.TimeoutError) as error:
        reason = f"Redis does not answer: {error}. Is REDIS_URL right, and is it running?"
        log.critical("process.cannot_start", reason=reason)
        raise SystemExit(EXIT_UNAVAILABLE) from None
