"""Files are uploaded over HTTP, checked by their content, and used by messages of their owner."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from sandbox.redis import RedisServer
from sandbox.supabase.project import Supabase
from shared.events import SendEvent, utc_now
from shared.lanes.records import find_record
from tests.fixtures.ingress_process import IngressProcess
from tests.workers.ingress.tenants import Tenant

PDF = b"%PDF-1.4 " + b"x" * 300_000
ZERO = "00000000-0000-4000-8000-000000000000"


def upload(tenant: Tenant, content: Any = PDF, **more: Any) -> httpx.Response:
    headers = {"Content-Type": "application/pdf", **more.pop("headers", {})}
    return tenant.http.post("/v1/files", params=more, content=content, headers=headers)


def event_of(tenant: Tenant, answer: httpx.Response) -> SendEvent:
    assert answer.status_code == 202, answer.text
    record = find_record(tenant.client, UUID(answer.json()["id"]))
    assert record
    assert record.body
    return SendEvent.model_validate_json(record.body)


def send(tenant: Tenant, **media: str) -> httpx.Response:
    body = {"to": "+79990001122", "media": {"type": "document", **media}}
    return tenant.post("/v1/messages", body)


def test_an_uploaded_file_is_stored_and_described(tenant: Tenant) -> None:
    """More than a JSON body may have; the type is found by the content."""
    answer = upload(tenant, name="../price list.txt")
    assert answer.status_code == 201, answer.text
    file = answer.json()
    assert (file["name"], file["mime"], file["size"]) == (
        "price list.pdf",
        "application/pdf",
        len(PDF),
    )
    assert f"wpp/{tenant.id}/files/{file['id']}.pdf" in file["url"]
    assert httpx.get(file["url"], trust_env=False).content == PDF
    assert file["expires_at"] > utc_now().isoformat()


@pytest.mark.parametrize("by", ["file_id", "url"])
def test_a_message_uses_a_file_by_its_id_or_its_link(tenant: Tenant, by: str) -> None:
    """It is kept from then on, and its link is signed again when it is sent."""
    tenant.add_integration("42")
    file = upload(tenant, name="bill.pdf").json()
    given = {"file_id": file["id"]} if by == "file_id" else {"url": file["url"]}
    media = event_of(tenant, send(tenant, **given)).media
    assert media
    assert (media.filename, media.mime) == ("bill.pdf", "application/pdf")
    assert media.path == f"wpp/{tenant.id}/files/{file['id']}.pdf"
    assert tenant.database.files.prune(utc_now()) == []


def test_an_unused_file_is_forgotten(tenant: Tenant) -> None:
    """Messages cannot use it any more."""
    tenant.add_integration("42")
    file = upload(tenant).json()
    paths = tenant.database.files.prune(utc_now())
    assert paths == [f"wpp/{tenant.id}/files/{file['id']}.pdf"]
    tenant.database.storage.remove(paths)
    assert httpx.get(file["url"], trust_env=False).status_code in {400, 404}
    assert send(tenant, file_id=file["id"]).status_code == 404


def test_a_file_of_another_organization_is_not_found(
    tenant: Tenant, ingress_with_supabase: IngressProcess, supabase_world: Supabase
) -> None:
    """Neither by its id nor by its link; nor is it kept."""
    file = upload(tenant).json()
    with Tenant.new(ingress_with_supabase, supabase_world, tenant.client) as stranger:
        stranger.add_integration("43")
        by_id = send(stranger, file_id=file["id"])
        by_link = send(stranger, url=file["url"])
        unknown = send(stranger, file_id=str(uuid4()))
    assert [each.status_code for each in (by_id, by_link, unknown)] == [404, 404, 404]
    assert by_id.json()["detail"].replace(file["id"], ZERO) == unknown.json()["detail"].replace(
        unknown.json()["detail"].split()[2], ZERO
    )
    assert len(tenant.database.files.prune(utc_now())) == 1


def test_a_repeated_upload_is_one_file(tenant: Tenant) -> None:
    key = {"Idempotency-Key": "one"}
    first = upload(tenant, headers=key)
    again = upload(tenant, headers=key)
    assert (first.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert upload(tenant, b"%PDF-2 another", headers=key).status_code == 422


@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        (b"", "a.pdf", "empty"),
        (b"MZ" + bytes(100), "a.pdf", "program"),
        (b"<!DOCTYPE html><html><script>1</script></html>", "a.txt", "page"),
        (b"echo hello", "a.sh", "which a computer may run"),
    ],
    ids=["empty", "program", "page", "script"],
)
def test_a_harmful_file_is_refused(tenant: Tenant, content: bytes, name: str, text: str) -> None:
    answer = upload(tenant, content, name=name)
    assert (answer.status_code, text in answer.json()["detail"]) == (422, True), answer.text


def test_a_file_with_a_wrong_source_is_refused(tenant: Tenant) -> None:
    """Either a url or a file_id."""
    tenant.add_integration("42")
    for media in ({}, {"url": "https://files.test/a.pdf", "file_id": ZERO}):
        answer = send(tenant, **media)
        assert answer.status_code == 422
        assert "either a url or a file_id" in answer.json()["detail"]


def test_a_file_above_the_limit_is_refused(
    redis_server: RedisServer, supabase_world: Supabase, tenant: Tenant, tmp_path: Any
) -> None:
    """By its announced length at once, without it as soon as it is too long."""
    settings = {
        "SUPABASE_URL": supabase_world.url,
        "SUPABASE_ANON_KEY": supabase_world.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": supabase_world.service_role_key,
        "WPP_MEDIA_LIMIT": "100000",
    }
    with IngressProcess(redis_server.url, tmp_path, **settings) as small:
        headers = {"Authorization": tenant.http.headers["Authorization"]}
        with httpx.Client(base_url=small.url, headers=headers, trust_env=False) as http:
            announced = http.post("/v1/files", content=PDF)
            chunks = (PDF[at : at + 10_000] for at in range(0, 200_000, 10_000))
            streamed = http.post("/v1/files", content=chunks)
            fits = http.post("/v1/files", content=PDF[:100_000])
    assert [each.status_code for each in (announced, streamed, fits)] == [413, 413, 201]
