"""How long a client holds the event loop: the CPU time of the loop's thread between two turns of a task that waits.

Not the clock's time: a busy machine makes everything late, and the hostile servers have threads of their own.
"""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

FILE = "BIFROST_HOLDS"
"""The variable that names the file in which holds are written down; without it nothing is measured."""
_BEAT = 0.001


class _Meter:
    """The longest hold so far, while calls are under way."""

    calls = 0
    began = 0.0
    longest = 0.0

    def look(self) -> None:
        """Note the hold that ends now."""
        now = time.thread_time()
        if self.calls:
            self.longest = max(self.longest, now - self.began)
        self.began = now


_METER = _Meter()


@contextmanager
def call_measured() -> Iterator[None]:
    """Measure while a call is under way: what the tests do between calls is not the client's."""
    _METER.look()
    _METER.calls += 1
    try:
        yield
    finally:
        _METER.look()
        _METER.calls -= 1


@asynccontextmanager
async def holds_noted() -> AsyncIterator[None]:
    """Write down the longest hold of the loop in the block, beside the test that runs."""
    place = os.environ.get(FILE)
    if not place:
        yield
        return
    _METER.longest = 0.0

    async def beat() -> None:
        while True:
            await anyio.sleep(_BEAT)
            _METER.look()

    async with anyio.create_task_group() as group:
        group.start_soon(beat)
        try:
            yield
        finally:
            group.cancel_scope.cancel()
            test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
            _write_down(place, f"{_METER.longest * 1000:.1f} {test}\n")


def _write_down(place: str, line: str) -> None:
    with Path(place).open("a", encoding="utf-8") as file:
        file.write(line)
