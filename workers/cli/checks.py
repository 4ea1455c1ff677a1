"""The checks of `wpp doctor`, in order: settings, Redis, Supabase, platform, webhooks, processes.

Each check says what is wrong and what to do. What depends on a broken part is skipped, so that a
half-broken system names its causes and not their consequences.
"""

import base64
import binascii
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import redis
from dotenv import dotenv_values

from shared import processes, settings
from shared.database import Database
from shared.database.diagnosis import diagnose
from shared.errors import ConfigurationError, DatabaseError
from shared.outbox import count_left
from shared.redis import explain_outage
from shared.version import VERSION
from workers.cli.findings import DEADLINE_S, Finding, examine
from workers.cli.reach_checks import check_platform, check_platform_key, check_webhooks
from workers.cli.redis_checks import (
    check_redis,
    check_redis_clock,
    check_rights,
    check_shard,
    compare_clocks,
    list_other_shards,
    open_redis,
)
from workers.cli.settings_checks import check_names, check_settings, check_timeouts
from workers.cli.status import describe_left

TIMEOUT_S = 5.0
TABLES: dict[str, tuple[str, ...]] = {
    "chat_messages": ("id", "organization_id", "message_status", "metadata", "client_id"),
    "messenger_integrations": ("id", "organization_id", "settings", "is_enabled", "last_error"),
    "organizations": ("id", "name"),
    "whatsapp_sessions": ("id", "status", "organization_id"),
    "profiles": ("id", "organization_id"),
    "wpp_accounts": ("account", "organization_id"),
    "wpp_callback_deliveries": (),
    "wpp_callbacks": (),
    "wpp_dead_letters": ("id", "kind", "reason", "event", "replayed_at", "closed_by"),
    "wpp_files": ("id", "organization_id", "path", "used_at"),
    "wpp_integrations": ("id", "organization_id", "account", "status", "region"),
    "wpp_message_ids": (),
    "wpp_operator_keys": (),
    "wpp_pacing": ("organization_id", "settings"),
    "wpp_policies": ("organization_id", "region"),
    "wpp_service_keys": (),
    "wpp_session_history": ("integration_id", "status", "at"),
    "wpp_webhook_log": ("id", "account", "event_type", "payload", "became"),
}
"""What the pipeline reads, by table or view."""
FUNCTIONS = (
    "wpp_advance_callback",
    "wpp_apply",
    "wpp_apply_parked",
    "wpp_apply_set_aside",
    "wpp_callback_events",
    "wpp_callback_health",
    "wpp_claim_set_aside",
    "wpp_create_callback",
    "wpp_drop_dead_letters",
    "wpp_acquaintance",
    "wpp_evidence",
    "wpp_examine",
    "wpp_pacing_of",
    "wpp_set_pacing",
    "wpp_expire_parked",
    "wpp_find_chat",
    "wpp_find_organization_by_phone",
    "wpp_find_recipients",
    "wpp_list_conversations",
    "wpp_list_messages",
    "wpp_mark_deleted",
    "wpp_mark_read",
    "wpp_number_history",
    "wpp_outcome_version",
    "wpp_prune",
    "wpp_prune_deliveries",
    "wpp_prune_events",
    "wpp_prune_files",
    "wpp_use_file",
    "wpp_use_operator_key",
    "wpp_put_aside",
    "wpp_read_events",
    "wpp_record_delivery",
    "wpp_remove_integration",
    "wpp_rewind_callback",
    "wpp_save_integration",
    "wpp_save_token",
    "wpp_tell_pauses",
    "wpp_search",
    "wpp_set_primary",
    "wpp_settings",
    "wpp_unrecognized_webhooks",
    "wpp_use_service_key",
)
BUCKET = "chat-media"
PRIVATE_TABLES = ("chat_messages", "messenger_integrations", "wpp_dead_letters", "wpp_webhook_log")
PUBLISHED = ("chat_messages",)
"""What the CRM's pages listen to."""
APPLY = "apply supabase/migrations (supabase db push)"
MIGRATIONS = Path(__file__).parents[2] / "supabase" / "migrations"


Limited = Callable[[str, Callable[[], Iterable[Finding]], str], list[Finding]]
"""Makes a check within a deadline: its name, what it does, and what it may wait for."""


def run_checks(
    environment: Mapping[str, str] | None = None, deadline_s: float = DEADLINE_S
) -> Iterator[Finding]:
    """Yield the findings in the order of the parts, each before those that depend on it."""
    given = {**dotenv_values(".env"), **os.environ} if environment is None else environment
    limit = partial(examine, deadline_s=deadline_s)
    yield from check_settings()
    yield from check_names([name for name, value in given.items() if value])
    yield from check_timeouts()
    with ExitStack() as opened:
        found = limit("redis", check_redis, "Redis")
        yield from found
        client = None if is_broken(found) else opened.enter_context(open_redis())
        if client:
            yield from limit("redis rights", lambda: check_rights(client), "Redis")
            yield from limit("clocks", lambda: check_redis_clock(client), "Redis")
            for name, shard in list_other_shards().items():
                yield from limit(f"redis {name}", partial(check_shard, name, shard), "Redis")
        found = limit("supabase keys", check_supabase, "Supabase")
        yield from found
        database = None if is_broken(found) else opened.enter_context(_open_database())
        if database:
            yield from _check_database(database, limit)
        yield from _check_platform(database, limit)
        yield from _check_ours(client, limit)


def _check_database(database: Database, limit: Limited) -> Iterator[Finding]:
    for check, work in (
        ("supabase schema", check_schema),
        ("supabase migrations", lambda: check_migrations(database)),
        ("supabase row security", lambda: check_row_security(database)),
        ("supabase bucket", check_bucket),
        ("supabase realtime", lambda: check_realtime(database)),
        ("clocks", lambda: check_database_clock(database)),
    ):
        found = limit(check, work, "Supabase")
        yield from found
        if check == "supabase schema" and any("wpp_examine" in each.detail for each in found):
            yield Finding("supabase", "skipped", "wpp_examine is missing, which looks further")
            return


def _check_platform(database: Database | None, limit: Limited) -> Iterator[Finding]:
    found = limit("platform", check_platform, "the platform")
    yield from found
    if database and not is_broken(found):
        yield from limit(
            "platform key", lambda: check_platform_key(database), "Supabase or the platform"
        )


def _check_ours(client: "redis.Redis | None", limit: Limited) -> Iterator[Finding]:
    """Check what our own processes do."""
    if client is None:
        yield Finding("webhooks", "skipped", "Redis cannot be used")
        yield Finding("processes", "skipped", "Redis cannot be used")
        return
    yield from limit("webhooks", lambda: check_webhooks(client), "WPP_PUBLIC_URL")
    yield from limit("processes", lambda: check_processes(client), "Redis")
    yield from limit("versions", lambda: check_versions(client), "Redis")


def is_broken(found: Iterable[Finding]) -> bool:
    """Return whether what depends on these findings cannot be checked."""
    return any(each.result in {"fault", "skipped"} for each in found)


def _open_database() -> Database:
    return Database(settings.load_settings(settings.SupabaseSettings))


def _open_http(key: str) -> httpx.Client:
    """Return a client of the project, with a key of the settings."""
    given = settings.load_settings(settings.SupabaseSettings)
    value = getattr(given, key).get_secret_value()
    return httpx.Client(
        base_url=str(given.supabase_url).rstrip("/"),
        headers=_headers(value),
        timeout=TIMEOUT_S,
        trust_env=False,
    )


def check_supabase() -> Iterator[Finding]:
    """Check that both keys are accepted, each in its place, and of the same project."""
    try:
        given = settings.load_settings(settings.SupabaseSettings)
    except ConfigurationError:
        yield Finding("supabase", "skipped", "its settings are wrong")
        return
    url = str(given.supabase_url).rstrip("/")
    keys = {
        name: getattr(given, name).get_secret_value()
        for name in ("supabase_anon_key", "supabase_service_role_key")
    }
    if confused := list(_check_roles(keys, urlsplit(url).hostname or "")):
        yield from confused
        return
    with httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as http:
        try:
            refused = list(_check_keys(http, keys))
        except httpx.HTTPError as error:
            action = "is SUPABASE_URL right, and the project running (not paused)?"
            yield Finding("supabase", "fault", f"{url} does not answer: {error}", action)
            return
    yield from refused or [Finding("supabase keys", "ok", "both are accepted")]


def _check_roles(keys: Mapping[str, str], host: str) -> Iterator[Finding]:
    """Read what the keys say about themselves: role and project."""
    for name, role, prefix, kind in (
        ("supabase_anon_key", "anon", "sb_publishable_", "anon or publishable"),
        ("supabase_service_role_key", "service_role", "sb_secret_", "service_role or secret"),
    ):
        claims = _read_claims(keys[name])
        is_role = claims.get("role") if claims else _read_prefix(keys[name])
        if is_role and is_role not in {role, prefix}:
            detail = f"{name.upper()} is a key of another kind: {is_role.strip('_')}"
            action = f"copy the {kind} key: Project settings → API"
            yield Finding("supabase keys", "fault", detail, action)
        project = str(claims.get("ref") or "")
        if project and host.endswith(".supabase.co") and host != f"{project}.supabase.co":
            detail = f"{name.upper()} belongs to the project {project}, SUPABASE_URL to {host}"
            yield Finding("supabase keys", "fault", detail, "copy URL and keys of one project")


def _read_claims(key: str) -> dict[str, Any]:
    """Return what a legacy key says, unverified; nothing for a key of another form."""
    parts = key.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return {}
    return claims if isinstance(claims, dict) else {}


def _read_prefix(key: str) -> str | None:
    return next((each for each in ("sb_publishable_", "sb_secret_") if key.startswith(each)), None)


def _check_keys(http: httpx.Client, keys: Mapping[str, str]) -> Iterator[Finding]:
    for name, path, hint in (
        ("supabase_anon_key", "/auth/v1/settings", "anon or publishable"),
        ("supabase_service_role_key", "/rest/v1/", "service_role or secret"),
    ):
        answer = http.get(path, headers=_headers(keys[name]))
        if answer.status_code in {401, 403}:
            why = diagnose(DatabaseError(answer.text))
            action = f"copy the {hint} key: Project settings → API" + (f" ({why})" if why else "")
            yield Finding("supabase keys", "fault", f"{name.upper()} is refused", action)


def check_schema() -> Iterator[Finding]:
    """Compare with PostgREST's description of the schema."""
    with _open_http("supabase_service_role_key") as http:
        answer = http.get("/rest/v1/")
    description: dict[str, Any] = answer.json() if answer.is_success else {}
    tables = description.get("definitions", {})
    if not tables:
        detail = f"/rest/v1/ answers {answer.status_code} without a description"
        yield Finding("supabase schema", "warning", detail, "tables and functions are not checked")
        return
    missing = [f"table {name}" for name in TABLES if name not in tables]
    missing += [
        f"column {name}.{column}"
        for name, columns in TABLES.items()
        if name in tables
        for column in columns
        if column not in tables[name].get("properties", {})
    ]
    paths = description.get("paths", {})
    missing += [f"function {name}" for name in FUNCTIONS if f"/rpc/{name}" not in paths]
    for each in missing:
        yield Finding("supabase schema", "fault", f"{each} is missing", APPLY)
    if not missing:
        yield Finding("supabase schema", "ok", "tables, columns and functions are there")


def check_migrations(database: Database) -> Iterator[Finding]:
    """Compare what the database has applied with the files of this version."""
    names = {path.name.partition("_")[0]: path.name for path in MIGRATIONS.glob("*.sql")}
    applied = _examine(database).migrations
    if applied is None or not names:
        what = "the database does not record them" if names else "there are no files to compare"
        yield Finding("supabase migrations", "ok", f"{what}: the schema alone was checked")
        return
    missing = [name for version, name in sorted(names.items()) if version not in applied]
    for name in missing:
        yield Finding("supabase migrations", "fault", f"{name} is not applied", APPLY)
    if not missing:
        yield Finding("supabase migrations", "ok", f"all {len(names)} are applied")


def check_row_security(database: Database) -> Iterator[Finding]:
    """Every table has row security, and a stranger with the public key sees no row."""
    faulty = False
    for table in _examine(database).unguarded:
        faulty = True
        action = f"alter table {table} enable row level security, and {APPLY}"
        yield Finding("supabase row security", "fault", f"{table} has no row security", action)
    with _open_http("supabase_anon_key") as http:
        for table in () if faulty else PRIVATE_TABLES:
            answer = http.get(f"/rest/v1/{table}?select=*&limit=1")
            if answer.is_success and answer.json():
                faulty = True
                action = f"drop the policy of {table} that lets everybody read"
                detail = f"the public key reads rows of {table}"
                yield Finding("supabase row security", "fault", detail, action)
    if not faulty:
        yield Finding("supabase row security", "ok", "all tables; the public key reads no row")


def check_bucket() -> Iterator[Finding]:
    with _open_http("supabase_service_role_key") as http:
        answer = http.get(f"/storage/v1/bucket/{BUCKET}")
    if answer.is_success:
        yield Finding("supabase bucket", "ok", f"{BUCKET} is there")
    else:
        action = f"{APPLY}: they create it; is Storage enabled?"
        yield Finding("supabase bucket", "fault", f"the bucket {BUCKET} is missing", action)


def check_realtime(database: Database) -> Iterator[Finding]:
    """The CRM's pages hear of changes of published tables only."""
    published = _examine(database).published
    missing = [table for table in PUBLISHED if published is None or table not in published]
    if published is None:
        detail = "there is no publication supabase_realtime: the CRM's pages hear of no change"
        yield Finding("supabase realtime", "warning", detail, "enable Realtime")
    else:
        for table in missing:
            detail = f"the publication supabase_realtime lacks {table}"
            action = f"alter publication supabase_realtime add table {table}"
            yield Finding("supabase realtime", "fault", detail, action)
    if not missing:
        yield Finding("supabase realtime", "ok", f"{', '.join(PUBLISHED)} published")


def check_database_clock(database: Database) -> Iterator[Finding]:
    asked_s = time.time()
    at_s = _examine(database).at.timestamp()
    yield compare_clocks("Supabase", at_s, asked_s, time.time())


def _examine(database: Database) -> Any:
    return database.maintenance.examine(sorted(TABLES))


def check_processes(client: "redis.Redis") -> Iterator[Finding]:
    """Find the queues, and the further work, that no process does."""
    try:
        faults = processes.find_faults(client)
        left = count_left(client)
    except redis.RedisError as error:
        yield Finding("processes", "skipped", explain_outage(error))
        return
    for fault in faults:
        action = "start this line of the Procfile; its log says why it ended"
        yield Finding("processes", "fault", fault, action)
    if not faults:
        yield Finding("processes", "ok", "every queue, the outbox and the lanes are consumed")
    for kind, count in left.items():
        if count:
            text, action = f"{count} {describe_left(kind)}", "finish the upgrade, or wait a moment"
            yield Finding("newer versions", "warning", text, action)


def check_versions(client: "redis.Redis") -> Iterator[Finding]:
    """Find the running processes with a version that differs from that of this command."""
    at_ms = processes.now_ms(client)
    versions = processes.list_versions(client)
    others = [
        (each, versions.get(each.name, "before 0.1.0"))
        for each in processes.list_processes(client, at_ms)
        if each.silent_s(at_ms) <= processes.SILENT_S
    ]
    others = [(each, version) for each, version in others if version != VERSION]
    for each, version in others:
        detail = f"{'+'.join(each.roles)} ({each.name}) has version {version}, not {VERSION}"
        yield Finding("versions", "fault", detail, "finish the upgrade: start it anew")
    if not others:
        yield Finding("versions", "ok", f"every process has version {VERSION}")


def _headers(key: str) -> dict[str, str]:
    return {"apikey": key, "Authorization": f"Bearer {key}"}
