"""Signing in and out through the unmodified `supabase` client."""

import time

import jwt
import psycopg
import pytest
import supabase
from supabase_auth.errors import AuthApiError, AuthWeakPasswordError

from sandbox.supabase.project import Supabase
from tests.conftest import MakeClient

EMAIL, PASSWORD = "Anna@example.com", "correct horse"


@pytest.fixture
def client(make_client: MakeClient) -> supabase.Client:
    return make_client()


def sign_up(client: supabase.Client) -> str:
    """Sign Anna up; return her access token."""
    answer = client.auth.sign_up(
        {"email": EMAIL, "password": PASSWORD, "options": {"data": {"name": "Anna"}}}
    )
    assert answer.session
    return answer.session.access_token


def test_signs_up_and_is_signed_in(client: supabase.Client) -> None:
    answer = client.auth.get_user(sign_up(client))
    assert answer
    assert (answer.user.email, answer.user.user_metadata) == ("anna@example.com", {"name": "Anna"})
    assert "password" not in answer.user.model_dump_json()


def test_signs_in_with_the_password_only(client: supabase.Client) -> None:
    sign_up(client)
    assert client.auth.sign_in_with_password({"email": EMAIL, "password": PASSWORD}).session
    with pytest.raises(AuthApiError, match="Invalid login credentials") as refused:
        client.auth.sign_in_with_password({"email": EMAIL, "password": "wrong"})
    assert (refused.value.status, refused.value.code) == (400, "invalid_credentials")


def test_token_says_who_and_for_how_long(client: supabase.Client, supabase_world: Supabase) -> None:
    claims = jwt.decode(
        sign_up(client), supabase_world.secrets.jwt, ["HS256"], audience="authenticated"
    )
    assert (claims["role"], claims["email"], claims["exp"] - claims["iat"]) == (
        "authenticated",
        "anna@example.com",
        3600,
    )


def test_refreshes_once_with_each_refresh_token(client: supabase.Client) -> None:
    sign_up(client)
    first = client.auth.get_session()
    assert first
    renewed = client.auth.refresh_session(first.refresh_token).session
    assert renewed
    assert renewed.refresh_token != first.refresh_token
    with pytest.raises(AuthApiError, match="Refresh Token Not Found"):
        client.auth.refresh_session(first.refresh_token)


def test_an_ended_session_refreshes_nothing_and_knows_nobody(
    client: supabase.Client, make_client: MakeClient
) -> None:
    token = sign_up(client)
    session = client.auth.get_session()
    assert session
    client.auth.sign_out()
    other = make_client()
    with pytest.raises(AuthApiError):
        other.auth.refresh_session(session.refresh_token)
    with pytest.raises(AuthApiError) as refused:
        other.auth.get_user(token)
    assert refused.value.code == "session_not_found"


def test_signing_out_here_leaves_other_devices_signed_in(
    client: supabase.Client, make_client: MakeClient
) -> None:
    sign_up(client)
    elsewhere = make_client()
    token = elsewhere.auth.sign_in_with_password({"email": EMAIL, "password": PASSWORD}).session
    client.auth.sign_out({"scope": "local"})
    assert token
    assert elsewhere.auth.get_user(token.access_token)


def test_a_user_changes_password_and_data(client: supabase.Client, make_client: MakeClient) -> None:
    sign_up(client)
    client.auth.update_user({"password": "battery staple", "data": {"city": "Riga"}})
    user = (
        make_client()
        .auth.sign_in_with_password({"email": EMAIL, "password": "battery staple"})
        .user
    )
    assert user
    assert user.user_metadata == {"name": "Anna", "city": "Riga"}


@pytest.mark.parametrize("kind", ["forged", "expired", "nonsense"])
def test_refuses_a_token_that_is_not_ours(
    client: supabase.Client, supabase_world: Supabase, kind: str
) -> None:
    claims = jwt.decode(sign_up(client), options={"verify_signature": False})
    forged = jwt.encode(claims, supabase_world.secrets.storage, "HS256")
    expired = jwt.encode(
        {**claims, "exp": int(time.time()) - 1}, supabase_world.secrets.jwt, "HS256"
    )
    token = {"forged": forged, "expired": expired, "nonsense": "a.b.c"}[kind]
    with pytest.raises(AuthApiError) as refused:
        client.auth.get_user(token)
    assert refused.value.status == 403


def test_an_address_signs_up_once(client: supabase.Client) -> None:
    sign_up(client)
    with pytest.raises(AuthApiError, match="User already registered"):
        sign_up(client)


def test_refuses_a_short_password(client: supabase.Client) -> None:
    with pytest.raises(AuthWeakPasswordError):
        client.auth.sign_up({"email": "anna@example.com", "password": "short"})


def test_the_service_role_manages_users(
    service_client: supabase.Client, make_client: MakeClient
) -> None:
    """Created, found, listed, changed, signed in, deleted; a second deletion finds no user."""
    admin = service_client.auth.admin
    made = admin.create_user(
        {"email": EMAIL, "password": PASSWORD, "app_metadata": {"plan": "pro"}}
    ).user
    assert [user.id for user in admin.list_users()] == [made.id]
    admin.update_user_by_id(
        made.id, {"password": "battery staple", "app_metadata": {"plan": "free"}}
    )
    assert admin.get_user_by_id(made.id).user.app_metadata["plan"] == "free"
    assert (
        make_client()
        .auth.sign_in_with_password({"email": EMAIL, "password": "battery staple"})
        .session
    )
    admin.delete_user(made.id)
    with pytest.raises(AuthApiError, match="User not found"):
        admin.delete_user(made.id)


def test_nobody_else_manages_users(client: supabase.Client) -> None:
    sign_up(client)
    with pytest.raises(AuthApiError, match="User not allowed"):
        client.auth.admin.list_users()


def test_a_banned_user_does_not_sign_in(client: supabase.Client, database_url: str) -> None:
    """And is shown with the end of the ban."""
    token = sign_up(client)
    with psycopg.connect(database_url) as connection:
        connection.execute("update auth.users set banned_until = now() + interval '1 hour'")
    with pytest.raises(AuthApiError, match="User is banned") as refused:
        client.auth.sign_in_with_password({"email": EMAIL, "password": PASSWORD})
    assert (refused.value.status, refused.value.code) == (400, "user_banned")
    answer = client.auth.get_user(token)
    assert answer
    assert answer.user.banned_until
