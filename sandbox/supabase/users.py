"""Users and their sessions in the schema `auth`; the caller owns the transaction."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

Row = dict[str, Any]
Database = AsyncConnection[Row]

COLUMNS = {
    "email": "email",
    "phone": "phone",
    "role": "role",
    "user_metadata": "raw_user_meta_data",
    "app_metadata": "raw_app_meta_data",
}
"""Fields of the HTTP API that can be changed, and their columns."""


@dataclass(frozen=True)
class Session:
    id: str
    refresh_token: str


def hash_password(password: str) -> str:
    """Return "scrypt$salt$hash", with a low cost factor: it holds no real passwords."""
    salt = secrets.token_bytes(16)
    return f"scrypt${base64.b64encode(salt).decode()}${_scrypt(password, salt)}"


def check_password(password: str, stored: str | None) -> bool:
    kind, _, rest = (stored or "").partition("$")
    salt, _, expected = rest.partition("$")
    return kind == "scrypt" and hmac.compare_digest(
        _scrypt(password, base64.b64decode(salt)), expected
    )


async def create(db: Database, given: Mapping[str, Any]) -> Row:
    """Insert a user with e-mail, phone, password and metadata; return the row.

    Raises:
        psycopg.errors.UniqueViolation: another user has the address.
    """
    answer = await db.execute(
        """
        insert into auth.users (email, phone, encrypted_password, email_confirmed_at,
            raw_user_meta_data, raw_app_meta_data)
        values (lower(%s), %s, %s, now(), %s, %s) returning *
        """,
        (
            given.get("email"),
            given.get("phone"),
            hash_password(given["password"]) if given.get("password") else None,
            Jsonb(given.get("user_metadata") or {}),
            Jsonb(
                {"provider": "email", "providers": ["email"], **(given.get("app_metadata") or {})}
            ),
        ),
    )
    return await _fetch_only(answer)


async def change(db: Database, user_id: str, given: Mapping[str, Any]) -> Row | None:
    """Set the given fields (metadata is merged); return the row, or None for an unknown user."""
    for name, column in COLUMNS.items():
        if name in given:
            value = given[name]
            merged = f"{column} || %s" if isinstance(value, dict) else "%s"
            statement = (
                f"update auth.users set {column} = {merged}, updated_at = now()"  # noqa: S608
                " where id = %s"
            )
            await db.execute(
                statement.encode(), (Jsonb(value) if isinstance(value, dict) else value, user_id)
            )
    if given.get("password"):
        await db.execute(
            "update auth.users set encrypted_password = %s where id = %s",
            (hash_password(given["password"]), user_id),
        )
    return await get(db, user_id)


async def get(db: Database, user_id: str) -> Row | None:
    return await (await db.execute("select * from auth.users where id = %s", (user_id,))).fetchone()


async def list_page(db: Database, page: int, per_page: int) -> list[Row]:
    query = "select * from auth.users order by created_at desc limit %s offset %s"
    return await (await db.execute(query, (per_page, (page - 1) * per_page))).fetchall()


async def delete(db: Database, user_id: str) -> bool:
    return (await db.execute("delete from auth.users where id = %s", (user_id,))).rowcount == 1


async def authenticate(db: Database, email: str, password: str) -> Row | None:
    found = await (
        await db.execute("select * from auth.users where email = lower(%s)", (email,))
    ).fetchone()
    return found if found and check_password(password, found["encrypted_password"]) else None


async def open_session(db: Database, user_id: str) -> Session:
    await db.execute("update auth.users set last_sign_in_at = now() where id = %s", (user_id,))
    row = await _fetch_only(
        await db.execute("insert into auth.sessions (user_id) values (%s) returning id", (user_id,))
    )
    return await _issue_refresh_token(db, str(row["id"]))


async def refresh(db: Database, refresh_token: str) -> tuple[Row, Session] | None:
    """Exchange a refresh token, which works once; return None if it is not valid."""
    answer = await db.execute(
        """
        update auth.refresh_tokens as token set revoked = true
        from auth.sessions as session join auth.users on auth.users.id = session.user_id
        where token.token_hash = %s and not token.revoked and session.id = token.session_id
        returning auth.users.*, session.id as session_id
        """,
        (_digest(refresh_token),),
    )
    row = await answer.fetchone()
    return (row, await _issue_refresh_token(db, str(row["session_id"]))) if row else None


async def has_session(db: Database, session_id: str) -> bool:
    return (
        await db.execute("select from auth.sessions where id = %s", (session_id,))
    ).rowcount == 1


async def close_sessions(db: Database, user_id: str, session_id: str, scope: str) -> None:
    """End this session ("local"), all but this one ("others"), or every session ("global")."""
    condition = {"local": "id = %(session)s", "others": "id <> %(session)s"}.get(scope, "true")
    statement = f"delete from auth.sessions where user_id = %(user)s and {condition}"  # noqa: S608
    await db.execute(statement.encode(), {"user": user_id, "session": session_id})


async def _issue_refresh_token(db: Database, session_id: str) -> Session:
    token = secrets.token_urlsafe(24)
    insert = "insert into auth.refresh_tokens (token_hash, session_id) values (%s, %s)"
    await db.execute(insert, (_digest(token), session_id))
    return Session(session_id, token)


async def _fetch_only(answer: Any) -> Row:
    row: Row | None = await answer.fetchone()
    if row is None:
        msg = "the statement returned no row"
        raise LookupError(msg)
    return row


def _scrypt(password: str, salt: bytes) -> str:
    return base64.b64encode(
        hashlib.scrypt(password.encode(), salt=salt, n=2**11, r=8, p=1)
    ).decode()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
