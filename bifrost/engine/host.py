"""The client's host task, the parent of all tasks of a client.

No task group or cancel scope may be entered in a caller's task, because a client may be opened in one task and closed
in another (fixtures, notebook cells, ASGI lifespans). Therefore one separate task owns everything that runs.
"""

from __future__ import annotations

import os
from contextvars import Context
from itertools import count
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakMethod

import anyio

from bifrost.errors import ForkedClientError, InternalError, WrongLoopError
from bifrost.event_loop import guarded, is_closed, is_trio, native, running_loop, spawn_in, tell_sniffio
from bifrost.telemetry.subscribers import Subscribers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from bifrost.event_loop import Signal

_CLOSE_LIMIT = 5.0
"""How long to wait for the end of the host's tasks, in seconds."""


class Host:
    """Owns a task group in its own task. `failure` is the error that ended it early, if there was one.

    `setup` runs in that task before others may be started; `on_end` is called when it ends, for whatever reason. Both
    are bound methods that are referenced weakly, so that an unused client can be collected. Tasks run in copies of an
    empty context, without the context variables (spans, tenants) of the caller that opened the client.
    """

    def __init__(
        self,
        *,
        setup: Callable[[], Awaitable[None]],
        on_end: Callable[[Host], None],
        telemetry: Subscribers | None = None,
    ) -> None:
        self._setup = WeakMethod(setup)
        self._on_end = WeakMethod(on_end)
        self._ready = anyio.Event()
        self._ended = anyio.Event()
        self._stopping = False
        self._group: Any = None
        self._task: Any = None
        self._loop: Any = None
        self._pid = os.getpid()
        self.signal: Callable[[], Signal] = _not_started
        self.scope: Callable[..., anyio.CancelScope] = anyio.CancelScope
        """anyio's class for this event loop: under its common name, anyio determines the event loop each time."""
        self._current: Callable[[], Any] = running_loop
        self.telemetry = telemetry or Subscribers()
        """The subscribers to the records of this client."""
        self.orders = count()
        """Numbers for the jobs of all queues, in order of arrival."""
        self._over = False
        self.alive = False
        """Whether tasks can be started."""
        self.context = Context()
        """Workers run in copies of this context, never in that of a caller."""
        self.failure: BaseException | None = None
        self.now: Callable[[], float] = anyio.current_time
        """The event loop's clock, in seconds, for deadlines."""

    @property
    def is_parents(self) -> bool:
        """Whether this is a child of the process that started the host."""
        return self._pid != os.getpid()

    @property
    def ended(self) -> bool:
        """Whether the host's task has ended, or its event loop was closed without ending it."""
        return self._over or is_closed(self._loop)

    def start(self) -> None:
        """Start the host's task on the running event loop. Await `ready` before starting tasks."""
        self._loop = running_loop()
        self.now, self._current, self.signal = native(self._loop)
        self.scope = type(anyio.CancelScope())
        tell_sniffio(self.context)
        self._task = spawn_in(self._own, self.context)

    async def ready(self) -> None:
        """Wait until tasks can be started."""
        await self._ready.wait()

    def run(
        self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any, context: Context | None = None
    ) -> None:
        """Start a task of the host in a copy of the empty context, or of the given one."""
        if not self.alive:
            raise InternalError("a task was started on a host that is not running")
        (context or self.context).copy().run(self._group.start_soon, guarded(function), *args)

    def here(self) -> bool:
        """Return whether the host is running, and on the running event loop of this process."""
        if not self.alive or self._pid != os.getpid():
            return False
        try:
            return self._current() is self._loop
        except RuntimeError:
            return False

    def check(self) -> None:
        """Refuse use from a forked child or from another event loop.

        Raises `ForkedClientError` and `WrongLoopError`.
        """
        if self._pid != os.getpid():
            raise ForkedClientError(
                "this client was opened before the process forked; its sockets belong to the parent. "
                "Make a client in each worker process (in a post-fork hook, say)"
            )
        if running_loop() is not self._loop:
            raise WrongLoopError(
                "this client belongs to another event loop or thread; make one client per loop, "
                "or use SyncBifrost, which may be called from any thread"
            )

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        """Call a function on the host's event loop, from any thread and from finalizers.

        An ended event loop is ignored.

        In a forked child nothing happens, because the event loop and the pipe that wakes it belong to the parent.
        """
        if self._pid != os.getpid():
            return
        try:
            if is_trio(self._loop):
                self._loop.run_sync_soon(function, *args)
            else:
                self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return

    def request_stop(self) -> None:
        """Cancel all tasks without waiting. It must be called on the host's event loop."""
        self._stopping = True
        self.alive = False
        if self._group is not None:
            self._group.cancel_scope.cancel()

    async def stop(self) -> None:
        """Cancel all tasks and wait briefly for their end. Any task of the event loop may call it repeatedly."""
        self.request_stop()
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLOSE_LIMIT):
            await self._ended.wait()

    async def _own(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                if self._stopping:
                    group.cancel_scope.cancel()
                setup = self._setup()
                if setup is not None:
                    await setup()
                    del setup
                self.alive = True
                self._ready.set()
                try:
                    await anyio.sleep_forever()
                finally:
                    self.alive = False
        except Exception as error:  # noqa: BLE001 - on trio an escape would take the whole run down
            self.failure = _single(error)
        finally:
            self._over = True
            self._ended.set()
            self._ready.set()
            on_end = self._on_end()
            if on_end is not None:
                on_end(self)


def _not_started() -> Signal:
    raise InternalError("a task was to wait on a host that is not running")


def _single(error: Exception) -> Exception:
    """Return the single error of a group that a task group has made."""
    if not isinstance(error, ExceptionGroup):
        return error
    inner = cast("ExceptionGroup[Exception]", error).exceptions
    return _single(inner[0]) if len(inner) == 1 else cast("Exception", error)
