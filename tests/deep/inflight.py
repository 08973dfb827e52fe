"""Ten thousand calls in flight at the same moment, released at once."""

from __future__ import annotations

import anyio

from tests.deep.row import Row
from tests.load.scenarios import hold

NAME = "inflight"
_CALLS = 10_000


def run() -> list[Row]:
    rows: list[Row] = []
    for backend in ("asyncio", "trio"):
        found = anyio.run(hold, _CALLS, backend=backend)
        rows += [
            Row(
                f"in flight at once on {backend}, and answered",
                f"{found.in_flight:,}, {found.answered:,}",
                f"{_CALLS:,}, {_CALLS:,}",
                ok=found.in_flight == found.answered == _CALLS,
            ),
            Row(
                f"memory of each on {backend}, its caller's task and the provider's side included",
                f"{found.kib_per_call:.1f} KiB",
                "",
                ok=None,
            ),
            Row(
                f"another provider's p99 meanwhile on {backend}",
                f"{found.other_p99 * 1000:.1f} ms ({found.other_alone_p99 * 1000:.1f} ms alone)",
                "<= 1.10x + 5 ms",
                ok=found.other_p99 <= 1.10 * found.other_alone_p99 + 0.005,
            ),
        ]
    return rows
