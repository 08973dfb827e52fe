"""The queue and the workers of one provider. Nothing is shared with other providers.

A caller passes the gates, which count live callers, and queues a job. The queue is ordered by the arrival of the calls,
so a job that returns (because its provider changed, or no key was ready) keeps its position. Exactly one side completes
a job: the worker that finishes it, or the caller that abandons it.
"""

from __future__ import annotations

import math
from collections import deque
from copy import copy
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.lowlevel

from bifrost.engine.pool.gate import Gate
from bifrost.errors import BifrostError, InternalError, QueueFullError, ShuttingDownError
from bifrost.event_loop import guarded
from bifrost.routing.balance import Load
from bifrost.telemetry.records import QueueFull

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from anyio.abc import TaskGroup

    from bifrost.config import ProviderConfig
    from bifrost.engine.host import Host
    from bifrost.engine.pool.connections import Connections
    from bifrost.event_loop import Signal


ErrorT = TypeVar("ErrorT", bound=Exception)


def own(error: ErrorT) -> ErrorT:
    """Return a copy of an error for one of several callers, so that each may add to its own."""
    copied = copy(error)
    copied.__cause__ = error.__cause__
    return copied


class Replaced(Exception):  # noqa: N818 - it tells a caller to move on, and no user ever sees it
    """The pool accepts no more jobs and was replaced. A job that no worker has taken goes to the new pool."""


_OPEN, _CLAIMED, _ABANDONED = range(3)
_ABANDONED_KEPT = 64
"""The most abandoned jobs before they are removed from the queue."""
_CLOSE_LIMIT = 3.0
"""How long closing a pool's connections may take, in seconds."""


class Job:
    """One attempt in a pool: the work, and its outcome.

    A worker calls `run` with the job. It may call `finish` early and continue, which is how a stream is handed over.
    """

    __slots__ = (
        "admitted",
        "done",
        "error",
        "is_stream",
        "order",
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
        """The subject of the job, for its worker only."""
        self.is_stream = is_stream
        self.done = done
        self.order: int | None = None
        """Its position in the queue: the lowest number is taken first. Set when it is first submitted."""
        self.admitted = False
        """Whether it was in a queue, so that no gate delays it when it returns."""
        self.state = _OPEN
        self.result: Any = None
        self.error: BaseException | None = None
        self.worker: _Worker | None = None
        self.taken_at: float | None = None
        self.place = False
        self.patience: anyio.CancelScope | None = None
        """The scope with the deadline of `queue_timeout`, which is removed when a worker takes the job."""

    @property
    def finished(self) -> bool:
        """Whether the outcome was handed over."""
        return self.state == _CLAIMED

    @property
    def abandoned(self) -> bool:
        """Whether the caller has left, so that the outcome is not needed."""
        return self.state == _ABANDONED

    def again(self, run: Callable[[Job], Awaitable[Any]], subject: Any, *, done: Signal) -> Job:
        """Return a new job for the same attempt, at the same position of the queue."""
        job = Job(run, subject, done=done, is_stream=self.is_stream)
        job.order, job.admitted = self.order, self.admitted
        return job

    def empty(self) -> None:
        """Drop all references, so that an abandoned job in the queue does not keep objects of its call alive."""
        self.run = _nothing
        self.subject = None

    def finish(self, result: Any = None, error: BaseException | None = None) -> bool:
        """Hand the outcome over. Returns `False` if the caller has left or there is an outcome already."""
        if self.state != _OPEN:
            return False
        self.state = _CLAIMED
        self.result = result
        self.error = error
        self.done.set()
        return True


async def _nothing(_job: Job) -> None:
    """Do nothing: this is the work of an abandoned job."""


class _Worker:
    __slots__ = ("let_go", "scope", "wake")

    def __init__(self) -> None:
        self.scope: anyio.CancelScope | None = None
        self.wake: Signal | None = None
        """What an idle worker waits for."""
        self.let_go = False
        """Whether it was woken to end, unless there is work."""


class Pool:
    """The workers of a provider, which are started on demand up to `limit` and end when they are idle."""

    def __init__(self, provider: str, config: ProviderConfig, host: Host, connections: Connections) -> None:
        self.provider = provider
        self.config = config
        self.connections = connections
        self.limit = config.concurrency
        """The most jobs that run at once."""
        self.workers = 0
        self.worker_restarts = 0
        self._host = host
        self.started = False
        """Whether workers can be started, as far as is known: it may be closed again."""
        self._group: TaskGroup | None = None
        self._ready = anyio.Event()
        self._idle: deque[_Worker] = deque()
        """Idle workers; the last one is woken first."""
        self._least_idle = 0
        """The fewest idle workers since the last check: they were not needed."""
        self._waking = 0
        """Workers that were started or woken and have not looked for a job yet."""
        self._plain: list[tuple[int, Job]] = []
        self._streams: list[tuple[int, Job]] = []
        # Both are heaps. They may contain abandoned jobs, which are dropped when they reach the top.
        self._queued = 0
        self._queued_streams = 0
        self._running_streams = 0
        self._dead = 0
        self._closing: BifrostError | Replaced | None = None
        self._over = anyio.Event()
        self._emptied: anyio.Event | None = None
        """Set when the last worker has ended."""
        self._started = False
        self._swept = False
        self._jobs: dict[Job, None] = {}
        """The jobs that hold a place, queued or running."""
        places, self._stream_limit, stream_places = self._places()
        self._system = Gate(places)
        self._stream_system = Gate(stream_places)
        """Streams may use only their share of the queue."""

    @property
    def is_open(self) -> bool:
        """Whether jobs are accepted."""
        return self._closing is None and self._group is not None

    @property
    def in_flight(self) -> int:
        """Jobs that workers are busy with, and whose callers have not left."""
        return len(self._jobs) - self._queued

    @property
    def queued(self) -> int:
        """Live callers whose job no worker has taken."""
        return self._queued

    @property
    def waiting(self) -> int:
        """All callers that wait, for a worker or for a place in the queue."""
        return self._queued + self._system.waiting + self._stream_system.waiting

    def _places(self) -> tuple[int, int, int]:
        """Return the most callers, the most streams with a worker, and the most streams."""
        config = self.config
        streams = max(1, int(self.limit * config.stream_share))
        return self.limit + config.queue, streams, streams + int(config.queue * config.stream_share)

    def load(self, *, is_stream: bool) -> Load:
        """Return the load of this provider for a further call or stream."""
        busy, capacity = self.in_flight + self.waiting, self.limit
        no_stream = is_stream and self._running_streams + self._queued_streams >= self._stream_limit
        return Load(busy=busy, capacity=capacity, is_full=busy >= capacity or no_stream)

    async def start(self) -> None:
        """Start the pool's task group in the client's host task, if it is not running."""
        if self._group is None:
            if not self._started and self._host.alive:
                self._started = True
                self._host.run(self._own)
            if self._started:
                await self._ready.wait()

    async def _own(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                self.started = True
                self._ready.set()
                try:
                    await anyio.sleep_forever()
                finally:
                    # At once: while the workers end, callers whose turn comes must not start others.
                    self.refuse_all(ShuttingDownError(f"{self.provider}: the client is being closed"))
        finally:
            self._ready.set()
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLOSE_LIMIT):
                await self.connections.close()
            self._over.set()

    async def ended(self) -> None:
        """Wait until everything has ended, if it was started."""
        if self._started:
            await self._over.wait()

    @property
    def has_room(self) -> bool:
        """Whether a worker would take another job at once."""
        busy = self.in_flight + self.waiting
        is_open = self._closing is None and self._group is not None
        return is_open and busy < self.limit and self._system.held < self._system.capacity

    def put(self, job: Job) -> None:
        """Queue a job for which there is room. The caller waits for it, or abandons it."""
        job.order = next(self._host.orders)
        self._system.try_enter()
        self._enqueue(job)

    async def submit(self, job: Job, watch: Callable[[Job], Awaitable[None]] | None = None) -> Any:
        """Queue a job and wait for its outcome, in the caller's task and within its deadline.

        `watch` may implement the waiting: it returns when the job is finished; if it raises, the job is abandoned.

        Raises the error of the job; `QueueFullError` if there is no place (`on_full="drop"`), or no worker took the job
        within `queue_timeout`; `ShuttingDownError`; `Replaced` if another pool has replaced this one. When the caller
        is cancelled, its place is free at once and its attempt is cancelled.
        """
        if self._closing is not None or self._group is None:
            raise self._refusal()
        if job.order is None:
            job.order = next(self._host.orders)
        if self.config.queue_timeout is not None and job.patience is None:
            return await self._submit_in_time(job, self.config.queue_timeout, watch)
        if job.admitted:
            self._return(job)
        elif job.is_stream:
            await self._enter_as_stream(job)
        elif not self._system.try_enter():
            await self._wait_for_place(self._system, job)
        self._enqueue(job)
        try:
            await (job.done if watch is None else watch(job))
        except BaseException:
            self.abandon(job)
            raise
        if job.error is not None:
            raise job.error
        return job.result

    def abandon(self, job: Job) -> None:
        """Abandon a job: its place is free at once, and its attempt is cancelled. A finished job is not changed."""
        if job.state == _OPEN:
            job.state = _ABANDONED
            if job.worker is not None and job.worker.scope is not None:
                job.worker.scope.cancel()
                self.leave(job)
            elif job.place:
                self._withdraw(job)
        elif job.is_stream and job.result is not None:
            # The stream was handed over just as its caller left.
            job.result.release()

    def leave(self, job: Job) -> None:
        """Free the place of a job whose caller needs nothing more. Its worker may still have to clean up."""
        if not job.place:
            return
        job.place = False
        self._jobs.pop(job, None)
        if job.is_stream:
            self._stream_system.leave()
        self._system.leave()

    def resize(self, config: ProviderConfig, *, limit: int) -> None:
        """Use other settings and another limit.

        Waiting callers continue to wait, and surplus workers end after their job.
        """
        self.config = config
        self.limit = limit
        places, self._stream_limit, stream_places = self._places()
        self._system.resize(places)
        self._stream_system.resize(stream_places)
        if self._group is None or self._closing is not None:
            return
        self._wake()
        self._let_go(self.workers - limit)

    async def retire(self, *, drain: float) -> None:
        """Wait up to `drain` seconds for the running jobs, then end. The queue must have been refused before."""
        if not self._started:
            return
        await self._ready.wait()
        self._let_go(self.workers)
        with anyio.move_on_after(drain):
            while self.workers:
                self._emptied = anyio.Event()
                await self._emptied.wait()
        if self._group is not None:
            self._group.cancel_scope.cancel()
        await self.ended()

    def refuse_all(self, error: BifrostError) -> None:
        """Fail all callers with an error, and accept no more jobs.

        It is synchronous, because the event loop may be ending.
        """
        self.refuse_queued(error)
        for job in self._jobs:
            job.finish(error=self._cut_off())

    def refuse_queued(self, error: BifrostError | Replaced) -> None:
        """Accept no more jobs, and fail those that no worker has taken. Running jobs continue."""
        if self._closing is None:
            self._closing = error
        for gate in (self._stream_system, self._system):
            gate.turn_away()
        for job in list(self._jobs):
            if job.worker is None and job.finish(error=self._refusal()):
                self._withdraw(job)

    def _refusal(self) -> Exception:
        if self._closing is None:
            return ShuttingDownError(f"{self.provider}: the client is not running")
        return own(self._closing)

    def _cut_off(self) -> Exception:
        """Return the error for a running job: it may have been sent, so it does not move to another pool."""
        if isinstance(self._closing, BifrostError):
            return self._refusal()
        return ShuttingDownError(
            f"{self.provider} was changed while this call ran, and the call was not done in time",
            provider=self.provider,
        )

    async def _submit_in_time(self, job: Job, seconds: float, watch: Callable[[Job], Awaitable[None]] | None) -> Any:
        with anyio.move_on_after(seconds) as job.patience:
            return await self.submit(job, watch)
        self._report_full(job)
        raise QueueFullError(
            f"{self.provider}: no worker was free within queue_timeout={seconds:g} s", provider=self.provider
        )

    def _return(self, job: Job) -> None:
        """Return a job that was queued before to the queue.

        It is accepted even if the queue is full, since its caller waits in any case.
        """
        if job.is_stream:
            self._stream_system.enter_again()
        self._system.enter_again()

    async def _enter_as_stream(self, job: Job) -> None:
        if not self._stream_system.try_enter():
            await self._wait_for_place(self._stream_system, job)
        try:
            if not self._system.try_enter():
                await self._wait_for_place(self._system, job)
        except BaseException:
            self._stream_system.leave()
            raise

    async def _wait_for_place(self, gate: Gate, job: Job) -> None:
        config = self.config
        if config.on_full == "drop":
            self._report_full(job)
            whose = "" if gate is self._system else f" for streams (stream_share={config.stream_share:g})"
            # A caller that tries again at once must not prevent the workers from running.
            await anyio.lowlevel.checkpoint()
            raise QueueFullError(
                f"{self.provider}: all {self.limit} workers are busy and the queue of {config.queue} is full"
                f'{whose}; send less at once, raise `queue`, or set on_full="wait"',
                provider=self.provider,
            )
        if not await gate.enter(job.order or 0):
            raise self._refusal()
        if self._closing is not None:
            gate.leave()
            raise self._refusal()

    def _report_full(self, job: Job) -> None:
        telemetry, config = self._host.telemetry, self.config
        if telemetry.subscriptions:
            telemetry.emit(
                QueueFull(provider=self.provider, concurrency=self.limit, queue=config.queue, is_stream=job.is_stream)
            )

    def _enqueue(self, job: Job) -> None:
        self._queued += 1
        job.place = job.admitted = True
        self._jobs[job] = None
        queue = self._plain
        if job.is_stream:
            self._queued_streams += 1
            queue = self._streams
        heappush(queue, (job.order or 0, job))
        self._wake()

    def _wake(self) -> None:
        """Ensure that as many workers as there are jobs are about to look for one, within the limit."""
        streams = self._queued_streams
        takeable = self._queued - streams
        if streams:
            takeable += min(streams, max(0, self._stream_limit - self._running_streams))
        while self._waking < takeable:
            if self._idle:
                worker = self._idle.pop()
                self._least_idle = min(self._least_idle, len(self._idle))
                self._waking += 1
                if worker.wake is not None:
                    worker.wake.set()
            elif self.workers < self.limit:
                self._waking += 1
                self._start_worker()
            else:
                return

    def _let_go(self, count: int) -> None:
        """Wake idle workers to end, those that were idle for longest."""
        for _ in range(min(count, len(self._idle))):
            worker = self._idle.popleft()
            worker.let_go = True
            self._waking += 1
            if worker.wake is not None:
                worker.wake.set()

    def _take(self) -> Job | None:
        """Remove the first job from the queue: the earliest one, but a stream only within the streams' share."""
        while True:
            streams = self._streams if self._running_streams < self._stream_limit else None
            if streams and (not self._plain or streams[0][0] < self._plain[0][0]):
                job = heappop(streams)[1]
            elif self._plain:
                job = heappop(self._plain)[1]
            else:
                return None
            if job.state == _OPEN:
                self._queued -= 1
                if job.is_stream:
                    self._queued_streams -= 1
                return job
            self._dead -= 1

    def _withdraw(self, job: Job) -> None:
        """Free a queued job's place at once. The abandoned job stays in the queue until it reaches the top."""
        self._queued -= 1
        if job.is_stream:
            self._queued_streams -= 1
        self._dead += 1
        self.leave(job)
        job.empty()
        if self._dead > _ABANDONED_KEPT and self._dead > self._queued:
            for queue in (self._plain, self._streams):
                queue[:] = [entry for entry in queue if entry[1].state == _OPEN]
                heapify(queue)
            self._dead = 0

    def _start_worker(self) -> None:
        self.workers += 1
        self._run(self._work)
        if not self._swept:
            self._swept = True
            self._run(self._sweep)

    def _run(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task of this pool in an empty context, because any call may happen to start a worker."""
        if self._group is None:
            raise InternalError(f"{self.provider}: a worker was wanted before the pool was started")
        self._host.context.copy().run(self._group.start_soon, guarded(function))

    async def _work(self) -> None:
        """Run one job after another.

        If the worker's own code fails, its job has an outcome, and the worker starts again.
        """
        worker = _Worker()
        self._waking -= 1
        try:
            while True:
                try:
                    # One long-lived scope, renewed only after a cancellation: abandoning a job cancels the worker's
                    # current work.
                    with anyio.CancelScope() as scope:
                        worker.scope = scope
                        while not scope.cancel_called and self.workers <= self.limit:
                            # An idle worker must not keep its last job alive.
                            job = None
                            job = await self._next(worker)
                            if job is None:
                                return
                            await self._do(job, worker)
                except Exception:  # noqa: BLE001 - no error may end the pool
                    self.worker_restarts += 1
                job = None
                if self.workers > self.limit:
                    return
        finally:
            self.workers -= 1
            if not self.workers and self._emptied is not None:
                self._emptied.set()

    async def _next(self, worker: _Worker) -> Job | None:
        """Wait for the next job; `None` if the worker is to end."""
        while True:
            job = self._take()
            if job is not None:
                return job
            if worker.let_go or self._closing is not None or self.workers > self.limit:
                return None
            worker.wake = self._host.signal()
            self._idle.append(worker)
            try:
                await worker.wake
            except BaseException:
                if worker in self._idle:
                    self._idle.remove(worker)
                raise
            self._waking -= 1
            if self.workers > self.limit:
                return None

    async def _do(self, job: Job, worker: _Worker) -> None:
        job.worker = worker
        if job.is_stream:
            self._running_streams += 1
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
            # A late abandonment must not cancel the worker's next job.
            job.worker = None
            self.leave(job)
            if job.is_stream:
                self._running_streams -= 1

    async def _sweep(self) -> None:
        """End idle workers and connections.

        There is one such task per pool, which ends when there is nothing left to check.
        """
        pause = min(self.config.worker_idle, self.config.connections.idle)
        waited = 0.0
        self._least_idle = 0
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
        """End as many workers as were idle since the last check."""
        self._let_go(self._least_idle)
        self._least_idle = len(self._idle)
