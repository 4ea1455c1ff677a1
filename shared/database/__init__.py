"""Supabase: the rows that the pipeline reads and the SQL functions that write them.

`Database` has one attribute for each table or concern. Every method blocks for at most 15 s and
raises DatabaseUnavailableError (it may work later) or DatabaseError. The functions that it calls
are in supabase/migrations.
"""

from typing import Self

import httpx

from shared.database.callbacks import Callbacks
from shared.database.connection import Connection
from shared.database.contacts import Contacts
from shared.database.dead_letters import DeadLetters
from shared.database.feed import Feed
from shared.database.files import Files
from shared.database.integrations import Integrations
from shared.database.maintenance import Maintenance
from shared.database.messages import Messages
from shared.database.models import DeadLetter, DeadLetterQuery, Integration
from shared.database.operator_keys import OperatorKeys
from shared.database.outcomes import Outcomes
from shared.database.pacing import PacingTable
from shared.database.policies import Policies
from shared.database.reading import Reading
from shared.database.repair import Repair
from shared.database.service_keys import ServiceKeys
from shared.database.storage import Storage
from shared.database.tokens import StoredTokens
from shared.database.users import Users
from shared.database.webhook_log import WebhookLog
from shared.settings import MediaSettings, SupabaseSettings, load_settings

__all__ = ["Database", "DeadLetter", "DeadLetterQuery", "Integration"]


class Database:
    """Supabase for one process; threads share it, and a fork is safe at any time."""

    def __init__(
        self,
        settings: SupabaseSettings,
        http: httpx.Client | None = None,
        *,
        media: MediaSettings | None = None,
        page_size: int = 500,
        prune_size: int = 1000,
    ) -> None:
        """Create it without connecting: the first call connects.

        Args:
            settings: the project's address and keys.
            http: the HTTP client to use that replaces its own, for tests.
            media: how `storage` links files; default: from the environment.
            page_size: rows read at a time where all are read.
            prune_size: rows that a call of `maintenance` removes at most.

        Raises:
            ConfigurationError: without `media`, a setting of media is invalid.
        """
        self._connection = Connection(settings, http, page_size)
        self.outcomes = Outcomes(self._connection)
        self.integrations = Integrations(self._connection)
        self.messages = Messages(self._connection)
        self.reading = Reading(self._connection)
        self.contacts = Contacts(self._connection)
        self.dead_letters = DeadLetters(self._connection)
        self.webhook_log = WebhookLog(self._connection)
        self.policies = Policies(self._connection)
        self.pacing = PacingTable(self._connection)
        self.repair = Repair(self._connection)
        self.service_keys = ServiceKeys(self._connection)
        self.operator_keys = OperatorKeys(self._connection)
        self.tokens = StoredTokens(self._connection)
        self.callbacks = Callbacks(self._connection)
        self.feed = Feed(self._connection)
        self.users = Users(self._connection)
        self.maintenance = Maintenance(self._connection, prune_size)
        self.files = Files(self._connection)
        self.storage = Storage(self._connection, media or load_settings(MediaSettings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._connection.close()
