"""Minutes of storm over sockets, in real time: memory, descriptors and tasks stay level, the event loop is quick."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate
from random import Random

import anyio
import anyio.lowlevel
import msgspec

from bifrost import Bifrost, BifrostError
from bifrost.testing import FaultPlan, LoopbackProvider
from tests.deep.row import Row
from tests.engine.rig import is_quiet, until
from tests.load.echo import MODEL
from tests.load.gauges import descriptors, resident, slope
from tests.load.scenarios import STORM

NAME = "soak"
_SECONDS = 300.0
_PER_SECOND = 40.0
_LOOKS = 15
"""How often all is let come to rest and looked at."""


class _Found(msgspec.Struct, kw_only=True):
    calls: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    wrong: int = 0
    resident: list[tuple[float, float]] = []
    """Minutes, and KiB."""
    descriptors: list[int] = []
    tasks: list[int] = []
    lags: list[int] = msgspec.field(default_factory=lambda: [0] * 1_000)
    """How often the event loop was late by so many milliseconds; the last place is for all that is more.

    A list of all of them would grow by 300 KiB a minute.
    """


async def _call(client: Bifrost, found: _Found, chance: Random) -> None:
    with anyio.move_on_after(chance.uniform(0, 0.1) if chance.random() < 0.05 else math.inf) as scope:
        try:
            if chance.random() < 0.2:
                async with client.stream_chat(MODEL, "hi") as stream:
                    text = (await stream.final()).text
            else:
                text = (await client.chat(MODEL, "hi")).text
        except BifrostError:
            found.failed += 1
            return
        found.succeeded += 1
        found.wrong += text != "a b c d"
    found.cancelled += scope.cancelled_caught


async def _watch(found: _Found) -> None:
    while True:
        due = anyio.current_time() + 0.01
        await anyio.sleep_until(due)
        late = int((anyio.current_time() - due) * 1000)
        found.lags[min(max(late, 0), len(found.lags) - 1)] += 1


async def _run() -> _Found:
    found, chance = _Found(), Random(1)
    async with LoopbackProvider() as server:
        server.stream(["a ", "b ", "c ", "d"]).always()
        async with server.client() as client:
            began = anyio.current_time()
            for look in range(_LOOKS):
                server.inject(FaultPlan.storm(0.3, seed=look, faults=STORM))
                async with anyio.create_task_group() as watching:
                    watching.start_soon(_watch, found)
                    async with anyio.create_task_group() as group:
                        for _ in range(int(_SECONDS / _LOOKS * _PER_SECOND)):
                            found.calls += 1
                            group.start_soon(_call, client, found, chance)
                            await anyio.sleep(1 / _PER_SECOND)
                    watching.cancel_scope.cancel()
                await until(lambda: is_quiet(client) and not server.connections.in_use)
                server.forget()
                server.calls.clear()
                server.stream(["a ", "b ", "c ", "d"]).always()
                found.resident.append(((anyio.current_time() - began) / 60, resident()))
                found.descriptors.append(descriptors())
                found.tasks.append(_tasks())
    return found


def _percentile(counts: list[int], share: float) -> float:
    """Return the time, in seconds, that such a share of a histogram in milliseconds does not pass."""
    passed = list(accumulate(counts))
    return (bisect_left(passed, share * passed[-1]) + 1) / 1000


def _tasks() -> int:
    if "trio" in str(type(anyio.lowlevel.current_token().native_token)):
        import trio

        return trio.lowlevel.current_statistics().tasks_living
    import asyncio

    return len(asyncio.all_tasks())


def run() -> list[Row]:
    rows: list[Row] = []
    for backend in ("asyncio", "trio"):
        found = anyio.run(_run, backend=backend)
        success = found.succeeded / (found.succeeded + found.failed)
        grows = slope(found.resident)
        lag = _percentile(found.lags, 0.99)
        what = f"{_SECONDS / 60:g} minutes of storm over sockets on {backend}"
        rows += [
            Row(
                f"{what}: {found.calls:,} calls, {found.cancelled} left by their caller",
                f"{success:.1%} succeeded, {found.wrong} wrong",
                ">= 96.5 %, 0 wrong",
                ok=success >= 0.965 and not found.wrong,
            ),
            Row(f"{what}: growth", f"{grows:.1f} KiB/min", "", ok=None),
            Row(
                f"{what}: descriptors, tasks, at first and at most",
                f"{found.descriptors[0]}, {max(found.descriptors)}; {found.tasks[0]}, {max(found.tasks)}",
                "no growth beyond what 50 workers keep",
                ok=max(found.descriptors) - found.descriptors[0] <= 100 and max(found.tasks) - found.tasks[0] <= 100,
            ),
            Row(f"{what}: lag of the event loop", f"p99 {lag * 1000:.1f} ms", "<= 50 ms", ok=lag <= 0.05),
        ]
    return rows
