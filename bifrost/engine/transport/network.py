"""The network below httpcore: one stream per connection, remembered from the moment it exists.

httpcore forgets the socket when it is cancelled in the middle of a TLS handshake, and tells nowhere whether a request
went out; its network backend is a parameter, so both are known here, without a hook called a dozen times a request.
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
    from collections.abc import Iterable

    from anyio.abc import ByteStream

_NEVER_WAITS = 16 * 1024
"""Bytes that fit into the buffer of any socket whose peer has read everything before them."""
_FOR_A_PROXY = (b"CONNECT ", b"\x05", b"\x01")
"""How what is said to a proxy begins: a request for a tunnel, and the greetings of SOCKS."""


class Wire(httpcore.AsyncNetworkBackend):
    """The network of one connection."""

    def __init__(self) -> None:
        self.sent = False
        """A request's head has (perhaps) gone out, since this was last set to `False`."""
        self.connect_time: float | None = None
        self.joins_head = False
        """The next write is a head and is followed by another: both go out as one."""
        self.tls: ssl.SSLObject | None = None
        self._started = 0.0
        self._stream: _Stream | None = None
        self._socket: Any = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect, to the first of the host's addresses that answers."""
        self._started = anyio.current_time()
        try:
            with anyio.fail_after(timeout):
                stream = await anyio.connect_tcp(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error
        except (OSError, anyio.BrokenResourceError) as error:
            raise httpcore.ConnectError from error
        self._socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's, no database's
        return self._connected(stream)

    async def start_tls(
        self, stream: ByteStream, context: ssl.SSLContext, *, host: str | None, timeout: float | None
    ) -> httpcore.AsyncNetworkStream:
        """Shake hands on a stream that is there."""
        try:
            with anyio.fail_after(timeout):
                tls = await TLSStream.wrap(
                    stream, server_side=False, hostname=host, ssl_context=context, standard_compatible=False
                )
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error
        except (ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            raise httpcore.ConnectError from error
        self.tls = tls.extra(TLSAttribute.ssl_object)  # noqa: S610 - anyio's, no database's
        return self._connected(tls)

    def quiet(self) -> bool:
        """Say whether the peer has neither closed the connection nor sent anything that was not read."""
        stream = self._stream
        if stream is None or stream.closed or is_readable(self._socket):
            return False
        return self.tls is None or is_silent(self.tls)

    def shut(self) -> None:
        """Wake whoever waits for bytes."""
        if self._socket is not None:
            shut(self._socket)

    async def close(self) -> None:
        """Close the socket, whatever httpcore knows of it."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    def _connected(self, stream: ByteStream) -> _Stream:
        self._stream = _Stream(stream, self)
        self.connect_time = anyio.current_time() - self._started
        return self._stream


class _Stream(httpcore.AsyncNetworkStream):
    """TCP, or TLS on top of it, as httpcore reads and writes it."""

    def __init__(self, stream: ByteStream, wire: Wire) -> None:
        self._stream = stream
        self._wire = wire
        self._head = b""
        self.closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Give the next bytes, empty at the end."""
        try:
            if timeout is None:
                return await self._stream.receive(max_bytes)
            with anyio.fail_after(timeout):
                return await self._stream.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except TimeoutError as error:
            raise httpcore.ReadTimeout from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore.ReadError from error

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
        if not wire.sent:
            wire.sent = not buffer.startswith(_FOR_A_PROXY)
        try:
            if len(buffer) <= _NEVER_WAITS:
                await self._stream.send(buffer)
                return
            with anyio.fail_after(timeout):
                await self._stream.send(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise httpcore.WriteError from error

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Shake hands, and give the stream inside."""
        return await self._wire.start_tls(self._stream, ssl_context, host=server_hostname, timeout=timeout)

    async def aclose(self) -> None:
        """Close the socket below."""
        self.closed = True
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        """Tell httpcore what it asks: which protocol was agreed on in the handshake."""
        return self._wire.tls if info == "ssl_object" else None
