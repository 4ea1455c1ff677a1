"""Files in Supabase Storage: stored under a key, replaced in place, linked."""

import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

import httpx
import jwt
import pytest
import supabase

from sandbox.supabase.project import Supabase
from shared.database import Database
from shared.database.storage import BUCKET, FileTooLargeError, Storage
from shared.errors import DatabaseError, DatabaseUnavailableError
from shared.settings import MediaSettings
from tests.fixtures.provision_env import supabase_settings

Open = Callable[..., Storage]


@pytest.fixture
def open_bucket(
    supabase_world: Supabase, database_url: str, service_client: supabase.Client
) -> Iterator[Open]:
    """Return a function that opens the storage with given settings; make it private afterwards."""
    del database_url  # asked for because it empties the tables
    with httpx.Client(trust_env=False) as http:
        yield (
            lambda **given: (
                Database(
                    supabase_settings(supabase_world), http, media=MediaSettings(**given)
                ).storage
            )
        )
    service_client.storage.update_bucket(BUCKET, {"public": False})


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as opened:
        opened.write(b"\xff\xd8\xff a picture")
        yield opened


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False)


def test_a_file_is_shown_by_its_link_alone(open_bucket: Open, file: IO[bytes]) -> None:
    """The whole file is stored with its type, also when a part of it was read before."""
    link = open_bucket().upload("wpp/a/b.jpg", file, "image/jpeg")
    assert (get(link).content, get(link).headers["content-type"]) == (
        b"\xff\xd8\xff a picture",
        "image/jpeg",
    )
    assert get(link.partition("?")[0]).is_error


def test_a_link_is_valid_for_as_long_as_the_setting_says(
    open_bucket: Open, file: IO[bytes]
) -> None:
    token = (
        open_bucket(wpp_media_link_s=3600)
        .upload("wpp/a/b.jpg", file, "image/jpeg")
        .partition("token=")[2]
    )
    ends = jwt.decode(token, options={"verify_signature": False})["exp"]
    assert 3500 < ends - time.time() <= 3600


def test_the_same_key_again_replaces_the_file(open_bucket: Open, file: IO[bytes]) -> None:
    bucket = open_bucket()
    bucket.upload("wpp/a/b.jpg", file, "image/jpeg")
    file.write(b", and more of it")
    link = bucket.upload("wpp/a/b.jpg", file, "image/png")
    assert (get(link).content[-7:], get(link).headers["content-type"]) == (
        b"more of it"[-7:],
        "image/png",
    )


def test_a_public_bucket_has_plain_links(open_bucket: Open, file: IO[bytes]) -> None:
    """A setting makes it public at the first upload."""
    link = open_bucket(wpp_media_public=True).upload("wpp/a/b.jpg", file, "image/jpeg")
    assert "?" not in link
    assert get(link).content == b"\xff\xd8\xff a picture"


@pytest.fixture
def narrow(service_client: supabase.Client) -> Iterator[None]:
    """Limit the files of the bucket to ten bytes."""
    service_client.storage.update_bucket(BUCKET, {"file_size_limit": 10})
    yield
    service_client.storage.update_bucket(BUCKET, {"file_size_limit": 1 << 40})


@pytest.mark.usefixtures("narrow")
def test_a_file_above_the_project_s_limit_raises_its_own_error(
    open_bucket: Open, file: IO[bytes]
) -> None:
    with pytest.raises(FileTooLargeError, match="size"):
        open_bucket().upload("wpp/a/b.jpg", file, "image/jpeg")


def test_an_unreachable_project_is_a_temporary_error(
    supabase_world: Supabase, file: IO[bytes]
) -> None:
    settings = supabase_settings(supabase_world).model_copy(
        update={"supabase_url": "http://127.0.0.1:9"}
    )
    with pytest.raises(DatabaseUnavailableError):
        Database(settings).storage.upload("wpp/a/b.jpg", file, "image/jpeg")


def test_a_wrong_key_is_not_reported_as_a_large_file(
    supabase_world: Supabase, file: IO[bytes]
) -> None:
    wrong: Any = supabase_settings(supabase_world)
    wrong = wrong.model_copy(update={"supabase_service_role_key": wrong.supabase_anon_key})
    with pytest.raises(DatabaseError) as refused, httpx.Client(trust_env=False) as http:
        Database(wrong, http).storage.upload("wpp/a/b.jpg", file, "image/jpeg")
    assert not isinstance(refused.value, FileTooLargeError)


@pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
def test_a_file_that_was_deleted_has_no_link(
    open_bucket: Open,
    file: IO[bytes],
    public: bool,  # noqa: FBT001
) -> None:
    """Its path has a link again once it is stored again."""
    bucket = open_bucket(wpp_media_public=public)
    bucket.upload("wpp/a/deleted.jpg", file, "image/jpeg")
    assert bucket.find_link("wpp/a/deleted.jpg")
    bucket.remove(["wpp/a/deleted.jpg"])
    assert bucket.find_link("wpp/a/deleted.jpg") is None
    link = bucket.upload("wpp/a/deleted.jpg", file, "image/jpeg")
    assert get(link).content == b"\xff\xd8\xff a picture"
