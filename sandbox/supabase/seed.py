"""The demo rows of the local world: an organization, keys, a user who can sign in."""

from uuid import UUID

import psycopg

from sandbox.supabase.users import hash_password
from shared.service_keys import EVERYTHING, hash_service_key

ORGANIZATION = UUID("00000000-0000-4000-8000-000000000001")
USER = UUID("00000000-0000-4000-8000-000000000002")
NAME = "Demo organization"
EMAIL = "demo@example.com"
PASSWORD = "password"


def seed(admin_url: str, service_key: str, operator_key: str) -> None:
    """Insert the demo rows that are missing; existing rows stay as they are."""
    with psycopg.connect(admin_url) as connection:
        connection.execute(
            "insert into public.organizations (id, name) values (%s, %s) on conflict do nothing",
            (ORGANIZATION, NAME),
        )
        connection.execute(
            """
            insert into auth.users (id, email, encrypted_password, email_confirmed_at)
            values (%s, %s, %s, now()) on conflict do nothing
            """,
            (USER, EMAIL, hash_password(PASSWORD)),
        )
        connection.execute(
            """
            insert into public.profiles (id, organization_id, email) values (%s, %s, %s)
            on conflict do nothing
            """,
            (USER, ORGANIZATION, EMAIL),
        )
        connection.execute(
            """
            insert into public.wpp_service_keys (name, hash, organization_ids, actions)
            values ('demo', %s, %s, %s) on conflict do nothing
            """,
            (hash_service_key(service_key), [ORGANIZATION], [EVERYTHING]),
        )
        connection.execute(
            """
            insert into public.wpp_operator_keys (name, hash) values ('demo', %s)
            on conflict do nothing
            """,
            (hash_service_key(operator_key),),
        )
