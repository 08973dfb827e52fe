"""A provider is down for a minute: how much load retries add, and how soon calls succeed again."""

from __future__ import annotations

from functools import partial

from bifrost.testing import run_virtual
from tests.deep.row import Row
from tests.load.scenarios import outage

NAME = "outage"


def run() -> list[Row]:
    rows: list[Row] = []
    for status, what in ((503, "answers 503"), (0, "refuses connections"), (429, "answers 429")):
        found = run_virtual(partial(outage, status=status))
        rows += [
            Row(
                f"attempts per call in an outage of 60 s at 100/s, it {what}",
                f"{found.load:.3f}x, worst second {found.worst_second:.2f}x",
                "<= 1.02x, <= 1.5x",
                ok=found.load <= 1.02 and found.worst_second <= 1.5,
            ),
            Row(
                f"success before it, and from 30 s after its end on, it {what}",
                f"{found.success_before:.2%}, {found.success_after:.2%}",
                "100 %, 100 %",
                ok=found.success_before == found.success_after == 1,
            ),
        ]
    return rows
