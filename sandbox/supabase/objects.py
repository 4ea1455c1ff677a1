"""Buckets and objects in the schema `storage`.

Every function works in the caller's transaction and role.
"""

import json
import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

Row = dict[str, Any]
Database = AsyncConnection[Row]
BUCKET = """
    id, name, coalesce(owner::text, '') as owner, public, created_at, updated_at,
    file_size_limit, allowed_mime_types
"""


@dataclass(frozen=True)
class File:
    """A stored file: its bytes, MIME type, and how long a browser may cache it, in seconds."""

    content: bytes
    mime_type: str
    cache_s: int = 3600


@asynccontextmanager
async def connect_as(database_url: str, claims: Row) -> AsyncIterator[Database]:
    """Connect with the role of a token until the end of the block, which is a transaction."""
    async with await AsyncConnection[Row].connect(database_url, row_factory=dict_row) as db:
        await db.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
        await db.execute(sql.SQL("set local role {}").format(sql.Identifier(claims["role"])))
        yield db


async def list_buckets(db: Database) -> list[Row]:
    return await (
        await db.execute(f"select {BUCKET} from storage.buckets order by id".encode())  # noqa: S608
    ).fetchall()


async def load_bucket(db: Database, bucket_id: str) -> Row | None:
    query = f"select {BUCKET} from storage.buckets where id = %s"  # noqa: S608 - a constant
    return await (await db.execute(query.encode(), (bucket_id,))).fetchone()


async def add_bucket(db: Database, given: Row) -> None:
    """Raise psycopg.errors.UniqueViolation if it exists."""
    await db.execute(
        """
        insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
        values (%s, %s, %s, %s, %s)
        """,
        (
            given["id"],
            given.get("name") or given["id"],
            bool(given.get("public")),
            given.get("file_size_limit"),
            given.get("allowed_mime_types"),
        ),
    )


async def change_bucket(db: Database, bucket_id: str, given: Row) -> bool:
    statement = """
        update storage.buckets set updated_at = now(), public = coalesce(%s, public),
            file_size_limit = coalesce(%s, file_size_limit),
            allowed_mime_types = coalesce(%s, allowed_mime_types)
        where id = %s
    """
    values = (
        given.get("public"),
        given.get("file_size_limit"),
        given.get("allowed_mime_types"),
        bucket_id,
    )
    return (await db.execute(statement, values)).rowcount == 1


async def empty_bucket(db: Database, bucket_id: str) -> None:
    await db.execute("delete from storage.objects where bucket_id = %s", (bucket_id,))


async def delete_bucket(db: Database, bucket_id: str) -> bool:
    """Raise psycopg.errors.ForeignKeyViolation while it has objects."""
    return (
        await db.execute("delete from storage.buckets where id = %s", (bucket_id,))
    ).rowcount == 1


async def save(db: Database, bucket_id: str, name: str, file: File, *, replace: bool) -> str:
    """Store `file`; return its object's id.

    Raises:
        psycopg.errors.UniqueViolation: the name is taken and `replace` is false.
    """
    metadata = {
        "mimetype": file.mime_type,
        "size": len(file.content),
        "cacheControl": f"max-age={file.cache_s}",
    }
    insert = """
        insert into storage.objects (bucket_id, name, owner, metadata)
        values (%s, %s, auth.uid(), %s)
    """
    conflict = """
        on conflict (bucket_id, name)
        do update set metadata = excluded.metadata, updated_at = now()
    """
    statement = f"{insert} {conflict if replace else ''} returning id".encode()
    answer = await db.execute(statement, (bucket_id, name, Jsonb(metadata)))
    row = await answer.fetchone()
    object_id = row["id"] if row else None
    await db.execute("reset role")  # the role may insert the row; the bytes belong to the admin
    await db.execute(
        """
        insert into storage.contents (object_id, bytes) values (%s, %s)
        on conflict (object_id) do update set bytes = excluded.bytes
        """,
        (object_id, file.content),
    )
    return str(object_id)


async def load_info(db: Database, bucket_id: str, name: str) -> Row | None:
    columns = "id, name, bucket_id, metadata, created_at, updated_at"
    query = f"select {columns} from storage.objects"  # noqa: S608 - constants
    query += " where bucket_id = %s and name = %s"
    return await (await db.execute(query.encode(), (bucket_id, name))).fetchone()


async def load(db: Database, bucket_id: str, name: str) -> File | None:
    row = await load_info(db, bucket_id, name)
    if row is None:
        return None
    await db.execute("reset role")
    content = await (
        await db.execute("select bytes from storage.contents where object_id = %s", (row["id"],))
    ).fetchone()
    mime_type = (
        row["metadata"].get("mimetype")
        or mimetypes.guess_type(name)[0]
        or "application/octet-stream"
    )
    return File(content["bytes"] if content else b"", mime_type)


async def remove(db: Database, bucket_id: str, names: list[str]) -> list[Row]:
    statement = """
        delete from storage.objects where bucket_id = %s and name = any(%s)
        returning id, name, bucket_id, metadata
    """
    return await (await db.execute(statement, (bucket_id, names))).fetchall()


async def list_folder(db: Database, bucket_id: str, given: Row) -> list[Row]:
    """Return the files and folders in the folder `prefix`; a folder has no id."""
    folder = (given.get("prefix") or "").strip("/")
    start = f"{folder}/" if folder else ""
    query = """
        with below as (
            select *, substr(name, length(%(start)s) + 1) as rest
            from storage.objects
            where bucket_id = %(bucket)s and starts_with(name, %(start)s)
        )
        select rest as name, id, metadata, created_at, updated_at, last_accessed_at
            from below where rest not like '%%/%%' and starts_with(rest, %(search)s)
        union all
        select distinct split_part(rest, '/', 1), null::uuid, null::jsonb,
            null::timestamptz, null::timestamptz, null::timestamptz from below
            where rest like '%%/%%' and starts_with(rest, %(search)s)
        order by {column} {order} limit %(limit)s offset %(offset)s
    """
    by = given.get("sortBy") or {}
    column = next(
        (known for known in ("created_at", "updated_at") if known == by.get("column")), "name"
    )
    statement = sql.SQL(query).format(
        column=sql.Identifier(column), order=sql.SQL("desc" if by.get("order") == "desc" else "asc")
    )
    values = {"start": start, "bucket": bucket_id, "search": given.get("search") or ""}
    paging = {"limit": int(given.get("limit") or 100), "offset": int(given.get("offset") or 0)}
    return await (await db.execute(statement, values | paging)).fetchall()
