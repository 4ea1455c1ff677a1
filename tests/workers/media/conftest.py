"""The pipeline fixture, for media tests."""

from tests.pipeline.inbound.conftest import pipeline

__all__ = ["pipeline"]
