"""The network below HTTP: one socket per connection, remembered from the moment it exists.

HTTP libraries forget the socket when they are cancelled in the middle of a TLS handshake, and tell nowhere whether a
request went out. Here both are known, because this is what connects and writes.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import anyio
import httpcore
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from bifrost.engine.transport.sockets import is_readable, is_silent, shut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import ByteStream

_NEVER_WAITS = 16 * 1024
"""Bytes that fit into the buffer of any socket whose peer has read everything before them."""


class Wire:
    """The network of one connection."""

    def __init__(self) -> None:
        self.sent = False
        """A request's head has (perhaps) gone out, since this was last set to `False`."""
        self.heard = False
        """Bytes have come, since this was last set to `False`."""
        self.laid = False
        """The road is laid: what is written from now on is requests."""
        self.joins_head = False
        """The next write is a head and is followed by another: both go out as one."""
        self.tls: ssl.SSLObject | None = None
        """The innermost TLS, once there is one."""
        self._stream: Stream | None = None
        self._socket: Any = None

    @property
    def stream(self) -> Stream:
        """What is read and written."""
        if self._stream is None:
            raise httpcore.ReadError("there is no connection")
        return self._stream

    async def connect(self, host: str, port: int) -> None:
        """Connect, to the first of the host's addresses that answers."""
        try:
            stream = await anyio.connect_tcp(host, port)
        except (OSError, anyio.BrokenResourceError) as error:
            raise httpcore.ConnectError from error
        self._stream = Stream(stream, self)
        self._socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's, no database's

    async def shake_hands(self, context: ssl.SSLContext, host: str, *, protocols: Sequence[str]) -> None:
        """Speak TLS from here on."""
        inner = self.stream.inner
        # Nothing waits between this and the handshake's first step: a context may serve several.
        context.set_alpn_protocols(list(protocols))
        try:
            tls = await TLSStream.wrap(
                inner, server_side=False, hostname=host, ssl_context=context, standard_compatible=False
            )
        except (ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            raise httpcore.ConnectError from error
        self._stream = Stream(tls, self)
        self.tls = tls.extra(TLSAttribute.ssl_object)  # noqa: S610 - anyio's, no database's

    def quiet(self) -> bool:
        """Say whether the peer has neither closed the connection nor sent anything that was not read."""
        stream = self._stream
        if stream is None or stream.closed or is_readable(self._socket):
            return False
        return self.tls is None or is_silent(self.tls)

    def readable(self) -> bool:
        """Say whether reading would give something, or the end, at once."""
        return self._socket is None or is_readable(self._socket)

    def shut(self) -> None:
        """Wake whoever waits for bytes."""
        if self._socket is not None:
            shut(self._socket)

    async def close(self) -> None:
        """Close the socket, whatever else knows of it."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()


class Stream(httpcore.AsyncNetworkStream):
    """TCP, or TLS on top of it, as httpcore reads and writes it."""

    def __init__(self, inner: ByteStream, wire: Wire) -> None:
        self.inner = inner
        self._wire = wire
        self._head = b""
        self.closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Give the next bytes, empty at the end."""
        try:
            if timeout is None:
                data = await self.inner.receive(max_bytes)
            else:
                with anyio.fail_after(timeout):
                    data = await self.inner.receive(max_bytes)
            self._wire.heard = True
        except anyio.EndOfStream:
            return b""
        except TimeoutError as error:
            raise httpcore.ReadTimeout from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore.ReadError from error
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of it; a head is held until what follows it."""
        wire = self._wire
        if wire.joins_head:
            wire.joins_head = False
            self._head = buffer
            return
        if self._head:
            buffer = self._head + buffer
            self._head = b""
        elif not buffer:
            return
        wire.sent = wire.laid
        try:
            if len(buffer) <= _NEVER_WAITS:
                await self.inner.send(buffer)
                return
            with anyio.fail_after(timeout):
                await self.inner.send(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore.WriteError from error

    async def aclose(self) -> None:
        """Close the socket below."""
        self.closed = True
        await self.inner.aclose()
