"""What carries the bytes of one connection: the protocol that the event loops' sockets, and TLS on top, follow."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from bifrost.wire.http.tls import TlsPump

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class WireError(Exception):
    """The connection failed. What came before it is told by `__cause__`."""


class WireConnectError(WireError):
    """No connection could be made, or its TLS handshake failed."""


class WireReadError(WireError):
    """The connection broke while bytes were waited for."""


class WireWriteError(WireError):
    """The connection broke while bytes were sent."""


class PeerError(WireError):
    """The peer does not keep to the protocol, or has ended the exchange."""


class WireTimeoutError(WireError):
    """A limit of waiting has passed."""


class ConnectTimeoutError(WireTimeoutError):
    """The connection could not be made in time."""


class ReadTimeoutError(WireTimeoutError):
    """Nothing came for too long."""


class WriteTimeoutError(WireTimeoutError):
    """The peer took nothing for too long."""


class Wire(Protocol):
    """Carries bytes both ways. One task may wait for `read` and another for `write`; `shut` may be called by any."""

    @property
    def socket(self) -> Any:
        """The socket below."""
        ...

    @property
    def ended(self) -> bool:
        """Nothing more will come than what `take` gives."""
        ...

    async def read(self, timeout: float | None = None) -> bytes:
        """Return the next bytes, empty at the end. Raises `WireReadError`, `ReadTimeoutError`."""
        ...

    async def write(
        self, data: bytes | memoryview, timeout: float | None = None, *, until: Callable[[], bool] | None = None
    ) -> bool:
        """Send bytes; `timeout` bounds how long the peer may take none of them.

        `until` is asked whenever something has come meanwhile: if it says so, the rest is not waited for and the result
        is `False`. Raises `WireWriteError`, `WriteTimeoutError`.
        """
        ...

    def take(self) -> bytes:
        """Return what has come, without waiting; empty if that is nothing, or the end."""
        ...

    def at_rest(self) -> bool:
        """Return whether the peer has neither closed the connection nor sent anything that `take` did not give."""
        ...

    def readable(self) -> bool:
        """Return whether `read` would return at once."""
        ...

    def shut(self) -> None:
        """Break the connection under whoever waits for it, at once."""
        ...

    async def close(self) -> None:
        """Close the socket. Any number of times."""
        ...


class TlsWire:
    """TLS on top of a wire, which may itself speak TLS."""

    __slots__ = ("_inner", "_pending", "_pump")

    def __init__(self, inner: Wire, pump: TlsPump) -> None:
        self._inner = inner
        self._pump = pump
        self._pending = b""
        """Decrypted bytes that nobody has read."""

    @property
    def socket(self) -> Any:
        """The socket below."""
        return self._inner.socket

    @property
    def ended(self) -> bool:
        """Nothing more will come than what `take` gives."""
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
        """Shake hands. Raises `WireError`; the wire below must be closed then."""
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
            # The peer may want to know why.
            await _say(inner, pump)
        raise WireConnectError from failure

    @property
    def pump(self) -> TlsPump:
        """What encrypts and decrypts."""
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
        """Return what has come, without waiting."""
        raw = self._inner.take()
        if raw:
            self._pump.feed(raw)
            self._pending += self._decrypted()
        data, self._pending = self._pending, b""
        return data

    def at_rest(self) -> bool:
        """Return whether the peer has neither closed the connection nor sent anything but words of TLS itself."""
        if self._pending or self._pump.ended:
            return False
        try:
            # Tickets, which a peer sends when it likes, are no answer to anything.
            data = self._pending = self.take()
        except WireReadError:
            return False
        return not data and not self.ended and self._inner.at_rest()

    def readable(self) -> bool:
        """Return whether `read` would return at once."""
        return bool(self._pending) or self._inner.readable()

    def shut(self) -> None:
        """Break the connection under whoever waits for it."""
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
