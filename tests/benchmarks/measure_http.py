"""What a call costs end to end over the loopback, for one client: callers without a pause, and a cold burst."""

from __future__ import annotations

import asyncio
from typing import Any

from clients import closed, opened
from gauges import resident
from loops import burst, closed_loop


async def measure(*, client: str, base_url: str, authority: str | None, callers: list[int], seconds: float) -> Any:
    """Measure a client at several numbers of callers, one after the other."""
    peer = await opened(client, base_url, authority)
    results: dict[str, Any] = {}
    for count in callers:
        results[f"c{count}"] = await closed_loop(peer.call, callers=count, seconds=seconds)
    results["memory"] = {"rss_mib": resident() / 1024}
    await closed(peer)
    return results


async def measure_burst(*, client: str, base_url: str, authority: str | None, callers: int) -> Any:
    """Measure a client that has made no call, in a process where another has: `callers` at once."""
    earlier = await opened(client, base_url, authority)
    await earlier.call()
    await closed(earlier)
    peer = await opened(client, base_url, authority)
    results = {f"c{callers}": await burst(peer.call, callers=callers)}
    await closed(peer)
    return results


def run(*, cold: bool, **settings: Any) -> dict[str, Any]:
    """Measure on asyncio, which all peers speak."""
    return asyncio.run(measure_burst(**settings) if cold else measure(**settings))
