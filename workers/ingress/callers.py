"""Who makes a request: a service with its key, or a signed-in user of an organization."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from fastapi.concurrency import run_in_threadpool

from shared.database.models import ServiceKey
from shared.errors import PipelineError
from shared.service_keys import EVERYTHING, is_service_key
from workers.ingress.auth import SessionCache
from workers.ingress.lookups import LookupCache

ORGANIZATION_HEADER = "Wpp-Organization"


class ForbiddenError(PipelineError):
    """The credentials are valid, and do not allow this."""

    code = "forbidden"


class OrganizationMissingError(PipelineError):
    """The key is one of several organizations, and the request names none."""

    code = "organization_missing"

    def __init__(self) -> None:
        super().__init__(
            f"This key is valid for several organizations: name one in {ORGANIZATION_HEADER}."
        )


@dataclass(frozen=True)
class Caller:
    """Who makes a request. `subject` is whose quota counts: a service key or a user.

    `expires_s`: when the credentials end by themselves, in s since 1970. `actions`: what they
    allow; None is everything.
    """

    organization_id: UUID
    subject: str
    token: str = field(repr=False)
    expires_s: float = math.inf
    actions: frozenset[str] | None = None

    @property
    def is_user(self) -> bool:
        """Whether it is a signed-in user, not a service."""
        return self.subject.startswith("user ")

    @property
    def lifetime_s(self) -> float:
        return max(0.0, self.expires_s - time.time())

    def require(self, action: str) -> None:
        """Raise ForbiddenError unless the credentials allow an action."""
        if self.actions is not None and action not in self.actions:
            allowed = ", ".join(sorted(self.actions))
            msg = f"this key does not allow {action}; it allows {allowed}"
            raise ForbiddenError(msg)


class Callers:
    """Finds the caller that a bearer token stands for."""

    def __init__(
        self,
        sessions: SessionCache,
        service_keys: LookupCache[ServiceKey],
        is_in_use: Callable[[str], bool],
    ) -> None:
        """Create it; `is_in_use` blocks, and returns whether Redis has a copy of a key."""
        self._sessions = sessions
        self._service_keys = service_keys
        self._is_in_use = is_in_use

    async def is_genuine(self, token: str) -> bool:
        """Return whether this server or Supabase made a token, as far as is known here."""
        if is_service_key(token):
            return self._service_keys.recognizes(token) or await run_in_threadpool(
                self._is_in_use, token
            )
        return await self._sessions.is_genuine(token)

    def find_known(self, token: str, organization: str = "") -> Caller | None:
        """Return the caller of a service key that was found lately, or None.

        Raises:
            ForbiddenError, OrganizationMissingError: as `find`.
        """
        key = self._service_keys.recall(token) if is_service_key(token) else None
        return _act_for(key, token, organization) if key and key.organization_ids else None

    async def find(self, token: str, organization: str = "") -> Caller | None:
        """Return the caller of a token, or None if the token is not valid.

        `organization` is the id that the request names, if any.

        Raises:
            ForbiddenError: the token is not valid for this organization.
            OrganizationMissingError: it is valid for several.
            OverloadedError: too many sessions are being verified.
            DatabaseUnavailableError: Supabase did not answer.
        """
        if is_service_key(token):
            key = await self._service_keys.find(token)
            return _act_for(key, token, organization) if key and key.organization_ids else None
        session = await self._sessions.find_session(token)
        if session is None:
            return None
        if organization and organization.lower() != str(session.organization_id):
            raise _forbid(organization)
        subject = f"user {session.user_id}"
        return Caller(session.organization_id, subject, token, session.expires_s)

    async def is_valid(self, caller: Caller) -> bool:
        """Return whether a caller's credentials are still valid, as far as that can be told.

        While Supabase does not answer, they are valid until they end by themselves.
        """
        try:
            found = await self.find(caller.token, str(caller.organization_id))
        except ForbiddenError:
            return False
        except PipelineError:
            return True
        return found is not None


def _act_for(key: ServiceKey, token: str, organization: str) -> Caller:
    named = organization.lower()
    if not named and len(key.organization_ids) > 1:
        raise OrganizationMissingError
    chosen = [each for each in key.organization_ids if not named or named == str(each)]
    if not chosen:
        raise _forbid(organization)
    actions = None if EVERYTHING in key.actions else frozenset(key.actions)
    return Caller(chosen[0], f"key {key.id}", token, actions=actions)


def _forbid(organization: str) -> ForbiddenError:
    msg = f"these credentials are not valid for organization {organization[:36]}"
    return ForbiddenError(msg)
