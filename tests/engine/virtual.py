"""Virtual time for both event loops: when nobody can go on, the clock jumps to the next timer.

A test that waits for ten minutes takes none, and one in which nobody will ever go on fails at once.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

import trio.testing


class _Selector(selectors.DefaultSelector):
    """Never waits: tells the loop how far time has moved on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            raise AssertionError("nothing is left that could happen: a deadlock")
        self.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock starts at 0 and jumps."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def backends() -> list[tuple[str, dict[str, Any]]]:
    """Give both event loops with virtual time, for the fixture `anyio_backend`."""
    return [
        ("asyncio", {"loop_factory": VirtualLoop}),
        ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}),
    ]
