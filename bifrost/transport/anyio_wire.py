"""A connection's bytes on trio: a stream of anyio's, which asyncio has a faster way for."""

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
"""How many bytes may lie here unread before the peer is made to wait."""


class AnyioWire:
    """One connection. Its methods are those of `Wire`."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._socket: Any = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's, no database's
        self._pending = b""
        """What came while nobody was reading."""
        self._ended = False

    @property
    def socket(self) -> Any:
        """The socket below."""
        return self._socket

    @property
    def ended(self) -> bool:
        """Nothing more will come than what `take` gives."""
        return self._ended

    async def read(self, timeout: float | None = None) -> bytes:
        """Return the next bytes, empty at the end. Raises `WireReadError`, `ReadTimeoutError`."""
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
        """Send bytes. Raises `WireWriteError`, `WriteTimeoutError`."""
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
        """Send bytes and take what comes meanwhile, in a task beside it."""
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
        """Return what has come, without waiting."""
        if not self._pending and not self._ended and is_readable(self._socket):
            self._glance()
        data, self._pending = self._pending, b""
        return data

    def _glance(self) -> None:
        """Read from the socket itself, which does not block: nothing else reads while nobody waits."""
        try:
            self._pending = self._socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            self._ended = True
        else:
            self._ended = not self._pending

    def at_rest(self) -> bool:
        """Return whether the peer has neither closed the connection nor sent anything that `take` did not give."""
        return not (self._pending or self._ended or is_readable(self._socket))

    def readable(self) -> bool:
        """Return whether `read` would return at once."""
        return bool(self._pending) or self._ended or is_readable(self._socket)

    def shut(self) -> None:
        """Break the connection under whoever waits for it."""
        shut(self._socket)

    async def close(self) -> None:
        """Close the socket."""
        self._ended = True
        await self._stream.aclose()


async def connect(host: str, port: int) -> AnyioWire:
    """Connect, to the first of the host's addresses that answers. Raises `WireConnectError`."""
    try:
        return AnyioWire(await anyio.connect_tcp(host, port))
    except (OSError, anyio.BrokenResourceError) as error:
        raise WireConnectError from error
