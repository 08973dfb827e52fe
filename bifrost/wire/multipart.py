"""Forms with files as bytes: `multipart/form-data` (RFC 7578)."""

from __future__ import annotations

from hashlib import blake2b
from string import ascii_letters, digits
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ESCAPES: Mapping[int, str] = MappingProxyType({ord(sign): quote(sign) for sign in '"\r\n\0'})
_IN_A_TYPE: Final = frozenset(ascii_letters + digits + ".+-/")
_UNKNOWN = "application/octet-stream"


class FormFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a form."""

    filename: str
    """The name that the server sees."""
    data: bytes
    """The content."""
    media_type: str = _UNKNOWN
    """The content's type. Anything but a media type is sent as `application/octet-stream`."""


def encode_form(fields: Sequence[tuple[str, str | FormFile]]) -> tuple[str, bytes]:
    """Return the content type and the body of a form.

    The boundary is a hash of the content, so that equal forms have equal bytes. The body is the only copy of the files.
    """
    heads = [_head(name, value) for name, value in fields]
    contents = [value.data if isinstance(value, FormFile) else value.encode("utf-8", "replace") for _, value in fields]
    digest = blake2b(digest_size=20)
    for part in (*heads, *contents):
        digest.update(part)
    boundary = f"bifrost-{digest.hexdigest()}"
    line = f"--{boundary}\r\n".encode()
    pieces = [piece for head, content in zip(heads, contents, strict=True) for piece in (line, head, content, b"\r\n")]
    return f"multipart/form-data; boundary={boundary}", b"".join([*pieces, f"--{boundary}--\r\n".encode()])


def _head(name: str, value: str | FormFile) -> bytes:
    """Return the head of a part. Names cannot end it."""
    head = f'Content-Disposition: form-data; name="{_escaped(name)}"'
    if isinstance(value, FormFile):
        media_type = value.media_type if _IN_A_TYPE.issuperset(value.media_type) else _UNKNOWN
        head += f'; filename="{_escaped(value.filename)}"\r\nContent-Type: {media_type}'
    return f"{head}\r\n\r\n".encode("utf-8", "replace")


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)
