"""The bytes of a connection on trio, through a stream of anyio. asyncio has a faster implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import SocketAttribute

from bifrost.transport.sockets import is_readable, shut
from bifrost.transport.wires import (
    ReadTimeoutError,
    WireConnectError,
    WireReadError,
    WireWriteError,
    WriteTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import SocketStream

_READ = 64 * 1024
_MOST_UNREAD = 256 * 1024
"""The most unread bytes that are buffered before reading stops, so that the peer has to wait."""


class AnyioWire:
    """One connection. It implements `Wire`."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._socket: Any = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's, no database's
        self._pending = b""
        """Bytes that were received while no task was reading."""
        self._ended = False

    @property
    def socket(self) -> Any:
        """The underlying socket."""
        return self._socket

    @property
    def ended(self) -> bool:
        """Whether no bytes follow those that `take` returns."""
        return self._ended

    async def read(self, timeout: float | None = None) -> bytes:
        """Return the next bytes, empty at the end. Raises `WireReadError` and `ReadTimeoutError`."""
        if self._pending:
            return self.take()
        if self._ended:
            return b""
        failure: type[Exception]
        try:
            if timeout is None:
                return await self._stream.receive(_READ)
            with anyio.fail_after(timeout):
                return await self._stream.receive(_READ)
        except anyio.EndOfStream:
            self._ended = True
            return b""
        except TimeoutError:
            failure = ReadTimeoutError
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            failure = WireReadError
        raise failure

    async def write(
        self, data: bytes | memoryview, timeout: float | None = None, *, until: Callable[[], bool] | None = None
    ) -> bool:
        """Send bytes. Raises `WireWriteError` and `WriteTimeoutError`."""
        failure: type[Exception]
        try:
            if until is not None:
                return await self._write_and_listen(data, timeout, until)
            if timeout is None:
                await self._stream.send(bytes(data))
            else:
                with anyio.fail_after(timeout):
                    await self._stream.send(bytes(data))
            return True
        except TimeoutError:
            failure = WriteTimeoutError
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            failure = WireWriteError
        raise failure

    async def _write_and_listen(
        self, data: bytes | memoryview, timeout: float | None, until: Callable[[], bool]
    ) -> bool:
        """Send bytes, and read what is received meanwhile in a second task."""
        if until():
            return False
        is_sent = False
        failure: Exception | None = None

        async def listen() -> None:
            while not self._ended and len(self._pending) <= _MOST_UNREAD:
                try:
                    self._pending += await self._stream.receive(_READ)
                except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    self._ended = True
                if until():
                    group.cancel_scope.cancel()
                    return

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            try:
                with anyio.fail_after(timeout):
                    await self._stream.send(bytes(data))
                is_sent = True
            except (TimeoutError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                failure = error
            group.cancel_scope.cancel()
        if failure is not None and not until():
            raise failure
        return is_sent

    def take(self) -> bytes:
        """Return the bytes that were received, without waiting."""
        if not self._pending and not self._ended and is_readable(self._socket):
            self._glance()
        data, self._pending = self._pending, b""
        return data

    def _glance(self) -> None:
        """Read directly from the socket without blocking. No other task reads while no task is waiting."""
        try:
            self._pending = self._socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            self._ended = True
        else:
            self._ended = not self._pending

    def at_rest(self) -> bool:
        """Return whether the connection is open and no bytes are pending."""
        return not (self._pending or self._ended or is_readable(self._socket))

    def readable(self) -> bool:
        """Return whether `read` would return at once."""
        return bool(self._pending) or self._ended or is_readable(self._socket)

    def shut(self) -> None:
        """Break the connection, so that waiting tasks fail."""
        shut(self._socket)

    async def close(self) -> None:
        """Close the socket."""
        self._ended = True
        await self._stream.aclose()


async def connect(host: str, port: int) -> AnyioWire:
    """Connect to the first address of the host that responds. Raises `WireConnectError`."""
    try:
        return AnyioWire(await anyio.connect_tcp(host, port))
    except (OSError, anyio.BrokenResourceError) as error:
        raise WireConnectError from error
