"""Writes the head of an HTTP/1.1 request (RFC 9112, sections 3 and 5) as bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

_IN_A_TARGET = "!$%&'()*+,/:;=?@[]~"
"""Characters of a request target that are not escaped, beside letters, digits and `-._`."""

_HEAD = re.compile(rb"[!-~]++ [!-~]++ HTTP/1\.1(?:\n[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[^\r\n\0]*+)*+")


class UnsafeHeadError(ValueError):
    """A field's name or value may not be part of a request. The message names no value."""


def target_of(path: str) -> str:
    """Return a path and query as a request target: what RFC 9112 does not allow there is percent-encoded."""
    return quote(path, safe=_IN_A_TARGET)


def request_head(method: bytes, target: bytes, fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the bytes of a request's head, up to and including the empty line.

    Raises `UnsafeHeadError` for a CR, LF or NUL anywhere, a name that is no token, or a target with a space.
    """
    lines = [b"%b %b HTTP/1.1" % (method, target)]
    lines += [b"%b: %b" % field for field in fields if b":" not in field[0]]
    text = b"\n".join(lines)
    # Each line is one of ours: a line feed inside a value would make one more, a colon inside a name one fewer.
    if text.count(b"\n") == len(fields) and _HEAD.fullmatch(text) is not None:
        return text.replace(b"\n", b"\r\n") + b"\r\n\r\n"
    # Without the text, which holds the key.
    raise UnsafeHeadError("a header field or the path of the request has a character that HTTP does not allow there")
