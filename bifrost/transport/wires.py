"""The wire of one connection: the protocol for the event loops' sockets, and TLS on top of it."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from bifrost.wire.http.tls import TlsPump

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class WireError(Exception):
    """The connection failed. `__cause__` has the original error."""


class WireConnectError(WireError):
    """The connection could not be established, or its TLS handshake failed."""


class WireReadError(WireError):
    """The connection broke while reading."""


class WireWriteError(WireError):
    """The connection broke while writing."""


class PeerError(WireError):
    """The peer violated the protocol or ended the exchange."""


class WireTimeoutError(WireError):
    """A time limit was reached."""


class ConnectTimeoutError(WireTimeoutError):
    """The connection could not be established in time."""


class ReadTimeoutError(WireTimeoutError):
    """Nothing was received for too long."""


class WriteTimeoutError(WireTimeoutError):
    """Nothing could be sent for too long."""


class Wire(Protocol):
    """Transfers bytes in both directions.

    One task may wait in `read` and another in `write`; any task may call `shut`.
    """

    @property
    def socket(self) -> Any:
        """The underlying socket."""
        ...

    @property
    def ended(self) -> bool:
        """Whether no bytes follow those that `take` returns."""
        ...

    async def read(self, timeout: float | None = None) -> bytes:
        """Return the next bytes, empty at the end. Raises `WireReadError` and `ReadTimeoutError`."""
        ...

    async def write(
        self, data: bytes | memoryview, timeout: float | None = None, *, until: Callable[[], bool] | None = None
    ) -> bool:
        """Send bytes. `timeout` limits the time without any progress, in seconds.

        `until` is called whenever bytes were received meanwhile. If it returns true, the rest is not sent and the
        result is `False`. Raises `WireWriteError` and `WriteTimeoutError`.
        """
        ...

    def take(self) -> bytes:
        """Return the bytes that were received, without waiting; empty if there are none, or at the end."""
        ...

    def at_rest(self) -> bool:
        """Return whether the connection is open and no bytes are pending."""
        ...

    def readable(self) -> bool:
        """Return whether `read` would return at once."""
        ...

    def shut(self) -> None:
        """Break the connection at once, so that waiting tasks fail."""
        ...

    async def close(self) -> None:
        """Close the socket. It may be called repeatedly."""
        ...


class TlsWire:
    """TLS on top of a wire, which may itself use TLS."""

    __slots__ = ("_inner", "_pending", "_pump")

    def __init__(self, inner: Wire, pump: TlsPump) -> None:
        self._inner = inner
        self._pump = pump
        self._pending = b""
        """Decrypted bytes that were not read yet."""

    @property
    def socket(self) -> Any:
        """The underlying socket."""
        return self._inner.socket

    @property
    def ended(self) -> bool:
        """Whether no bytes follow those that `take` returns."""
        return self._pump.ended or self._inner.ended

    @classmethod
    async def over(
        cls,
        inner: Wire,
        context: ssl.SSLContext,
        host: str,
        *,
        protocols: Sequence[str],
        session: ssl.SSLSession | None = None,
    ) -> TlsWire:
        """Perform the handshake. Raises `WireError`; the inner wire must then be closed."""
        failure: Exception
        pump = TlsPump(context, host, protocols=protocols, session=session)
        try:
            while not pump.shake_hands():
                await _say(inner, pump)
                pump.feed(await inner.read())
            await _say(inner, pump)
            return cls(inner, pump)
        except (WireReadError, WireWriteError) as error:
            raise WireConnectError from error
        except ssl.SSLError as error:
            failure = error
        with suppress(WireError):
            # The peer may need the reason.
            await _say(inner, pump)
        raise WireConnectError from failure

    @property
    def pump(self) -> TlsPump:
        """The TLS state."""
        return self._pump

    async def read(self, timeout: float | None = None) -> bytes:
        """Return the next bytes, empty at the end."""
        if self._pending:
            data, self._pending = self._pending, b""
            return data
        pump, inner = self._pump, self._inner
        while not pump.ended:
            pump.feed(await inner.read(timeout))
            data = self._decrypted()
            if said := pump.take():
                await inner.write(said, timeout)
            if data:
                return data
        return b""

    async def write(
        self, data: bytes | memoryview, timeout: float | None = None, *, until: Callable[[], bool] | None = None
    ) -> bool:
        """Send bytes."""
        try:
            encrypted = self._pump.write(data)
        except ssl.SSLError as error:
            raise WireWriteError from error
        return await self._inner.write(encrypted, timeout, until=until)

    def take(self) -> bytes:
        """Return the bytes that were received, without waiting."""
        raw = self._inner.take()
        if raw:
            self._pump.feed(raw)
            self._pending += self._decrypted()
        data, self._pending = self._pending, b""
        return data

    def at_rest(self) -> bool:
        """Return whether the connection is open and no bytes are pending, other than messages of TLS itself."""
        if self._pending or self._pump.ended:
            return False
        try:
            # Session tickets, which a peer may send at any time, are not a response.
            data = self._pending = self.take()
        except WireReadError:
            return False
        return not data and not self.ended and self._inner.at_rest()

    def readable(self) -> bool:
        """Return whether `read` would return at once."""
        return bool(self._pending) or self._inner.readable()

    def shut(self) -> None:
        """Break the connection, so that waiting tasks fail."""
        self._inner.shut()

    async def close(self) -> None:
        """Close the socket."""
        await self._inner.close()

    def _decrypted(self) -> bytes:
        try:
            return self._pump.read()
        except ssl.SSLError as error:
            raise WireReadError from error


async def _say(inner: Wire, pump: TlsPump) -> None:
    if said := pump.take():
        await inner.write(said)
