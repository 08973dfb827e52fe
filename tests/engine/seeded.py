"""Runs whose order of tasks is decided by a seed: trio's scheduler with its chance held. No public switch does this."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from trio.testing import MockClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")

_SWITCHES = {"_ALLOW_DETERMINISTIC_SCHEDULING": bool, "_r": object}


def missing_switches() -> list[str]:
    """Tell what this version of trio no longer has of what is needed here."""
    run: Any = trio._core._run
    return [name for name, kind in _SWITCHES.items() if not isinstance(getattr(run, name, None), kind)]


@contextmanager
def ordered_by(seed: int) -> Iterator[None]:
    """Let the seed decide the order in which trio, started inside, takes the tasks that may go on."""
    run: Any = trio._core._run
    allowed, run._ALLOW_DETERMINISTIC_SCHEDULING = run._ALLOW_DETERMINISTIC_SCHEDULING, True
    state = run._r.getstate()
    run._r.seed(seed)
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = allowed
        run._r.setstate(state)


def run_seeded(seed: int, function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run an async function on trio, in virtual time, its tasks taken in an order that the seed decides."""
    with ordered_by(seed):
        return trio.run(function, *args, clock=MockClock(autojump_threshold=0))
