"""The idle connections of a provider: a stack per origin (last in, first out), so that warm ones are reused first."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from bifrost.errors import BifrostError, ShuttingDownError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.config import ConnectionConfig
    from bifrost.transport import Connection, Origin, Transport

_AGE_SPREAD = 0.2
"""How much the lifetime of connections varies, as a share, so that they do not all end at once."""


class PooledConnection:
    """A connection, and how long it is kept."""

    __slots__ = ("connection", "good_until", "origin", "requests", "retire_at")

    def __init__(self, connection: Connection, origin: Origin, *, retire_at: float) -> None:
        self.connection = connection
        self.origin = origin
        self.retire_at = retire_at
        self.good_until = retire_at
        """Until when it may be reused: it is neither too old nor idle for too long."""
        self.requests = 0


class Connections:
    """Lends connections to jobs. A job returns its connection after a complete exchange, or drops it."""

    def __init__(self, transport: Transport, config: ConnectionConfig, random: Callable[[], float]) -> None:
        self._transport = transport
        self._config = config
        self._random = random
        self._stacks: dict[Origin, list[PooledConnection]] = {}
        self._lent: set[PooledConnection] = set()
        self._early: dict[PooledConnection, anyio.CancelScope] = {}
        """Connections that are being established in advance, each with its cancel scope."""
        self.opened = 0
        self.reused = 0
        """How often a connection was taken that had been used before."""

    @property
    def idle(self) -> int:
        """The number of idle connections."""
        # Copied in one step, because another thread may call it.
        return sum(map(len, list(self._stacks.values())))

    @property
    def lent(self) -> int:
        """The number of connections in use by jobs and streams."""
        return len(self._lent)

    async def take(self, origin: Origin, now: float, *, fresh: bool = False) -> PooledConnection:
        """Return the connection that was used last and is still usable, or a new one (`fresh`: always a new one)."""
        stack = None if fresh else self._stacks.get(origin)
        while stack:
            pooled = stack.pop()
            if now < pooled.good_until and pooled.connection.usable():
                self._lent.add(pooled)
                self.reused += 1
                return pooled
            await _close(pooled)
        pooled = self._open(origin, now)
        self._lent.add(pooled)
        return pooled

    async def give_back(self, pooled: PooledConnection, now: float) -> None:
        """Return a connection to the pool after a complete exchange, if it can be used again.

        A connection that fails then is dropped; the response is not affected.
        """
        try:
            await pooled.connection.finish()
        except Exception:  # noqa: BLE001 - a user's transport, or a peer that is just leaving
            await self.drop(pooled)
            return
        except BaseException:
            await self.drop(pooled)
            raise
        pooled.requests += 1
        if pooled.requests >= self._config.requests:
            await self.drop(pooled)
            return
        self._put_back(pooled, now)

    async def drop(self, pooled: PooledConnection) -> None:
        """Close a connection after a failure, a cancellation, or unexpected bytes."""
        self._lent.discard(pooled)
        await _close(pooled)

    async def warm_up(self, origin: Origin, count: int, *, seconds: float) -> None:
        """Establish connections until `count` are idle.

        Raises the first error; connections that were established are pooled.
        """
        missing = count - len(self._stacks.get(origin, ()))
        failures: list[BifrostError] = []

        async def make() -> None:
            try:
                await self._make_early(origin, seconds)
            except BifrostError as error:
                failures.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(missing):
                group.start_soon(make)
        if failures:
            raise failures[0]

    async def _make_early(self, origin: Origin, seconds: float) -> None:
        pooled = self._open(origin, anyio.current_time())
        self._lent.add(pooled)
        made = False
        try:
            made = await self._connect(pooled, seconds)
        finally:
            if not made:
                await self.drop(pooled)
        if made:
            self._put_back(pooled, anyio.current_time())

    async def _connect(self, pooled: PooledConnection, seconds: float) -> bool:
        made = False
        with anyio.CancelScope() as scope:
            self._early[pooled] = scope
            try:
                made = await pooled.connection.connect(seconds=seconds)
            finally:
                del self._early[pooled]
        if scope.cancel_called:
            raise ShuttingDownError("the client was closed, or the provider changed, before the connection was made")
        return made

    def _put_back(self, pooled: PooledConnection, now: float) -> None:
        self._lent.discard(pooled)
        pooled.good_until = min(pooled.retire_at, now + self._config.idle)
        self._stacks.setdefault(pooled.origin, []).append(pooled)

    async def retire_idle(self) -> None:
        """Close connections that were idle or alive for too long, or were closed by the peer."""
        now = anyio.current_time()
        for stack in list(self._stacks.values()):
            for pooled in list(stack):
                # While one is being closed, a job may take another.
                if pooled in stack and not (now < pooled.good_until and _usable(pooled)):
                    stack.remove(pooled)
                    await _close(pooled)

    async def close(self) -> None:
        """Close all connections, including those in use.

        Those that are being established are closed by their own task.
        """
        for scope in self._early.values():
            scope.cancel()
        everything = [pooled for stack in self._stacks.values() for pooled in stack]
        everything += self._lent.difference(self._early)
        for stack in self._stacks.values():
            stack.clear()
        self._lent.clear()
        async with anyio.create_task_group() as group:
            for pooled in everything:
                group.start_soon(_close, pooled)

    def _open(self, origin: Origin, now: float) -> PooledConnection:
        connection = self._transport.open(origin)
        self.opened += 1
        spread = 1 + _AGE_SPREAD * (2 * self._random() - 1)
        return PooledConnection(connection, origin, retire_at=now + self._config.age * spread)


def _usable(pooled: PooledConnection) -> bool:
    try:
        return pooled.connection.usable()
    except Exception:  # noqa: BLE001 - a user's transport; if it fails, the connection is closed
        return False


async def _close(pooled: PooledConnection) -> None:
    with suppress(Exception):  # a user's transport may fail here, and there is no caller to inform
        await pooled.connection.close()
