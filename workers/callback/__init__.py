"""Post the events of an organization to its callbacks, signed."""

from workers.callback.context import callback_context
from workers.callback.handler import dead_letter_callback, handle_callback

__all__ = ["callback_context", "dead_letter_callback", "handle_callback"]
