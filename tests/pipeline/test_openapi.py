"""The API conforms to its OpenAPI document: generated requests to every operation.

Streams are left out because they do not end.
"""

import re
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from tests.fixtures.api_document import list_operations
from tests.fixtures.system import System, connect_integration
from tests.fixtures.waiting import wait_until

EXAMPLES = 4
"""Generated requests to each operation, beside those of the document and of its limits.

There is no bound in seconds: on a slow machine it would leave out requests and operations.
"""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "ignored_auth",
)
PEER = "79990005500"


def find_values(system: System, organization_id: UUID) -> dict[str, str]:
    """Return what exists, by the name of a parameter in a path."""
    integration_id = connect_integration(system, organization_id)["integration_id"]
    with system.service_client(organization_id) as crm:
        sent = crm.post("/v1/messages", json={"to": f"+{PEER}", "text": "Hello"})
        place = sent.headers["Location"]
        wait_until(lambda: crm.get(place).json()["status"] == "read", "the message to be read")
    return {"integration_id": integration_id, "message_id": sent.json()["id"], "phone": PEER}


def run_schemathesis(system: System, key: str, folder: Path, *left_out: str) -> None:
    """Ask every operation but those left out; fail with the report of what did not conform."""
    streams = [each.id for each in list_operations() if each.is_stream]
    options = {
        "--header": f"Authorization: Bearer {key}",
        "--exclude-operation-id-regex": f"^({'|'.join((*streams, *left_out))})$",
        "--checks": ",".join(CHECKS),
        "--phases": "examples,coverage,fuzzing",
        "--max-examples": str(EXAMPLES),
        "--workers": "1",  # two threads that parse at once fail in Python 3.11 (gh-106905)
        "--request-timeout": "20",
        "--warnings": "off",
        "--seed": "1",
    }
    program = Path(sys.executable).with_name("schemathesis")
    asked = subprocess.run(
        [
            *(program, "run", f"{system.url}/openapi.json"),
            *(part for option in options.items() for part in option),
            *("--generation-deterministic", "--no-color"),
        ],
        cwd=folder,  # schemathesis writes its cache here
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stdout[-6000:] + asked.stderr[-2000:]
    operations = len(list_operations()) - len(streams) - len(left_out)
    assert f"Tested: {operations}\n" in asked.stdout
    passed = re.findall(
        r"(Coverage|Fuzzing) \(in .*\s+✅ (\d+) passed$", asked.stdout, re.MULTILINE
    )
    assert passed == [("Coverage", str(operations)), ("Fuzzing", str(operations))], asked.stdout


@pytest.mark.timeout(400)
def test_every_answer_conforms_to_the_openapi_document(system: System, tmp_path: Path) -> None:
    """Status, content type, headers and schema are documented, and none is a 5xx."""
    organization_id = system.add_organization()
    connect_integration(system, organization_id)
    run_schemathesis(system, system.make_key(organization_id), tmp_path)


@pytest.mark.timeout(400)
def test_answers_about_what_exists_conform(system: System, tmp_path: Path) -> None:
    """Paths with ids, the same with ids that exist; they are not disconnected meanwhile."""
    organization_id = system.add_organization()
    values = find_values(system, organization_id)
    lines = [f'"path.{name}" = "{value}"' for name, value in values.items()]
    lines.append('"header.Prefer" = "wait=1"')
    (tmp_path / "schemathesis.toml").write_text("\n".join(["[parameters]", *lines, ""]))
    place = f"/v1/integrations/{values['integration_id']}"
    with system.service_client(organization_id) as crm:
        before = crm.get(place).json()
        key = system.make_key(organization_id)
        no_ids = [each.id for each in list_operations() if not (each.path_ids or each.is_stream)]
        run_schemathesis(system, key, tmp_path, "disconnect_integration", *no_ids)
        wait_until(lambda: crm.get(place).json() != before, "an effect of what was asked")


@pytest.mark.parametrize("path", ["/openapi.json"])
def test_the_document_needs_no_credentials(system: System, path: str) -> None:
    """It can be read by clients and their generators."""
    answer = httpx.get(f"{system.url}{path}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
