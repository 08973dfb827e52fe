"""Half a virtual hour of storm, streams, cancellations and changes: does the process grow?"""

from __future__ import annotations

from functools import partial

from bifrost.testing import run_virtual
from tests.deep.row import Row
from tests.load.gauges import slope
from tests.load.scenarios import storm

NAME = "memory"
_SECONDS = 1800.0


def run() -> list[Row]:
    rows: list[Row] = []
    for backend in ("asyncio", "trio"):
        found = run_virtual(partial(storm, seconds=_SECONDS), backend=backend)
        grows = slope(found.resident)
        rows += [
            Row(
                f"growth over the last 80 % of {_SECONDS / 60:g} virtual minutes, {found.calls:,} calls, {backend}",
                f"{grows * 1024:.0f} bytes/s (resident at the end: {found.resident[-1][1] / 1024:.0f} MiB)",
                "<= 1 KiB/s",
                ok=grows <= 1,
            ),
            Row(
                f"objects at minute 10 and minute 30, {backend}",
                f"{found.objects[9]:,} and {found.objects[29]:,}",
                "fewer than one more for each call in between",
                ok=found.objects[29] - found.objects[9] < found.calls / 3 * 2,
            ),
        ]
    return rows
