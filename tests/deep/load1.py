"""A million calls through memory, each with a number that comes back."""

from __future__ import annotations

import time

import anyio

from tests.deep.row import Row
from tests.load.scenarios import numbered_calls

NAME = "load1"
_CALLS = 1_000_000


def run() -> list[Row]:
    rows: list[Row] = []
    for backend in ("asyncio", "trio"):
        began = time.process_time()
        found = anyio.run(numbered_calls, _CALLS // 2, backend=backend)
        rows += [
            Row(
                f"{found.calls:,} numbered calls on {backend}",
                f"{found.lost} lost, {found.doubled} doubled, {found.mismatched} mismatched, {found.failed} failed, "
                f"{found.at_provider:,} at the provider",
                "0, 0, 0, 0, as many",
                ok=found.exact,
            ),
            Row(
                f"CPU of a call on {backend}",
                f"{(time.process_time() - began) / found.calls * 1e6:.0f} us",
                "",
                ok=None,
            ),
        ]
    return rows
