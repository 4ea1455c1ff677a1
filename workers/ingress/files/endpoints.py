"""/v1/files: upload files for messages."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from workers.ingress.deps import IdempotencyKey, OrganizationId, StateDep
from workers.ingress.errors import RESPONSES
from workers.ingress.files import service
from workers.ingress.files.schemas import StoredFile
from workers.ingress.idempotency import set_replayed_header

router = APIRouter(prefix="/v1/files", tags=["messages"], responses=RESPONSES)

FileName = Annotated[
    str | None,
    Query(
        max_length=255,
        description="Name that the recipient sees, with its extension. Default: by the type.",
        examples=["price list.pdf"],
    ),
]
RAW_BODY = {
    "requestBody": {
        "required": True,
        "description": "The bytes of the file.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post(
    "",
    status_code=201,
    summary="Upload a file",
    operation_id="upload_file",
    response_description="The file was stored.",
    openapi_extra=RAW_BODY,
)
async def upload_file(
    request: Request,
    response: Response,
    organization_id: OrganizationId,
    state: StateDep,
    name: FileName = None,
    idempotency_key: IdempotencyKey = None,
) -> StoredFile:
    """Store a file for messages: its bytes are the body, under any Content-Type.

    Its type is found by its content; programs and web pages are refused. It has at most
    `WPP_MEDIA_LIMIT` bytes, which must arrive within `WPP_BODY_DEADLINE_S`. A message uses the file
    by `media.file_id`. A file that no message uses is deleted at `expires_at`.
    """
    upload = service.Upload(organization_id, name, request.headers.get("content-type", ""))
    stored, is_new = await service.store(upload, idempotency_key, request, state)
    if not is_new:
        set_replayed_header(response)
    return stored
