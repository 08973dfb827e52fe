"""HTTP/2: few connections, each shared by many concurrent exchanges. This file is the side of one exchange."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import anyio

from bifrost.errors import BifrostError, ConfigError, TransportError
from bifrost.transport.failures import as_error
from bifrost.transport.heads import fields_of, response_head_of
from bifrost.transport.http2_stream import Http2Stream, UntakenError
from bifrost.transport.wires import WireReadError
from bifrost.wire.http.request import target_of
from bifrost.wire.secrets import credentials_of

if TYPE_CHECKING:
    from bifrost.config import Timeouts
    from bifrost.transport.api import ResponseHead
    from bifrost.transport.http2_link import Http2Link
    from bifrost.transport.http11 import Http1Connection
    from bifrost.wire.http import HttpRequest


class Http2Connection:
    """A place on an HTTP/2 connection, which carries one exchange at a time."""

    def __init__(self, link: Http2Link) -> None:
        self._link = link
        link.lent += 1
        self._route = link.route
        self._place = str(link.route)
        self._stream: Http2Stream | None = None
        self._connect_time: float | None = None
        self._read_limit: float | None = None
        self._plain: Http1Connection | None = None
        """The HTTP/1.1 connection that is used if the peer does not support HTTP/2."""
        self._left = False

    @property
    def reused(self) -> bool:
        """Whether the connection has served an exchange before this one."""
        return self._link.answered if self._plain is None else self._plain.reused

    @property
    def sent(self) -> bool:
        """Whether the head of the current request may have been sent."""
        if self._plain is not None:
            return self._plain.sent
        return self._stream is not None and self._stream.sent

    @property
    def heard(self) -> bool:
        """Whether a part of the response to the current request was received."""
        if self._plain is not None:
            return self._plain.heard
        return self._stream is not None and self._stream.heard

    @property
    def connect_time(self) -> float | None:
        """How long the current exchange waited for its connection to be established, in seconds."""
        return self._connect_time if self._plain is None else self._plain.connect_time or self._connect_time

    async def connect(self, *, seconds: float) -> bool:
        """Establish the connection before its first request, unless that was done already. Return `True`."""
        await self._ready(seconds)
        self._link.answered = True
        return True

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

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> ResponseHead:
        """Send a request and wait for the head of the response.

        Raises `ConnectError` if nothing could be sent, `CallTimeoutError`, `ProtocolError` and `TransportError`.
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
                secrets=credentials_of(request.headers, request.secret_query),
            )
            await self._link.wait(stream, lambda: stream.status is not None, read_timeout)
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self._translate(error, phase="headers")
        else:
            self._read_limit = read_timeout
            return response_head_of(stream.status or 0, stream.fields, self, place=self._place)
        raise failure

    def _fields(self, request: HttpRequest) -> list[tuple[bytes, bytes]]:
        origin = self._route.origin
        authority = origin.authority.encode("ascii")
        return [
            (b":method", request.method.encode("ascii")),
            (b":authority", authority),
            (b":scheme", origin.scheme.encode("ascii")),
            (b":path", target_of(request.path, request.secret_query)),
            *((name.lower(), value) for name, value in fields_of(request, authority)[1:]),
        ]

    async def read(self) -> bytes:
        """Return the next bytes, empty at the regular end.

        Raises `TransportError`, `ProtocolError` and `CallTimeoutError`.
        """
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
        """Limit each further wait for bytes of the body, in seconds."""
        self._read_limit = seconds
        if self._plain is not None:
            self._plain.limit_reads(seconds)

    def usable(self) -> bool:
        """Return whether another request can be sent, as far as is known."""
        return self._link.usable if self._plain is None else self._plain.usable()

    async def finish(self) -> None:
        """End an exchange whose body was read completely."""
        if self._plain is not None:
            await self._plain.finish()
            return
        stream, self._stream = self._stream, None
        self._link.answered = True
        if stream is not None:
            self._link.forget(stream)

    def cut(self) -> None:
        """Break the exchange, so that a waiting reader fails. The other exchanges of the connection continue."""
        if self._plain is not None:
            self._plain.cut()
        elif self._stream is not None:
            self._stream.fail(WireReadError("the stream was cut"))

    async def close(self) -> None:
        """Reset the exchange and release its place. The last place closes the connection."""
        if self._left:
            return
        self._left = True
        stream, self._stream = self._stream, None
        if stream is not None:
            # Another task may be waiting for its bytes.
            stream.fail(WireReadError("the stream was closed"))
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
            # All exchanges of the connection fail with it, each with its own error.
            own_error = type(error)(error.message)
            own_error.category = error.category
            return own_error
        failure = as_error(error, place=self._place, sent=self.sent, phase=phase)
        if error is link.failure and self.sent:
            if link.is_counted or link.answered:
                # If the connection has served before, its end does not mean that the provider is unhealthy. Otherwise
                # it counts only once.
                failure.category = "lost"
            link.is_counted = True
        return failure


def check_installed() -> None:
    """Raise `ConfigError` if the extra is missing."""
    if find_spec("h2") is None:
        raise ConfigError("network.http2 needs the package h2; install bifrost-llm[http2]")
