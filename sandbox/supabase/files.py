"""Files over HTTP: read an upload, answer with a file."""

from urllib.parse import quote

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from sandbox.supabase.objects import File


class StorageApiError(Exception):
    """An error answer of storage: its status, error code and message."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.body = {"statusCode": str(status), "error": error, "message": message}


async def read_upload(request: Request) -> File:
    """Return the file of a multipart form, or the whole body of another request."""
    mime_type = request.headers.get("content-type", "application/octet-stream")
    if not mime_type.startswith("multipart/form-data"):
        return File(await request.body(), mime_type)
    async with request.form() as form:
        found = next((part for part in form.values() if isinstance(part, UploadFile)), None)
        if found is None:
            raise StorageApiError(400, "InvalidRequest", "the form has no file")
        cache = str(form.get("cacheControl") or "3600")
        mime_type = found.content_type or "application/octet-stream"
        return File(await found.read(), mime_type, _parse_max_age(cache))


def _parse_max_age(cache_control: str) -> int:
    digits = cache_control.removeprefix("max-age=")
    return int(digits) if digits.isdigit() else 3600


def make_file_response(file: File, request: Request) -> Response:
    headers = {"cache-control": f"max-age={file.cache_s}", "x-content-type-options": "nosniff"}
    if "download" in request.query_params:
        name = request.query_params["download"] or request.path_params["name"].rpartition("/")[2]
        headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(name)}"
    return Response(file.content, headers=headers | {"content-type": file.mime_type})
