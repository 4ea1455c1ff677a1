"""The API is what it says it is: requests made from its own description, by the hundred, within bounded time.

The stream of changes is left out: it does not end.
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


@pytest.mark.parametrize("of", ["anybody", "a number that is there"])
def test_no_request_that_the_description_allows_is_a_server_error(
    system: System, tmp_path: Path, of: str
) -> None:
    """Every answer has a status, a type and a shape that OpenAPI tells of, and none is a 5xx."""
    organization_id = system.add_organization()
    before = connect_integration(system, organization_id)
    number = before["integration_id"]
    there = of == "a number that is there"
    if there:
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
            *(("--exclude-method", "DELETE") if there else ()),
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
        cwd=tmp_path,  # where it keeps its notes
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stdout[-4000:] + asked.stderr[-2000:]
    if there:
        with system.service_client(organization_id) as crm:
            wait_until(
                lambda: crm.get(f"/v1/integrations/{number}").json() != before,
                "an effect of what was asked",
            )
