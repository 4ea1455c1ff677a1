"""Files that arrive: fetched, looked at, and kept in Supabase Storage."""

from workers.media.handler import give_up, handle
from workers.media.sources import own_files

__all__ = ["give_up", "handle", "own_files"]
