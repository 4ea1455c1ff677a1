"""/auth/v1 as Supabase Auth answers it: sign-up, sign-in, refresh, user, sign-out, administration.

Answers and errors ({code, message}) are those that the `supabase` client reads. E-mail and phone
are confirmed at once.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.supabase import users
from sandbox.supabase.tokens import SERVICE_ROLE, SESSION_S, sign, verify
from sandbox.supabase.users import Database, Row

VERSION = {"x-supabase-api-version": "2024-01-01"}
MIN_PASSWORD_LENGTH = 6
PAGING = {"page": 1, "per_page": 50}
Found = TypeVar("Found")


class AuthApiError(Exception):
    """An error answer: its status, code and message."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message, **more}


class Auth:
    """The endpoints. Each works in a transaction."""

    def __init__(self, database_url: str, secret: str) -> None:
        self._database_url = database_url
        self._secret = secret

    async def sign_up(self, request: Request, db: Database) -> Any:
        given = await request.json()
        if not given.get("email") or not given.get("password"):
            raise AuthApiError(
                422, "anonymous_provider_disabled", "Sign up with an email and a password"
            )
        row = await self._create(
            db, {**given, "user_metadata": given.get("data"), "app_metadata": None}
        )
        session = await users.open_session(db, row["id"])
        return self._make_session(row, session, find_issuer(request))

    async def token(self, request: Request, db: Database) -> Any:
        given = await request.json()
        kind = request.query_params.get("grant_type")
        if kind == "password":
            row = await users.authenticate(
                db, given.get("email") or "", given.get("password") or ""
            )
            if row is None:
                raise AuthApiError(400, "invalid_credentials", "Invalid login credentials")
            if row["banned_until"] and row["banned_until"] > datetime.now(UTC):
                raise AuthApiError(400, "user_banned", "User is banned")
            session = await users.open_session(db, row["id"])
            return self._make_session(row, session, find_issuer(request))
        if kind == "refresh_token":
            renewed = await users.refresh(db, given.get("refresh_token") or "")
            if renewed is None:
                raise AuthApiError(
                    400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found"
                )
            return self._make_session(*renewed, find_issuer(request))
        raise AuthApiError(400, "validation_failed", "unsupported grant_type")

    async def user(self, request: Request, db: Database) -> Any:
        row, _ = await self._load_user(request, db)
        return to_json(row)

    async def change(self, request: Request, db: Database) -> Any:
        row, _ = await self._load_user(request, db)
        given = await request.json()
        own = {name: given[name] for name in ("email", "phone", "password") if given.get(name)}
        if "data" in given:
            own["user_metadata"] = given["data"] or {}
        _require_password(own.get("password", "long enough"))
        return to_json(await users.change(db, row["id"], own) or row)

    async def sign_out(self, request: Request, db: Database) -> Any:
        row, session_id = await self._load_user(request, db)
        await users.close_sessions(
            db, row["id"], session_id, request.query_params.get("scope", "global")
        )

    async def admin_list(self, request: Request, db: Database) -> Any:
        self._require_service_role(request)
        page, per_page = (
            int(request.query_params.get(name) or default) for name, default in PAGING.items()
        )
        return {
            "aud": "authenticated",
            "users": [to_json(row) for row in await users.list_page(db, page, per_page)],
        }

    async def admin_create(self, request: Request, db: Database) -> Any:
        self._require_service_role(request)
        return to_json(await self._create(db, await request.json()))

    async def admin_get(self, request: Request, db: Database) -> Any:
        self._require_service_role(request)
        return to_json(_require_user(await users.get(db, request.path_params["user"])))

    async def admin_change(self, request: Request, db: Database) -> Any:
        self._require_service_role(request)
        return to_json(
            _require_user(await users.change(db, request.path_params["user"], await request.json()))
        )

    async def admin_delete(self, request: Request, db: Database) -> Any:
        self._require_service_role(request)
        _require_user(await users.delete(db, request.path_params["user"]) or None)
        return {}

    def route(
        self, act: Callable[[Request, Database], Awaitable[Any]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return `act` as an endpoint: with a connection, results and errors as JSON."""

        async def endpoint(request: Request) -> Response:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._database_url, row_factory=dict_row
                ) as db:
                    answer = await act(request, db)
            except AuthApiError as error:
                return JSONResponse(error.body, error.status, VERSION)
            except psycopg.OperationalError:
                return JSONResponse(
                    {"code": "unexpected_failure", "message": "no database"}, 503, VERSION
                )
            return (
                Response(status_code=204) if answer is None else JSONResponse(answer, 200, VERSION)
            )

        return endpoint

    async def _create(self, db: Database, given: dict[str, Any]) -> Row:
        _require_password(given.get("password") or "long enough")
        try:
            return await users.create(db, given)
        except psycopg.errors.UniqueViolation:
            raise AuthApiError(422, "user_already_exists", "User already registered") from None

    def _make_session(self, row: Row, session: users.Session, issuer: str) -> dict[str, Any]:
        claims = {
            "aud": row["aud"],
            "role": row["role"],
            "sub": str(row["id"]),
            "email": row["email"],
            "app_metadata": row["raw_app_meta_data"],
            "user_metadata": row["raw_user_meta_data"],
            "session_id": session.id,
            "iss": issuer,
        }
        access_token = sign(claims, self._secret, valid_s=SESSION_S)
        return {
            "access_token": access_token,
            "refresh_token": session.refresh_token,
            "token_type": "bearer",
            "expires_in": SESSION_S,
            "expires_at": verify(access_token, self._secret)["exp"],  # type: ignore[index]
            "user": to_json(row),
        }

    async def _load_user(self, request: Request, db: Database) -> tuple[Row, str]:
        claims = self._read_claims(request)
        session_id = claims.get("session_id", "")
        row = await users.get(db, claims["sub"]) if "sub" in claims else None
        if row is None:
            raise AuthApiError(403, "bad_jwt", "invalid claim: missing sub claim")
        if not await users.has_session(db, session_id):
            raise AuthApiError(
                403, "session_not_found", "Session from session_id claim in JWT does not exist"
            )
        return row, session_id

    def _require_service_role(self, request: Request) -> None:
        if self._read_claims(request).get("role") != SERVICE_ROLE:
            raise AuthApiError(403, "not_admin", "User not allowed")

    def _read_claims(self, request: Request) -> dict[str, Any]:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        claims = verify(token, self._secret) if scheme.lower() == "bearer" else None
        if claims is None:
            raise AuthApiError(403, "bad_jwt", "invalid JWT: unable to parse or verify signature")
        return claims


def find_issuer(request: Request) -> str:
    """Return the address of Auth, as its tokens name it."""
    return f"{request.url.scheme}://{request.url.netloc}/auth/v1"


def to_json(row: Row) -> dict[str, Any]:
    """Return a row of auth.users in the API's form, without the password."""
    columns = (
        "id",
        "aud",
        "role",
        "email",
        "phone",
        "email_confirmed_at",
        "last_sign_in_at",
        "created_at",
        "updated_at",
        "banned_until",
    )
    user = {name: _to_plain(row[name]) for name in columns}
    metadata = {
        "app_metadata": row["raw_app_meta_data"],
        "user_metadata": row["raw_user_meta_data"],
    }
    return {**user, **metadata, "identities": [], "is_anonymous": False}


def _to_plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _require_password(password: str) -> None:
    if len(password) < MIN_PASSWORD_LENGTH:
        message = f"Password should be at least {MIN_PASSWORD_LENGTH} characters."
        raise AuthApiError(422, "weak_password", message, weak_password={"reasons": ["length"]})


def _require_user(found: Found | None) -> Found:
    if found is None:
        raise AuthApiError(404, "user_not_found", "User not found")
    return found


def build(database_url: str, secret: str) -> Starlette:
    auth = Auth(database_url, secret)
    path = "/admin/users/{user:uuid}"
    return Starlette(
        routes=[
            Route("/health", lambda _: JSONResponse({"name": "GoTrue", "version": "local"})),
            Route("/signup", auth.route(auth.sign_up), methods=["POST"]),
            Route("/token", auth.route(auth.token), methods=["POST"]),
            Route("/user", auth.route(auth.user), methods=["GET"]),
            Route("/user", auth.route(auth.change), methods=["PUT"]),
            Route("/logout", auth.route(auth.sign_out), methods=["POST"]),
            Route("/admin/users", auth.route(auth.admin_list), methods=["GET"]),
            Route("/admin/users", auth.route(auth.admin_create), methods=["POST"]),
            Route(path, auth.route(auth.admin_get), methods=["GET"]),
            Route(path, auth.route(auth.admin_change), methods=["PUT"]),
            Route(path, auth.route(auth.admin_delete), methods=["DELETE"]),
        ]
    )
