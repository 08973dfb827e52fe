"""Files at OpenAI: https://platform.openai.com/docs/api-reference/files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote, urlencode

import msgspec

from bifrost.errors import InvalidRequestError, MalformedResponseError
from bifrost.operations.files import (
    FILE_CONTENT,
    FILES,
    FileContent,
    FileContentRequest,
    FileRequest,
    FilesResponse,
    StoredFile,
)
from bifrost.providers.base import Built, Codec
from bifrost.providers.fields import Field, FieldTable, mapped
from bifrost.providers.openai.answer import text_of
from bifrost.providers.openai.errors import reported_error
from bifrost.providers.sizes import MODELS_LIMIT, SPARSE, check_count
from bifrost.wire import json
from bifrost.wire.http import HttpRequest
from bifrost.wire.multipart import FormFile, encode_form

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse

_ANY: Final = msgspec.json.Decoder(Any)
_PROVIDER: Final = Field(support="local", words="the question is put to the provider")

FIELDS: Final = FieldTable(
    FileRequest,
    {
        "model": _PROVIDER,
        **{name: mapped() for name in FileRequest.__struct_fields__ if name != "model"},
    },
)
"""How the fields of a request about files are sent."""

CONTENT_FIELDS: Final = FieldTable(FileContentRequest, {"model": _PROVIDER, "id": mapped()})
"""How the fields of a request for the content of a file are sent."""


def build_files(request: FileRequest, target: Target) -> Built:
    """Return the HTTP request about files."""
    warnings = FIELDS.check(request, target)
    match request.action:
        case "upload":
            wire = _upload(request)
        case "list":
            query = {"purpose": request.purpose, "limit": request.limit, "after": request.after}
            wire = HttpRequest(method="GET", path=f"/files{query_of(query)}", source=request)
        case _:
            method = "GET" if request.action == "retrieve" else "DELETE"
            wire = HttpRequest(method=method, path=f"/files/{quote(request.id or '', safe='')}", source=request)
    return Built(request=wire, warnings=warnings)


def _upload(request: FileRequest) -> HttpRequest:
    if request.data is None:
        raise InvalidRequestError("data: there is no content to upload")
    fields: list[tuple[str, str | FormFile]] = [] if request.purpose is None else [("purpose", request.purpose)]
    kind = request.media_type or "application/octet-stream"
    fields.append(("file", FormFile(data=request.data, filename=request.filename or "file", media_type=kind)))
    content_type, body = encode_form(fields)
    return HttpRequest(method="POST", path="/files", headers={"content-type": content_type}, body=body, source=request)


def query_of(values: Mapping[str, object]) -> str:
    """Return a query of the values that are set, with its question mark; empty if there are none."""
    query = urlencode({name: str(value) for name, value in values.items() if value is not None})
    return f"?{query}" if query else ""


def parse_files(response: HttpResponse, target: Target) -> FilesResponse:
    """Return the file, or the list of files, in a body.

    Raises `ReportedError` for an error object, and `MalformedResponseError` for other content.
    """
    form = object_of(response.body, "a file")
    listed = form.get("data")
    if isinstance(listed, list) or form.get("object") == "list":
        files = [file_of(item) for item in items_of(form, "files")]
        return FilesResponse(data=files, next=next_of(form, files), provider=target.provider, raw=response.body)
    if not text_of(form.get("id")):
        raise reported_error(response.body) or MalformedResponseError(
            f"the response describes no file: it has no id; {json.excerpt(response.body)}"
        )
    if form.get("deleted") is False:
        raise MalformedResponseError("the file was not deleted, although the provider reports no error")
    return FilesResponse(data=[file_of(form)], provider=target.provider, raw=response.body)


def object_of(body: bytes, what: str) -> dict[str, Any]:
    """Return the object in a body. Raises `ReportedError` and `MalformedResponseError`."""
    form = json.decode(body, _ANY, what="the response", sparse=SPARSE)
    if not isinstance(form, dict):
        raise MalformedResponseError(f"the response describes no {what}: it is no object; {json.excerpt(body)}")
    found = cast("dict[str, Any]", form)
    if isinstance(found.get("error"), dict) and "id" not in found:
        raise reported_error(body) or MalformedResponseError(f"the response is an error; {json.excerpt(body)}")
    return found


def items_of(form: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """Return the objects of a list that have an id. Raises `ResponseTooLargeError` for too many."""
    items = cast("list[Any]", form.get("data") or [])
    check_count(len(items), MODELS_LIMIT, what=what)
    objects = [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]
    return [item for item in objects if text_of(item.get("id"))]


def next_of(form: dict[str, Any], items: list[Any]) -> str | None:
    """Return the value of `after` for the next page of a list; `None` on the last page."""
    if form.get("has_more") is not True or not items:
        return None
    return text_of(form.get("last_id")) or items[-1].id


def file_of(form: dict[str, Any]) -> StoredFile:
    """Return a file as the provider describes it."""
    return StoredFile(
        id=text_of(form.get("id")),
        filename=text_of(form.get("filename")) or None,
        size=number_of(form.get("bytes")),
        purpose=text_of(form.get("purpose")) or None,
        created=number_of(form.get("created_at")),
        expires=number_of(form.get("expires_at")),
        status=text_of(form.get("status")) or None,
        is_deleted=form.get("deleted") is True,
    )


def number_of(value: object) -> int | None:
    """Return an integer; `None` if it is not a number from 0 to 2**53."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 2**53:
        return None
    return int(value)


def build_content(request: FileContentRequest, target: Target) -> Built:
    """Return the HTTP request for the content of a file."""
    warnings = CONTENT_FIELDS.check(request, target)
    path = f"/files/{quote(request.id, safe='')}/content"
    return Built(request=HttpRequest(method="GET", path=path, source=request), warnings=warnings)


def parse_content(response: HttpResponse, target: Target) -> FileContent:
    """Return the body, which is the content."""
    return FileContent(data=response.body, provider=target.provider)


FILES_CODEC: Final = Codec[FileRequest, FilesResponse](
    operation=FILES, build=build_files, parse=parse_files, fields=FIELDS
)
CONTENT_CODEC: Final = Codec[FileContentRequest, FileContent](
    operation=FILE_CONTENT, build=build_content, parse=parse_content, fields=CONTENT_FIELDS
)
