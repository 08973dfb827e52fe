"""`multipart/form-data` (RFC 7578): a form with files as the body of a request."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A", "\0": "%00"})
"""How the names of fields and files are escaped: https://html.spec.whatwg.org/#multipart-form-data."""


class FormPart(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a form: a text, or the content of a file."""

    name: str
    """The name of the field."""
    data: bytes
    """The value."""
    filename: str | None = None
    """The name of the file. `None`: the value is a text."""
    media_type: str = "application/octet-stream"
    """The media type of a file."""


def form_of(parts: Iterable[FormPart]) -> tuple[str, bytes]:
    """Return the `Content-Type` and the body of a form.

    Equal forms have equal bodies: the boundary is made from the content, in which it therefore does not occur.
    """
    sections = [piece for part in parts for piece in (_head_of(part), part.data)]
    digest = blake2b(digest_size=16)
    for section in sections:
        digest.update(len(section).to_bytes(8, "big"))
        digest.update(section)
    boundary = digest.hexdigest()
    begin = f"--{boundary}\r\n".encode()
    pieces: list[bytes] = []
    for head, data in zip(sections[::2], sections[1::2], strict=True):
        pieces += (begin, head, data, b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(pieces)


def _head_of(part: FormPart) -> bytes:
    head = f'Content-Disposition: form-data; name="{part.name.translate(_ESCAPES)}"'
    if part.filename is not None:
        head += f'; filename="{part.filename.translate(_ESCAPES)}"\r\nContent-Type: {part.media_type}'
    return f"{head}\r\n\r\n".encode("utf-8", "replace")
