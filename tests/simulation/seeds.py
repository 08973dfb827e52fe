"""Which runs are made: those that once failed first, then as many as are asked for."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

KEPT = Path(__file__).with_name("seeds.txt")
"""The seeds that once failed, one a line, with what was wrong behind a `#`."""


def kept() -> list[int]:
    """Read the seeds that once failed."""
    lines = (line.partition("#")[0].strip() for line in KEPT.read_text(encoding="utf-8").splitlines())
    return [int(line) for line in lines if line]


def seeds(count: int) -> list[int]:
    """Give the seeds to run; with `REPLAY` in the environment only that one."""
    if replay := os.environ.get("REPLAY"):
        return [int(replay)]
    return list(dict.fromkeys([*kept(), *range(count)]))


def keep(seed: int) -> None:
    """Write a seed that failed to the others, where the tree can be written to."""
    if seed not in kept():
        with suppress(OSError), KEPT.open("a", encoding="utf-8") as file:
            file.write(f"{seed}\n")
