"""Faults as buttons of the phone: what each does, and what the pipeline is expected to do."""

from dataclasses import dataclass
from typing import Any

from sandbox.platform.faults import FaultPlan, Faults

REQUEST_FIELDS = frozenset(
    {
        *("paths", "limit", "rate_429", "rate_404", "rate_5xx", "status_5xx", "processed_5xx"),
        *("drop_before", "drop_after", "slow", "latency_s"),
    }
)
"""Faults of requests do not add up: their rates sum to 1 at most."""


@dataclass(frozen=True)
class PhoneFault:
    """A fault of the platform. `plan` are the fields of `FaultPlan` that it changes."""

    name: str
    title: str
    expected: str
    plan: dict[str, Any]


def list_faults(session: str, peer: str) -> list[PhoneFault]:
    """Return the faults that the phone of an account offers; `peer` is the customer on its page."""
    return [
        PhoneFault(
            "lost_reply",
            "Lose the reply to the next message",
            "The message arrives here once. The pipeline cannot know that: it is “unknown” until "
            "the platform's report settles it, and it is never sent a second time.",
            {"drop_after": 1, "limit": 1},
        ),
        PhoneFault(
            "away",
            "Take the whole platform away",
            "Messages wait in their order; the page says that the service does not answer. When "
            "you end this, all of them arrive, each once, in order.",
            {"paths": "^/", "rate_404": 1},
        ),
        PhoneFault(
            "internal_errors",
            "Answer every message with a 500",
            "A 500 does not say whether the message was taken, so those under way are “unknown” "
            "and not repeated. Soon the breaker opens: later messages wait until you end this.",
            {"rate_5xx": 1},
        ),
        PhoneFault(
            "slow",
            "Answer messages three seconds late",
            "Messages of a conversation stay in order; those of other conversations and "
            "organizations go on beside them.",
            {"slow": {"rate": 1, "seconds": 3}},
        ),
        PhoneFault(
            "rate_limit",
            "Take one message a second",
            "The rest gets a 429 and waits its turn: all of them arrive, each once, none fails.",
            {"account_limits": {session: 1.0}},
        ),
        PhoneFault(
            "revoked_key",
            "Revoke the key of this number",
            "With the next message the page says “Key refused”; messages wait. “Repair with a new "
            "key” lets them go, and nothing is lost.",
            {"revoked_keys": [session]},
        ),
        PhoneFault(
            "refused_recipient",
            f"Refuse messages to +{peer}",
            "They fail at once, with the platform's words as the reason, and can be replayed as "
            "dead letters. Messages to other people go on.",
            {"refused_recipients": [peer]},
        ),
        PhoneFault(
            "dead_recipient",
            f"Give messages to +{peer} up",
            "The platform takes them and gives them up later: they are “sent”, then failed.",
            {"dead_recipients": [peer]},
        ),
        PhoneFault(
            "no_webhooks",
            "Drop the webhooks of this number",
            "Messages still go out but stay “sent”. After some minutes without a sign of life the "
            "page says “Not responding”; the first webhook ends that.",
            {"mute": [session]},
        ),
        PhoneFault(
            "doubled_webhooks",
            "Post every webhook twice",
            "Every message and every status is there once all the same.",
            {"duplicate_webhooks": 1},
        ),
        PhoneFault(
            "reordered_webhooks",
            "Post webhooks out of order",
            "A status only moves forward: what was read does not become “delivered” again.",
            {"reorder_webhooks": True},
        ),
    ]


def is_in_force(fault: PhoneFault, faults: Faults) -> bool:
    """Return whether a fault is in force; a fault with a limit ends by itself."""
    plan = faults.plan
    if "limit" in fault.plan and faults.injected >= fault.plan["limit"]:
        return False
    return all(_holds(getattr(plan, name), value) for name, value in _read(fault).items())


def switch(fault: PhoneFault, faults: Faults) -> None:
    """Begin a fault, or end it where it is in force; faults of a different kind stay."""
    ends = is_in_force(fault, faults)
    changed = _read(fault)
    values = {name: getattr(faults.plan, name) for name in FaultPlan.model_fields}
    normal = {name: getattr(FaultPlan(), name) for name in FaultPlan.model_fields}
    if REQUEST_FIELDS.intersection(changed):
        values |= {name: normal[name] for name in REQUEST_FIELDS}
    change = _without if ends else _with
    values |= {name: change(values[name], value, normal[name]) for name, value in changed.items()}
    faults.set(FaultPlan.model_validate(values))


def _read(fault: PhoneFault) -> dict[str, Any]:
    plan = FaultPlan.model_validate(fault.plan)
    return {name: getattr(plan, name) for name in fault.plan}


def _holds(present: Any, value: Any) -> bool:
    if isinstance(value, list):
        return present is True or (isinstance(present, list) and set(value) <= set(present))
    if isinstance(value, dict):
        return bool(value.items() <= present.items())
    return bool(present == value)


def _with(present: Any, value: Any, _normal: Any) -> Any:
    if isinstance(value, list) and isinstance(present, list):
        return [*present, *value]
    return present | value if isinstance(value, dict) else value


def _without(present: Any, value: Any, normal: Any) -> Any:
    if isinstance(value, list) and isinstance(present, list):
        return [each for each in present if each not in value] or normal
    if isinstance(value, dict):
        return {name: each for name, each in present.items() if name not in value}
    return normal
