"""The network below HTTP: one socket per connection, remembered from the moment it exists.

It is known here whether a request went out and whether anything came, because this is what writes and reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.event_loop import on_trio
from bifrost.transport.wires import TlsWire, Wire, WireReadError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence


class Network:
    """The network of one connection: a socket, and TLS on top of it, once or twice."""

    __slots__ = ("_tls", "_wire", "heard", "laid", "sent")

    def __init__(self) -> None:
        self.sent = False
        """A request's head has (perhaps) gone out, since this was last set to `False`."""
        self.heard = False
        """Bytes have come, since this was last set to `False`."""
        self.laid = False
        """The route is made: what is written from now on is requests."""
        self._wire: Wire | None = None
        self._tls: TlsWire | None = None
        """The innermost TLS, once there is one."""

    @property
    def wire(self) -> Wire:
        """What carries the bytes. Raises `WireReadError` without a connection."""
        if self._wire is None:
            raise WireReadError("there is no connection")
        return self._wire

    @property
    def protocol(self) -> str | None:
        """The application protocol that the peer has chosen in the handshake."""
        return None if self._tls is None else self._tls.pump.protocol

    @property
    def ended(self) -> bool:
        """Nothing more will come than what `take` gives."""
        return self._wire is None or self._wire.ended

    @property
    def session(self) -> ssl.SSLSession | None:
        """What shortens the next handshake with the same peer."""
        return None if self._tls is None else self._tls.pump.tls.session

    async def connect(self, host: str, port: int) -> None:
        """Connect, to the first of the host's addresses that answers. Raises `WireConnectError`."""
        if on_trio():
            from bifrost.transport import anyio_wire

            self._wire = await anyio_wire.connect(host, port)
        else:
            from bifrost.transport import asyncio_wire

            self._wire = await asyncio_wire.connect(host, port)

    async def shake_hands(
        self, context: ssl.SSLContext, host: str, *, protocols: Sequence[str], session: ssl.SSLSession | None = None
    ) -> None:
        """Speak TLS from here on. Raises `WireConnectError`."""
        self._tls = await TlsWire.over(self.wire, context, host, protocols=protocols, session=session)
        self._wire = self._tls

    async def read(self, timeout: float | None = None) -> bytes:
        """Return the next bytes, empty at the end. Raises `WireReadError`, `ReadTimeoutError`."""
        data = await self.wire.read(timeout)
        if data:
            self.heard = True
        return data

    async def write(
        self, data: bytes | memoryview, timeout: float | None = None, *, until: Callable[[], bool] | None = None
    ) -> bool:
        """Send bytes, as `Wire.write` does. Raises `WireWriteError`, `WriteTimeoutError`."""
        wire = self.wire
        self.sent = self.laid
        return await wire.write(data, timeout, until=until)

    def take(self) -> bytes:
        """Return what has come, without waiting. Raises `WireReadError`."""
        data = self.wire.take()
        if data:
            self.heard = True
        return data

    def at_rest(self) -> bool:
        """Return whether the peer has neither closed the connection nor sent anything that was not read."""
        return self._wire is not None and self._wire.at_rest()

    def readable(self) -> bool:
        """Return whether reading would give something, or the end, at once."""
        return self._wire is None or self._wire.readable()

    def shut(self) -> None:
        """Wake whoever waits for bytes."""
        if self._wire is not None:
            self._wire.shut()

    async def close(self) -> None:
        """Close the socket."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()
