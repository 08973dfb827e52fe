"""HTTP/2: few connections, each lent to many exchanges at once. This is one exchange's side of it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import anyio

from bifrost.errors import BifrostError, ConfigError, TransportError
from bifrost.transport.failures import as_error
from bifrost.transport.heads import answer_of, fields_of
from bifrost.transport.http2_stream import Http2Stream, UntakenError
from bifrost.transport.wires import WireReadError
from bifrost.wire.auth import credentials_of
from bifrost.wire.http.request import target_of

if TYPE_CHECKING:
    from bifrost.config import Timeouts
    from bifrost.transport.api import Answer
    from bifrost.transport.http2_link import Http2Link
    from bifrost.transport.http11 import Http1Connection
    from bifrost.wire.http import HttpRequest


class Http2Connection:
    """A place on a connection of HTTP/2: carries one exchange at a time."""

    def __init__(self, link: Http2Link) -> None:
        self._link = link
        link.lent += 1
        self._road = link.road
        self._place = str(link.road)
        self._stream: Http2Stream | None = None
        self._connect_time: float | None = None
        self._read_limit: float | None = None
        self._plain: Http1Connection | None = None
        """What takes its place where HTTP/2 is not spoken."""
        self._left = False

    @property
    def reused(self) -> bool:
        """The connection has served an exchange before this one."""
        return self._link.answered if self._plain is None else self._plain.reused

    @property
    def sent(self) -> bool:
        """The present request's head has (perhaps) gone out."""
        if self._plain is not None:
            return self._plain.sent
        return self._stream is not None and self._stream.sent

    @property
    def heard(self) -> bool:
        """Something has come of an answer to the present request."""
        if self._plain is not None:
            return self._plain.heard
        return self._stream is not None and self._stream.heard

    @property
    def connect_time(self) -> float | None:
        """How long the present exchange waited for its connection to be made, in seconds."""
        return self._connect_time if self._plain is None else self._plain.connect_time or self._connect_time

    async def connect(self, *, seconds: float) -> None:
        """Make the connection ahead of its first request, unless another has."""
        await self._ready(seconds)
        self._link.answered = True

    async def _ready(self, seconds: float) -> None:
        began = anyio.current_time()
        failure: BifrostError
        try:
            waited = await self._link.ready(seconds)
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self._translate(error, phase="connect")
        else:
            self._connect_time = anyio.current_time() - began if waited else None
            if self._link.only_http1:
                self._plain = self._link.as_http1()
            return
        raise failure

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> Answer:
        """Send a request and wait for the head of the answer.

        Raises `ConnectError` if nothing could be sent, `CallTimeoutError`, `ProtocolError`, `TransportError`.
        """
        self._connect_time = self._stream = None
        if self._plain is None:
            await self._ready(timeouts.connect)
        if self._plain is not None:
            return await self._plain.send(request, timeouts=timeouts, read_timeout=read_timeout)
        self._stream = stream = Http2Stream(self._place)
        failure: BifrostError
        try:
            await self._link.start(
                self._fields(request),
                request.body,
                stream,
                limit=timeouts.write,
                secrets=credentials_of(request.headers),
            )
            await self._link.wait(stream, lambda: stream.status is not None, read_timeout)
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self._translate(error, phase="headers")
        else:
            self._read_limit = read_timeout
            return answer_of(stream.status or 0, stream.fields, self, place=self._place)
        raise failure

    def _fields(self, request: HttpRequest) -> list[tuple[bytes, bytes]]:
        origin = self._road.origin
        authority = origin.authority.encode("ascii")
        return [
            (b":method", request.method.encode("ascii")),
            (b":authority", authority),
            (b":scheme", origin.scheme.encode("ascii")),
            (b":path", target_of(request.path).encode("ascii")),
            *((name.lower(), value) for name, value in fields_of(request, authority)[1:]),
        ]

    async def read(self) -> bytes:
        """Give the next bytes, empty at the clean end. Raises `TransportError`, `ProtocolError`, `CallTimeoutError`."""
        stream = self._stream
        if stream is None:
            return b""
        failure: BifrostError
        try:
            await self._link.wait(stream, lambda: stream.chunks or stream.ended, self._read_limit)
            return self._link.take(stream)
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self._translate(error, phase="body")
        raise failure

    def limit_reads(self, seconds: float | None) -> None:
        """Bound each further wait for body bytes."""
        self._read_limit = seconds
        if self._plain is not None:
            self._plain.limit_reads(seconds)

    def usable(self) -> bool:
        """Say whether another request can be sent, as far as is known."""
        return self._link.usable if self._plain is None else self._plain.usable()

    async def finish(self) -> None:
        """End an exchange whose body was read to its end."""
        if self._plain is not None:
            await self._plain.finish()
            return
        stream, self._stream = self._stream, None
        self._link.answered = True
        if stream is not None:
            self._link.forget(stream)

    def cut(self) -> None:
        """Break the exchange under a waiting reader; the others on the connection go on."""
        if self._plain is not None:
            self._plain.cut()
        elif self._stream is not None:
            self._stream.fail(WireReadError("the exchange was cut"))

    async def close(self) -> None:
        """Reset the exchange, and give the place back. The last one closes the connection."""
        if self._left:
            return
        self._left = True
        stream, self._stream = self._stream, None
        if stream is not None:
            # Another task may be waiting for its bytes.
            stream.fail(WireReadError("the exchange was closed"))
            self._link.forget(stream)
        if self._plain is not None:
            await self._plain.close()
        await self._link.leave()

    def _translate(self, error: Exception, *, phase: str) -> BifrostError:
        link = self._link
        if isinstance(error, UntakenError):
            untaken = TransportError(f"{self._place} takes no more requests on this connection")
            untaken.category = "stale"
            return untaken
        if isinstance(error, BifrostError):
            # All that waited for the connection are told; each has an error of its own.
            told = type(error)(error.message)
            told.category = error.category
            return told
        failure = as_error(error, place=self._place, sent=self.sent, phase=phase)
        if error is link.failure and self.sent:
            if link.is_counted or link.answered:
                # What ended the connection is no sign of ill health where it has served, and counts once at most.
                failure.category = "lost"
            link.is_counted = True
        return failure


def check_installed() -> None:
    """Raise `ConfigError` if the extra is missing."""
    if find_spec("h2") is None:
        raise ConfigError("network.http2 needs the package h2; install bifrost-llm[http2]")
