"""Supabase: what is read of it, and the SQL functions that write to it."""

from shared.database.database import Database, DeadLetter, DeadLetterQuery, Integration

__all__ = ["Database", "DeadLetter", "DeadLetterQuery", "Integration"]
