"""What a run is measured by."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from statistics import linear_regression
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def resident() -> float:
    """Give this process's resident memory, in KiB, with no garbage in it."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def slope(points: Sequence[tuple[float, float]], *, last: float = 0.8) -> float:
    """Give by how much a value grows per unit, fitted over the last part of its points."""
    used = points[len(points) - int(len(points) * last) :]
    return linear_regression([x for x, _ in used], [y for _, y in used]).slope


def descriptors() -> int:
    """Give how many files and sockets this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are all that is needed
