"""The network below HTTP: the socket of one connection, and TLS.

It records whether a request was sent and whether bytes were received, because it reads and writes all bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.event_loop import on_trio
from bifrost.transport.wires import TlsWire, Wire, WireReadError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence


class Network:
    """The network of one connection: a socket, with TLS on top of it once, or twice through a proxy."""

    __slots__ = ("_tls", "_wire", "connected", "heard", "sent")

    def __init__(self) -> None:
        self.sent = False
        """Whether the head of a request may have been sent since this was last set to `False`."""
        self.heard = False
        """Whether bytes were received since this was last set to `False`."""
        self.connected = False
        """Whether the connection is established, so that all bytes that are written from now on belong to requests."""
        self._wire: Wire | None = None
        self._tls: TlsWire | None = None
        """The innermost TLS layer; `None` without TLS."""

    @property
    def wire(self) -> Wire:
        """The current wire. Raises `WireReadError` without a connection."""
        if self._wire is None:
            raise WireReadError("there is no connection")
        return self._wire

    @property
    def protocol(self) -> str | None:
        """The application protocol that the peer has chosen in the handshake."""
        return None if self._tls is None else self._tls.pump.protocol

    @property
    def ended(self) -> bool:
        """Whether no bytes follow those that `take` returns."""
        return self._wire is None or self._wire.ended

    @property
    def session(self) -> ssl.SSLSession | None:
        """The TLS session, which shortens the next handshake with the same peer."""
        return None if self._tls is None else self._tls.pump.tls.session

    async def connect(self, host: str, port: int) -> None:
        """Connect to the first address of the host that responds. Raises `WireConnectError`."""
        if on_trio():
            from bifrost.transport import anyio_wire

            self._wire = await anyio_wire.connect(host, port)
        else:
            from bifrost.transport import asyncio_wire

            self._wire = await asyncio_wire.connect(host, port)

    async def shake_hands(
        self, context: ssl.SSLContext, host: str, *, protocols: Sequence[str], session: ssl.SSLSession | None = None
    ) -> None:
        """Start TLS. Raises `WireConnectError`."""
        self._tls = await TlsWire.over(self.wire, context, host, protocols=protocols, session=session)
        self._wire = self._tls

    async def read(self, timeout: float | None = None) -> bytes:
        """Return the next bytes, empty at the end. Raises `WireReadError` and `ReadTimeoutError`."""
        data = await self.wire.read(timeout)
        if data:
            self.heard = True
        return data

    async def write(
        self, data: bytes | memoryview, timeout: float | None = None, *, until: Callable[[], bool] | None = None
    ) -> bool:
        """Send bytes as `Wire.write` does. Raises `WireWriteError` and `WriteTimeoutError`."""
        wire = self.wire
        self.sent = self.connected
        return await wire.write(data, timeout, until=until)

    def take(self) -> bytes:
        """Return the bytes that were received, without waiting. Raises `WireReadError`."""
        data = self.wire.take()
        if data:
            self.heard = True
        return data

    def at_rest(self) -> bool:
        """Return whether the connection is open and no bytes are pending."""
        return self._wire is not None and self._wire.at_rest()

    def readable(self) -> bool:
        """Return whether reading would return at once."""
        return self._wire is None or self._wire.readable()

    def shut(self) -> None:
        """Break the connection, so that waiting tasks fail."""
        if self._wire is not None:
            self._wire.shut()

    async def close(self) -> None:
        """Close the socket."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()
