"""Bodies and heads, as every HTTP library here gives and takes them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import anyio
import httpx

from bifrost.engine.transport.logs import SENDING
from bifrost.engine.transport.seam import Answer, Reader
from bifrost.errors import BifrostError, ProtocolError
from bifrost.wire.http import Headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from bifrost.engine.transport.logs import Sending
    from bifrost.wire.http import HttpRequest

CLOSE_LIMIT = 0.3
"""How long each of the three steps of closing a connection may take, in seconds."""
SLICE = 256 * 1024
"""How much of a request's body is written at once: `write` bounds the wait for each, not for the whole upload."""
_IN_A_TARGET = "!$%&'()*+,/:;=?@[]~"
"""What stands in a request's target as it is, beside letters, digits and `-._`."""
_HEAD_LIMIT = 64 * 1024
"""The most bytes of an answer's header fields."""
_FIELDS_LIMIT = 200
"""The most header fields of an answer."""
INTERIM_LIMIT = 20
"""The most interim answers (100 to 199) before an answer."""


class Translate(Protocol):
    """Makes our error of a foreign one."""

    def __call__(self, error: Exception, *, phase: str) -> BifrostError:
        """Say what went wrong while `phase` was waited for."""
        ...


def fields_of(request: HttpRequest, authority: bytes) -> list[tuple[bytes, bytes]]:
    """Give a request's header fields, with those that HTTP itself asks for."""
    fields = [(b"host", authority)]
    fields += [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers.items()]
    if request.body or request.method != "GET":
        fields.append((b"content-length", b"%d" % len(request.body)))
    return fields


def target_of(path: str) -> str:
    """Give a path and query as they may stand in a request."""
    return quote(path, safe=_IN_A_TARGET)


def answer_of(status: int, fields: Sequence[tuple[bytes, bytes]], body: Reader, *, place: str) -> Answer:
    """Give the head that came. Raises `ProtocolError` for one that is too large."""
    if len(fields) <= _FIELDS_LIMIT and sum(len(name) + len(value) for name, value in fields) <= _HEAD_LIMIT:
        return Answer(status, Headers(fields), body)
    raise ProtocolError(f"{place} answers with more than {_FIELDS_LIMIT} header fields or 64 KiB")


def interim_alone(place: str) -> ProtocolError:
    """Make the error of a peer that sends interim answers without end."""
    return ProtocolError(f"{place} sent more than {INTERIM_LIMIT} interim answers and no other")


def is_ambiguous(headers: Headers) -> bool:
    """Say whether an answer has two lengths, so that nothing may follow it.

    RFC 9112, 6.3: the chunks count; but somebody in between may go by the other.
    """
    return headers.get("transfer-encoding") is not None and headers.get("content-length") is not None


def bound_interim(held: Any, *, place: str) -> None:
    """Let a connection's parser end an exchange of interim answers alone, which httpcore reads without end.

    `held` is a connection of httpcore's, which may stand inside others (TLS, a proxy).
    """
    while (inner := getattr(held, "_connection", None)) is not None:
        held = inner
    parser = getattr(held, "_h11_state", None)
    if parser is not None and "next_event" not in vars(parser):
        parser.next_event = _Events(parser.next_event, place)


class _Events:
    """The events of an HTTP/1.1 parser, of which only so many in a row may be interim answers."""

    __slots__ = ("_interim", "_next", "_place")

    def __init__(self, following: Callable[[], Any], place: str) -> None:
        self._next = following
        self._place = place
        self._interim = 0

    def __call__(self) -> Any:
        event = self._next()
        status = getattr(event, "status_code", None)
        if status is not None:
            self._interim = self._interim + 1 if status < 200 else 0
            if self._interim > INTERIM_LIMIT:
                raise interim_alone(self._place)
        return event


class Upload(httpx.AsyncByteStream):
    """A request body that is no generator, so that a cancelled upload leaves none behind."""

    __slots__ = ("_content", "_sent")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._sent = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        start = self._sent
        if start >= len(self._content):
            raise StopAsyncIteration
        self._sent += SLICE
        return self._content[start : self._sent]


class Body:
    """Reads an answer's body, and can be ended from either side without leaving a generator half-read."""

    __slots__ = ("_ended", "_iterator", "_parser", "_sending", "_stream", "_translate")

    def __init__(self, stream: Any, translate: Translate, parser: Callable[[Any], Any], sending: Sending) -> None:
        self._stream = stream
        self._sending = sending
        self._translate = translate
        self._parser = parser
        self._iterator: Any = None
        self._ended = False

    async def read(self) -> bytes:
        """Give the next bytes, empty at the clean end. Raises `TransportError`, `ProtocolError`, `CallTimeoutError`."""
        if self._ended:
            return b""
        if self._iterator is None:
            self._iterator = self._stream.__aiter__()
        before = SENDING.set(self._sending)
        try:
            while True:
                data: bytes = await self._iterator.__anext__()
                if data:
                    return data
        except StopAsyncIteration:
            self._ended = True
            return b""
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self._translate(error, phase="body")
        finally:
            SENDING.reset(before)
        self._ended = True
        raise failure

    def has_sequel(self) -> bool:
        """Say whether bytes follow the body in the parser's buffer. httpcore tells nowhere, so its parser is asked."""
        try:
            data, _ = self._parser(self._stream).trailing_data
        except AttributeError:
            return False  # another library, or HTTP/2, which has frames
        return bool(data)

    async def close(self) -> None:
        """End an exchange whose body was read."""
        with suppress(Exception):  # foreign code, and the body was read
            await self._stream.aclose()

    async def drain(self) -> None:
        """Pull until the reader ends or raises: its socket is closed by now, so this does not wait."""
        if not self._ended and self._iterator is not None:
            self._ended = True
            with suppress(Exception):
                while True:
                    await self._iterator.__anext__()
        await self.close()


async def briefly(closing: Awaitable[None]) -> None:
    """Do a step of throwing a connection away, whatever comes of it."""
    with anyio.CancelScope(shield=True, deadline=anyio.current_time() + CLOSE_LIMIT), suppress(Exception):
        await closing
