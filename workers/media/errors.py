"""Why a file is refused, or cannot be fetched."""

from enum import StrEnum


class RefusalReason(StrEnum):
    """As the message's metadata holds it, in `media_refused`."""

    BOMB = "bomb"
    """It decodes or unpacks to far more than its size."""
    EMPTY = "empty"
    GONE = "gone"
    HOSTILE = "hostile"
    """It is a program, or a page or drawing that may hold scripts."""
    TOO_LARGE = "too_large"
    WRONG = "wrong"
    """Its bytes are not what the message says."""


class FileRefusedError(Exception):
    """The file is not stored. The text says why, for the person who looks at the message."""

    def __init__(self, reason: RefusalReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class FileGoneError(Exception):
    """This source does not have the file, now or later. The next source may have it."""


class FileUnreachableError(Exception):
    """This source does not answer now: try again later."""
