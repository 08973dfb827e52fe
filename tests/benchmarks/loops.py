"""Callers: without a pause, all at once, or on time. What they take is measured while they run."""

from __future__ import annotations

import asyncio
import gc
from time import perf_counter
from typing import TYPE_CHECKING, Any

from gauges import cpu, latencies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_MOST_WAITING = 20_000
"""The most calls that may be under way at a fixed rate. A client that falls further behind does not hold the rate."""

_WARM = 20
"""Calls before each measurement, at least; with more callers, one call each."""


async def closed_loop(call: Callable[[], Awaitable[Any]], *, callers: int, seconds: float) -> dict[str, float]:
    """Let `callers` tasks call without a pause for some seconds; the calls under way at the end are waited for."""
    for _ in range(max(1, _WARM // callers)):
        await asyncio.gather(*(call() for _ in range(callers)))
    gc.collect()
    took: list[float] = []

    async def caller(end: float) -> None:
        while True:
            began = perf_counter()
            await call()
            done = perf_counter()
            took.append(done - began)
            if done >= end:
                return

    cpu_before, began = cpu(), perf_counter()
    await asyncio.gather(*(asyncio.create_task(caller(began + seconds)) for _ in range(callers)))
    wall, used = perf_counter() - began, cpu() - cpu_before
    return {"rps": len(took) / wall, "cpu_us": 1e6 * used / len(took), "calls": len(took)} | latencies(took)


async def burst(call: Callable[[], Awaitable[Any]], *, callers: int) -> dict[str, float]:
    """Make `callers` calls at once through a client that has made none."""
    took: list[float] = []
    gc.collect()

    async def caller(began: float) -> None:
        await call()
        took.append(perf_counter() - began)

    cpu_before, began = cpu(), perf_counter()
    await asyncio.gather(*(asyncio.create_task(caller(began)) for _ in range(callers)))
    wall, used = perf_counter() - began, cpu() - cpu_before
    return {"wall_ms": 1e3 * wall, "cpu_us": 1e6 * used / callers, "calls": callers} | latencies(took)


async def open_loop(
    call: Callable[[], Awaitable[Any]], *, rate: float, seconds: float, late_ms: float = 0.0
) -> dict[str, float]:
    """Begin calls at a fixed rate, whether or not earlier ones are answered.

    A call's latency counts from the moment when it was due, so that a late start is not hidden. `late_ms` is what the
    upstream takes by itself; it is taken off the latencies. When too many calls are under way, no more are begun, and
    the rest counts as failed.
    """
    # Not every environment of a peer has it, and other measurements do not need it.
    import anyio

    total = int(rate * seconds)
    took: list[float] = []
    failures = 0

    async def caller(due: float) -> None:
        nonlocal failures
        try:
            await call()
        except Exception:  # noqa: BLE001 - whatever a client raises is a failed call here
            failures += 1
        took.append(perf_counter() - due - late_ms / 1e3)

    cpu_before, began = cpu(), perf_counter()
    started, offered = 0, 0.0
    async with anyio.create_task_group() as group:
        while started < total and started - len(took) < _MOST_WAITING:
            for number in range(started, min(total, int((perf_counter() - began) * rate) + 1)):
                group.start_soon(caller, began + number / rate)
                started = number + 1
            await anyio.sleep(0.001)
        offered = perf_counter() - began
    wall, used = perf_counter() - began, cpu() - cpu_before
    return {
        "offered_rps": started / offered,
        "rps": started / wall,
        "success": (started - failures) / total,
        "calls": started,
        "drain_ms": 1e3 * (wall - offered),
        "cpu_us": 1e6 * used / started,
        "cpu_share": used / wall,
    } | latencies(took)
