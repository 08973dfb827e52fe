"""A thousand changes of a provider under load, in many orders of tasks: no call is lost, none is sent twice."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from os import cpu_count
from typing import TYPE_CHECKING

from bifrost.testing import run_virtual
from tests.deep.row import Row
from tests.engine.changing import change_under_load
from tests.engine.seeded import run_seeded

if TYPE_CHECKING:
    from bifrost.testing.virtual import Backend

NAME = "changes"
_CHANGES = 1_000
_SEEDS = 12


def _one(seed: int, *, backend: Backend) -> tuple[int, int, str | None]:
    """Make the changes of a seed. Gives how many calls were answered and refused, and what was wrong."""
    try:
        if backend == "trio":
            return *run_seeded(seed, change_under_load, seed, _CHANGES), None
        return *run_virtual(change_under_load, seed, _CHANGES, backend=backend), None
    except (AssertionError, ExceptionGroup, TimeoutError) as error:
        return 0, 0, f"{error!r} (seed {seed}, {backend})"


def run() -> list[Row]:
    rows: list[Row] = []
    backends: tuple[Backend, ...] = ("asyncio", "trio")
    with ProcessPoolExecutor(cpu_count()) as pool:
        for backend in backends:
            done = list(pool.map(partial(_one, backend=backend), range(_SEEDS)))
            problems = [problem for _, _, problem in done if problem is not None]
            for problem in problems:
                print(problem, file=sys.stderr, flush=True)  # noqa: T201 - the only place that has it
            answered, refused = sum(each[0] for each in done), sum(each[1] for each in done)
            rows.append(
                Row(
                    f"{_CHANGES:,} changes of a provider under load, in {_SEEDS} orders, on {backend}",
                    f"{answered:,} calls answered, {refused:,} refused unsent, {len(problems)} orders broken",
                    "0 broken",
                    ok=not problems,
                )
            )
    return rows
