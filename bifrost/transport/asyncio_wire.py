"""The bytes of a connection on asyncio and uvloop: a protocol that buffers what it receives, and one waiting task."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import anyio

from bifrost.transport.sockets import is_readable
from bifrost.transport.wires import (
    ReadTimeoutError,
    WireConnectError,
    WireReadError,
    WireWriteError,
    WriteTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_Address: TypeAlias = "tuple[Any, ...]"
"""Host and port, and further parts that depend on the address family."""
_MOST_UNREAD = 256 * 1024
"""The most unread bytes that are buffered before reading pauses, so that the peer has to wait."""
_HEAD_START = 0.25
"""How long an address of a host is tried before the next one is tried in parallel, in seconds (RFC 8305)."""


class AsyncioWire(asyncio.Protocol):
    """One connection. It implements `Wire`; the other methods are called by the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: Any = None
        self._chunks: list[bytes] = []
        self._unread = 0
        self._resting = False
        """Whether reading is paused, so that the peer has to wait."""
        self._full = False
        """Whether the write buffer is full."""
        self._ended = False
        self._lost = False
        self._error: BaseException | None = None
        self._reader: asyncio.Future[bool] | None = None
        self._writer: asyncio.Future[bool] | None = None
        self._closer: asyncio.Future[bool] | None = None

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Buffer bytes that were received."""
        self._chunks.append(data)
        self._unread += len(data)
        if self._unread > _MOST_UNREAD and not self._resting:
            self._resting = True
            self._transport.pause_reading()
        _wake(self._reader)
        _wake(self._writer)

    def eof_received(self) -> bool:
        """Record the end of the received bytes. The owner closes the connection."""
        self._ended = True
        _wake(self._reader)
        _wake(self._writer)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Record that the connection is closed or broken."""
        self._ended = self._lost = True
        self._error = self._error or exc
        _wake(self._reader)
        _wake(self._writer)
        _wake(self._closer)

    def pause_writing(self) -> None:
        """Record that the write buffer is full."""
        self._full = True

    def resume_writing(self) -> None:
        """Record that the write buffer has space again."""
        self._full = False
        _wake(self._writer)

    # --- called by the owner

    @property
    def socket(self) -> Any:
        """The underlying socket; `None` without one."""
        return self._transport.get_extra_info("socket")

    @property
    def ended(self) -> bool:
        """Whether no bytes follow those that `take` returns."""
        return self._ended

    async def read(self, timeout: float | None = None) -> bytes:
        """Return the next bytes, empty at the end. Raises `WireReadError` and `ReadTimeoutError`."""
        while not self._chunks:
            if self._ended:
                if self._error is not None:
                    raise WireReadError from self._error
                return b""
            self._reader = future = self._loop.create_future()
            handle = None if timeout is None else self._loop.call_later(timeout, _expire, future)
            try:
                if await future:
                    raise ReadTimeoutError
            finally:
                self._reader = None
                if handle is not None:
                    handle.cancel()
        return self.take()

    async def write(
        self, data: bytes | memoryview, timeout: float | None = None, *, until: Callable[[], bool] | None = None
    ) -> bool:
        """Send bytes. Raises `WireWriteError` and `WriteTimeoutError`."""
        if until is not None and until():
            return False
        if self._lost:
            raise WireWriteError from self._error
        if until is not None and is_readable(self.socket):
            # Writing to a peer that has responded and closed would break the connection before its response is read.
            await asyncio.sleep(0)
            if until():
                return False
        self._transport.write(data)
        while self._full and not self._lost:
            self._writer = future = self._loop.create_future()
            handle = None if timeout is None else self._loop.call_later(timeout, _expire, future)
            try:
                if await future:
                    raise WriteTimeoutError
            finally:
                self._writer = None
                if handle is not None:
                    handle.cancel()
            if until is not None and until():
                return False
        if self._lost:
            raise WireWriteError from self._error
        return True

    def take(self) -> bytes:
        """Return the bytes that were received, without waiting."""
        chunks = self._chunks
        if not chunks:
            return b""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._unread = 0
        if self._resting:
            self._resting = False
            if not self._lost:
                self._transport.resume_reading()
        return data

    def at_rest(self) -> bool:
        """Return whether the connection is open and no bytes are pending."""
        return not (self._chunks or self._ended or is_readable(self.socket))

    def readable(self) -> bool:
        """Return whether `read` would return at once, or after one turn of the event loop."""
        return bool(self._chunks) or self._ended or is_readable(self.socket)

    def shut(self) -> None:
        """Break the connection, so that waiting tasks fail."""
        self._ended = True
        self._transport.abort()
        _wake(self._reader)
        _wake(self._writer)

    async def close(self) -> None:
        """Close the socket, and wait one turn of the event loop until it is closed."""
        self._ended = True
        _wake(self._reader)
        _wake(self._writer)
        if self._lost:
            return
        self._transport.abort()
        self._closer = future = self._closer or self._loop.create_future()
        await asyncio.shield(future)


def _wake(waiter: asyncio.Future[bool] | None) -> None:
    # It is done if it was woken twice in one turn of the loop, or if its task was cancelled.
    if waiter is not None and not waiter.done():
        waiter.set_result(False)


def _expire(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(True)


async def connect(host: str, port: int) -> AsyncioWire:
    """Connect to the first address of the host that responds. Raises `WireConnectError`."""
    loop = asyncio.get_running_loop()
    try:
        if _is_address(host):
            return await _connect_one(loop, (host, port))
        addresses = await _addresses(loop, host, port)
        if len(addresses) == 1:
            return await _connect_one(loop, addresses[0])
        return await _connect_first(loop, addresses)
    except OSError as error:
        raise WireConnectError from error


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[_Address]:
    """Resolve a host. Returns its addresses with alternating families, IPv6 first (RFC 8305, section 4)."""
    found = dict.fromkeys(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    families: list[list[_Address]] = [[], []]
    for family, _, _, _, address in found:
        families[family != socket.AF_INET6].append(cast("_Address", address))
    six, four = families
    pairs = zip_longest(six, four)
    return [address for pair in pairs for address in pair if address is not None]


async def _connect_one(loop: asyncio.AbstractEventLoop, address: _Address) -> AsyncioWire:
    _, wire = await loop.create_connection(lambda: AsyncioWire(loop), address[0], address[1])
    return wire


async def _connect_first(loop: asyncio.AbstractEventLoop, addresses: list[_Address]) -> AsyncioWire:
    """Try addresses in turn, the next one in parallel if one takes long. Raises the first `OSError` if all fail."""
    failures: list[OSError] = []
    connected: list[AsyncioWire] = []

    async def attempt(address: _Address, failed: anyio.Event) -> None:
        try:
            connected.append(await _connect_one(loop, address))
        except OSError as error:
            failures.append(error)
            failed.set()
        else:
            group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            for address in addresses:
                failed = anyio.Event()
                group.start_soon(attempt, address, failed)
                with anyio.move_on_after(_HEAD_START):
                    await failed.wait()
    except BaseException:
        for wire in connected:
            wire.shut()
        raise
    for wire in connected[1:]:
        wire.shut()
    if not connected:
        raise failures[0] if failures else OSError("the host has no address")
    return connected[0]
