"""The client's host task, and the little that only an event loop can do: the one file of the core that names them.

No task group or cancel scope may be entered in a caller's task, because a client is opened in one task and closed in
another (fixtures, notebook cells, ASGI life spans). So one detached task owns everything that runs.
"""

from __future__ import annotations

import os
import sys
from contextvars import Context
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, cast
from weakref import WeakMethod

import anyio

from bifrost.errors import ForkedClientError, InternalError, WrongLoopError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

_CLOSE_LIMIT = 5.0
"""How long the end of the host's tasks is waited for, in seconds."""


class Signal(Protocol):
    """An event that one task waits for, once. An anyio event would do; each call in flight would be 1 KiB larger."""

    def set(self) -> None:
        """Wake the task that waits, or the one that will. Any number of times."""
        ...

    def wait(self) -> Awaitable[Any]:
        """Wait until it is set."""
        ...


class Host:
    """Owns a task group in a task of its own. `failure` holds what ended it early, if anything did.

    `setup` runs in that task before others may be started; `on_end` is called at its end, however that came about.
    Both are bound methods and held weakly, so that a client that nobody uses any more can be collected. Tasks run in
    copies of an empty context: the variables of whoever opened the client, its spans and tenants, are not theirs.
    """

    def __init__(self, *, setup: Callable[[], Awaitable[None]], on_end: Callable[[Host], None]) -> None:
        self._setup = WeakMethod(setup)
        self._on_end = WeakMethod(on_end)
        self._ready = anyio.Event()
        self._ended = anyio.Event()
        self._stopping = False
        self._group: Any = None
        self._task: Any = None
        self._loop: Any = None
        self._pid = os.getpid()
        self.signal: Callable[[], Signal] = anyio.Event
        self.scope: Callable[..., anyio.CancelScope] = anyio.CancelScope
        """anyio's class for this loop: asked for by its common name, anyio looks for the loop each time."""
        self._current: Callable[[], Any] = running_loop
        self.orders = count()
        """Numbers for the jobs of all queues, in the order in which they came."""
        self._over = False
        self.alive = False
        """Tasks can be started."""
        self.context = Context()
        """Workers run in copies of it, never in anybody's own."""
        self.failure: BaseException | None = None
        self.now: Callable[[], float] = anyio.current_time
        """The loop's own clock, in seconds: what deadlines go by."""

    @property
    def is_parents(self) -> bool:
        """Say whether this is a child of the process that started the host."""
        return self._pid != os.getpid()

    @property
    def ended(self) -> bool:
        """Say whether the host's task is over, also when its event loop was closed without ending it."""
        return self._over or _loop_closed(self._loop)

    def start(self) -> None:
        """Start the host's task on the running loop. `ready` must be awaited before tasks are started."""
        self._loop = running_loop()
        self.now, self._current, self.signal = _native(self._loop)
        self.scope = type(anyio.CancelScope())
        _adapt(self.context)
        self._task = _spawn(self._own, self.context)

    async def ready(self) -> None:
        """Wait until tasks can be started."""
        await self._ready.wait()

    def run(
        self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any, context: Context | None = None
    ) -> None:
        """Start a task of the host in a context that is nobody's, or in a copy of this one."""
        if not self.alive:
            raise InternalError("a task was started on a host that is not running")
        (context or self.context).copy().run(self._group.start_soon, guarded(function), *args)

    def here(self) -> bool:
        """Say whether the host runs, and on the running loop of this process."""
        if not self.alive or self._pid != os.getpid():
            return False
        try:
            return self._current() is self._loop
        except RuntimeError:
            return False

    def check(self) -> None:
        """Refuse use from a forked child or from another event loop.

        Raises `ForkedClientError`, `WrongLoopError`.
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
        """Call a function on the host's loop, from any thread and from finalisers. A loop that is gone is no error.

        In a forked child nothing happens: the loop, and the pipe that wakes it, are the parent's.
        """
        if self._pid != os.getpid():
            return
        try:
            if _is_trio(self._loop):
                self._loop.run_sync_soon(function, *args)
            else:
                self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return

    def request_stop(self) -> None:
        """Ask every task to end, without waiting; on the host's loop."""
        self._stopping = True
        self.alive = False
        if self._group is not None:
            self._group.cancel_scope.cancel()

    async def stop(self) -> None:
        """End every task and wait for their end, briefly. Callable from any task of the loop, any number of times."""
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


def _single(error: Exception) -> Exception:
    """Unwrap the group that a task group makes of one error."""
    if not isinstance(error, ExceptionGroup):
        return error
    inner = cast("ExceptionGroup[Exception]", error).exceptions
    return _single(inner[0]) if len(inner) == 1 else cast("Exception", error)


def running_loop() -> Any:
    """Give what identifies the running event loop: asyncio's loop, or trio's token."""
    if on_trio():
        import trio

        return trio.lowlevel.current_trio_token()
    import asyncio

    return asyncio.get_running_loop()


def _native(loop: Any) -> tuple[Callable[[], float], Callable[[], Any], Callable[[], Signal]]:
    """Give the loop's clock, what tells the running loop from others, and its signals."""
    if _is_trio(loop):
        import trio

        clock, token = trio.lowlevel.current_clock().current_time, trio.lowlevel.current_trio_token
        return clock, token, partial(_TrioSignal, trio.lowlevel)
    import asyncio

    return loop.time, asyncio.get_running_loop, partial(_AsyncioSignal, loop)


class _AsyncioSignal:
    __slots__ = ("_future",)

    def __init__(self, loop: Any) -> None:
        self._future = loop.create_future()

    def set(self) -> None:
        # Done before: it was set, or its task was cancelled while it waited.
        if not self._future.done():
            self._future.set_result(None)

    def wait(self) -> Awaitable[None]:
        future: Awaitable[None] = self._future
        return future


class _TrioSignal:
    __slots__ = ("_is_set", "_task", "_trio")

    def __init__(self, lowlevel: Any) -> None:
        self._trio = lowlevel
        self._task: Any = None
        self._is_set = False

    def set(self) -> None:
        self._is_set = True
        task, self._task = self._task, None
        if task is not None:
            self._trio.reschedule(task)

    async def wait(self) -> None:
        if self._is_set:
            await self._trio.checkpoint()
            return
        self._task = self._trio.current_task()
        await self._trio.wait_task_rescheduled(self._leave)

    def _leave(self, _raise_cancel: object) -> Any:
        self._task = None
        return self._trio.Abort.SUCCEEDED


def guarded(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Let Ctrl-C pass a worker by on trio, where children of a system task must not be hit by it."""
    if not on_trio():
        return function
    import trio

    return trio.lowlevel.enable_ki_protection(function)


def spawn(function: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Start a task that belongs to nobody, in an empty context: for a transport that is used without a client."""
    _spawn(function, Context())


def _spawn(function: Callable[[], Coroutine[Any, Any, Any]], context: Context) -> Any:
    if on_trio():
        import trio

        return trio.lowlevel.spawn_system_task(guarded(function), context=context)
    import asyncio

    return asyncio.get_running_loop().create_task(function(), context=context)


def _adapt(context: Context) -> None:
    """Say in a context which event loop it runs on."""
    sniffio: Any = sys.modules.get("sniffio")
    if sniffio is not None:
        context.run(sniffio.current_async_library_cvar.set, "trio" if on_trio() else "asyncio")


def is_stray(error: BaseException) -> bool:
    """Say of what foreign code raised that it is a cancellation, and that nobody has cancelled the present task.

    On asyncio it comes out of whatever was waited for and was itself cancelled. A worker must not take it for its own.
    """
    if on_trio():
        return False
    import asyncio

    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()


def on_trio() -> bool:
    """Say whether trio runs the present task."""
    trio: Any = sys.modules.get("trio")
    # Others import trio too, in versions that are too old for anyio and so run nothing of ours.
    asked = getattr(getattr(trio, "lowlevel", None), "in_trio_task", None)
    return asked is not None and bool(asked())


def _is_trio(loop: Any) -> bool:
    return hasattr(loop, "run_sync_soon")


def _loop_closed(loop: Any) -> bool:
    return loop is not None and not _is_trio(loop) and bool(loop.is_closed())
