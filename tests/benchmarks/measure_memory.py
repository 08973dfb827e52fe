"""What a call in flight holds: so many at once against an upstream that answers none until all are there."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any

import anyio
from clients import ANSWER, KEY, MESSAGES, MODEL
from gauges import cpu, resident

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_CONCURRENCY = 1_000
_QUEUE = 50_000


async def measure(*, client: str, in_flight: int) -> dict[str, Any]:
    """Put `in_flight` calls into the air, look at the memory, then let all be answered."""
    gate, all_started, all_reached = anyio.Event(), anyio.Event(), anyio.Event()
    started = reached = answered = 0
    wanted = min(in_flight, _CONCURRENCY) if client == "bifrost" else in_flight

    async def wait() -> None:
        nonlocal reached
        reached += 1
        if reached == wanted:
            all_reached.set()
        await gate.wait()

    async with _CLIENTS[client](wait) as call:
        await _warm(call, gate)
        gate, reached = anyio.Event(), 0
        gc.collect()
        rss_before = rss_after = resident()
        cpu_before, began = cpu(), perf_counter()

        async def caller() -> None:
            nonlocal started, answered
            started += 1
            if started == in_flight:
                all_started.set()
            await call()
            answered += 1

        async with anyio.create_task_group() as group:
            for _ in range(in_flight):
                group.start_soon(caller)
            await all_started.wait()
            await all_reached.wait()
            gc.collect()
            rss_after = resident()
            gate.set()
        wall, used = perf_counter() - began, cpu() - cpu_before
    return {
        "in_flight": {
            "kib": (rss_after - rss_before) / in_flight,
            "peak_mib": rss_after / 1024,
            "success": answered / in_flight,
            "cpu_us": 1e6 * used / in_flight,
            "wall_s": wall,
        }
    }


async def _warm(call: Callable[[], Awaitable[Any]], gate: anyio.Event) -> None:
    gate.set()
    for _ in range(10):
        await call()


@asynccontextmanager
async def _task(wait: Callable[[], Awaitable[None]]) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Give the wait alone: what a task and its event hold."""
    yield wait


@asynccontextmanager
async def _bifrost(wait: Callable[[], Awaitable[None]]) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    from stub import StubTransport

    from bifrost import Bifrost, ProviderConfig, StaticAccount

    config = ProviderConfig(concurrency=_CONCURRENCY, queue=_QUEUE)
    account = StaticAccount(keys={"openai": KEY}, configs={"openai": config})
    async with Bifrost(account, transport=StubTransport(wait)) as client:
        yield lambda: client.chat(f"openai/{MODEL}", MESSAGES)


@asynccontextmanager
async def _openai(wait: Callable[[], Awaitable[None]]) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    httpx2, openai = import_module("httpx2"), import_module("openai")

    async def answer(request: Any) -> Any:
        await wait()
        return httpx2.Response(200, content=ANSWER, headers={"content-type": "application/json"})

    transport = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with openai.AsyncOpenAI(api_key=KEY, http_client=transport) as client:
        yield lambda: client.chat.completions.create(model=MODEL, messages=MESSAGES)


_CLIENTS: dict[str, Any] = {"task": _task, "bifrost": _bifrost, "openai": _openai}


def run(*, loop: str, **settings: Any) -> dict[str, Any]:
    """Measure on `asyncio` or `trio`."""
    return anyio.run(partial(measure, **settings), backend=loop)
