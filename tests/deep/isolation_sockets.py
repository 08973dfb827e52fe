"""A server that accepts and never answers, beside a sound one: over sockets, alone and beside it by turns."""

from __future__ import annotations

from statistics import median

import anyio

from bifrost import Bifrost, BifrostError, ProviderConfig
from bifrost.testing import LoopbackProvider, RawServer
from bifrost.testing.mock import make_account
from tests.deep.isolation import rows_of
from tests.deep.row import Row
from tests.engine.peers import until_left
from tests.load.echo import MODEL, OTHER
from tests.load.gauges import percentile
from tests.load.scenarios import Beside

NAME = "isolation_sockets"
_ROUNDS = 5
_SECONDS = 6.0
_PER_SECOND = 50.0
_LATENCY = 0.05
_WORKERS, _QUEUE = 50, 200


async def _measured(client: Bifrost) -> tuple[float, float]:
    """Ask the sound provider at a steady rate. Gives the p99, and the rate that was answered."""
    waits: list[float] = []

    async def call() -> None:
        began = anyio.current_time()
        await client.chat(OTHER, "hi", timeout=30)
        waits.append(anyio.current_time() - began)

    began = anyio.current_time()
    async with anyio.create_task_group() as group:
        for number in range(int(_SECONDS * _PER_SECOND)):
            group.start_soon(call)
            await anyio.sleep(max(0.0, began + (number + 1) / _PER_SECOND - anyio.current_time()))
    return percentile(waits, 0.99), len(waits) / (anyio.current_time() - began)


async def _swallowed(client: Bifrost) -> None:
    while True:
        try:
            await client.chat(MODEL, "into the hole", timeout=60)
        except BifrostError:
            await anyio.sleep(0.5)


async def _run() -> Beside:
    alone: list[tuple[float, float]] = []
    beside: list[tuple[float, float]] = []
    stuck = 0
    async with RawServer(until_left) as hole, LoopbackProvider() as sound:
        sound.reply("ok").delay(_LATENCY).always()
        configs = {
            "openai": ProviderConfig(base_url=f"{hole.url}/v1", concurrency=_WORKERS, queue=_QUEUE, on_full="drop"),
            "groq": sound.config("groq"),
        }
        account = make_account({"openai": ["a"], "groq": ["b"]}, configs=configs)
        async with Bifrost(account) as client:
            await _measured(client)
            for _ in range(_ROUNDS):
                alone.append(await _measured(client))
                async with anyio.create_task_group() as group:
                    for _ in range(_WORKERS + _QUEUE + 20):
                        group.start_soon(_swallowed, client)
                    await anyio.sleep(1)
                    stats = client.stats().providers["openai"]
                    stuck = stats.in_flight + stats.waiting
                    beside.append(await _measured(client))
                    group.cancel_scope.cancel()
                await anyio.sleep(0.5)
    return Beside(
        p99_alone=median(p99 for p99, _ in alone),
        p99=median(p99 for p99, _ in beside),
        rate_alone=median(rate for _, rate in alone),
        rate=median(rate for _, rate in beside),
        stuck=stuck,
    )


def run() -> list[Row]:
    where = f"sockets, {_ROUNDS} rounds by turns, medians"
    return [
        row
        for backend in ("asyncio", "trio")
        for row in rows_of(anyio.run(_run, backend=backend), f"{backend}, {where}")
    ]
