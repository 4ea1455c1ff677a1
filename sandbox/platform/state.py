"""The platform's parts, created once and connected."""

from typing import Any

from sandbox.platform.accounts import Account, Accounts
from sandbox.platform.dialect import Dialect
from sandbox.platform.faults import Faults
from sandbox.platform.ledger import Ledger
from sandbox.platform.messages import Message, Messages
from sandbox.platform.settings import Settings
from sandbox.platform.store import Store
from sandbox.platform.tokens import Tokens
from sandbox.platform.webhooks import Webhooks


class PlatformState:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.state)
        self.ledger = Ledger(self.store)
        self.faults = Faults()
        self.tokens = Tokens(self.store, settings.token_ttl_s)
        self.webhooks = Webhooks(settings, self.store, self.faults, self.ledger)
        self.accounts = Accounts(settings, self.store, self._post_session)
        self.messages = Messages(settings, self.store, self.faults, self._post_message)
        self._dialect = Dialect(settings)

    def resume(self) -> None:
        """Continue, on the running loop, what a restart interrupted."""
        self.webhooks.resume(self.accounts.by_session)
        self.accounts.resume()
        self.messages.resume(self.accounts.by_session)

    async def close(self) -> None:
        """End what runs on the loop: a step in its last moments would begin a post too late."""
        self.accounts.close()
        self.messages.close()
        await self.webhooks.close()
        self.store.close()

    def snapshot(self) -> dict[str, Any]:
        return self.ledger.snapshot() | {"messages": self.messages.ledger()}

    def list_events(self, account: Account, since: float) -> list[dict[str, Any]]:
        """Return an account's messages as their webhooks, and the status of those of the API."""
        messages = [each for each in self.messages.of(account.session) if each.at >= since]
        return [self._dialect.history(message, account) for message in messages]

    def _post_session(self, event: str, account: Account) -> None:
        self.webhooks.post(account, self._dialect.session(event, account))

    def _post_message(self, event: str, message: Message) -> None:
        account = self.accounts.by_session[message.session]
        bodies = {
            "sent": self._dialect.sent,
            "dead": self._dialect.dead,
            "status": self._dialect.status,
        }
        body = (
            bodies[event](message)
            if event in bodies
            else self._dialect.conversation(message, account)
        )
        self.webhooks.post(account, body)
