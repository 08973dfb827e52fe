"""The head of an HTTP/1.1 request as bytes (RFC 9112, sections 3 and 5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_IN_A_TARGET = "!$%&'()*+,/:;=?@[]~"
"""Characters of a request target that are not escaped, in addition to letters, digits and `-._`."""

_HEAD = re.compile(rb"[!-~]++ [!-~]++ HTTP/1\.1(?:\n[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[^\r\n\0]*+)*+")


class UnsafeHeadError(ValueError):
    """The name or value of a field must not be part of a request. The message contains no value."""


def target_of(path: str, secret_query: Mapping[str, str] | None = None) -> bytes:
    """Return a path and query as a request target, with the characters percent-encoded that RFC 9112 does not allow.

    `secret_query` has the parameters that contain a key (`HttpRequest.secret_query`). The target contains their values.
    """
    target = quote(path, safe=_IN_A_TARGET).encode("ascii")
    for name, value in (secret_query or {}).items():
        # The value shows itself only as bytes.
        parameter = f"{quote(name, safe='')}=".encode() + quote(value.encode("utf-8"), safe="").encode("ascii")
        target += (b"&" if b"?" in target else b"?") + parameter
    return target


def request_head(method: bytes, target: bytes, fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the bytes of a request's head, including the empty line at its end.

    Raises `UnsafeHeadError` for a CR, LF or NUL, for a field name that is not a token, and for a target with a space.
    """
    lines = [b"%b %b HTTP/1.1" % (method, target)]
    lines += [b"%b: %b" % field for field in fields if b":" not in field[0]]
    text = b"\n".join(lines)
    # Each line is one of ours: a line feed in a value would add a line, and a colon in a name would remove one.
    if text.count(b"\n") == len(fields) and _HEAD.fullmatch(text) is not None:
        return text.replace(b"\n", b"\r\n") + b"\r\n\r\n"
    # The text is not quoted, because it contains the key.
    raise UnsafeHeadError("a header field or the path of the request has a character that HTTP does not allow there")
