"""Who makes a request: a service with its key, or a signed-in user of an organization."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from shared import signed_keys
from shared.errors import PipelineError
from workers.ingress.auth import SessionCache


@dataclass(frozen=True)
class Caller:
    """Who makes a request. `subject` is whose quota counts: a service key or a user.

    `expires_s`: when the credentials end by themselves, in s since 1970.
    """

    organization_id: UUID
    subject: str
    token: str = field(repr=False)
    expires_s: float = math.inf

    @property
    def lifetime_s(self) -> float:
        return max(0.0, self.expires_s - time.time())


class Callers:
    """Finds the caller that a bearer token stands for."""

    def __init__(self, secrets: Sequence[bytes], sessions: SessionCache) -> None:
        self._secrets = secrets
        self._sessions = sessions

    async def is_genuine(self, token: str) -> bool:
        """Return whether a token was made by this server or by Supabase, before asking either."""
        key = signed_keys.read_service_key(token, self._secrets)
        return key is not None or await self._sessions.is_genuine(token)

    async def find(self, token: str) -> Caller | None:
        """Return the caller of a token, or None if the token is not valid.

        Raises:
            OverloadedError: too many sessions are being verified.
            DatabaseUnavailableError: Supabase did not answer.
        """
        if organization_id := signed_keys.read_service_key(token, self._secrets):
            return Caller(organization_id, f"organization {organization_id}", token)
        if session := await self._sessions.find_session(token):
            subject = f"user {session.user_id}"
            return Caller(session.organization_id, subject, token, session.expires_s)
        return None

    async def is_valid(self, caller: Caller) -> bool:
        """Return whether a caller's credentials are still valid, as far as that can be told.

        While Supabase does not answer, they are valid until they end by themselves.
        """
        try:
            found = await self.find(caller.token)
        except PipelineError:
            return True
        return found is not None and found.organization_id == caller.organization_id
