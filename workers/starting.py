"""How a process starts, or says why it cannot."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from shared.errors import ConfigurationError

EXIT_CODE = 78
"""EX_CONFIG of sysexits.h: starting it again changes nothing, its configuration has to."""

log = structlog.get_logger()


@contextmanager
def or_say_why() -> Iterator[None]:
    """Turn a configuration that cannot work into one line of the log and an exit code of its own."""
    try:
        yield
    except ConfigurationError as error:
        log.critical("process.cannot_start", reason=str(error))
        raise SystemExit(EXIT_CODE) from None
