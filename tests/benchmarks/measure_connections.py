"""What an open connection holds: as many calls at once as there are to be connections, then all of them idle."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from clients import closed, opened
from gauges import resident


async def measure(*, client: str, base_url: str, authority: str | None, connections: int) -> dict[str, Any]:
    """Open so many connections to an upstream that answers late, and compare the memory with and without them."""
    peer = await opened(client, base_url, authority)
    # Two at once: what a client loads and keeps for its first connections is not counted.
    await asyncio.gather(peer.call(), peer.call())
    gc.collect()
    before = resident()
    await asyncio.gather(*(peer.call() for _ in range(connections)))
    gc.collect()
    held = resident() - before
    await closed(peer)
    return {"connection": {"kib": held / connections, "peak_mib": (before + held) / 1024}}


def run(**settings: Any) -> dict[str, Any]:
    """Measure on asyncio."""
    return asyncio.run(measure(**settings))
