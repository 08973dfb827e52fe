"""A provider that swallows everything, its workers and its queue full, beside a sound one; in virtual time."""

from __future__ import annotations

from functools import partial

from bifrost.testing import run_virtual
from tests.deep.row import Row
from tests.load.scenarios import Beside, black_hole

NAME = "isolation"


def rows_of(found: Beside, where: str) -> list[Row]:
    """Hold the sound provider's figures against those it has alone."""
    return [
        Row(
            f"p99 beside a black hole, {where}",
            f"{found.p99 * 1000:.1f} ms ({found.p99_alone * 1000:.1f} ms alone)",
            "<= 1.10x + 5 ms",
            ok=found.p99 <= 1.10 * found.p99_alone + 0.005,
        ),
        Row(
            f"throughput beside a black hole, {where}",
            f"{found.rate / found.rate_alone:.3f}x ({found.rate_alone:.0f}/s alone; {found.stuck} calls stuck)",
            ">= 0.95x",
            ok=found.rate >= 0.95 * found.rate_alone,
        ),
    ]


def run() -> list[Row]:
    return [
        row
        for backend in ("asyncio", "trio")
        for row in rows_of(run_virtual(partial(black_hole, seconds=60), backend=backend), f"{backend}, virtual time")
    ]
