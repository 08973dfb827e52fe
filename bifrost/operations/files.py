"""The operations on files at a provider: upload, retrieve, list and delete them, and read their content."""

from __future__ import annotations

from typing import Final, Literal, Never

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit
from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value
from bifrost.html import block, note, table
from bifrost.operations.base import Operation
from bifrost.operations.typed import read_as


class FileRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request about files at a provider."""

    model: str
    """The provider, followed by a slash."""
    action: Literal["list", "upload", "retrieve", "delete"] = "list"
    """What to do."""
    id: str | None = None
    """The id of the file to retrieve or delete."""
    data: bytes | None = None
    """The content to upload."""
    filename: str | None = None
    """The name of the file to upload."""
    media_type: str | None = None
    """The media type of the file to upload. `None`: `application/octet-stream`."""
    purpose: str | None = None
    """What a file is uploaded for; of a list: only files of this purpose."""
    limit: int | None = None
    """The most files of a page of a list. `None`: the provider's default."""
    after: str | None = None
    """The last file of the previous page of a list. `None`: the first page."""


class FileContentRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request for the content of a file."""

    model: str
    """The provider, followed by a slash."""
    id: str
    """The id of the file."""


class StoredFile(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file as its provider describes it. `None` means that the provider does not report it."""

    id: str
    """The id of the file."""
    filename: str | None = None
    """The name of the file."""
    size: int | None = None
    """The size in bytes."""
    purpose: str | None = None
    """What the file was uploaded for."""
    created: int | None = None
    """When it was uploaded, in seconds since 1970."""
    expires: int | None = None
    """When the provider will delete it, in seconds since 1970."""
    status: str | None = None
    """Its status in the provider's words."""
    is_deleted: bool = False
    """Whether it was deleted by this call."""


class FilesResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file, or one page of a list of files."""

    data: list[StoredFile]
    """The files."""
    next: str | None = None
    """The value of `after` for the next page; `None` on the last page."""
    model: str = ""
    """Always empty."""
    provider: str = ""
    """The provider that responded."""
    request_id: str | None = None
    """The provider's identifier of the request, or `None`."""
    attempts: list[AttemptRecord] = []
    """All attempts of the call, in order."""
    warnings: list[str] = []
    """What was converted, omitted or noticed in the call."""
    rate_limit: RateLimit | None = None
    """The rate limits that the provider reported with the response; `None` if it reported none."""
    raw: bytes = b""
    """The provider's response as bytes."""

    @property
    def file(self) -> StoredFile:
        """The file that was uploaded, retrieved or deleted; the first file of a list."""
        if not self.data:
            raise AttributeError("the list has no files")
        return self.data[0]

    @property
    def id(self) -> str:
        """The id of `file`."""
        return self.file.id

    def __repr__(self) -> str:
        more = f", next={self.next!r}" if self.next else ""
        return f"FilesResponse({self.provider}: {[file.id for file in self.data[:3]]} of {len(self.data)}{more})"

    def _repr_html_(self) -> str:
        rows = [(file.id, file.filename, file.size, file.purpose) for file in self.data]
        return block(table(("id", "filename", "size", "purpose"), rows), note(self.provider))


class FileContent(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The content of a file."""

    data: bytes
    """The bytes."""
    model: str = ""
    """Always empty."""
    provider: str = ""
    """The provider that responded."""
    request_id: str | None = None
    """The provider's identifier of the request, or `None`."""
    attempts: list[AttemptRecord] = []
    """All attempts of the call, in order."""
    warnings: list[str] = []
    """What was converted, omitted or noticed in the call."""
    rate_limit: RateLimit | None = None
    """The rate limits that the provider reported with the response; `None` if it reported none."""

    @property
    def text(self) -> str:
        """The content as UTF-8 text. Bytes that are no UTF-8 are replaced."""
        return self.data.decode("utf-8", "replace")

    def __repr__(self) -> str:
        return f"FileContent({self.provider}: {len(self.data)} bytes)"


FILES: Final = Operation[FileRequest, FilesResponse, Never](
    name="files", request=FileRequest, response=FilesResponse, asks_provider=True
)
FILE_CONTENT: Final = Operation[FileContentRequest, FileContent, Never](
    name="file_content", request=FileContentRequest, response=FileContent, asks_provider=True
)


def upload_request(
    provider: object, data: object, *, purpose: object, filename: object, media_type: object
) -> FileRequest:
    """Return a request to upload bytes, or the bytes of a text. Raises `InvalidRequestError`."""
    content = data.encode() if isinstance(data, str) else data
    if not isinstance(content, bytes):
        raise InvalidRequestError(f"data: expected bytes or str, got {type(data).__name__}; read the file first")
    name = read_as(filename, str, "filename").rpartition("/")[2]
    kind = None if media_type is None else read_as(media_type, str, "media_type")
    if kind is not None and not (kind.isascii() and kind.isprintable()):
        raise InvalidRequestError("media_type: expected a media type, such as text/plain")
    form = {"model": model_of(provider), "action": "upload", "data": content, "filename": name}
    return read_as({**form, "purpose": purpose, "media_type": kind}, FileRequest, "")


def list_request(provider: object, *, purpose: object, limit: object, after: object) -> FileRequest:
    """Return a request for a list of files. Raises `InvalidRequestError` for an argument of the wrong type."""
    form = {"model": model_of(provider), "purpose": purpose, "limit": limit, "after": after}
    return read_as(form, FileRequest, "")


def file_request(provider: object, file_id: object, action: str) -> FileRequest:
    """Return a request to retrieve or delete a file. Raises `InvalidRequestError`."""
    return read_as({"model": model_of(provider), "id": id_of(file_id), "action": action}, FileRequest, "")


def content_request(provider: object, file_id: object) -> FileContentRequest:
    """Return a request for the content of a file. Raises `InvalidRequestError`."""
    return FileContentRequest(model=model_of(provider), id=id_of(file_id))


def model_of(provider: object) -> str:
    """Return the `model` of a request that concerns a provider. Raises `InvalidRequestError`."""
    return f"{read_as(provider, str, 'provider')}/"


def id_of(value: object) -> str:
    """Return an id that can be a step of a path. Raises `InvalidRequestError`."""
    if not isinstance(value, str) or not value.strip("./"):
        raise InvalidRequestError(f"id: expected an id, got {value!r}")
    return value
