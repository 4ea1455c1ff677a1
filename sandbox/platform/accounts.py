"""Accounts: each has an organizationId, a key and a session, and connects by QR code."""

import asyncio
import base64
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sandbox.platform.settings import Settings
from sandbox.platform.store import Store

ACCOUNT = "account"

Status = Literal["created", "starting", "qr", "connected", "offline"]


@dataclass
class Account:
    session: str
    organization_id: str
    api_key: str
    created_at: float = field(default_factory=time.time)
    status: Status = "created"
    qr: str | None = None
    qr_until: float = 0
    qr_shown: int = 0
    linked: bool = False
    webhook: str | None = None

    @property
    def phone(self) -> str:
        """Return the made-up number of the phone itself, in digits."""
        return f"7900{int(self.session) % 10_000_000:07d}"

    @property
    def wire_status(self) -> str:
        """Return the status in the API: an account that was never started is `starting` as well."""
        return "starting" if self.status == "created" else self.status


class Accounts:
    """All accounts. `announce(event, account)` is called with `qr`, `connected` and `offline`."""

    def __init__(
        self, settings: Settings, store: Store, announce: Callable[[str, Account], None]
    ) -> None:
        self._settings = settings
        self._store = store
        self._announce = announce
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.by_session = {session: Account(**body) for session, body in store.all(ACCOUNT)}
        self._by_organization = {
            account.organization_id: account for account in self.by_session.values()
        }
        self._by_key = {account.api_key: account for account in self.by_session.values()}

    def resume(self) -> None:
        """Continue after a restart: an account that needs a QR code shows the next code."""
        for account in self.by_session.values():
            if account.status in {"starting", "qr"}:
                self._schedule(account, 0, self._finish_start)

    def create(self, organization_id: str) -> tuple[Account, bool]:
        """Return the only account of `organization_id`, and True when it is new."""
        if known := self._by_organization.get(organization_id):
            return known, False
        account = Account(f"{len(self.by_session) + 1:013d}", organization_id, _make_key())
        self._by_organization[organization_id] = self.by_session[account.session] = account
        self._by_key[account.api_key] = account
        self.save(account)
        return account, True

    def replace_key(self, account: Account) -> None:
        del self._by_key[account.api_key]
        account.api_key = _make_key()
        self._by_key[account.api_key] = account
        self.save(account)

    def find_by_key(self, api_key: str) -> Account | None:
        return self._by_key.get(api_key)

    def start(self, account: Account) -> None:
        if account.status in {"created", "offline"}:
            self._set_status(account, "starting")
            account.qr_shown = 0
            self._schedule(account, self._settings.starting_s, self._finish_start)

    def scan(self, account: Account, code: object = None) -> bool:
        """Link the phone; return False without a QR code, or if `code` has expired."""
        if account.status != "qr" or (code is not None and code != account.qr):
            return False
        account.linked = True
        self._connect(account)
        return True

    def stop(self, account: Account, *, log_out: bool) -> None:
        """Take the account offline; after a logout it needs a new scan, else only a start."""
        self._cancel_timer(account)
        account.linked = account.linked and not log_out
        if account.status != "offline":
            self._set_status(account, "offline")
            self._announce("offline", account)

    def save(self, account: Account) -> None:
        self._store.put(ACCOUNT, account.session, asdict(account))

    def _finish_start(self, account: Account) -> None:
        if account.linked:
            self._connect(account)
        elif account.qr_shown >= self._settings.qr_limit:
            self.stop(account, log_out=True)
        else:
            self._show_qr(account)

    def _show_qr(self, account: Account) -> None:
        account.qr_shown += 1
        account.qr_until = time.time() + self._settings.qr_period_s
        self._set_status(account, "qr", _make_pairing_code())
        self._announce("qr", account)
        self._schedule(account, self._settings.qr_period_s, self._finish_start)

    def _connect(self, account: Account) -> None:
        self._cancel_timer(account)
        self._set_status(account, "connected")
        self._announce("connected", account)

    def _set_status(self, account: Account, status: Status, qr: str | None = None) -> None:
        account.status, account.qr = status, qr
        self.save(account)

    def _schedule(self, account: Account, delay_s: float, step: Callable[[Account], None]) -> None:
        self._cancel_timer(account)
        self._timers[account.session] = asyncio.get_running_loop().call_later(
            delay_s, step, account
        )

    def close(self) -> None:
        """Take no further step: the loop ends, and `resume` goes on in the next one."""
        for timer in self._timers.values():
            timer.cancel()

    def _cancel_timer(self, account: Account) -> None:
        if timer := self._timers.pop(account.session, None):
            timer.cancel()


def describe(account: Account) -> dict[str, Any]:
    """Return an account in JSON, without its key."""
    return {name: value for name, value in asdict(account).items() if name != "api_key"} | {
        "phone": account.phone
    }


def _make_key() -> str:
    return f"wpp_{secrets.token_urlsafe(24)}"


def _make_pairing_code() -> str:
    """Return the content of WhatsApp's QR code: `2@`, a reference, and three keys."""
    parts = (base64.b64encode(secrets.token_bytes(size)).decode() for size in (96, 32, 32, 32))
    return "2@" + ",".join(parts)
