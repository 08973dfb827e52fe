"""What a streamed chunk costs one client, and when its first one is there: one stream after the other."""

from __future__ import annotations

import asyncio
import gc
from time import perf_counter
from typing import Any

from clients import closed, opened
from gauges import cpu, latencies


async def measure(*, client: str, base_url: str, authority: str | None, events: int, seconds: float) -> Any:
    """Read streams of `events` chunks for some seconds, three at least."""
    peer = await opened(client, base_url, authority)
    for _ in range(2):
        count, _first = await peer.stream()
        if count < events - 2:
            raise RuntimeError(f"{client} gave {count} chunks of {events}")
    gc.collect()
    firsts: list[float] = []
    cpu_before, started = cpu(), perf_counter()
    while len(firsts) < 3 or perf_counter() < started + seconds:
        began = perf_counter()
        _count, first = await peer.stream()
        firsts.append(first - began)
    wall, used = perf_counter() - started, cpu() - cpu_before
    chunks = events * len(firsts)
    await closed(peer)
    first = latencies(firsts)
    return {
        "chunk": {
            "cpu_us": 1e6 * used / chunks,
            "chunks_per_s": chunks / wall,
            "first_ms": first["p50_ms"],
            "first_p99_ms": first["p99_ms"],
        }
    }


def run(**settings: Any) -> dict[str, Any]:
    """Measure on asyncio, which all peers speak."""
    return asyncio.run(measure(**settings))
