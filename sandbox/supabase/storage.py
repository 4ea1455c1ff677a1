"""/storage/v1: buckets and objects over HTTP, as the `supabase` client calls them.

Each call runs with the role of its token, so row level security decides: the service role may do
all, a user what the policies on `storage.objects` allow. Public
buckets and signed URLs need no token. Errors are {statusCode, error, message} with HTTP status
400, as hosted storage answers.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

import psycopg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.supabase import files, objects
from sandbox.supabase.files import StorageApiError
from sandbox.supabase.objects import Database, File
from sandbox.supabase.tokens import SERVICE_ROLE, sign, verify

ROLES = {"anon", "authenticated", SERVICE_ROLE}
MAX_SIGNED_S = 7 * 86_400
NO_BUCKET = (404, "Bucket not found", "Bucket not found")
NO_OBJECT = (404, "not_found", "Object not found")
DATABASE_ERRORS: tuple[tuple[type[psycopg.Error], tuple[int, str, str]], ...] = (
    (psycopg.errors.UniqueViolation, (409, "Duplicate", "The resource already exists")),
    (
        psycopg.errors.InsufficientPrivilege,
        (403, "Unauthorized", "new row violates row-level security policy"),
    ),
    (psycopg.errors.ForeignKeyViolation, (409, "Conflict", "The bucket is missing, or not empty")),
    (psycopg.OperationalError, (503, "DatabaseError", "no database")),
)


class Storage:
    """The endpoints. Each works in a transaction, with the role of the caller's token."""

    def __init__(self, database_url: str, jwt_secret: str, secret: str) -> None:
        self._database_url = database_url
        self._jwt_secret = jwt_secret
        self._secret = secret

    async def list_buckets(self, _: Request, db: Database) -> Any:
        return await objects.list_buckets(db)

    async def add_bucket(self, request: Request, db: Database) -> Any:
        given = await request.json()
        await objects.add_bucket(db, given)
        return {"name": given["id"]}

    async def get_bucket(self, request: Request, db: Database) -> Any:
        return _require(await objects.load_bucket(db, request.path_params["bucket"]), NO_BUCKET)

    async def change_bucket(self, request: Request, db: Database) -> Any:
        _require(
            await objects.change_bucket(db, request.path_params["bucket"], await request.json()),
            NO_BUCKET,
        )
        return {"message": "Successfully updated"}

    async def empty_bucket(self, request: Request, db: Database) -> Any:
        await objects.empty_bucket(db, request.path_params["bucket"])
        return {"message": "Successfully emptied"}

    async def delete_bucket(self, request: Request, db: Database) -> Any:
        _require(await objects.delete_bucket(db, request.path_params["bucket"]), NO_BUCKET)
        return {"message": "Successfully deleted"}

    async def upload(self, request: Request, db: Database) -> Any:
        bucket_id, name = _read_path(request)
        replace = request.method == "PUT" or request.headers.get("x-upsert") == "true"
        file = await files.read_upload(request)
        object_id = await objects.save(db, bucket_id, name, file, replace=replace)
        _check_limits(_require(await objects.load_bucket(db, bucket_id), NO_BUCKET), file)
        return {"Id": object_id, "Key": f"{bucket_id}/{name}"}

    async def download(self, request: Request, db: Database) -> Any:
        bucket_id, name = _read_path(request)
        file = _require(await objects.load(db, bucket_id, name), NO_OBJECT)
        return files.make_file_response(file, request)

    async def info(self, request: Request, db: Database) -> Any:
        row = _require(await objects.load_info(db, *_read_path(request)), NO_OBJECT)
        metadata = row.pop("metadata")
        return {
            **row,
            "size": metadata["size"],
            "content_type": metadata["mimetype"],
            "metadata": {},
        }

    async def list(self, request: Request, db: Database) -> Any:
        return await objects.list_folder(db, request.path_params["bucket"], await request.json())

    async def remove(self, request: Request, db: Database) -> Any:
        return await objects.remove(
            db, request.path_params["bucket"], (await request.json())["prefixes"]
        )

    async def sign(self, request: Request, db: Database) -> Any:
        bucket_id, name = _read_path(request)
        given = await request.json()
        _require(await objects.load_info(db, bucket_id, name), NO_OBJECT)
        return {"signedURL": self._make_signed_url(bucket_id, name, given)}

    async def sign_many(self, request: Request, db: Database) -> Any:
        bucket_id = request.path_params["bucket"]
        given = await request.json()
        return [await self._sign_existing(db, bucket_id, name, given) for name in given["paths"]]

    async def read_signed(self, request: Request) -> Response:
        bucket_id, name = _read_path(request)
        claims = verify(request.query_params.get("token", ""), self._secret)
        if claims is None or claims.get("url") != f"{bucket_id}/{name}":
            return _make_error_response(
                StorageApiError(400, "InvalidJWT", "the URL's token is invalid or has expired")
            )
        return await self.route(self.download, SERVICE_ROLE)(request)

    async def read_public(self, request: Request, db: Database) -> Any:
        bucket = await objects.load_bucket(db, request.path_params["bucket"])
        _require(bucket and bucket["public"], NO_BUCKET)
        return await self.download(request, db)

    def route(
        self, act: Callable[[Request, Database], Awaitable[Any]], role: str | None = None
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return `act` as an endpoint with the role of the caller's token, or with `role`."""

        async def endpoint(request: Request) -> Response:
            try:
                claims = {"role": role} if role else self._read_claims(request)
                async with objects.connect_as(self._database_url, claims) as db:
                    answer = await act(request, db)
            except StorageApiError as error:
                return _make_error_response(error)
            except psycopg.Error as error:
                return _make_error_response(_map_error(error))
            return answer if isinstance(answer, Response) else _make_json_response(answer)

        return endpoint

    def _read_claims(self, request: Request) -> dict[str, Any]:
        _, _, token = request.headers.get("authorization", "").partition(" ")
        claims = verify(token, self._jwt_secret)
        if claims is None or claims.get("role") not in ROLES:
            raise StorageApiError(403, "Unauthorized", "Invalid Compact JWS")
        return claims

    async def _sign_existing(
        self, db: Database, bucket_id: str, name: str, given: dict[str, Any]
    ) -> dict[str, Any]:
        if await objects.load_info(db, bucket_id, name) is None:
            return {
                "path": name,
                "error": "Either the object does not exist or you do not have access",
                "signedURL": None,
            }
        return {
            "path": name,
            "error": None,
            "signedURL": self._make_signed_url(bucket_id, name, given),
        }

    def _make_signed_url(self, bucket_id: str, name: str, given: dict[str, Any]) -> str:
        valid_s = min(max(int(given.get("expiresIn") or 0), 1), MAX_SIGNED_S)
        token = sign({"url": f"{bucket_id}/{name}"}, self._secret, valid_s=valid_s)
        return f"/object/sign/{quote(bucket_id)}/{quote(name)}?token={token}"


def _check_limits(bucket: dict[str, Any], file: File) -> None:
    """Raise, and so undo the upload, if the bucket does not accept the file."""
    if bucket["file_size_limit"] and len(file.content) > bucket["file_size_limit"]:
        raise StorageApiError(
            413, "Payload too large", "The object exceeded the maximum allowed size"
        )
    if (
        bucket["allowed_mime_types"]
        and file.mime_type.partition(";")[0] not in bucket["allowed_mime_types"]
    ):
        raise StorageApiError(
            415, "invalid_mime_type", f"mime type {file.mime_type} is not supported"
        )


def _read_path(request: Request) -> tuple[str, str]:
    """Return bucket and object name."""
    return request.path_params["bucket"], request.path_params["name"]


def _require(found: Any, error: tuple[int, str, str]) -> Any:
    if not found:
        raise StorageApiError(*error)
    return found


def _map_error(error: psycopg.Error) -> StorageApiError:
    for kind, answer in DATABASE_ERRORS:
        if isinstance(error, kind):
            return StorageApiError(*answer)
    raise error


def _make_error_response(error: StorageApiError) -> Response:
    return JSONResponse(error.body, 400)


def _make_json_response(answer: Any) -> Response:
    return Response(json.dumps(answer, default=_to_json), media_type="application/json")


def _to_json(value: datetime | UUID) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def build(database_url: str, jwt_secret: str, secret: str) -> Starlette:
    storage = Storage(database_url, jwt_secret, secret)
    act = storage.route
    path = "/object/{bucket}/{name:path}"
    return Starlette(
        routes=[
            Route("/bucket", act(storage.list_buckets), methods=["GET"]),
            Route("/bucket", act(storage.add_bucket), methods=["POST"]),
            Route("/bucket/{bucket}", act(storage.get_bucket), methods=["GET"]),
            Route("/bucket/{bucket}", act(storage.change_bucket), methods=["PUT"]),
            Route("/bucket/{bucket}", act(storage.delete_bucket), methods=["DELETE"]),
            Route("/bucket/{bucket}/empty", act(storage.empty_bucket), methods=["POST"]),
            Route(
                "/object/public/{bucket}/{name:path}",
                act(storage.read_public, SERVICE_ROLE),
                methods=["GET"],
            ),
            Route("/object/sign/{bucket}/{name:path}", storage.read_signed, methods=["GET"]),
            Route("/object/sign/{bucket}/{name:path}", act(storage.sign), methods=["POST"]),
            Route("/object/sign/{bucket}", act(storage.sign_many), methods=["POST"]),
            Route("/object/info/{bucket}/{name:path}", act(storage.info), methods=["GET"]),
            Route("/object/list/{bucket}", act(storage.list), methods=["POST"]),
            Route("/object/{bucket}", act(storage.remove), methods=["DELETE"]),
            Route(
                "/object/authenticated/{bucket}/{name:path}", act(storage.download), methods=["GET"]
            ),
            Route(path, act(storage.download), methods=["GET"]),
            Route(path, act(storage.upload), methods=["POST", "PUT"]),
        ]
    )
