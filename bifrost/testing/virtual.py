"""Virtual time on both event loops: when nobody can go on, the clock jumps to the next timer.

A test that waits for ten minutes takes none, and one in which nobody will ever go on fails at once instead of hanging.
Sockets are looked at before the clock jumps; threads and other processes are not waited for.
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
"""How long, in real seconds, a thread or a socket may still wake somebody before it is called a deadlock."""


_RESOLUTION = time.get_clock_info("monotonic").resolution

_DAY = 24.0 * 3600
"""asyncio waits for no longer at once."""


class DeadlockError(AssertionError):
    """Nothing is left that could happen: every task waits, and no timer is set."""

    def __init__(self) -> None:
        super().__init__(
            "a deadlock: every task waits for something that nothing is left to bring about, and no timer is set"
        )


def run_virtual(function: Callable[..., Awaitable[T]], *args: Any, backend: Backend = "asyncio") -> T:
    """Run an async function in virtual time, from its beginning at 0, and give what it returns.

        def test_gives_up_after_ten_minutes(bifrost_mock):
            bifrost_mock.hang()
            with pytest.raises(CallTimeoutError):
                run_virtual(greet)  # takes no time

    Raises `DeadlockError` when nothing is left that could happen.
    """
    options = dict(virtual_backends())[backend]
    try:
        return anyio.run(function, *args, backend=backend, backend_options=options)
    except BaseException:
        if not any(watch.deadlocked for watch in options.get("instruments", ())):
            raise
    raise DeadlockError


def virtual_backends() -> list[tuple[Backend, dict[str, Any]]]:
    """Give both event loops with virtual time, for the fixture `anyio_backend` of anyio's pytest plugin.

        @pytest.fixture(params=virtual_backends(), ids=lambda backend: backend[0])
        def anyio_backend(request):
            return request.param

    Where trio is not installed there is asyncio alone.
    """
    both: list[tuple[Backend, dict[str, Any]]] = [("asyncio", {"loop_factory": VirtualLoop})]
    if find_spec("trio") is not None:
        import trio.testing

        both.append(("trio", {"clock": trio.testing.MockClock(autojump_threshold=0), "instruments": [_Watch()]}))
    return both


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose clock starts at 0 and jumps: a `loop_factory` for `asyncio.Runner` and the like."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Give the virtual time, in seconds since the loop was made."""
        return self._virtual.now

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule a callback. One that would come at the end of all time never comes, and no clock jumps to it."""
        if when == math.inf:
            return asyncio.TimerHandle(when, callback, args, self, context)
        handle = super().call_at(when, callback, *args, context=context)
        if when - self._virtual.now > _DAY:
            self._virtual.far.append(handle)
        return handle

    def advance(self, seconds: float) -> None:
        """Let time pass by itself, as on a machine that was asleep."""
        self._virtual.now += seconds


class _Selector(selectors.DefaultSelector):
    """Never waits: tells the loop how far time has moved on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.far: list[asyncio.TimerHandle] = []
        """Timers that are further off than the loop ever asks to wait for."""

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
            # So late that the loop, which runs what is due before the next tick, would see no next tick.
            self.now = math.nextafter(self.now, math.inf)
        return events

    def _earliest(self) -> float:
        """Return when the first of the timers comes that are far off."""
        self.far = [timer for timer in self.far if not timer.cancelled() and timer.when() > self.now]
        return min((timer.when() for timer in self.far), default=self.now + _DAY)


class _Watch:
    """An observer of trio's steps: ends a run in which nothing is left to happen.

    trio's own clock for tests would turn for ever. It is ended by cancelling: what an observer raises is not heard.
    """

    def __init__(self) -> None:
        self.deadlocked = False
        self._since: float | None = None
        """When it became still, in real seconds."""

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
            # The innermost of the root's nurseries is the one with what was asked to run.
            nursery = lowlevel.current_root_task().child_nurseries[-1]
            nursery.cancel_scope.cancel(reason=str(DeadlockError()))


def _is_still(statistics: Any) -> bool:
    return bool(statistics.tasks_runnable == 0 and statistics.seconds_to_next_deadline == math.inf)
