"""The pages of documentation at /docs/."""

import asyncio
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from workers.ingress import docs_site
from workers.ingress.errors import ERRORS_PAGE


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text("<h1>WPP pipeline</h1>")
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "errors.html").write_text("<h2>not_found</h2>")
    return tmp_path


def get(site: Path, path: str) -> httpx.Response:
    app = Starlette(routes=docs_site.list_routes(site))

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://ingress") as client:
            return await client.get(path)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("path", "target"),
    [("/", "docs/index.html"), ("/docs", "docs/index.html"), ("/docs/", "index.html")],
)
def test_docs_lead_to_the_first_page(site: Path, path: str, target: str) -> None:
    found = get(site, path)
    assert (found.status_code, found.headers["location"]) == (307, target)


def test_pages_run_scripts_of_this_site_only(site: Path) -> None:
    page = get(site, "/docs/reference/errors.html")
    assert page.text == "<h2>not_found</h2>"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/docs/%2e%2e/secret.txt", "/docs/%2e%2e%2fsecret.txt", "/docs/none"]
)
def test_files_beside_the_site_are_not_found(site: Path, path: str) -> None:
    (site.parent / "secret.txt").write_text("secret")
    assert get(site, path).status_code == 404


def test_without_a_site_docs_lead_to_the_reference_of_the_api(tmp_path: Path) -> None:
    assert get(tmp_path, "/docs").headers["location"] == "docs/api"
    found = get(tmp_path, f"{ERRORS_PAGE}?next=//elsewhere.example")
    assert (found.status_code, found.headers["location"]) == (307, "../api")
    assert get(tmp_path, "/docs/index.html").status_code == 404
