"""The little that only an event loop can do, for asyncio and trio alike.

Beside the transport's wires, `sync` and the test kit the one file that names them.
"""

from __future__ import annotations

import sys
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine


class Signal(Protocol):
    """An event that one task waits for, once. An anyio event would do; each call in flight would be 1 KiB larger."""

    def set(self) -> None:
        """Wake the task that waits, or the one that will. Any number of times."""
        ...

    def wait(self) -> Awaitable[Any]:
        """Wait until it is set."""
        ...


def running_loop() -> Any:
    """Give what identifies the running event loop: asyncio's loop, or trio's token."""
    if on_trio():
        import trio

        return trio.lowlevel.current_trio_token()
    import asyncio

    return asyncio.get_running_loop()


def native(loop: Any) -> tuple[Callable[[], float], Callable[[], Any], Callable[[], Signal]]:
    """Give the loop's clock, what tells the running loop from others, and its signals."""
    if is_trio(loop):
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
    spawn_in(function, Context())


def spawn_in(function: Callable[[], Coroutine[Any, Any, Any]], context: Context) -> Any:
    """Start a task that belongs to nobody, in a context. Returns the loop's own task object."""
    if on_trio():
        import trio

        return trio.lowlevel.spawn_system_task(guarded(function), context=context)
    import asyncio

    return asyncio.get_running_loop().create_task(function(), context=context)


def tell_sniffio(context: Context) -> None:
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


def is_trio(loop: Any) -> bool:
    """Return whether this, from `running_loop`, is a token of trio."""
    return hasattr(loop, "run_sync_soon")


def is_closed(loop: Any) -> bool:
    """Return whether this, from `running_loop`, is a loop of asyncio that was closed."""
    return loop is not None and not is_trio(loop) and bool(loop.is_closed())
