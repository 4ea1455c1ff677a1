"""Ids that a command is given: an unknown id is a mistake, not an empty list."""

from typing import TYPE_CHECKING
from uuid import UUID

from workers.cli.errors import UnknownIdError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.database import Database


def require_organizations(database: "Database", organization_ids: "Iterable[UUID | None]") -> None:
    """Raise UnknownIdError for an organization that does not exist; None is no id."""
    wanted = {each for each in organization_ids if each}
    if missing := wanted - database.repair.name_organizations(wanted).keys():
        msg = f"there is no organization {', '.join(sorted(map(str, missing)))}"
        raise UnknownIdError(msg)


def require_number(database: "Database", integration_id: UUID | None) -> None:
    """Raise UnknownIdError for a number that does not exist and left nothing behind."""
    from shared.database import DeadLetterQuery

    if (
        integration_id
        and not database.integrations.is_known(integration_id)
        and not database.dead_letters.count(DeadLetterQuery(number=integration_id, replayed=True))
    ):
        msg = f"there is no number {integration_id} (see wpp numbers)"
        raise UnknownIdError(msg)


def require_account(database: "Database", account: str | None) -> None:
    """Raise UnknownIdError for an account that does not exist and left nothing behind."""
    from shared.database import DeadLetterQuery
    from shared.database.models import LogQuery

    if (
        account
        and not database.integrations.find_owner(account)
        and not database.integrations.get_by_account(account)
        and not database.webhook_log.find(LogQuery(account=account), 1)
        and not database.dead_letters.count(DeadLetterQuery(account=account, replayed=True))
    ):
        msg = f"there is no account {account} (see wpp numbers)"
        raise UnknownIdError(msg)
