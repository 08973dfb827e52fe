"""Simulated runs over real sockets, on every transport and both loops. A seed that fails is printed."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import TYPE_CHECKING

from tests.conformance.transports import TRANSPORTS
from tests.deep.row import Row
from tests.simulation.seeds import seeds
from tests.simulation.sockets import simulate_on_sockets

if TYPE_CHECKING:
    from bifrost.testing.virtual import Backend

NAME = "simulation_sockets"
_RUNS = 25


def _one(run: tuple[int, str, Backend]) -> tuple[int, str | None]:
    """Make a run. Returns the number of its calls, and what was broken."""
    seed, transport, backend = run
    try:
        return simulate_on_sockets(seed, backend, transport).counts["submitted"], None
    except AssertionError as error:
        return 0, str(error)


def run() -> list[Row]:
    backends: tuple[Backend, ...] = ("asyncio", "trio")
    runs = list(product(seeds(_RUNS), TRANSPORTS, backends))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        done = list(pool.map(_one, runs))
    broken = [text for _, text in done if text is not None]
    for text in broken:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - the only place that has it
    return [
        Row(
            f"simulated runs over sockets, on {len(TRANSPORTS)} transports and both loops",
            f"{len(runs)} runs, {sum(calls for calls, _ in done):,} calls, {len(broken)} broken",
            "0 broken",
            ok=not broken,
        )
    ]
