"""Interpret what the platform posts: which event it is, and its outcomes. Pure functions."""

from shared.webhooks.bodies import SplitBody, TooManyEventsError, parse_json, split_body
from shared.webhooks.classify import ClassifiedEvent, classify_event, find_claimed_account
from shared.webhooks.identity import RETRY_WINDOW_S, EventIdentity, identify_event
from shared.webhooks.payload import Payload, parse_payload
from shared.webhooks.to_outcomes import build_outcomes, make_row_id

__all__ = [
    "RETRY_WINDOW_S",
    "ClassifiedEvent",
    "EventIdentity",
    "Payload",
    "SplitBody",
    "TooManyEventsError",
    "build_outcomes",
    "classify_event",
    "find_claimed_account",
    "identify_event",
    "make_row_id",
    "parse_json",
    "parse_payload",
    "split_body",
]
