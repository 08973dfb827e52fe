"""One pool on a host of its own, without a client around it; and waiting for what is about to be so."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from bifrost.config import ProviderConfig
from bifrost.engine.host import Host
from bifrost.engine.pool.workers import Job, Pool
from bifrost.testing import leak_check

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from bifrost import Bifrost
    from bifrost.engine.pool.connections import Connections
    from bifrost.engine.pool.gate import Gate


async def until(holds: Callable[[], object], *, seconds: float = 5.0) -> None:
    """Let the event loop turn, and then time pass, until something holds. The limit is one of real time."""
    end = time.monotonic() + seconds
    turns = 0
    while not holds():
        turns += 1
        if time.monotonic() > end:
            raise TimeoutError("what was waited for did not come")
        # Where time is virtual it stands still while the loop turns.
        await anyio.sleep(0.001 if turns > 50 else 0)


class NoConnections:
    """A pool without a network."""

    idle = 0

    async def retire_idle(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Owner:
    """Whoever a host belongs to: counts its beginnings and ends, and may fail or wait in between."""

    def __init__(self, setup: Callable[[], Awaitable[None]] | None = None) -> None:
        self.began = 0
        self.ends: list[Host] = []
        self._setup = setup

    async def setup(self) -> None:
        self.began += 1
        if self._setup is not None:
            await self._setup()

    def ended(self, host: Host) -> None:
        self.ends.append(host)

    def host(self) -> Host:
        return Host(setup=self.setup, on_end=self.ended)


class Rig:
    """A started pool; `leave` and `open_gate` are what its jobs wait for."""

    def __init__(self, host: Host, pool: Pool) -> None:
        self.host = host
        self.pool = pool
        self.gate = anyio.Event()
        self.running: list[Any] = []
        """What jobs are being worked on."""
        self.order: list[Any] = []
        """What jobs were taken, in order."""

    def job(
        self, subject: Any = None, run: Callable[[Job], Awaitable[Any]] | None = None, *, is_stream: bool = False
    ) -> Job:
        return Job(run or self.wait, subject, done=self.host.signal(), is_stream=is_stream)

    async def wait(self, job: Job) -> Any:
        """Work until the gate is opened, then answer with what the job is about."""
        subject = job.subject
        self.order.append(subject)
        self.running.append(subject)
        try:
            await self.gate.wait()
        finally:
            self.running.remove(subject)
        return subject

    async def at_once(self, job: Job) -> Any:
        self.order.append(job.subject)
        return job.subject

    async def submit(self, subject: Any = None, *, is_stream: bool = False) -> Any:
        return await self.pool.submit(self.job(subject, is_stream=is_stream))

    @property
    def idle(self) -> bool:
        """Nobody holds anything."""
        pool = self.pool
        return not (held(pool) or pool.in_flight or pool.queued or self.running or pool._dead or pool._jobs)


def held(pool: Pool) -> int:
    """Give how many places are taken or waited for."""
    return sum(gate.held + gate.waiting for gate in gates_of(pool))


def gates_of(pool: Pool) -> tuple[Gate, ...]:
    """Give all gates of a pool."""
    return pool._system, pool._stream_system


@asynccontextmanager
async def rig_of(connections: Connections | None = None, **config: Any) -> AsyncIterator[Rig]:
    """Give a started pool, and see that it leaves nothing behind."""
    async with leak_check():
        owner = Owner()
        host = owner.host()
        host.start()
        await host.ready()
        made: Any = NoConnections() if connections is None else connections
        pool = Pool("test", ProviderConfig(**config), host, made)
        await pool.start()
        rig = Rig(host, pool)
        try:
            yield rig
            rig.gate.set()
            if host.alive:
                await until(lambda: rig.idle)
            assert pool.worker_restarts == 0
        finally:
            await host.stop()
        assert host.failure is None
        assert pool.workers == 0
        assert held(pool) == 0


def is_quiet(client: Bifrost) -> bool:
    """Say that nothing of a client is in use: no place, no worker, no connection, no stream."""
    running = client._engine._running
    if running is None:
        return True
    return running.active.count == 0 and all(
        not (held(upstream.pool) or upstream.pool.in_flight or upstream.pool.queued or upstream.pool._jobs)
        and upstream.connections.lent == 0
        and not upstream.open_streams
        and upstream.pool.worker_restarts == 0
        for upstream in running.upstreams._upstreams.values()
    )
