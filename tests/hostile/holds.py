"""How long a client holds the event loop: the CPU time of the loop's thread between two turns of a task that waits.

Not the clock's time: a busy machine makes everything late, and the hostile servers have threads of their own.
"""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FILE = "BIFROST_HOLDS"
"""The variable that names the file in which holds are written down; without it nothing is measured."""
_BEAT = 0.001


@asynccontextmanager
async def holds_noted() -> AsyncIterator[None]:
    """Write down the longest hold of the loop in the block, beside the test that runs."""
    place = os.environ.get(FILE)
    if not place:
        yield
        return
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            began = time.thread_time()
            await anyio.sleep(_BEAT)
            longest = max(longest, time.thread_time() - began)

    async with anyio.create_task_group() as group:
        group.start_soon(beat)
        try:
            yield
            # The hold that ends here counts as well.
            await anyio.sleep(2 * _BEAT)
        finally:
            group.cancel_scope.cancel()
            test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
            _write_down(place, f"{longest * 1000:.1f} {test}\n")


def _write_down(place: str, line: str) -> None:
    with Path(place).open("a", encoding="utf-8") as file:
        file.write(line)
