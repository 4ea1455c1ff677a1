"""A claimed event as a Dramatiq message."""

from typing import Any

from dramatiq import Message, MessageProxy

from shared.lanes import wire
from shared.lanes.types import Claim, ClaimResult
from shared.settings import EngineSettings


class LaneMessage(MessageProxy):
    """`claim` is the right to work on it; ack concludes the claim with `result`, as JSON."""

    def __init__(
        self,
        message: "Message[Any]",
        claim: Claim,
        settings: EngineSettings,
        decoding_error: Exception | None = None,
    ) -> None:
        super().__init__(message)
        self.claim = claim
        self.result: str | None = None
        self.end: ClaimResult | None = None
        self._settings = settings
        self._decoding_error = decoding_error

    @property
    def error(self) -> BaseException | None:
        """Return what its decoding or its actor raised."""
        return self._decoding_error or self._exception

    def conclude_with(self, result: ClaimResult) -> None:
        """Set the end of the claim, to be written when the message is acknowledged.

        Raises:
            ValueError: an outcome cannot be written as JSON.
        """
        self.result = wire.dump_result(self.claim, result, self._settings)
        self.end = result
