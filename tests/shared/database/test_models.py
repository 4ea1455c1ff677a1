"""Rows of Supabase: states of the old system are mapped, invalid queries refused."""

from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from shared.database.models import DeadLetterQuery, Integration, StoredMessage


def integration(**given: Any) -> Integration:
    row = {
        "id": uuid4(),
        "organization_id": uuid4(),
        "name": "First",
        "account": None,
        "status": None,
    }
    return Integration.model_validate({**row, "is_primary": True, "is_enabled": True, **given})


def message(**given: Any) -> StoredMessage:
    row = dict.fromkeys(StoredMessage.model_fields) | {
        "id": uuid4(),
        "organization_id": uuid4(),
        "text": "Hello",
    }
    return StoredMessage.model_validate(
        {**row, "outgoing": True, "status": None, "created_at": "2026-11-21T12:00:00Z", **given}
    )


@pytest.mark.parametrize(
    ("stored", "status"), [(None, "disconnected"), ("pairing", "starting"), ("error", "error")]
)
def test_every_session_state_of_the_crm_is_understood(stored: str | None, status: str) -> None:
    found = integration(status=stored)
    assert (found.status, found.account) == (status, "")


@pytest.mark.parametrize(
    ("stored", "status"), [(None, "sent"), ("noAccount", "failed"), ("unknown", "unknown")]
)
def test_every_message_status_of_the_crm_is_understood(stored: str | None, status: str) -> None:
    assert message(status=stored).status == status


def test_a_row_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        integration().name = "Second"  # type: ignore[misc]


def test_a_query_filters_by_given_conditions_only() -> None:
    assert DeadLetterQuery().equal() == {}
    assert DeadLetterQuery(kind="send", limit=5).equal() == {"kind": "send"}


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 1001}, {"ids": [uuid4()] * 201}])
def test_a_query_beyond_supabase_s_limits_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DeadLetterQuery(**wrong)
