"""Files that arrive: fetched, looked at, and kept in Supabase Storage."""

from workers.media.handler import dead_letter_media, handle_media
from workers.media.sources import own_files

__all__ = ["dead_letter_media", "handle_media", "own_files"]
