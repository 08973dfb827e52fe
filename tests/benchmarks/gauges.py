"""What every measured process reads off: its CPU time, its memory, percentiles. Imports next to nothing."""

from __future__ import annotations

import resource
import sys
from time import process_time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

cpu = process_time
"""User and system time of this process, all its threads, in seconds."""


def resident() -> int:
    """Give the memory that this process has in use, in KiB."""
    try:
        with open("/proc/self/status") as status:  # noqa: PTH123 - before anything else is imported
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    except FileNotFoundError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    """Give the median and the 99th percentile, in milliseconds."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return {"p50_ms": 1e3 * ordered[round(0.5 * last)], "p99_ms": 1e3 * ordered[round(0.99 * last)]}
