"""Tests mirror the code by name: `shared/x/y.py` has `tests/shared/x/test_y.py`.

A large module may have several files: `test_y_<topic>.py`.
"""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

TESTED_THROUGH = {
    # every table object, through `Database` and a real Postgres
    "shared/database/test_database.py": [
        "shared/database/callbacks.py",
        "shared/database/contacts.py",
        "shared/database/dead_letters.py",
        "shared/database/diagnosis.py",
        "shared/database/files.py",
        "shared/database/feed.py",
        "shared/database/integrations.py",
        "shared/database/maintenance.py",
        "shared/database/messages.py",
        "shared/database/operator_keys.py",
        "shared/database/outcomes.py",
        "shared/database/pacing.py",
        "shared/database/policies.py",
        "shared/database/reading.py",
        "shared/database/repair.py",
        "shared/database/service_keys.py",
        "shared/database/tokens.py",
        "shared/database/users.py",
        "shared/database/webhook_log.py",
    ],
    # the steps of both producers
    "shared/test_producer.py": ["shared/preparation.py"],
    # the lanes as a broker: a Dramatiq app, then a file per guarantee
    "shared/lanes/test_plain_app.py": [
        "shared/lanes/acceptance.py",
        "shared/lanes/client.py",
        "shared/lanes/codec.py",
        "shared/lanes/consumer.py",
        "shared/lanes/exchange.py",
        "shared/lanes/message.py",
        "shared/lanes/types.py",
        "shared/lanes/wire.py",
    ],
    # what was lost with a key is put back, kind of key by kind of key
    "shared/lanes/test_missing_keys.py": ["shared/lanes/repair.py"],
    # the parts of the conversion, checked by a corpus of webhooks and expected outcomes
    "shared/webhooks/test_to_outcomes.py": [
        "shared/outcomes.py",
        "shared/webhooks/content.py",
        "shared/webhooks/fields.py",
        "shared/webhooks/identity.py",
        "shared/webhooks/updates.py",
    ],
    # what its connections find: the primary that sentinels name
    "shared/redis/test_sentinel.py": ["shared/redis/pools.py"],
    # waiting for replicas is part of each append and claim
    "shared/lanes/test_replication.py": ["shared/redis/replication.py"],
    # exception classes, each raised where the tests expect it
    "shared/platform/test_failures.py": ["shared/errors.py"],
    "workers/ingress/callbacks/test_endpoints.py": [
        "workers/ingress/callbacks/refusals.py",
        "workers/ingress/callbacks/schemas.py",
        "workers/ingress/callbacks/service.py",
    ],
    "workers/callback/test_handler.py": ["workers/callback/context.py"],
    "workers/media/test_download.py": [
        "workers/media/errors.py",
        "shared/http/public_network.py",
    ],
    # answers as values, made by the function that reads them
    "shared/platform/test_responses.py": ["shared/platform/models.py"],
    # the cache of sessions is that of look-ups
    "workers/ingress/test_auth.py": ["workers/ingress/lookups.py"],
    # the two levels of the cache
    "shared/tokens/test_cache.py": ["shared/tokens/memory.py"],
    # over HTTP, as callers use them
    "workers/ingress/integrations/test_service.py": [
        "workers/ingress/integrations/connect_requests.py",
        "workers/ingress/integrations/endpoints.py",
        "workers/ingress/integrations/pending.py",
        "workers/ingress/integrations/queries.py",
    ],
    "workers/ingress/messages/test_reading.py": ["workers/ingress/messages/reading_schemas.py"],
    "workers/ingress/conversations/test_endpoints.py": ["workers/ingress/conversations/schemas.py"],
    "workers/ingress/messages/test_endpoints.py": [
        "workers/ingress/messages/preparation.py",
        "workers/ingress/messages/schemas.py",
        "workers/ingress/messages/service.py",
    ],
    "workers/ingress/pacing/test_endpoints.py": [
        "workers/ingress/pacing/schemas.py",
        "workers/ingress/pacing/service.py",
        "workers/send/pacing_settings.py",
    ],
    "workers/ingress/messages/test_batches.py": [
        "workers/ingress/messages/batch_endpoints.py",
        "workers/ingress/messages/batch_schemas.py",
    ],
    "workers/ingress/webhooks/test_endpoint.py": [
        "workers/ingress/body.py",
        "workers/ingress/webhooks/storage.py",
    ],
    # the CRM's functions, as its pages and servers call them, through every process
    "pipeline/functions/test_access.py": [
        "workers/ingress/functions/answers.py",
        "workers/ingress/functions/calls.py",
        "workers/ingress/functions/endpoint.py",
    ],
    "pipeline/functions/test_integrations.py": ["workers/ingress/functions/integrations.py"],
    "pipeline/functions/test_sending.py": [
        "workers/ingress/functions/sending.py",
    ],
    "pipeline/functions/test_messages.py": [
        "workers/ingress/functions/messages.py",
        "workers/ingress/messages/changes.py",
        "workers/ingress/messages/downloads.py",
    ],
    "pipeline/test_changes.py": [
        "workers/ingress/messages/change_endpoints.py",
        "workers/ingress/messages/change_schemas.py",
        "workers/ingress/messages/change_targets.py",
        "workers/ingress/messages/rows.py",
    ],
    "workers/ingress/files/test_service.py": [
        "workers/ingress/files/endpoints.py",
        "workers/ingress/files/schemas.py",
        "workers/ingress/messages/uploads.py",
    ],
    "workers/ingress/messages/test_replies.py": ["workers/ingress/messages/references.py"],
    "pipeline/functions/test_passing.py": [
        "workers/ingress/crm_functions.py",
        "workers/ingress/functions/passing.py",
    ],
    "pipeline/functions/test_numbers.py": [
        "workers/ingress/functions/numbers.py",
        "workers/ingress/functions/organizations.py",
    ],
    "pipeline/functions/test_repeats.py": ["workers/ingress/functions/repeats.py"],
    # the whole OpenAPI document, printed and completed
    "workers/ingress/openapi/test_complete.py": [
        "workers/ingress/openapi/__main__.py",
        "workers/ingress/openapi/headers.py",
    ],
    # as processes: start, stop, exit code
    "workers/test_process.py": [
        "workers/clock/__main__.py",
        "workers/context.py",
        "workers/actors.py",
        "workers/main.py",
    ],
    # the pages of the console: who is let in to them
    "workers/ingress/console/test_access.py": [
        "workers/ingress/console/page.py",
        "workers/ingress/console/routes.py",
        "workers/ingress/console/session.py",
    ],
    # through the command line
    "workers/cli/test_app.py": [
        "workers/cli/errors.py",
        "workers/cli/reconnect.py",
        "workers/cli/status.py",
    ],
    "workers/cli/test_overview.py": ["shared/version.py"],
    "workers/cli/test_doctor.py": [
        "workers/cli/checks.py",
        "workers/cli/findings.py",
        "workers/cli/reach_checks.py",
        "workers/cli/redis_checks.py",
        "workers/cli/settings_checks.py",
    ],
    # on the whole system: a person scans the code in the terminal
    "pipeline/test_story.py": ["workers/repair/messages.py"],
    "pipeline/test_cli.py": ["workers/cli/pairing.py"],
    # the clock's work on routes, with the cache that it fills
    "shared/test_route_cache.py": ["workers/clock/route_refresh.py"],
    # the loop of an actor, with the broker and the codec that production uses
    "workers/test_runner.py": ["workers/broker.py", "workers/event_codec.py"],
    # steps of a handler
    "workers/media/test_handler.py": [
        "workers/media/context.py",
        "workers/media/hostile.py",
        "workers/media/lease.py",
        "workers/media/size_limits.py",
    ],
    "workers/provision/test_handler.py": [
        "workers/provision/creation.py",
        "workers/provision/pairing.py",
    ],
    "workers/test_dead_letters.py": ["workers/send/in_doubt.py"],
    "workers/ingress/messages/test_cancellation.py": ["workers/send/cancellation.py"],
    # over HTTP, as the console's pages use them
    "workers/ingress/console/test_dead_letters.py": [
        "workers/ingress/console/messages.py",
        "workers/ingress/console/unknown.py",
    ],
    "workers/ingress/console/test_keys.py": [
        "workers/ingress/console/callbacks.py",
        "workers/ingress/console/search.py",
        "workers/ingress/console/webhooks.py",
    ],
    # what a command does, through the command
    "workers/cli/test_callbacks.py": ["workers/repair/callbacks.py"],
    "workers/cli/test_keys.py": ["workers/repair/keys.py"],
    "workers/cli/test_recovery.py": ["workers/repair/unknown.py"],
}
"""Modules without a test file of their own, by the file that tests them."""

MODULES = sorted(
    str(path.relative_to(ROOT))
    for package in ("shared", "workers")
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
)
EXCEPTIONS = [module for modules in TESTED_THROUGH.values() for module in modules]


def has_test_file(module: str) -> bool:
    path = Path(module)
    name = "main" if path.name == "__main__.py" else path.stem
    folder = ROOT / "tests" / path.parent
    return (folder / f"test_{name}.py").exists() or any(folder.glob(f"test_{name}_*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_test_file(module: str) -> None:
    """It has its mirror or an entry in `TESTED_THROUGH`, and not both."""
    assert has_test_file(module) != (module in EXCEPTIONS)


def test_every_exception_names_existing_files() -> None:
    assert [name for name in TESTED_THROUGH if not (ROOT / "tests" / name).exists()] == []
    assert sorted(set(EXCEPTIONS) - set(MODULES)) == []
