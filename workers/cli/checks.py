"""The checks of `wpp doctor`, in order: settings, Redis, Supabase, platform, webhooks, processes.

Each check says what is wrong and what to do. What depends on a broken part is skipped, so that a
half-broken system names its causes and not their consequences.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import redis
from dotenv import dotenv_values

from shared import logs, processes, settings
from shared.database.diagnosis import diagnose
from shared.errors import ConfigurationError, DatabaseError
from shared.redis import connect_durable, explain_outage
from shared.redis.replication import check_writable

CheckResult = Literal["ok", "fault", "warning", "skipped"]

TIMEOUT_S = 5.0
OTHER_NAMES = {
    "REDIS_PASSWORD",
    "REDIS_MAXMEMORY",
    "REDIS_MEM_LIMIT",
    "WPP_FIRST_PORT",
}
"""Variables of docker-compose.yml and of the local world."""
OTHER_PREFIX = "WPP_SANDBOX_"
SIMILAR = 0.85
TABLES: dict[str, tuple[str, ...]] = {
    "chat_messages": ("id", "organization_id", "message_status", "metadata", "client_id"),
    "messenger_integrations": ("id", "organization_id", "settings", "is_enabled", "last_error"),
    "whatsapp_sessions": ("id", "status", "organization_id"),
    "profiles": ("id", "organization_id"),
    "wpp_accounts": ("account", "organization_id"),
    "wpp_dead_letters": ("id", "kind", "reason", "event", "replayed_at"),
    "wpp_integrations": ("id", "organization_id", "account", "status", "region"),
    "wpp_message_ids": (),
    "wpp_policies": ("organization_id", "region"),
    "wpp_service_keys": (),
    "wpp_session_history": ("integration_id", "status", "at"),
    "wpp_webhook_log": ("id", "account", "event_type", "payload", "became"),
}
"""What the pipeline reads, by table or view."""
FUNCTIONS = (
    "wpp_apply",
    "wpp_apply_parked",
    "wpp_apply_set_aside",
    "wpp_claim_set_aside",
    "wpp_evidence",
    "wpp_expire_parked",
    "wpp_find_organization_by_phone",
    "wpp_mark_deleted",
    "wpp_prune",
    "wpp_put_aside",
    "wpp_remove_integration",
    "wpp_save_integration",
    "wpp_save_token",
    "wpp_set_primary",
    "wpp_settings",
    "wpp_unrecognized_webhooks",
    "wpp_use_service_key",
)
BUCKET = "chat-media"
PRIVATE_TABLES = ("chat_messages", "messenger_integrations", "wpp_dead_letters", "wpp_webhook_log")
APPLY = "apply supabase/migrations (supabase db push)"


@dataclass(frozen=True)
class Finding:
    """What a check found; `action` says what to do about a fault."""

    check: str
    result: CheckResult
    detail: str
    action: str = ""


def run_checks(environment: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Yield the findings in the order of the parts, each before those that depend on it."""
    given = {**dotenv_values(".env"), **os.environ} if environment is None else environment
    yield from check_settings()
    yield from check_names([name for name, value in given.items() if value])
    redis_findings, client = check_redis()
    yield from redis_findings
    yield from check_supabase()
    yield from check_platform()
    yield from check_webhooks()
    yield from check_processes(client)


def check_settings() -> Iterator[Finding]:
    """Load every group of settings, as the processes do when they start."""
    faulty = False
    for group in _groups():
        try:
            settings.load_settings(group)
        except ConfigurationError as error:
            faulty = True
            text = str(error).removeprefix("cannot start: ").removesuffix(" See .env.example.")
            yield Finding("settings", "fault", text, "set it as .env.example explains")
    if not faulty:
        yield Finding("settings", "ok", "all set")


def check_names(names: list[str]) -> Iterator[Finding]:
    """Find variables that no process reads: a misspelled name has no effect."""
    known = {name.upper() for group in _groups() for name in group.model_fields} | OTHER_NAMES
    strange = False
    for name in sorted(set(names) - known):
        close = difflib.get_close_matches(name, known, 1, SIMILAR)
        ours = name.startswith("WPP_") and not name.startswith(OTHER_PREFIX)
        if not ours and not (close and name.startswith(("SUPABASE_", "REDIS_"))):
            continue
        strange = True
        action = f"did you mean {close[0]}?" if close else "remove it"
        yield Finding("names", "fault", f"{name} is no setting: it has no effect", action)
    if not strange:
        yield Finding("names", "ok", "no unknown names")


def check_redis() -> tuple[list[Finding], "redis.Redis | None"]:
    """Return the findings, and a client where Redis can be used."""
    try:
        given = settings.load_settings(settings.RedisSettings)
        replicas = settings.load_settings(settings.EngineSettings).wpp_redis_replicas
    except ConfigurationError:
        return [Finding("redis", "skipped", "its settings are wrong")], None
    try:
        client = connect_durable(given)
    except ConfigurationError as error:
        return [Finding("redis", "fault", str(error), "see docs/deploying.md, Redis")], None
    except redis.RedisError as error:
        action = "start Redis, and check REDIS_URL (address, password, TLS)"
        return [Finding("redis", "fault", f"{explain_outage(error)}: {error}", action)], None
    try:
        check_writable(client, replicas)
    except redis.RedisError as error:
        action = "free memory or disk, or bring back its replicas (WPP_REDIS_REPLICAS)"
        return [Finding("redis", "fault", explain_outage(error), action)], client
    return [Finding("redis", "ok", "durable and writable")], client


def check_supabase() -> Iterator[Finding]:
    """Check keys, tables, columns, functions, row security and the bucket."""
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
    with httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as http:
        try:
            refused = list(_check_keys(http, keys))
        except httpx.HTTPError as error:
            action = "is SUPABASE_URL right, and the project running (not paused)?"
            yield Finding("supabase", "fault", f"{url} does not answer: {error}", action)
            return
        yield from refused or [Finding("supabase keys", "ok", "both are accepted")]
        if refused:
            yield Finding("supabase schema", "skipped", "a key is refused")
            return
        service = _headers(keys["supabase_service_role_key"])
        yield from _check_schema(http, service)
        yield from _check_row_security(http, _headers(keys["supabase_anon_key"]))
        yield from _check_bucket(http, service)


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


def _check_schema(http: httpx.Client, headers: Mapping[str, str]) -> Iterator[Finding]:
    """Compare with PostgREST's description of the schema."""
    answer = http.get("/rest/v1/", headers=headers)
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


def _check_row_security(http: httpx.Client, headers: Mapping[str, str]) -> Iterator[Finding]:
    """A stranger with the public key must see no row."""
    for table in PRIVATE_TABLES:
        answer = http.get(f"/rest/v1/{table}?select=*&limit=1", headers=headers)
        if answer.is_success and answer.json():
            action = f"alter table {table} enable row level security, and {APPLY}"
            detail = f"the public key reads rows of {table}"
            yield Finding("supabase row security", "fault", detail, action)
            return
    yield Finding("supabase row security", "ok", "the public key reads no row")


def _check_bucket(http: httpx.Client, headers: Mapping[str, str]) -> Iterator[Finding]:
    answer = http.get(f"/storage/v1/bucket/{BUCKET}", headers=headers)
    if answer.is_success:
        yield Finding("supabase bucket", "ok", f"{BUCKET} is there")
    else:
        action = f"{APPLY}: they create it; is Storage enabled?"
        yield Finding("supabase bucket", "fault", f"the bucket {BUCKET} is missing", action)


def check_platform() -> Iterator[Finding]:
    """Find out whether the platform answers at all: its secret is used only to create clients."""
    try:
        url = str(settings.load_settings(settings.PlatformSettings).wpp_base_url)
    except ConfigurationError:
        yield Finding("platform", "skipped", "its settings are wrong")
        return
    action = "check WPP_BASE_URL, and ask the platform's operator"
    try:
        answer = httpx.get(url, timeout=TIMEOUT_S, trust_env=False)
    except httpx.HTTPError as error:
        yield Finding("platform", "fault", f"{url} does not answer: {error}", action)
        return
    if answer.status_code >= 500:
        yield Finding("platform", "fault", f"{url} answers {answer.status_code}", action)
    else:
        yield Finding("platform", "ok", "it answers")


def check_webhooks() -> Iterator[Finding]:
    """Request the ingress at the address that the platform is given."""
    try:
        url = str(settings.load_settings(settings.KeySettings).wpp_public_url).rstrip("/")
    except ConfigurationError:
        yield Finding("webhooks", "skipped", "WPP_PUBLIC_URL or WPP_KEY_SECRETS is wrong")
        return
    action = "is the web process running, and does WPP_PUBLIC_URL lead to it (DNS, proxy, TLS)?"
    try:
        answer = httpx.get(f"{url}/health", timeout=TIMEOUT_S, trust_env=False)
    except httpx.HTTPError as error:
        yield Finding("webhooks", "fault", f"WPP_PUBLIC_URL: no answer: {error}", action)
        return
    if answer.status_code != 200 or '"ok"' not in answer.text:
        detail = f"WPP_PUBLIC_URL: another program answers {answer.status_code} at {url}/health"
        yield Finding("webhooks", "fault", detail, action)
        return
    host = urlsplit(url).hostname or ""
    local = "; only this machine reaches it" if host in {"localhost", "127.0.0.1"} else ""
    yield Finding("webhooks", "ok", f"the ingress answers at WPP_PUBLIC_URL{local}")


def check_processes(client: "redis.Redis | None") -> Iterator[Finding]:
    """Find the queues, and the further work, that no process does."""
    if client is None:
        yield Finding("processes", "skipped", "Redis cannot be used")
        return
    try:
        faults = processes.find_faults(client)
    except redis.RedisError as error:
        yield Finding("processes", "skipped", explain_outage(error))
        return
    for fault in faults:
        action = "start this line of the Procfile; its log says why it ended"
        yield Finding("processes", "fault", fault, action)
    if not faults:
        yield Finding("processes", "ok", "every queue, the outbox and the lanes are consumed")


def describe(finding: Finding) -> dict[str, str]:
    return asdict(finding)


def _groups() -> list[type[settings.SettingsGroup]]:
    return [
        value
        for module in (settings, logs)
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, settings.SettingsGroup)
        and value is not settings.SettingsGroup
    ]


def _headers(key: str) -> dict[str, str]:
    return {"apikey": key, "Authorization": f"Bearer {key}"}
