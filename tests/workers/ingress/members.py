"""Signed-in users of an organization."""

import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import jwt
import psycopg

from sandbox.supabase.project import Supabase


@dataclass(frozen=True)
class Member:
    """A signed-in user of an organization."""

    id: str
    organization_id: str
    session: dict[str, Any]
    world: Supabase
    database_url: str

    @classmethod
    def new(cls, world: Supabase, database_url: str) -> "Member":
        sign_up = httpx.post(
            f"{world.url}/auth/v1/signup",
            json={"email": f"{uuid4().hex}@example.com", "password": "password"},
            headers={"apikey": world.anon_key},
            trust_env=False,
        ).json()
        user_id = sign_up["user"]["id"]
        with psycopg.connect(database_url) as connection:
            organization_id = uuid4()
            connection.execute(
                "insert into public.organizations (id, name) values (%s, 'Test')",
                (organization_id,),
            )
            connection.execute(
                "insert into public.profiles (id, organization_id) values (%s, %s) "
                "on conflict (id) do update set organization_id = excluded.organization_id",
                (user_id, organization_id),
            )
        return cls(user_id, str(organization_id), sign_up, world, database_url)

    def sign_out(self) -> None:
        self._call("POST", "logout", self.session["access_token"])

    def delete(self) -> None:
        self._call("DELETE", f"admin/users/{self.id}", self.world.service_role_key)

    def leave(self) -> None:
        """Belong to no organization from now on."""
        with psycopg.connect(self.database_url) as connection:
            connection.execute(
                "update public.profiles set organization_id = null where id = %s", (self.id,)
            )

    def move(self) -> None:
        """Belong to another organization from now on."""
        with psycopg.connect(self.database_url) as connection:
            connection.execute(
                "with other as (insert into public.organizations (name) values ('Other') "
                "returning id) update public.profiles set organization_id = other.id "
                "from other where profiles.id = %s",
                (self.id,),
            )

    def make_short_token(self, valid_s: float) -> str:
        """Return an access token of the session that expires soon."""
        claims = jwt.decode(self.session["access_token"], options={"verify_signature": False})
        claims["exp"] = int(time.time() + valid_s)
        return jwt.encode(claims, self.world.secrets.jwt, "HS256")

    def _call(self, method: str, path: str, bearer: str) -> None:
        httpx.request(
            method,
            f"{self.world.url}/auth/v1/{path}",
            headers={"apikey": self.world.anon_key, "Authorization": f"Bearer {bearer}"},
            trust_env=False,
        ).raise_for_status()
