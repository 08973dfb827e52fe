"""Virtual time on both event loops: when all tasks wait, the clock jumps to the next timer.

A test that waits for ten minutes takes no time, and a test in which all tasks wait forever fails at once instead of
hanging. Sockets are checked before the clock jumps; threads and other processes are not awaited.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, TypeVarTuple, Unpack

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context

Backend: TypeAlias = Literal["asyncio", "trio"]
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_PATIENCE = 0.25
"""How long, in real seconds, a thread or a socket may still wake a task before the run counts as deadlocked."""


_RESOLUTION = time.get_clock_info("monotonic").resolution

_DAY = 24.0 * 3600
"""The longest time that asyncio waits at once."""


class DeadlockError(AssertionError):
    """All tasks wait, and no timer is set."""

    def __init__(self) -> None:
        super().__init__("a deadlock: all tasks wait, and no timer is set")


def run_virtual(function: Callable[..., Awaitable[T]], *args: Any, backend: Backend = "asyncio") -> T:
    """Run an async function in virtual time, which starts at 0, and return its result.

        def test_gives_up_after_ten_minutes(bifrost_mock):
            bifrost_mock.hang()
            with pytest.raises(CallTimeoutError):
                run_virtual(greet)  # takes no time

    Raises `DeadlockError` if all tasks wait and no timer is set.
    """
    options = dict(virtual_backends())[backend]
    try:
        return anyio.run(function, *args, backend=backend, backend_options=options)
    except BaseException:
        if not any(watch.deadlocked for watch in options.get("instruments", ())):
            raise
    raise DeadlockError


def virtual_backends() -> list[tuple[Backend, dict[str, Any]]]:
    """Return both event loops with virtual time, for the fixture `anyio_backend` of anyio's pytest plugin.

        @pytest.fixture(params=virtual_backends(), ids=lambda backend: backend[0])
        def anyio_backend(request):
            return request.param

    Without trio, the list has asyncio only.
    """
    both: list[tuple[Backend, dict[str, Any]]] = [("asyncio", {"loop_factory": VirtualLoop})]
    if find_spec("trio") is not None:
        import trio.testing

        both.append(("trio", {"clock": trio.testing.MockClock(autojump_threshold=0), "instruments": [_Watch()]}))
    return both


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose clock starts at 0 and jumps, as a `loop_factory` for `asyncio.Runner` for example."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual time, in seconds since the loop was made."""
        return self._virtual.now

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule a callback. A callback at infinity is never called, and the clock does not jump to it."""
        if when == math.inf:
            return asyncio.TimerHandle(when, callback, args, self, context)
        handle = super().call_at(when, callback, *args, context=context)
        if when - self._virtual.now > _DAY:
            self._virtual.far.append(handle)
        return handle

    def advance(self, seconds: float) -> None:
        """Advance the clock without running timers, as on a machine that was asleep."""
        self._virtual.now += seconds


class _Selector(selectors.DefaultSelector):
    """Never waits: it advances the loop's clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.far: list[asyncio.TimerHandle] = []
        """Timers that are later than the longest wait of the loop."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            if events := super().select(_PATIENCE):
                return events
            raise DeadlockError
        self.now = self._earliest() if timeout >= _DAY else self.now + timeout
        if self.now + _RESOLUTION == self.now:
            # Late enough that the timer is due, because the loop compares with its resolution.
            self.now = math.nextafter(self.now, math.inf)
        return events

    def _earliest(self) -> float:
        """Return when the first of the late timers is due."""
        self.far = [timer for timer in self.far if not timer.cancelled() and timer.when() > self.now]
        return min((timer.when() for timer in self.far), default=self.now + _DAY)


class _Watch:
    """An instrument of trio that ends a run in which all tasks wait and no timer is set.

    trio's own test clock would run forever. The run is ended by cancellation, because errors of an instrument are
    ignored.
    """

    def __init__(self) -> None:
        self.deadlocked = False
        self._since: float | None = None
        """When all tasks began to wait, in real seconds; `None` if a task is running."""

    def before_run(self) -> None:
        self.deadlocked = False

    def before_task_step(self, _task: Any) -> None:
        self._since = None

    def before_io_wait(self, _timeout: float) -> None:
        lowlevel = sys.modules["trio"].lowlevel
        if self._since is None:
            self._since = time.monotonic()
        elif time.monotonic() - self._since > _PATIENCE and _is_still(lowlevel.current_statistics()):
            self._since = None
            self.deadlocked = True
            # The innermost of the root's nurseries contains the function that was passed to `run`.
            nursery = lowlevel.current_root_task().child_nurseries[-1]
            nursery.cancel_scope.cancel(reason=str(DeadlockError()))


def _is_still(statistics: Any) -> bool:
    return bool(statistics.tasks_runnable == 0 and statistics.seconds_to_next_deadline == math.inf)
