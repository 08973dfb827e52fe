"""What rate a client holds: calls begin on time whether or not earlier ones are answered."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from clients import KEY, MESSAGES, MODEL, closed, opened
from gauges import resident
from loops import closed_loop, open_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_LATENCY = 0.05
"""How long the upstream in the process takes to answer, in seconds."""
_SHARES = (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4)
_PATIENCE_MS = 500.0
"""A rate is held if every call is answered and the last comes this soon after the last was begun."""


async def in_process(*, rate: float, seconds: float) -> dict[str, Any]:
    """Offer a fixed rate to an upstream inside the process."""
    from stub import StubTransport

    from bifrost import Bifrost, ProviderConfig, StaticAccount

    config = ProviderConfig(concurrency=1_000, queue=50_000)
    account = StaticAccount(keys={"openai": KEY}, configs={"openai": config})

    async def wait() -> None:
        await asyncio.sleep(_LATENCY)

    async with Bifrost(account, transport=StubTransport(wait)) as client:
        call = _asking(client)
        await open_loop(call, rate=rate / 5, seconds=min(1.0, seconds))
        held = await open_loop(call, rate=rate, seconds=seconds, late_ms=1e3 * _LATENCY)
    return {"rate": held | {"rss_mib": resident() / 1024}}


def _asking(client: Any) -> Callable[[], Awaitable[Any]]:
    async def call() -> Any:
        return await client.chat(f"openai/{MODEL}", MESSAGES)

    return call


async def over_http(*, client: str, base_url: str, authority: str | None, seconds: float) -> dict[str, Any]:
    """Look for the highest rate that a client holds: from what it does without a pause, downwards."""
    peer = await opened(client, base_url, authority)
    most = await closed_loop(peer.call, callers=64, seconds=min(seconds, 2.0))
    rate: dict[str, float] = {"most_rps": most["rps"]}
    for share in _SHARES:
        held = await open_loop(peer.call, rate=share * most["rps"], seconds=seconds)
        if held["success"] == 1 and max(held["drain_ms"], held["p99_ms"]) < _PATIENCE_MS:
            rate |= held
            break
    await closed(peer)
    return {"rate": rate | {"rss_mib": resident() / 1024}}


async def at_rate(*, client: str, base_url: str, authority: str | None, rate: float, seconds: float) -> dict[str, Any]:
    """Offer a fixed rate to an upstream that answers at once."""
    peer = await opened(client, base_url, authority)
    await open_loop(peer.call, rate=rate / 5, seconds=min(1.0, seconds))
    held = await open_loop(peer.call, rate=rate, seconds=seconds)
    await closed(peer)
    return {"rate": held | {"rss_mib": resident() / 1024}}


def run(*, http: bool, loop: str = "asyncio", **settings: Any) -> dict[str, Any]:
    """Measure on asyncio, or a fixed rate on trio."""
    if "base_url" in settings and "rate" in settings:
        return anyio.run(partial(at_rate, **settings), backend=loop)
    return asyncio.run(over_http(**settings) if http else in_process(**settings))
