"""The API reference: all its files come from this server."""

import re

import httpx
import pytest

from tests.fixtures.ingress_process import IngressProcess


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/"])
def test_the_root_leads_to_the_docs(ingress: IngressProcess, path: str) -> None:
    """By a relative address: the Host header is the caller's choice, a proxy may add a prefix."""
    answer = ingress.http.get(path, headers={"Host": "evil.example"})
    assert answer.status_code == 307
    target = httpx.URL(f"https://crm.example/wpp{path}").join(answer.headers["Location"])
    assert target.host == "crm.example"
    assert target.path in {"/wpp/docs/api", "/wpp/docs/index.html"}  # the site is built or not
    assert ingress.http.get(target.path.removeprefix("/wpp")).status_code == 200


def test_the_page_loads_files_of_this_server_only(ingress: IngressProcess) -> None:
    """Its policy forbids others, scripts within the page, and frames."""
    page = ingress.http.get("/docs/api")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert not re.search("unsafe|http|frame-ancestors [^']", policy)
    links = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert len(links) == 4
    for link in links:
        url = page.url.join(link)
        assert url.host == page.url.host
        found = ingress.http.get(url)
        assert found.status_code == 200, link
        assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert "<script>" not in page.text
