"""Fetch the files of messages, check them, and store them in Supabase Storage."""

from workers.media.context import media_context
from workers.media.handler import dead_letter_media, handle_media

__all__ = ["dead_letter_media", "handle_media", "media_context"]
