"""A thousand simulated runs on each loop. A seed that fails is printed, and kept for the suite."""

from __future__ import annotations

import gc
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from tests.deep.row import Row
from tests.simulation.run import simulate
from tests.simulation.seeds import keep, seeds
from tests.simulation.world import slowed, world_of

if TYPE_CHECKING:
    from bifrost.testing.virtual import Backend

NAME = "simulation"
_RUNS = 1_000
_HEDGED = 4
"""Of every so many runs one is made once more, with slow providers and hedges."""


def _one(seed: int) -> tuple[int, int, list[str]]:
    """Make the runs of a seed. Gives it, its calls, and what was broken."""
    calls, broken = 0, list[str]()
    backends: tuple[Backend, ...] = ("asyncio", "trio")
    for backend in backends:
        try:
            calls += simulate(world_of(seed), backend).counts["submitted"]
            if seed % _HEDGED == 0:
                calls += simulate(slowed(world_of(seed)), backend).counts["submitted"]
        except AssertionError as error:
            broken.append(str(error))
    return seed, calls, broken


def run() -> list[Row]:
    calls, failed = 0, list[int]()
    chosen = seeds(_RUNS)
    with ProcessPoolExecutor(os.cpu_count(), initializer=gc.freeze) as pool:
        for seed, made, broken in pool.map(_one, chosen, chunksize=10):
            calls += made
            for text in broken:
                print(text, file=sys.stderr, flush=True)  # noqa: T201 - the only place that has it
            if broken:
                failed.append(seed)
                keep(seed)
    return [
        Row(
            f"simulated runs, each on both loops, {calls:,} calls",
            f"{len(chosen)} seeds, {len(failed)} broken{f': REPLAY={failed[0]}' if failed else ''}",
            "0 broken",
            ok=not failed,
        )
    ]
