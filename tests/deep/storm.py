"""Thirty of a hundred attempts fail: how many calls succeed all the same, at a high rate and at a low one."""

from __future__ import annotations

from functools import partial

from bifrost.testing import run_virtual
from tests.deep.row import Row
from tests.load.scenarios import storm

NAME = "storm"


def run() -> list[Row]:
    rows: list[Row] = []
    for per_second, seconds, goal in ((100.0, 300.0, 0.965), (2.0, 3600.0, 0.965)):
        for seed in range(3):
            found = run_virtual(partial(storm, seconds=seconds, per_second=per_second, seed=seed))
            rows.append(
                Row(
                    f"success in a 30 % storm, {found.calls:,} calls at {per_second:g}/s, seed {seed}",
                    f"{found.success:.2%}, {found.attempts / found.calls:.2f} attempts a call, "
                    f"{found.mismatched} mismatched",
                    f">= {goal:.1%}, 0 mismatched",
                    ok=found.success >= goal and not found.mismatched,
                )
            )
    return rows
