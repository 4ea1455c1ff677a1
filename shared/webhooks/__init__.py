"""Interpret what the platform posts, by pure functions: which event it is, and its outcomes."""

from shared.webhooks.classify import ClassifiedEvent, classify_event, find_claimed_account
from shared.webhooks.payload import split_body
from shared.webhooks.to_outcomes import build_outcomes, make_row_id

__all__ = [
    "ClassifiedEvent",
    "build_outcomes",
    "classify_event",
    "find_claimed_account",
    "make_row_id",
    "split_body",
]
