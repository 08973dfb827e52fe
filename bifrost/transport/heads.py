"""What every connection here needs of HTTP: a request's fields, the bounds of an answer's head, a brief end."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from bifrost.errors import ProtocolError
from bifrost.transport.api import Answer, Reader
from bifrost.wire.auth import basic_auth
from bifrost.wire.http import Headers
from bifrost.wire.http.response import FIELDS_LIMIT, HEAD_LIMIT, INTERIM_LIMIT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from bifrost.transport.proxies import Proxy
    from bifrost.wire.http import HttpRequest

CLOSE_LIMIT = 0.3
"""How long the closing of a connection may take, in seconds."""
SLICE = 256 * 1024
"""How much of a request's body is written at once: `write` bounds the wait for each, not for the whole upload."""
HEAD_IS_TOO_LARGE = f"{{place}} answers with more than {FIELDS_LIMIT} header fields or {HEAD_LIMIT // 1024} KiB"


def fields_of(request: HttpRequest, authority: bytes) -> list[tuple[bytes, bytes]]:
    """Return a request's header fields, with those that HTTP itself asks for.

    A value that holds a key gives it as bytes alone (`encode`). Raises `UnicodeEncodeError` for one beyond Latin-1.
    """
    fields = [(b"host", authority)]
    fields += [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers.items()]
    if request.body or request.method != "GET":
        fields.append((b"content-length", b"%d" % len(request.body)))
    return fields


def credentials_of_proxy(proxy: Proxy | None) -> list[tuple[bytes, bytes]]:
    """Return the fields by which a proxy knows us: one, or none."""
    if proxy is None or proxy.auth is None:
        return []
    return [(b"proxy-authorization", basic_auth(proxy.auth))]


def answer_of(status: int, fields: Sequence[tuple[bytes, bytes]], body: Reader, *, place: str) -> Answer:
    """Return an answer with the head that came. Raises `ProtocolError` for one that is too large."""
    if len(fields) <= FIELDS_LIMIT and sum(len(name) + len(value) for name, value in fields) <= HEAD_LIMIT:
        return Answer(status, Headers(fields), body)
    raise ProtocolError(HEAD_IS_TOO_LARGE.format(place=place))


def interim_alone(place: str) -> ProtocolError:
    """Return the error of a peer that sends interim answers without end."""
    return ProtocolError(f"{place} sent more than {INTERIM_LIMIT} interim answers and no other")


async def briefly(closing: Awaitable[None]) -> None:
    """Do a step of throwing a connection away, whatever comes of it."""
    with anyio.CancelScope(shield=True, deadline=anyio.current_time() + CLOSE_LIMIT), suppress(Exception):
        await closing
