"""Why a file is not kept."""

from enum import StrEnum


class Reason(StrEnum):
    BOMB = "bomb"
    EMPTY = "empty"
    GONE = "gone"
    HOSTILE = "hostile"
    TOO_LARGE = "too_large"
    WRONG = "wrong"


class UnfitError(Exception):
    """Nobody should keep this file: `reason` in a word, the text says it in full."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class GoneError(Exception):
    """It is not to be had from here, now or later; another place may have it."""


class UnreachableError(Exception):
    """It is not to be had at the moment."""
