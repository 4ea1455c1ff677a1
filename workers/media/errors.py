"""Why a file is not kept."""

from enum import StrEnum


class RefusalReason(StrEnum):
    BOMB = "bomb"
    EMPTY = "empty"
    GONE = "gone"
    HOSTILE = "hostile"
    TOO_LARGE = "too_large"
    WRONG = "wrong"


class FileRefusedError(Exception):
    """Nobody should keep this file: `reason` in a word, the text says it in full."""

    def __init__(self, reason: RefusalReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class FileGoneError(Exception):
    """It is not to be had from here, now or later; another place may have it."""


class FileUnreachableError(Exception):
    """It is not to be had at the moment."""
