"""One provider's queue and workers. Nothing here is shared with another provider.

A job is handed over by exactly one side: the worker that finishes it or the caller that abandons it. The channel
between them is unbounded on purpose: what is bounded is the number of *live* callers, counted at the gate, because
callers that left would otherwise fill the channel.
"""

from __future__ import annotations

import math
from copy import copy
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from bifrost.engine.gate import Gate
from bifrost.engine.host import guarded
from bifrost.errors import BifrostError, InternalError, QueueFullError, ShuttingDownError
from bifrost.routing.balance import Load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from anyio.abc import TaskGroup
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from bifrost.config import ProviderConfig
    from bifrost.engine.connections import Connections
    from bifrost.engine.host import Host, Signal


ErrorT = TypeVar("ErrorT", bound=Exception)


def own(error: ErrorT) -> ErrorT:
    """Give one of many callers an error of its own: what its call adds to it is not for the others."""
    copied = copy(error)
    copied.__cause__ = error.__cause__
    return copied


class Replaced(Exception):  # noqa: N818 - it tells a caller to move on, and no user ever sees it
    """The pool takes no more jobs, and another has its place: a job that no worker took goes there."""


_OPEN, _CLAIMED, _ABANDONED = range(3)
_CORPSES = 64
"""How many jobs without a caller may lie in the channel before it is cleaned."""
_CLOSE_LIMIT = 3.0
"""How long the closing of a pool's connections may take, in seconds."""


class Job:
    """One attempt on its way through a pool: what to do, and a one-shot place for the outcome.

    `run` is called by a worker with the job; it may call `finish` early and go on (a stream is handed over that way).
    """

    __slots__ = (
        "done",
        "error",
        "is_stream",
        "patience",
        "place",
        "result",
        "run",
        "state",
        "subject",
        "taken_at",
        "worker",
    )

    def __init__(
        self, run: Callable[[Job], Awaitable[Any]], subject: Any, *, done: Signal, is_stream: bool = False
    ) -> None:
        self.run = run
        self.subject: Any = subject
        """What the job is about; its worker hands it to nobody else."""
        self.is_stream = is_stream
        self.done = done
        self.state = _OPEN
        self.result: Any = None
        self.error: BaseException | None = None
        self.worker: _Worker | None = None
        self.taken_at: float | None = None
        self.place = False
        self.patience: anyio.CancelScope | None = None
        """The scope with `queue_timeout` as its deadline; the worker that takes the job lifts that."""

    @property
    def finished(self) -> bool:
        """The outcome was handed over."""
        return self.state == _CLAIMED

    @property
    def abandoned(self) -> bool:
        """The caller has left: nobody will take the outcome."""
        return self.state == _ABANDONED

    def empty(self) -> None:
        """Let go of everything: a corpse in the channel holds nothing of its call."""
        self.run = _nothing
        self.subject = None

    def finish(self, result: Any = None, error: BaseException | None = None) -> bool:
        """Hand the outcome over. False if the caller has left, or the outcome was handed over before."""
        if self.state != _OPEN:
            return False
        self.state = _CLAIMED
        self.result = result
        self.error = error
        self.done.set()
        return True


async def _nothing(_job: Job) -> None:
    """Stand in for the work of a job that nobody waits for."""


class _Worker:
    __slots__ = ("scope",)

    def __init__(self) -> None:
        self.scope: anyio.CancelScope | None = None


class Pool:
    """A provider's workers, started on demand up to `limit` and let go when idle."""

    def __init__(self, provider: str, config: ProviderConfig, host: Host, connections: Connections) -> None:
        self.provider = provider
        self.config = config
        self.connections = connections
        self.limit = config.concurrency
        """The most jobs that are done at once."""
        self.workers = 0
        self.worker_restarts = 0
        self._host = host
        self._group: TaskGroup | None = None
        self._ready = anyio.Event()
        self._parked = 0
        self._least_parked = 0
        """The fewest parked workers since the last look: so many were not needed."""
        self._queued = 0
        self._dead = 0
        self._closing: BifrostError | Replaced | None = None
        self._over = anyio.Event()
        self._emptied: anyio.Event | None = None
        """What waits for the last worker to go."""
        self._started = False
        self._swept = False
        self._jobs: dict[Job, None] = {}
        # In the order of their callers, which is kept when they are sent on.
        places, streams, stream_entries = self._places()
        self._system = Gate(places)
        self._streams = Gate(streams)
        self._stream_entries = Gate(stream_entries)
        """Streams that wait for their share of the workers hold no more than that share of the queue either."""
        self._send: MemoryObjectSendStream[Job | None]
        self._receive: MemoryObjectReceiveStream[Job | None]

    @property
    def is_open(self) -> bool:
        """Say whether jobs are taken."""
        return self._closing is None and self._group is not None

    @property
    def in_flight(self) -> int:
        """Jobs that a worker is busy with."""
        return len(self._jobs) - self._queued

    @property
    def queued(self) -> int:
        """Live callers whose job no worker has taken."""
        return self._queued

    @property
    def waiting(self) -> int:
        """All who wait: for a worker, for a place in the queue, or for one of the streams' places."""
        return self._queued + self._system.waiting + self._streams.waiting

    def _places(self) -> tuple[int, int, int]:
        """Give how many callers there may be, how many streams that have or get a worker, how many streams in all."""
        config = self.config
        streams = max(1, int(self.limit * config.stream_share))
        return self.limit + config.queue, streams, streams + int(config.queue * config.stream_share)

    def load(self, *, is_stream: bool) -> Load:
        """Give what this provider has to do, as a call or a stream that is about to come meets it."""
        busy, capacity = self.in_flight + self.waiting, self.limit
        no_stream = is_stream and self._streams.held >= self._streams.capacity
        return Load(busy=busy, capacity=capacity, is_full=busy >= capacity or no_stream)

    async def start(self) -> None:
        """Start the pool's own task group in the client's host task, unless it is there already."""
        if self._group is None:
            if not self._started and self._host.alive:
                self._started = True
                self._host.run(self._own)
            if self._started:
                await self._ready.wait()

    async def _own(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[Job | None](math.inf)
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                self._ready.set()
                try:
                    await anyio.sleep_forever()
                finally:
                    # At once: while the workers end, callers whose turn comes must not start others.
                    self.refuse_all(ShuttingDownError(f"{self.provider}: the client is being closed"))
        finally:
            self._ready.set()
            self._send.close()
            self._receive.close()
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLOSE_LIMIT):
                await self.connections.close()
            self._over.set()

    async def ended(self) -> None:
        """Wait for the end of everything here, if it was ever started."""
        if self._started:
            await self._over.wait()

    @property
    def has_room(self) -> bool:
        """Whether a worker would take another job at once."""
        busy = self.in_flight + self.waiting
        is_open = self._closing is None and self._group is not None
        return is_open and busy < self.limit and self._system.held < self._system.capacity

    def put(self, job: Job) -> None:
        """Put a job into the queue, where there is room, for one who waits for it by himself or abandons it."""
        self._system.try_enter()
        self._enqueue(job)

    async def submit(self, job: Job, watch: Callable[[Job], Awaitable[None]] | None = None) -> Any:
        """Put a job into the queue and wait for its outcome. Runs in the caller's task, inside its deadline.

        The waiting may be left to `watch`, which returns when the job is finished; if it raises, the job is abandoned.

        Raises what the job raised; `QueueFullError` if there is no place (`on_full="drop"`), or no worker took the job
        within `queue_timeout`; `ShuttingDownError`; `Replaced` if another pool has taken this one's place. A caller
        that is cancelled leaves no place taken and its exchange is broken off.
        """
        if self._closing is not None or self._group is None:
            raise self._refusal()
        if self.config.queue_timeout is not None and job.patience is None:
            return await self._submit_in_time(job, self.config.queue_timeout, watch)
        if job.is_stream:
            await self._enter_as_stream()
        elif not self._system.try_enter():
            await self._wait_for_place(self._system)
        self._enqueue(job)
        try:
            await (job.done.wait() if watch is None else watch(job))
        except BaseException:
            self.abandon(job)
            raise
        if job.error is not None:
            raise job.error
        return job.result

    def abandon(self, job: Job) -> None:
        """Leave a job: its exchange is broken off, its place is free. One that is finished stays so."""
        if job.state == _OPEN:
            job.state = _ABANDONED
            if job.worker is not None and job.worker.scope is not None:
                job.worker.scope.cancel()
            elif job.place:
                self._withdraw(job)
        elif job.is_stream and job.result is not None:
            # The stream was handed over just as its caller left.
            job.result.release()

    def resize(self, config: ProviderConfig, *, limit: int) -> None:
        """Go on with these settings and this limit: who waits keeps waiting, workers above it go after their job."""
        self.config = config
        self.limit = limit
        for gate, places in zip((self._system, self._streams, self._stream_entries), self._places(), strict=True):
            gate.resize(places)
        if self._group is None or self._closing is not None:
            return
        for _ in range(min(self._queued, limit - self.workers)):
            self._start_worker()
        for _ in range(min(self._parked, self.workers - limit)):
            self._send.send_nowait(None)

    async def retire(self, *, drain: float) -> None:
        """Wait up to `drain` seconds for what workers are at, and end. The queue was refused before."""
        if not self._started:
            return
        await self._ready.wait()
        for _ in range(self.workers):
            self._send.send_nowait(None)
        with anyio.move_on_after(drain):
            while self.workers:
                self._emptied = anyio.Event()
                await self._emptied.wait()
        if self._group is not None:
            self._group.cancel_scope.cancel()
        await self.ended()

    def refuse_all(self, error: BifrostError) -> None:
        """Answer every waiting caller with an error and take no more jobs. Synchronous: the loop may be ending."""
        self.refuse_queued(error)
        for job in self._jobs:
            job.finish(error=self._cut_off())

    def refuse_queued(self, error: BifrostError | Replaced) -> None:
        """Take no more jobs and answer those that no worker has taken; what is in flight goes on."""
        if self._closing is None:
            self._closing = error
        for gate in (self._stream_entries, self._system, self._streams):
            gate.turn_away()
        for job in list(self._jobs):
            if job.worker is None and job.finish(error=self._refusal()):
                self._withdraw(job)

    def _refusal(self) -> Exception:
        if self._closing is None:
            return ShuttingDownError(f"{self.provider}: the client is not running")
        return own(self._closing)

    def _cut_off(self) -> Exception:
        """Give the error of a job that a worker was at: it may have been sent, so it goes to no other pool."""
        if isinstance(self._closing, BifrostError):
            return self._refusal()
        return ShuttingDownError(
            f"{self.provider} was changed while this call ran, and the call was not done in time",
            provider=self.provider,
        )

    async def _submit_in_time(self, job: Job, seconds: float, watch: Callable[[Job], Awaitable[None]] | None) -> Any:
        with anyio.move_on_after(seconds) as job.patience:
            return await self.submit(job, watch)
        raise QueueFullError(
            f"{self.provider}: no exchange was free within queue_timeout={seconds:g} s", provider=self.provider
        )

    async def _enter_as_stream(self) -> None:
        entered: list[Gate] = []
        try:
            for gate in (self._stream_entries, self._system, self._streams):
                if not gate.try_enter():
                    # Who has a place in the queue may wait for a worker.
                    wait = self._enter if gate is self._streams else self._wait_for_place
                    await wait(gate)
                entered.append(gate)
        except BaseException:
            for gate in entered:
                gate.leave()
            raise

    async def _wait_for_place(self, gate: Gate) -> None:
        config = self.config
        if config.on_full == "drop":
            whose = "" if gate is self._system else f" for streams (stream_share={config.stream_share:g})"
            raise QueueFullError(
                f"{self.provider}: all {self.limit} workers are busy and the queue of {config.queue} is full"
                f'{whose}; send less at once, raise `queue`, or set on_full="wait"',
                provider=self.provider,
            )
        await self._enter(gate)

    async def _enter(self, gate: Gate) -> None:
        if not await gate.enter():
            raise self._refusal()
        if self._closing is not None:
            gate.leave()
            raise self._refusal()

    def _enqueue(self, job: Job) -> None:
        # A woken worker still counts as parked until it runs, so parked workers are held against all queued jobs.
        if self._parked <= self._queued + self._dead and self.workers < self.limit:
            self._start_worker()
        self._queued += 1
        job.place = True
        self._jobs[job] = None
        self._send.send_nowait(job)

    def _withdraw(self, job: Job) -> None:
        """Free a queued job's place at once. Its corpse stays in the channel until a worker meets it."""
        self._queued -= 1
        self._dead += 1
        self._leave(job)
        job.empty()
        if self._dead > _CORPSES and self._dead > self._queued:
            self._compact()

    def _compact(self) -> None:
        """Take corpses out of the channel, so that callers who gave up on a stuck provider do not pile up there."""
        kept: list[Job | None] = []
        while True:
            try:
                job = self._receive.receive_nowait()
            except anyio.WouldBlock:
                break
            if job is None or job.state == _OPEN:
                kept.append(job)
            else:
                self._dead -= 1
        for job in kept:
            self._send.send_nowait(job)

    def _leave(self, job: Job) -> None:
        if not job.place:
            return
        job.place = False
        self._jobs.pop(job, None)
        if job.is_stream:
            self._streams.leave()
            self._stream_entries.leave()
        self._system.leave()

    def _start_worker(self) -> None:
        self.workers += 1
        self._run(self._work)
        if not self._swept:
            self._swept = True
            self._run(self._sweep)

    def _run(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task of this pool in a context that is nobody's: whose call starts a worker is chance."""
        if self._group is None:
            raise InternalError(f"{self.provider}: a worker was wanted before the pool was started")
        self._host.context.copy().run(self._group.start_soon, guarded(function))

    async def _work(self) -> None:
        """Do one job after the other. If the worker's own machinery fails, its job was answered, and it begins anew."""
        worker = _Worker()
        try:
            while True:
                try:
                    # One long-lived scope, renewed only after a cancel: an abandoned job cancels what its worker does.
                    with anyio.CancelScope() as scope:
                        worker.scope = scope
                        while not scope.cancel_called and self.workers <= self.limit:
                            job = await self._next()
                            if job is None:
                                return
                            await self._do(job, worker)
                except Exception:  # noqa: BLE001 - whatever it was, it must not end the pool
                    self.worker_restarts += 1
                if self.workers > self.limit:
                    return
        finally:
            self.workers -= 1
            if not self.workers and self._emptied is not None:
                self._emptied.set()

    async def _next(self) -> Job | None:
        """Wait for a job somebody waits for; `None` if this worker is let go."""
        while True:
            try:
                job = self._receive.receive_nowait()
            except anyio.WouldBlock:
                self._parked += 1
                try:
                    job = await self._receive.receive()
                finally:
                    self._parked -= 1
                    self._least_parked = min(self._least_parked, self._parked)
            if job is None:
                # Work may have come since this worker was let go, and then it is counted on unless it is one too many.
                if not self._queued or self.workers > self.limit:
                    return None
            elif job.state == _OPEN:
                return job
            else:
                self._dead -= 1

    async def _do(self, job: Job, worker: _Worker) -> None:
        self._queued -= 1
        job.worker = worker
        try:
            job.taken_at = self._host.now()
            if job.patience is not None:
                job.patience.deadline = math.inf
            job.finish(await job.run(job))
        except Exception as error:  # noqa: BLE001 - handed to the caller unchanged
            job.finish(error=error)
        except BaseException:
            if not job.abandoned:
                job.finish(error=self._cut_off())
            raise
        finally:
            # A late abandon must not cancel what the worker does next.
            job.worker = None
            self._leave(job)

    async def _sweep(self) -> None:
        """Let idle workers and connections go. One task per pool, which ends when there is nothing left to watch."""
        pause = min(self.config.worker_idle, self.config.connections.idle)
        waited = 0.0
        self._least_parked = 0
        try:
            while self.workers or self.connections.idle:
                await anyio.sleep(pause)
                await self.connections.retire_idle()
                waited += pause
                if waited >= self.config.worker_idle:
                    waited = 0.0
                    self._retire_workers()
        finally:
            self._swept = False

    def _retire_workers(self) -> None:
        """Let as many workers go as were parked all the time since the last look."""
        unneeded = min(self._least_parked, self._parked - self._queued - self._dead)
        for _ in range(unneeded):
            self._send.send_nowait(None)
        self._least_parked = self._parked - max(unneeded, 0)
