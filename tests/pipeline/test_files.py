"""Files pass through every process."""

import base64
from typing import Any
from uuid import UUID

import httpx

from tests.fixtures.system import System
from tests.fixtures.waiting import wait_until

Number = tuple[UUID, dict[str, Any]]


def test_a_picture_sent_by_a_customer_is_shown_by_its_row(system: System, number: Number) -> None:
    """A small and a large file are in the bucket, and the rows link to them."""
    organization_id, integration = number
    pictures = {f"{size} bytes": b"\xff\xd8\xff\xe0" + bytes(size) for size in (100, 3_000_000)}
    for text, content in pictures.items():
        media = {
            "mimetype": "image/jpeg",
            "filename": "file",
            "base64": base64.b64encode(content).decode(),
        }
        with system.phone() as phone:
            written = {"from": "+79990004455", "text": text, "media": media}
            phone.post(
                f"/phone/{integration['account_number']}/messages", json=written
            ).raise_for_status()

    def stored() -> dict[str, str]:
        rows = system.rows("chat_messages", organization_id=str(organization_id))
        found = {
            row["message_text"]: row["file_url"]
            for row in rows
            if row["file_url"] and row["message_text"] in pictures
        }
        return found if found.keys() == pictures.keys() else {}

    links = wait_until(stored, "both pictures to be stored")
    for text, content in pictures.items():
        assert httpx.get(links[text], trust_env=False).content == content
