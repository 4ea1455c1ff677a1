"""Everything the platform posts, read by pure functions: what arrived, and what Supabase is told of it."""

from shared.webhooks.to_outcomes import Arrival, claimed_account, describe, outcomes, row_id, split

__all__ = ["Arrival", "claimed_account", "describe", "outcomes", "row_id", "split"]
