"""The WPP Platform: a client of its HTTP API, with a circuit breaker."""

from shared.platform.client import BearerAuth, Platform

__all__ = ["BearerAuth", "Platform"]
