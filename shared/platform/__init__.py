"""The WPP Platform: everything that we say to it, and what its answers mean."""

from shared.platform.client import Bearer, Platform

__all__ = ["Bearer", "Platform"]
