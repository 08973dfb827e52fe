"""Parts of HTTP that all connections share: header fields of a request, limits of a response's head, closing."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from bifrost.errors import ProtocolError
from bifrost.transport.api import BodyStream, ResponseHead
from bifrost.wire.http import Headers
from bifrost.wire.http.response import FIELDS_LIMIT, HEAD_LIMIT, INTERIM_LIMIT
from bifrost.wire.secrets import basic_auth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from bifrost.transport.proxies import Proxy
    from bifrost.wire.http import HttpRequest

CLOSE_LIMIT = 0.3
"""How long closing a connection may take, in seconds."""
SLICE = 256 * 1024
"""How many bytes of a request's body are written at once. The `write` timeout applies to each of them, not to the whole
upload.
"""
HEAD_IS_TOO_LARGE = f"{{place}} answers with more than {FIELDS_LIMIT} header fields or {HEAD_LIMIT // 1024} KiB"


def fields_of(request: HttpRequest, authority: bytes) -> list[tuple[bytes, bytes]]:
    """Return a request's header fields, including those that HTTP requires.

    A value that contains a key returns it only as bytes (`encode`). Raises `UnicodeEncodeError` for a character outside
    Latin-1.
    """
    fields = [(b"host", authority)]
    fields += [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers.items()]
    if request.body or request.method != "GET":
        fields.append((b"content-length", b"%d" % len(request.body)))
    return fields


def credentials_of_proxy(proxy: Proxy | None) -> list[tuple[bytes, bytes]]:
    """Return the header fields with the credentials for a proxy: one, or none."""
    if proxy is None or proxy.auth is None:
        return []
    return [(b"proxy-authorization", basic_auth(proxy.auth))]


def response_head_of(
    status: int, fields: Sequence[tuple[bytes, bytes]], body: BodyStream, *, place: str
) -> ResponseHead:
    """Return a response with this head. Raises `ProtocolError` if the head is too large."""
    if len(fields) <= FIELDS_LIMIT and sum(len(name) + len(value) for name, value in fields) <= HEAD_LIMIT:
        return ResponseHead(status, Headers(fields), body)
    raise ProtocolError(HEAD_IS_TOO_LARGE.format(place=place))


def interim_alone(place: str) -> ProtocolError:
    """Return the error for a peer that sends too many interim responses."""
    return ProtocolError(f"{place} sent more than {INTERIM_LIMIT} interim answers and no other")


async def briefly(closing: Awaitable[None]) -> None:
    """Await a step of closing a connection, with a time limit, and ignore its errors."""
    with anyio.CancelScope(shield=True, deadline=anyio.current_time() + CLOSE_LIMIT), suppress(Exception):
        await closing
