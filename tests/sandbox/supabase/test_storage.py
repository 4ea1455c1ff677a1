"""Files through the unmodified `supabase` client."""

from collections.abc import Iterator

import httpx
import jwt
import psycopg
import pytest
import supabase
from storage3.exceptions import StorageApiError

from sandbox.supabase.project import Supabase
from tests.conftest import MakeClient

PICTURE = bytes(range(256)) * 40
NAME = "org/фото 1+2.png"


@pytest.fixture
def client(service_client: supabase.Client) -> supabase.Client:
    """Return the service role's client, with a private bucket `media` and a public `logos`."""
    service_client.storage.create_bucket("media")
    service_client.storage.create_bucket("logos", options={"public": True})
    return service_client


@pytest.fixture
def user(make_client: MakeClient) -> supabase.Client:
    client = make_client()
    client.auth.sign_up({"email": "anna@example.com", "password": "correct horse"})
    return client


def put(client: supabase.Client, bucket: str = "media", name: str = NAME) -> None:
    client.storage.from_(bucket).upload(name, PICTURE, {"content-type": "image/png"})


def test_returns_the_bytes_and_type_it_was_given(client: supabase.Client) -> None:
    put(client)
    media = client.storage.from_("media")
    assert media.download(NAME) == PICTURE
    assert (media.info(NAME)["content_type"], media.info(NAME)["size"]) == (
        "image/png",
        len(PICTURE),
    )


def test_replaces_a_file_only_when_told_to(client: supabase.Client) -> None:
    put(client)
    media = client.storage.from_("media")
    with pytest.raises(StorageApiError, match="already exists"):
        put(client)
    media.upload(NAME, b"second", {"upsert": "true"})
    assert media.download(NAME) == b"second"
    media.update(NAME, b"third")
    assert media.download(NAME) == b"third"


def test_a_signed_url_opens_this_file_for_a_while(
    client: supabase.Client, supabase_world: Supabase
) -> None:
    """It needs no key, opens only its own file, and expires."""
    put(client)
    put(client, name="org/other.png")
    url = client.storage.from_("media").create_signed_url(NAME, 60)["signedURL"]
    assert url
    answer = httpx.get(url)
    assert (answer.content, answer.headers["content-type"]) == (PICTURE, "image/png")
    path, _, token = url.partition("?token=")
    assert httpx.get(f"{path.rpartition('/')[0]}/other.png?token={token}").status_code == 400
    claims = jwt.decode(token, supabase_world.secrets.storage, ["HS256"])
    expired = jwt.encode({**claims, "exp": 1}, supabase_world.secrets.storage, "HS256")
    assert httpx.get(f"{path}?token={expired}").status_code == 400
    with_another_secret = jwt.encode(claims, supabase_world.secrets.jwt, "HS256")
    assert httpx.get(f"{path}?token={with_another_secret}").status_code == 400


def test_signs_many_at_once_and_says_which_are_missing(client: supabase.Client) -> None:
    put(client)
    known, missing = client.storage.from_("media").create_signed_urls([NAME, "none.png"], 60)
    assert known["signedURL"]
    assert httpx.get(known["signedURL"]).content == PICTURE
    assert missing["error"]


def test_a_public_bucket_is_read_by_anybody_a_private_one_is_not(client: supabase.Client) -> None:
    put(client, "logos")
    put(client)
    public, private = (
        client.storage.from_(bucket).get_public_url(NAME) for bucket in ("logos", "media")
    )
    assert httpx.get(public).content == PICTURE
    assert httpx.get(private).status_code == 400


def test_lists_a_folder_at_a_time(client: supabase.Client) -> None:
    for name in ("org/a.png", "org/b.png", "org/deep/c.png", "top.png"):
        put(client, name=name)
    media = client.storage.from_("media")
    assert [(entry["name"], bool(entry["id"])) for entry in media.list()] == [
        ("org", False),
        ("top.png", True),
    ]
    assert [entry["name"] for entry in media.list("org")] == ["a.png", "b.png", "deep"]
    assert [entry["name"] for entry in media.list("org", {"search": "b"})] == ["b.png"]


def test_deletes_files_and_then_their_bucket(client: supabase.Client) -> None:
    put(client)
    with pytest.raises(StorageApiError, match="not empty"):
        client.storage.delete_bucket("media")
    assert [
        entry["name"] for entry in client.storage.from_("media").remove([NAME, "none.png"])
    ] == [NAME]
    assert client.storage.from_("media").exists(NAME) is False
    client.storage.delete_bucket("media")
    assert "media" not in [bucket.id for bucket in client.storage.list_buckets()]


def test_a_bucket_keeps_to_its_limits(client: supabase.Client) -> None:
    """A refused file leaves no object."""
    client.storage.create_bucket(
        "small", options={"file_size_limit": 10, "allowed_mime_types": ["image/png"]}
    )
    small = client.storage.from_("small")
    with pytest.raises(StorageApiError, match="maximum allowed size"):
        put(client, "small")
    with pytest.raises(StorageApiError, match="not supported"):
        small.upload("x.txt", b"text", {"content-type": "text/plain"})
    assert small.list() == []


def test_a_missing_bucket_or_file_is_named(client: supabase.Client) -> None:
    with pytest.raises(StorageApiError, match="Bucket not found"):
        client.storage.get_bucket("none")
    with pytest.raises(StorageApiError, match="Object not found"):
        client.storage.from_("media").download("none.png")


@pytest.mark.usefixtures("client")
def test_users_may_nothing_without_a_policy(client: supabase.Client, user: supabase.Client) -> None:
    put(client)
    media = user.storage.from_("media")
    with pytest.raises(StorageApiError, match="row-level security"):
        media.upload("org/mine.png", PICTURE)
    with pytest.raises(StorageApiError, match="Object not found"):
        media.download(NAME)
    with pytest.raises(StorageApiError, match="Object not found"):
        media.create_signed_url(NAME, 60)
    assert media.list("org") == []
    assert media.remove([NAME]) == []
    with pytest.raises(StorageApiError):
        user.storage.create_bucket("mine")
    assert client.storage.from_("media").download(NAME) == PICTURE


@pytest.fixture
def own_folder(supabase_world: Supabase) -> Iterator[None]:
    """Let users use the folder that is named like them, as a migration would."""
    own = "bucket_id = 'media' and (storage.foldername(name))[1] = auth.uid()::text"
    policy = (
        "create policy own_folder on storage.objects to authenticated "
        f"using ({own}) with check ({own})"
    )
    with psycopg.connect(supabase_world.database_url, autocommit=True) as connection:
        connection.execute(policy.encode())
        yield
        connection.execute("drop policy own_folder on storage.objects")


@pytest.mark.usefixtures("own_folder")
def test_policies_on_objects_hold(client: supabase.Client, user: supabase.Client) -> None:
    put(client)
    session = user.auth.get_session()
    assert session
    media, mine = user.storage.from_("media"), f"{session.user.id}/mine.png"
    media.upload(mine, b"mine")
    assert media.download(mine) == b"mine"
    with pytest.raises(StorageApiError, match="row-level security"):
        media.upload("org/theirs.png", b"theirs")
    with pytest.raises(StorageApiError, match="Object not found"):
        media.download(NAME)


def test_needs_a_key(client: supabase.Client, supabase_world: Supabase) -> None:
    put(client)
    bearer = {"authorization": f"Bearer {supabase_world.service_role_key}"}
    assert httpx.get(f"{supabase_world.url}/storage/v1/bucket", headers=bearer).status_code == 401
