"""A thousand streams of five hundred events over sockets, one in ten left half-read; how soon its worker is free."""

from __future__ import annotations

import anyio
import attrs

from bifrost.testing import LoopbackProvider, leak_check
from tests.deep.row import Row
from tests.engine.rig import is_quiet, until
from tests.load.echo import MODEL
from tests.load.gauges import resident

NAME = "streams"
_STREAMS = 1_000
_EVENTS = 500
_AT_ONCE = 200
_LEFT = 100


async def _many() -> tuple[int, int, float, str]:
    """Read the streams. Gives how many came whole and how many were left, the memory after them in MiB, and leaks."""
    whole = left = 0
    pieces = [f"w{number} " for number in range(_EVENTS)]
    leaked = "none"
    try:
        async with leak_check(), LoopbackProvider() as server:
            server.stream(pieces).always()
            config = attrs.evolve(server.config("openai"), concurrency=_AT_ONCE, stream_share=1.0)
            async with server.client(server.account(configs={"openai": config})) as client:

                async def read(number: int) -> None:
                    nonlocal whole, left
                    async with client.stream_chat(MODEL, str(number)) as stream:
                        if number % 10 == 0:
                            for _ in range(_EVENTS // 2):
                                await stream.__anext__()
                            left += 1
                            return
                        text = (await stream.final()).text
                        whole += text == "".join(pieces)

                async with anyio.create_task_group() as group:
                    for number in range(_STREAMS):
                        group.start_soon(read, number)
                await until(lambda: is_quiet(client))
                used = resident() / 1024
    except AssertionError as error:
        leaked = str(error)[:200]
        used = 0.0
    return whole, left, used, leaked


async def _free() -> list[float]:
    """Leave streams in the middle, and see how soon the only worker takes the next call."""
    waits: list[float] = []
    async with LoopbackProvider() as server:
        server.on(stream=True).stream(["w "] * _EVENTS).drip(0.001).always()
        server.on(stream=False).reply("next").always()
        config = attrs.evolve(server.config("openai"), concurrency=1, stream_share=1.0)
        async with server.client(server.account(configs={"openai": config})) as client:
            for _ in range(_LEFT):
                async with client.stream_chat(MODEL, "a long story") as stream:
                    for _ in range(3):
                        await stream.__anext__()
                    began = anyio.current_time()
                left = anyio.current_time() - began
                reply = await client.chat(MODEL, "next, please")
                waits.append(left + (reply.attempts[0].queue or 0.0))
    return waits


def run() -> list[Row]:
    rows: list[Row] = []
    for backend in ("asyncio", "trio"):
        whole, left, used, leaked = anyio.run(_many, backend=backend)
        waits = anyio.run(_free, backend=backend)
        rows += [
            Row(
                f"streams of {_EVENTS} events on {backend}: whole, left half-read",
                f"{whole}, {left}",
                f"{_STREAMS * 9 // 10}, {_STREAMS // 10}",
                ok=(whole, left) == (_STREAMS * 9 // 10, _STREAMS // 10),
            ),
            Row(f"tasks and sockets left by them on {backend}", leaked, "none", ok=leaked == "none"),
            Row(
                f"memory after them on {backend}, the server's included",
                f"{used:.0f} MiB",
                "<= 200 MiB",
                ok=0 < used <= 200,
            ),
            Row(
                f"wait for the worker of a stream that was left, {len(waits)} times on {backend}",
                f"{max(waits) * 1000:.1f} ms at most",
                "<= 250 ms",
                ok=max(waits) <= 0.25,
            ),
        ]
    return rows
