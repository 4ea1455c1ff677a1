"""Users and their sessions, in the tables of schema `auth`. Every function works in the caller's transaction."""

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

# What a change is called over HTTP, and its column.
CHANGES = {
    "email": "email",
    "phone": "phone",
    "role": "role",
    "user_metadata": "raw_user_meta_data",
    "app_metadata": "raw_app_meta_data",
}


@dataclass(frozen=True)
class Session:
    id: str
    refresh_token: str


def hashed(password: str) -> str:
    """Return `password` as "scrypt$salt$hash". Cheap on purpose: nobody's real password lives here."""
    salt = secrets.token_bytes(16)
    return f"scrypt${base64.b64encode(salt).decode()}${_scrypt(password, salt)}"


def matches(password: str, stored: str | None) -> bool:
    kind, _, rest = (stored or "").partition("$")
    salt, _, expected = rest.partition("$")
    return kind == "scrypt" and hmac.compare_digest(
        _scrypt(password, base64.b64decode(salt)), expected
    )


async def create(db: Database, given: Mapping[str, Any]) -> Row:
    """Insert a user from `email`, `phone`, `password`, `user_metadata`, `app_metadata`; return the row.

    Raises:
        psycopg.errors.UniqueViolation: the address is taken.
    """
    answer = await db.execute(
        """
        insert into auth.users
            (email, phone, encrypted_password, email_confirmed_at, raw_user_meta_data, raw_app_meta_data)
        values (lower(%s), %s, %s, now(), %s, %s) returning *
        """,
        (
            given.get("email"),
            given.get("phone"),
            hashed(given["password"]) if given.get("password") else None,
            Jsonb(given.get("user_metadata") or {}),
            Jsonb(
                {"provider": "email", "providers": ["email"], **(given.get("app_metadata") or {})}
            ),
        ),
    )
    return await _only(answer)


async def change(db: Database, user_id: str, given: Mapping[str, Any]) -> Row | None:
    """Set what `given` holds (metadata is merged); return the row, or None where there is no such user."""
    for name, column in CHANGES.items():
        if name in given:
            value = given[name]
            merged = f"{column} || %s" if isinstance(value, dict) else "%s"
            statement = (
                f"update auth.users set {column} = {merged}, updated_at = now() where id = %s"  # noqa: S608 - our own column names
            )
            await db.execute(
                statement.encode(), (Jsonb(value) if isinstance(value, dict) else value, user_id)
            )
    if given.get("password"):
        await db.execute(
            "update auth.users set encrypted_password = %s where id = %s",
            (hashed(given["password"]), user_id),
        )
    return await get(db, user_id)


async def get(db: Database, user_id: str) -> Row | None:
    return await (await db.execute("select * from auth.users where id = %s", (user_id,))).fetchone()


async def listed(db: Database, page: int, per_page: int) -> list[Row]:
    query = "select * from auth.users order by created_at desc limit %s offset %s"
    return await (await db.execute(query, (per_page, (page - 1) * per_page))).fetchall()


async def delete(db: Database, user_id: str) -> bool:
    return (await db.execute("delete from auth.users where id = %s", (user_id,))).rowcount == 1


async def authenticate(db: Database, email: str, password: str) -> Row | None:
    found = await (
        await db.execute("select * from auth.users where email = lower(%s)", (email,))
    ).fetchone()
    return found if found and matches(password, found["encrypted_password"]) else None


async def open_session(db: Database, user_id: str) -> Session:
    await db.execute("update auth.users set last_sign_in_at = now() where id = %s", (user_id,))
    row = await _only(
        await db.execute("insert into auth.sessions (user_id) values (%s) returning id", (user_id,))
    )
    return await _continued(db, str(row["id"]))


async def refresh(db: Database, refresh_token: str) -> tuple[Row, Session] | None:
    """Exchange a refresh token, which works once; None if it is unknown, used, or its session was closed."""
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
    return (row, await _continued(db, str(row["session_id"]))) if row else None


async def alive(db: Database, session_id: str) -> bool:
    return (
        await db.execute("select from auth.sessions where id = %s", (session_id,))
    ).rowcount == 1


async def close_sessions(db: Database, user_id: str, session_id: str, scope: str) -> None:
    """End this session ("local"), the others ("others"), or all of the user's ("global")."""
    condition = {"local": "id = %(session)s", "others": "id <> %(session)s"}.get(scope, "true")
    statement = f"delete from auth.sessions where user_id = %(user)s and {condition}"  # noqa: S608 - one of three conditions
    await db.execute(statement.encode(), {"user": user_id, "session": session_id})


async def _continued(db: Database, session_id: str) -> Session:
    token = secrets.token_urlsafe(24)
    insert = "insert into auth.refresh_tokens (token_hash, session_id) values (%s, %s)"
    await db.execute(insert, (_digest(token), session_id))
    return Session(session_id, token)


async def _only(answer: Any) -> Row:
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
