"""A town whose files come from a server of the test's own."""

from tests.pipeline.inbound.conftest import pipeline

__all__ = ["pipeline"]
