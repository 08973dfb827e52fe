"""What differs between asyncio and trio and anyio does not cover.

Only this file, the transport's wires, `sync` and the test kit name an event loop.
"""

from __future__ import annotations

import sys
from contextvars import Context
from functools import cache, partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator


class Signal(Protocol):
    """An event for which a single task waits, once.

    An `anyio.Event` would work as well, but costs 1 KiB per call in flight.
    """

    def set(self) -> None:
        """Wake the task that waits, now or later. Further calls have no effect."""
        ...

    def __await__(self) -> Generator[Any, Any, Any]:
        """Wait until it is set."""
        ...


def running_loop() -> Any:
    """Return an object that identifies the running event loop: asyncio's loop, or trio's token."""
    if on_trio():
        import trio

        return trio.lowlevel.current_trio_token()
    import asyncio

    return asyncio.get_running_loop()


def native(loop: Any) -> tuple[Callable[[], float], Callable[[], Any], Callable[[], Signal]]:
    """Return three functions of a loop: its clock, one that identifies the running loop, and one that makes signals."""
    if is_trio(loop):
        import trio

        clock, token = trio.lowlevel.current_clock().current_time, trio.lowlevel.current_trio_token
        return clock, token, partial(_TrioSignal, trio.lowlevel)
    import asyncio

    # asyncio's own loops have the clock of the system, and look at it through one call more.
    is_own = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
    return monotonic if is_own else loop.time, asyncio.get_running_loop, partial(_asyncio_signal(), loop=loop)


@cache
def _asyncio_signal() -> Callable[..., Signal]:
    """Return asyncio's future as a signal: nothing of it but `set` runs in Python."""
    import asyncio

    class AsyncioSignal(asyncio.Future[None]):
        __slots__ = ()

        def set(self) -> None:
            # It is done if it was set before, or if its task was cancelled while waiting.
            if not self.done():
                self.set_result(None)

    return AsyncioSignal


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

    def __await__(self) -> Generator[Any, Any, Any]:
        steps: Coroutine[Any, Any, Any]
        if self._is_set:
            steps = self._trio.checkpoint()
        else:
            self._task = self._trio.current_task()
            steps = self._trio.wait_task_rescheduled(self._leave)
        return steps.__await__()

    def _leave(self, _raise_cancel: object) -> Any:
        self._task = None
        return self._trio.Abort.SUCCEEDED


def guarded(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Protect a worker from Ctrl-C on trio, whose system tasks must not receive `KeyboardInterrupt`."""
    if not on_trio():
        return function
    import trio

    return trio.lowlevel.enable_ki_protection(function)


def spawn(function: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Start a task without a parent, in an empty context, for a transport that is used without a client."""
    spawn_in(function, Context())


def spawn_in(function: Callable[[], Coroutine[Any, Any, Any]], context: Context) -> Any:
    """Start a task without a parent, in a context. Returns the loop's own task object."""
    if on_trio():
        import trio

        return trio.lowlevel.spawn_system_task(guarded(function), context=context)
    import asyncio

    return asyncio.get_running_loop().create_task(function(), context=context)


def tell_sniffio(context: Context) -> None:
    """Set sniffio's variable in a context to the name of the running event loop."""
    sniffio: Any = sys.modules.get("sniffio")
    if sniffio is not None:
        context.run(sniffio.current_async_library_cvar.set, "trio" if on_trio() else "asyncio")


def is_stray(error: BaseException) -> bool:
    """Return whether an error raised by foreign code is a cancellation although the current task was not cancelled.

    On asyncio it comes from an awaited object that was itself cancelled. A worker must not treat it as its own
    cancellation.
    """
    if on_trio():
        return False
    import asyncio

    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()


def on_trio() -> bool:
    """Return whether trio runs the current task."""
    trio: Any = sys.modules.get("trio")
    # Other libraries import trio, too, possibly in a version that anyio does not support and that cannot run our code.
    in_trio_task = getattr(getattr(trio, "lowlevel", None), "in_trio_task", None)
    return in_trio_task is not None and bool(in_trio_task())


def is_trio(loop: Any) -> bool:
    """Return whether a loop identity, as returned by `running_loop`, is trio's token."""
    return hasattr(loop, "run_sync_soon")


def is_closed(loop: Any) -> bool:
    """Return whether a loop identity, as returned by `running_loop`, is a closed asyncio loop."""
    return loop is not None and not is_trio(loop) and bool(loop.is_closed())
