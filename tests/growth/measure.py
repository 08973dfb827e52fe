"""How the time of a function grows with its input: as a ratio of CPU time, which a busy machine hardly changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = 4 * 1024
"""The size of the smaller input, in bytes. The larger is eight times as large."""
ENOUGH = 0.002
"""What takes no more than this for the larger one, in seconds, is not measured further."""
SLACK = 2.5
"""Eight times the input may take 8 * SLACK times the time. What is quadratic takes 64 times."""
_TRIES = 4


def spent(run: Callable[[], object], *, times: int = 3) -> float:
    """Return the least CPU time of a few runs, in seconds."""
    best = float("inf")
    for _ in range(times):
        began = time.thread_time()
        run()
        best = min(best, time.thread_time() - began)
    return best


def growth_of(make: Callable[[int], Callable[[], object]]) -> float:
    """Return by how much the time grows from n to 8 n, divided by 8: about 1 if it is linear, 8 if it is quadratic.

    `make(n)` prepares an input of some n bytes and returns what is to be measured. 0 for what is too quick to measure.
    """
    found = float("inf")
    for _ in range(_TRIES):
        larger = spent(make(8 * SMALL), times=1)
        if larger < ENOUGH:
            return 0.0
        found = min(found, larger / 8 / max(spent(make(SMALL)), 1e-6))
        if found <= SLACK:
            break
    return found
