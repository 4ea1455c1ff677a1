"""Response bodies of /v1/files."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field


class StoredFile(BaseModel):
    """An uploaded file."""

    id: UUID = Field(description="For `media.file_id` of a message.")
    url: str = Field(description="A link to the file. It works in `media.url`, too.")
    name: str = Field(examples=["price list.pdf"])
    mime: str = Field(description="What the file is by its content.", examples=["application/pdf"])
    size: int = Field(description="In bytes.", examples=[48213])
    expires_at: datetime = Field(
        description="When the file is deleted, unless a message uses it by then. Files of messages "
        "are kept."
    )
