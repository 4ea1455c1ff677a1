"""Files that arrive: fetched, looked at, and kept in Supabase Storage."""

from workers.media.handler import dead_letter_media, handle_media
from workers.media.sources import media_context

__all__ = ["dead_letter_media", "handle_media", "media_context"]
