"""What a call costs above its transport: an upstream that suspends once and answers; on one event loop."""

from __future__ import annotations

import asyncio
import gc
from functools import partial
from random import random
from typing import TYPE_CHECKING, Any

import anyio
from clients import ANSWER, KEY, MESSAGES, MODEL, make_plugins
from gauges import cpu, latencies
from stub import HEADERS, StubReader, StubTransport

from bifrost import Bifrost, Key, ProviderConfig, StaticAccount
from bifrost.operations.chat.options import chat_request
from bifrost.providers.base import Target
from bifrost.providers.catalog import CATALOG
from bifrost.routing.keys import KeyPool
from bifrost.routing.plan import ModelGroups, Planner
from bifrost.wire.http import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_NAME = f"openai/{MODEL}"


async def measure(*, hooks: int, callers: list[int], calls: int, stages: bool) -> dict[str, Any]:
    """Measure calls with so many plugins, then what stands beside them: a task's cost, the stub's, the stages'."""
    suspend = _suspension()
    account = StaticAccount(keys={"openai": KEY}, configs={"openai": ProviderConfig(concurrency=512)})
    results: dict[str, Any] = {}
    async with Bifrost(account, plugins=make_plugins(hooks), transport=StubTransport(suspend)) as client:

        async def call() -> None:
            await client.chat(_NAME, MESSAGES)

        for count in callers:
            await _cost(call, callers=count, calls=max(512, 2 * count))
            results[f"c{count}"] = {"cpu_us": await _cost(call, callers=count, calls=calls)}
            results[f"queue-c{count}"] = await _queue(client, callers=count)
        if stages:
            results["stages"] = _stages(calls)
    results["task"] = {"cpu_us": await _cost(_task_cost(), callers=1, calls=calls)}
    results["stub"] = {"cpu_us": await _cost(partial(_stub_alone, suspend), callers=1, calls=calls)}
    return results


def _library() -> str:
    return type(anyio.Event()).__module__.rpartition("_")[2]


def _suspension() -> Callable[[], Awaitable[Any]]:
    """Give the loop's own way to let others run once."""
    if _library() == "trio":
        import trio

        return trio.lowlevel.checkpoint
    return partial(asyncio.sleep, 0)


def _task_cost() -> Callable[[], Awaitable[Any]]:
    """Start a task that does nothing and wait for its end: the machine's measure on this loop."""
    if _library() == "trio":
        import trio

        async def in_nursery() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_nothing)

        return in_nursery

    async def as_task() -> None:
        await asyncio.create_task(_nothing())

    return as_task


async def _nothing() -> None:
    """Do nothing."""


async def _stub_alone(suspend: Callable[[], Awaitable[Any]]) -> None:
    await suspend()
    reader = StubReader()
    while await reader.read():
        pass


async def _cost(call: Callable[[], Awaitable[Any]], *, callers: int, calls: int) -> float:
    """Give the CPU time of a call in microseconds, `callers` at once making `calls` in all."""
    each = max(1, calls // callers)

    async def caller() -> None:
        for _ in range(each):
            await call()

    gc.collect()
    before = cpu()
    if callers == 1:
        await caller()
    else:
        async with anyio.create_task_group() as group:
            for _ in range(callers):
                group.start_soon(caller)
    return 1e6 * (cpu() - before) / (each * callers)


async def _queue(client: Bifrost, *, callers: int) -> dict[str, float]:
    """Give how long jobs waited for a worker, as their own trails tell it."""
    waits: list[float] = []

    async def caller() -> None:
        for _ in range(max(4, 512 // callers)):
            reply = await client.chat(_NAME, MESSAGES)
            waits.extend(attempt.queue for attempt in reply.attempts if attempt.queue is not None)

    async with anyio.create_task_group() as group:
        for _ in range(callers):
            group.start_soon(caller)
    return latencies(waits)


def _stages(calls: int) -> dict[str, float]:
    """Give the CPU time of the path's parts that can stand alone, in microseconds."""
    row = CATALOG["openai"]
    codec = row.codecs["chat"]
    key = Key(name="benchmark", value=KEY)
    ring = KeyPool(row, [key, Key(name="other", value=KEY, weight=0.5)])
    planner = Planner({"openai": row}, ModelGroups({}))
    request = chat_request(MODEL, MESSAGES, system=None, options={})
    target = Target(provider="openai", model=MODEL)
    response = HttpResponse(status=200, headers=HEADERS, body=ANSWER)
    scope = type(anyio.CancelScope())

    def deadline() -> None:
        with scope(deadline=anyio.current_time() + 600):
            pass

    parts: dict[str, Callable[[], Any]] = {
        "request": lambda: chat_request(_NAME, MESSAGES, system=None, options={}),
        "plan": lambda: planner.direct(_NAME),
        "key": lambda: ring.choose(MODEL, random=random),
        "deadline": deadline,
        "build": lambda: codec.build(request, target),
        "parse": lambda: codec.parse(response, target),
    }
    return {name: _alone(function, calls) for name, function in parts.items()}


def _alone(function: Callable[[], Any], calls: int) -> float:
    for _ in range(64):
        function()
    gc.collect()
    before = cpu()
    for _ in range(calls):
        function()
    return 1e6 * (cpu() - before) / calls


def run(*, loop: str, gc_threshold: int | None, **settings: Any) -> dict[str, Any]:
    """Measure on `asyncio`, `uvloop` or `trio`; with the garbage collector as it is, or called more rarely."""
    if gc_threshold is not None:
        gc.set_threshold(gc_threshold)
    if loop == "trio":
        return anyio.run(partial(measure, **settings), backend="trio")
    return anyio.run(partial(measure, **settings), backend_options={"use_uvloop": loop == "uvloop"})
