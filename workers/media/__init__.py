"""Files that arrive: fetched, looked at, and kept in Supabase Storage."""

from workers.media.flow import give_up, handle

__all__ = ["give_up", "handle"]
