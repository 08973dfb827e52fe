"""How the time of a function grows with its input: as a ratio of CPU time, which a busy machine hardly changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = 4 * 1024
"""The size of the smallest input, in bytes. The others are twice, four times and eight times as large."""
ENOUGH = 0.002
"""What takes no more than this for the largest one, in seconds, is not measured further."""
SLACK = 2.5
"""Eight times the input may take 8 * SLACK times the time, and so on. What is quadratic takes 64 times."""
_STEPS = (2, 4, 8)
"""How many times the smallest input the others are."""
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
    """Return by how much the time grows from n to 2 n, 4 n and 8 n, divided by 2, 4 and 8: the worst of the three.

    About 1 if it is linear, 8 if it is quadratic. `make(n)` prepares an input of some n bytes and returns what is to be
    measured. 0 for what is too quick to measure.
    """
    found = float("inf")
    for _ in range(_TRIES):
        times = {step: spent(make(step * SMALL), times=1) for step in _STEPS[::-1]}
        if times[_STEPS[-1]] < ENOUGH:
            return 0.0
        smallest = max(spent(make(SMALL)), 1e-6)
        found = min(found, max(took / step / smallest for step, took in times.items()))
        if found <= SLACK:
            break
    return found
