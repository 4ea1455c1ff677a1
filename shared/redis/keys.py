"""Every key of the product in Redis, and no key is spelled elsewhere.

A docstring begins with the key's type and its lifetime; then it says what the key holds. The
section names the owner: the module that writes the key. The Lua scripts receive `PREFIX`, or the
whole key, as `KEYS[1]` and spell the rest themselves, because a script cannot import this module;
their keys are listed here for the readers of Redis. Redis Cluster is not supported.

An argument may be `*`: the result is a pattern for SCAN and KEYS.
"""

from uuid import UUID

PREFIX = "wpp:"
"""The beginning of every key."""

WRITE_CHECK = f"{PREFIX}write_check"
"""String, 60 s. Written to find out whether Redis accepts writes (shared/redis/replication.py)."""

# Lanes: shared/lanes, in lanes/lua

FENCE = f"{PREFIX}fence"
"""String, no TTL. Counter of claims: a later claim has a higher fencing token."""
LAST_SWEEP = f"{PREFIX}last_sweep"
"""String, no TTL. When a clock swept last, in ms since 1970."""


LANE_CLOCK = f"{PREFIX}clock"
"""Hash, no TTL. Clock of leases and delays (`lanes`, ms) beside Redis' (`wall`), which steps."""


def event(event_id: UUID | str) -> str:
    """Hash, `WPP_RECORD_TTL_S` once it is settled. The record of an event: state, body, lane."""
    return f"{PREFIX}event:{event_id}"


def lane(name: str) -> str:
    """List, no TTL. Ids of the events of a lane, oldest first."""
    return f"{PREFIX}lane:{name}"


def lane_state(name: str) -> str:
    """Hash, no TTL. Whether a lane is ready, claimed, delayed or gated; fence, queue, tenant.

    It counts the events of the levels high and low.
    """
    return f"{PREFIX}lane:{name}:state"


def ready_lanes(queue: str, tenant: str, level: str = "normal") -> str:
    """List, no TTL. Lanes of a tenant and level that can be claimed, the next lane first.

    That of the level normal begins with an empty name while lanes of other levels are ready.
    """
    family = "ready" if level == "normal" else f"ready_{level}"
    return f"{PREFIX}{family}:{queue}:{tenant}"


def levels(queue: str) -> str:
    """Hash, no TTL. Tenant with ready lanes of the levels high and low → its claims since."""
    return f"{PREFIX}levels:{queue}"


def tenant_ring(queue: str) -> str:
    """List, no TTL. Tenants with ready lanes, in round-robin order."""
    return f"{PREFIX}rr:tenants:{queue}"


def tenant_ring_members(queue: str) -> str:
    """Set, no TTL. The members of `tenant_ring`."""
    return f"{PREFIX}rr:tenants:set:{queue}"


def tenants_aside(queue: str) -> str:
    """Set, no TTL. Tenants with ready lanes that have their share of the threads already."""
    return f"{PREFIX}aside:{queue}"


def fleet(queue: str) -> str:
    """Hash, 30 s. Worker process → threads and until when (ms since 1970); total → all threads."""
    return f"{PREFIX}fleet:{queue}"


def in_flight(queue: str) -> str:
    """Hash, no TTL. Tenant → number of its lanes that are claimed now."""
    return f"{PREFIX}busy:{queue}"


def waiting(queue: str) -> str:
    """Hash, no TTL. Tenant → number of its events that are not settled."""
    return f"{PREFIX}waiting:{queue}"


def waiting_bytes(queue: str) -> str:
    """Hash, no TTL. Tenant → bytes of its events that are not settled."""
    return f"{PREFIX}waiting_bytes:{queue}"


def leases(queue: str) -> str:
    """Sorted set, no TTL. Claimed lane → when its lease ends, in ms since 1970."""
    return f"{PREFIX}leases:{queue}"


def delayed(queue: str) -> str:
    """Sorted set, no TTL. Postponed or gated lane → when it is due, in ms since 1970."""
    return f"{PREFIX}delayed:{queue}"


def scheduled(queue: str) -> str:
    """Sorted set, no TTL. Event that is to be sent later, with tenant and lane → when, in ms."""
    return f"{PREFIX}scheduled:{queue}"


SCHEDULE_ORDER = f"{PREFIX}schedule_order"
"""String, no TTL. Counter of scheduled events: those of the same moment keep their order."""


def gate(name: str) -> str:
    """String, TTL chosen when it is closed. Why the gate is closed; no key: it is open."""
    return f"{PREFIX}gate:{name}"


GATE_ENDS = f"{PREFIX}gate_ends"
"""Sorted set, no TTL. Closed gate → until when, in ms since 1970; some have opened since."""


def gated_lanes(name: str) -> str:
    """Set, no TTL. Lanes parked at a gate."""
    return f"{PREFIX}gated:{name}"


CLOSED_GATES = f"{PREFIX}closed_gates"
"""Hash, no TTL. Gate that was told to be closed → when it was, in ms (workers/gates.py)."""


def newer_versions(queue: str) -> str:
    """Set, no TTL. Versions of events for which lanes wait until a newer worker claims."""
    return f"{PREFIX}newer:{queue}"


def newer_held(queue: str, version: int | str) -> str:
    """Set, no TTL. These lanes: they stand at a gate of this name."""
    return gated_lanes(f"newer:{queue}:{version}")


def newer_lanes(queue: str, version: int | str, tenant: str) -> str:
    """List, no TTL. Those of a tenant and version, the next lane first."""
    return f"{PREFIX}newer_lanes:{queue}:{version}:{tenant}"


def newer_turns(queue: str, version: int | str) -> str:
    """List, no TTL. Tenants with lanes in `newer_lanes`, in round-robin order."""
    return f"{PREFIX}newer_turns:{queue}:{version}"


def newer_bell(queue: str, version: int | str) -> str:
    """List, no TTL. Tokens that wake workers which know the version, at most 64."""
    return f"{PREFIX}newer_bell:{queue}:{version}"


def claim_reply(sequence: str) -> str:
    """String, 1 h. The last claims of a claim sequence, to be repeated when a reply was lost."""
    return f"{PREFIX}reply:{sequence}"


def bell(queue: str) -> str:
    """List, no TTL. A token per lane that became ready, at most 64; consumers block on it."""
    return f"{PREFIX}bell:{queue}"


def stop_bell(consumer: str) -> str:
    """List, 60 s. A token that wakes one consumer, which blocks on it too: its process stops."""
    return f"{PREFIX}stop_bell:{consumer}"


def unknown_events(lane_name: str) -> str:
    """Set, `WPP_UNKNOWN_TTL_S`. Ids of the events of a lane that have an unknown effect."""
    return f"{PREFIX}unknown:{lane_name}"


def unknown_of(tenant: str) -> str:
    """Sorted set, `WPP_UNKNOWN_TTL_S`. Event of a tenant with an unknown effect → since when."""
    return f"{PREFIX}unknown_of:{tenant}"


UNKNOWN_TENANTS = f"{PREFIX}unknown_tenants"
"""Set, no TTL. Tenants that have events with an unknown effect."""


def lost_events(queue: str) -> str:
    """List, no TTL. JSON of events that were lost, and why, until the sweeper has told of them."""
    return f"{PREFIX}lost:{queue}"


LOST_EVENT_COUNTS = f"{PREFIX}lost_events"
"""Hash, no TTL. Queue → how many events were lost: their record is missing."""

# Shards: shared/shards.py, on the home

SHARD_OF = f"{PREFIX}shard_of"
"""Hash, no TTL. Organization → the name of its shard; "" → the home, when shards began."""

SHARD_MOVE = f"{PREFIX}shard_move"
"""String, 15 s. Which process moves an organization now (workers/repair/shard_move.py)."""
MOVING = f"{PREFIX}moving"
"""Hash, no TTL. On each shard: tenant that moves, or has moved to another shard → paused (its
lanes are not claimed) or closed (nothing is accepted for it, either)."""

# Ids of messages: shared/event_ids.py

EVENT_ID_SECRET = f"{PREFIX}event_ids:secret"
"""String, no TTL. The secret with which ids are derived from idempotency keys."""
PREVIOUS_EVENT_IDS = f"{PREFIX}event_ids:previous"
"""String, 8 days after the secret was made. Records may have ids of before there was a secret."""

# Outbox: shared/outbox.py, and shared/lanes/lua, which appends in the step that settles an event

OUTBOX = f"{PREFIX}outbox"
"""Stream, no TTL. Outcomes on their way to Supabase."""
OUTBOX_TURNS = f"{PREFIX}outbox:turns"
"""List, no TTL. Tenants with outcomes that no recorder has taken, in turn."""
OUTBOX_TAKEN = f"{PREFIX}outbox:taken"
"""Sorted set, no TTL. Ids of the outcomes that recorders have taken, by the time."""
OUTBOX_NEWER = f"{PREFIX}outbox:newer"
"""Sorted set, no TTL. Id of an outcome that waits for a newer recorder → its version."""
OUTBOX_BELL = f"{PREFIX}outbox:bell"
"""List, no TTL. Tokens that wake recorders, at most 8."""
OUTBOX_BLOCKED = f"{PREFIX}outbox:blocked"
"""String, 60 s. Why no outcome can be written to Supabase."""
SET_ASIDE = f"{PREFIX}outbox:set_aside"
"""String, 90 s. JSON: the organizations that are set aside, and why."""


def outbox_ids(tenant: str) -> str:
    """List, no TTL. Ids of a tenant's outcomes that no recorder has taken, oldest first."""
    return f"{PREFIX}outbox:ids:{tenant}"


def changes(organization_id: UUID | str) -> str:
    """Channel (pub/sub). What has changed in an organization's rows: JSON array of changes."""
    return f"{PREFIX}changes:{organization_id}"


# Route cache: shared/route_cache.py

ROUTES = f"{PREFIX}routes"
"""Set, no TTL. Ids of the integrations that have a route here."""


def route(integration_id: UUID | str) -> str:
    """String, 7 days, refreshed each minute. JSON of an `IntegrationRoute`."""
    return f"{PREFIX}route:integration:{integration_id}"


def account_route(account: str) -> str:
    """String, 7 days. Id of the integration that uses an account."""
    return f"{PREFIX}route:account:{account}"


def primary_route(organization_id: UUID | str) -> str:
    """String, 7 days. Id of an organization's primary integration."""
    return f"{PREFIX}route:primary:{organization_id}"


def organization_routes(organization_id: UUID | str) -> str:
    """Set, 7 days. Ids of all integrations of an organization that have a route."""
    return f"{PREFIX}route:all:{organization_id}"


# Claim checks: shared/payload_store.py


def payload(event_id: UUID | str, digest: str) -> str:
    """String, 5 min until its event is accepted, then days, 1 h once it is processed. A long text.

    `digest` is its SHA-256. While the text is being written, the key has a random suffix.
    """
    return f"{PREFIX}payload:{event_id}:{digest}"


# Access tokens: shared/tokens (single_flight.lua). Braces: one hash slot per account.


def token(account: str) -> str:
    """Hash, until the token expires. The token of an account, its generation and its times."""
    return f"{PREFIX}token:{{{account}}}"


def token_lease(account: str) -> str:
    """String, longer than a request. Which process fetches the token now: owner:fence:request."""
    return f"{token(account)}:lease"


def token_fence(account: str) -> str:
    """String, 1 day. The highest fencing token given out for an account."""
    return f"{token(account)}:fence"


def token_refusal(account: str) -> str:
    """String, TTL set by the policy. Why the platform refused the account's API key."""
    return f"{token(account)}:refused"


def token_pause(account: str) -> str:
    """String, until a minute after the pause. failures:until_ms, no request before that time."""
    return f"{token(account)}:pause"


def token_api_key(account: str) -> str:
    """String, 30 days. The account's API key, encrypted, for an outage of Supabase."""
    return f"{token(account)}:api_key"


def token_bell(account: str, fence: int | str) -> str:
    """List, 30 s. An element after the flight with this fence has finished; waiters block here."""
    return f"{token(account)}:bell:{fence}"


# Circuit breaker: shared/platform (circuit_breaker.lua)


def circuit_breaker(host: str) -> str:
    """Hash, 1 h. The breaker of a platform host: until when it is open, lost connects in a row."""
    return f"{PREFIX}breaker:{{{host}}}"


def account_breaker(host: str, account: str) -> str:
    """Hash, 1 h. The breaker of an account: until when it is open, whether its probe succeeded."""
    return f"{circuit_breaker(host)}:account:{account}"


def open_breakers(host: str) -> str:
    """Sorted set, 1 h. Account whose breaker is not closed → until when it is open, in ms."""
    return f"{circuit_breaker(host)}:open"


def breaker_calls(host: str, window: int | str) -> str:
    """Hash, 15 s. Successes and failures of each account in a window of 5 s."""
    return f"{circuit_breaker(host)}:calls:{window}"


def circuit_breaker_probe(host: str) -> str:
    """String, 60 s. Which process makes the call that tests an open breaker of the platform."""
    return f"{circuit_breaker(host)}:probe"


def account_breaker_probe(host: str, account: str) -> str:
    """String, 60 s. Which process makes the call that tests an open breaker of an account."""
    return f"{account_breaker(host, account)}:probe"


BREAKER_CHANGES = f"{PREFIX}breaker_changes"
"""Hash, no TTL. "platform opened", "account closed" and so on → how often."""


# Pacing of sends: workers/send (pacing.lua). Times in ms of the lanes' clock, unless it is said.


def pace(integration_id: UUID | str) -> str:
    """Hash, until a minute after its last turn. When an integration is free again, by priority."""
    return f"{PREFIX}pace:{integration_id}"


def pace_turns(integration_id: UUID | str) -> str:
    """Sorted set, until a minute after the last turn. Message that waits → when its turn is."""
    return f"{PREFIX}pace:{integration_id}:turns"


def pace_recipient(integration_id: UUID | str, phone: str) -> str:
    """String, until that time. When an integration may write to a person without a burst."""
    return f"{PREFIX}pace:{integration_id}:to:{phone}"


def pace_contact(integration_id: UUID | str, phone: str) -> str:
    """String, 1 day. When a person wrote last (ms since 1970), or `known`, or `stranger`."""
    return f"{PREFIX}pace:{integration_id}:contact:{phone}"


PACED = f"{PREFIX}paced"
"""Sorted set, no TTL. Integration with messages that wait their turn → when the last turn is."""


def warm_up(integration_id: UUID | str) -> str:
    """Set, until its day ends. New people to whom an integration in warm-up writes today."""
    return f"{PREFIX}warm_up:{integration_id}"


def warm_up_waiting(integration_id: UUID | str) -> str:
    """Sorted set, until its day ends. Message to a new person that waits → until when (wall)."""
    return f"{PREFIX}warm_up:{integration_id}:waiting"


WARM_UP_LEFT = f"{PREFIX}warm_up_left"
"""Hash, until the day ends. Integration → how many more new people today; -1: some have to wait."""


# Changes of messages: workers/send/changes.py


def current_task(message_id: UUID | str) -> str:
    """String, 8 days. The platform's id of an edited message; empty once it was deleted.

    A change that was accepted before an earlier one was carried out knows an outdated id.
    """
    return f"{PREFIX}current_task:{message_id}"


def current_caption(message_id: UUID | str) -> str:
    """String, 8 days. The platform's id of the text that replaced the caption of a file."""
    return f"{PREFIX}current_caption:{message_id}"


# Rate limits of the platform (429): workers/send (rate_limits.lua)

RATE_LIMITED = f"{PREFIX}rate_limited"
"""Set, no TTL. Ids of the integrations that the platform limits now."""


def rate_limit(integration_id: UUID | str) -> str:
    """Hash, 10 min after the last 429. How many messages a second an integration may send."""
    return f"{PREFIX}rate_limit:{integration_id}"


def rate_place(event_id: UUID | str) -> str:
    """String, a minute longer than it waits. Place of a message of a limited integration."""
    return f"{PREFIX}rate_place:{event_id}"


# Integrations that change: workers/ingress/integrations and workers/provision


def pending_integrations(organization_id: UUID | str) -> str:
    """Set, 1 day. Ids of integrations that were requested and may not have a row yet."""
    return f"{PREFIX}pending:{organization_id}"


def connecting(integration_id: UUID | str) -> str:
    """String, 1 day. Id of the event that connects an integration."""
    return f"{PREFIX}connecting:{integration_id}"


def removed(integration_id: UUID | str) -> str:
    """String, 1 day. The organization disconnected this integration; running work for it ends."""
    return f"{PREFIX}removed:{integration_id}"


def pairing(integration_id: UUID | str) -> str:
    """String, 1 day. Id of the newest event that polls for the scan; an older event ends."""
    return f"{PREFIX}pairing:{integration_id}"


def click(subject: str) -> str:
    """String, 30 s. Id of the event that clicks on the same button within that time share."""
    return f"{PREFIX}click:{subject}"


# HTTP API and webhooks: workers/ingress


def idempotency_key(organization_id: UUID | str, digest: str) -> str:
    """String, 8 days. JSON: the first request with an Idempotency-Key (by SHA-256), its result."""
    return f"{PREFIX}idempotency:{organization_id}:{digest}"


def function_call(organization_id: UUID | str, function: str, digest: str) -> str:
    """String, 10 s. The Idempotency-Key of a call of `/functions/v1`.

    Repeats of the call find it by the SHA-256 of its method, query and body. For an edit, `digest`
    is the id of the message, and the SHA-256 of the text stands before the key
    (workers/ingress/functions/repeats.py).
    """
    return f"{PREFIX}function_call:{organization_id}:{function}:{digest}"


def service_key(key_hash: str) -> str:
    """String, 7 days. JSON of a `ServiceKey` by the hash of the key, for an outage of Supabase."""
    return f"{PREFIX}service_key:{key_hash}"


def operator_key(key_hash: str) -> str:
    """String, 7 days. JSON of an `OperatorKey` by the hash of the key, likewise."""
    return f"{PREFIX}operator_key:{key_hash}"


def ended_session(session_id: str) -> str:
    """String, 12 h. This session of the console was ended (workers/ingress/console)."""
    return f"{PREFIX}ended_session:{session_id}"


UNRECOGNIZED_EVENTS = f"{PREFIX}unrecognized_events"
"""Hash, no TTL. Unknown type of a webhook event → number of events."""


def request_bucket(limit: str, subject: str) -> str:
    """String, until the bucket is full. Its lifetime tells how much of a quota is used up."""
    return f"{PREFIX}requests:{limit}:{subject}"


REFUSED_REQUESTS = f"{PREFIX}requests:refused"
"""Hash, no TTL. Rate limit of the ingress → number of requests that were refused."""

METRICS = f"{PREFIX}metrics"
"""Hash, no TTL. Counter, or bucket of a histogram → its sum over all processes (shared/metrics.py).
"""
GAUGES = f"{PREFIX}gauges"
"""Hash, no TTL. What the clock measures every half minute (workers/clock/gauges.py)."""
MINUTES = f"{PREFIX}minutes"
"""Stream, no TTL. An entry for each of the last 61 minutes, 4.5 KB at most (shared/activity.py)."""


def activity(minute: int | str) -> str:
    """Hash, 5 min. Organization and what its messages did in a minute → how many."""
    return f"{PREFIX}activity:{minute}"


PROCESSES = f"{PREFIX}processes"
"""Hash, no TTL. Process → JSON of its last report (shared/processes.py)."""
PROCESS_VERSIONS = f"{PREFIX}process_versions"
"""Hash, no TTL. Process → version of its code (shared/processes.py)."""
TAIL = f"{PREFIX}tail"
"""Channel (pub/sub). Transitions as they happen, while `wpp tail` listens: JSON."""

NUMBER_STATES = f"{PREFIX}number_states"
"""Hash, no TTL. Account → its newest report: time in ms, status, health as it was told last
(shared/number_states.py)."""


def file_link(digest: str) -> str:
    """String, 10 minutes. What was found at a file's address, by the SHA-256 of kind and address.

    JSON: its MIME type, why it is refused, or why it is tried later (workers/send/files.py).
    """
    return f"{PREFIX}file_link:{digest}"


NO_LOCATION_ROUTE = f"{PREFIX}no_location_route"
"""String, 1 hour. The platform answered lately that it has no route for a location
(workers/send/missing_routes.py)."""

# Health checks: workers/clock/health_checks.py


def health_check(integration_id: UUID | str) -> str:
    """String, `WPP_CHECK_EVERY_S`. The integration was checked within this time."""
    return f"{PREFIX}health_check:{integration_id}"


def gap_check(integration_id: UUID | str) -> str:
    """String, 30 days. Until when an integration was searched for gaps, in s since 1970."""
    return f"{PREFIX}gap_check:{integration_id}"


def idle_check(integration_id: UUID | str) -> str:
    """String, twice `WPP_IDLE_CHECK_S`. Number of the period in which it was last checked."""
    return f"{PREFIX}idle_check:{integration_id}"


def health_checks(second: int) -> str:
    """String, 5 s. How many checks started in this second (Unix time), in all processes."""
    return f"{PREFIX}health_checks:{second}"


# Checks of an operator: workers/cli


def reach_check(nonce: str) -> str:
    """String, 60 s. What `wpp doctor` wants to read back through `WPP_PUBLIC_URL`."""
    return f"{PREFIX}reach_check:{nonce}"


RIGHTS_CHECK = f"{PREFIX}rights_check"
"""Hash, seconds. Written and deleted by `wpp doctor` to find out which commands are permitted."""
