"""The API conforms to its OpenAPI document: generated requests, within bounded time.

The stream of integrations is left out because it does not end.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from shared import signed_keys
from tests.fixtures.system import System, connect_integration
from tests.fixtures.waiting import wait_until

SECONDS = 8
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "ignored_auth",
)


@pytest.mark.parametrize("ids", ["generated", "existing"])
def test_every_response_conforms_to_the_openapi_document(
    system: System, tmp_path: Path, ids: str
) -> None:
    """Status, content type and schema of each response are documented, and none is a 5xx."""
    organization_id = system.add_organization()
    before = connect_integration(system, organization_id)
    number = before["integration_id"]
    existing = ids == "existing"
    if existing:
        (tmp_path / "schemathesis.toml").write_text(
            f'[parameters]\n"path.integration_id" = "{number}"\n'
        )
    key = signed_keys.make_service_key(organization_id, system.secrets)
    program = Path(sys.executable).with_name("schemathesis")
    asked = subprocess.run(
        [
            *(
                program,
                "run",
                f"{system.url}/openapi.json",
                "--header",
                f"Authorization: Bearer {key}",
            ),
            *("--include-path-regex", "^/v1/integrations", "--exclude-path-regex", "/events$"),
            *(("--exclude-method", "DELETE") if existing else ()),
            *(
                "--checks",
                ",".join(CHECKS),
                "--phases",
                "examples,coverage,fuzzing",
                "--max-time",
                str(SECONDS),
            ),
            *("--workers", "2", "--request-timeout", "20", "--warnings", "off", "--no-color"),
        ],
        cwd=tmp_path,  # schemathesis writes its cache here
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stdout[-4000:] + asked.stderr[-2000:]
    if existing:
        with system.service_client(organization_id) as crm:
            wait_until(
                lambda: crm.get(f"/v1/integrations/{number}").json() != before,
                "an effect of what was asked",
            )
