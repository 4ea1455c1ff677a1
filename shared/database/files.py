"""Files that were uploaded for messages (`wpp_files`); their content is in Storage."""

from datetime import datetime
from uuid import UUID

from shared.database.connection import Connection
from shared.database.models import UploadedFile

COLUMNS = "id, organization_id, path, name, mime, size, sha256, created_at, used_at"


class Files:
    """The uploaded files of all organizations."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, file_id: UUID, organization_id: UUID) -> UploadedFile | None:
        """Return a file of an organization, or None."""
        query = self._connection.table("wpp_files").select(COLUMNS).eq("id", str(file_id))
        rows = self._connection.rows(query.eq("organization_id", str(organization_id)).limit(1))
        return UploadedFile.model_validate(rows[0]) if rows else None

    def use(self, file_id: UUID, organization_id: UUID) -> UploadedFile | None:
        """Return a file for a message, which keeps it from now on; None: no such file."""
        ids = {"file_id": str(file_id), "organization": str(organization_id)}
        found = self._connection.call("wpp_use_file", list[UploadedFile], **ids)
        return found[0] if found else None

    def add(self, file: UploadedFile) -> None:
        """Store the row of a file that is in Storage."""
        row = file.model_dump(mode="json")
        self._connection.rows(self._connection.table("wpp_files").upsert(row))

    def prune(self, before: datetime, max_files: int = 100) -> list[str]:
        """Forget files from before a time that no message has used; return their paths."""
        arguments = {"before": before.isoformat(), "max_files": max_files}
        return self._connection.call("wpp_prune_files", list[str], **arguments)
