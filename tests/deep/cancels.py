"""A storm of cancellations over sockets: after each bout nothing is in use, and no descriptor is left."""

from __future__ import annotations

import asyncio
from functools import partial
from random import Random

import anyio
import attrs
import msgspec

from bifrost import Bifrost, BifrostError
from bifrost.testing import LoopbackProvider
from tests.deep.row import Row
from tests.engine.rig import is_quiet, until
from tests.load.echo import MODEL
from tests.load.gauges import descriptors

NAME = "cancels"
_BOUTS = 6
_SECONDS = 20.0
_CALLERS = 60


class _Found(msgspec.Struct, kw_only=True):
    calls: int = 0
    cancelled: int = 0
    failed: int = 0
    wrong: int = 0
    not_quiet: int = 0
    descriptors: list[int] = []


async def _ask(client: Bifrost, found: _Found, chance: Random) -> None:
    if chance.random() < 0.3:
        async with client.stream_chat(MODEL, "hi") as stream:
            text = (await stream.final()).text
    else:
        text = (await client.chat(MODEL, "hi")).text
    found.wrong += text != "a b c d"


async def _caller(client: Bifrost, found: _Found, chance: Random, end: float, *, edge: bool) -> None:
    """Ask and lose patience, by a scope or by the task's cancellation."""
    while anyio.current_time() < end:
        found.calls += 1
        patience = chance.uniform(0, 0.2) if chance.random() < 0.8 else 60.0
        try:
            if edge and chance.random() < 0.5:
                await asyncio.wait_for(_ask(client, found, chance), patience)
            else:
                with anyio.fail_after(patience):
                    await _ask(client, found, chance)
        except TimeoutError:
            found.cancelled += 1
        except BifrostError:
            found.failed += 1


async def _run(*, edge: bool) -> _Found:
    found, chance = _Found(), Random(1)
    async with LoopbackProvider() as server:
        server.stream(["a ", "b ", "c ", "d"]).delay(0.01).drip(0.005).always()
        config = attrs.evolve(server.config("openai"), concurrency=20, queue=100)
        async with server.client(server.account(configs={"openai": config})) as client:
            for _ in range(_BOUTS):
                end = anyio.current_time() + _SECONDS
                async with anyio.create_task_group() as group:
                    for _ in range(_CALLERS):
                        group.start_soon(partial(_caller, client, found, chance, end, edge=edge))
                try:
                    await until(lambda: is_quiet(client) and not server.connections.in_use)
                except TimeoutError:
                    found.not_quiet += 1
                found.wrong += (await client.chat(MODEL, "still there?")).text != "a b c d"
                found.descriptors.append(descriptors())
                server.calls.clear()
    return found


def run() -> list[Row]:
    rows: list[Row] = []
    for backend, edge in (("asyncio", True), ("trio", False)):
        found = anyio.run(partial(_run, edge=edge), backend=backend)
        # A connection to each worker may be kept, and has an end on either side.
        grown = max(found.descriptors) - found.descriptors[0]
        rows += [
            Row(
                f"{found.calls:,} calls over sockets on {backend}, {found.cancelled:,} of them cancelled",
                f"{found.failed} failed, {found.wrong} wrong, {found.not_quiet} times something was still in use",
                "0, 0, 0",
                ok=not (found.failed or found.wrong or found.not_quiet),
            ),
            Row(
                f"descriptors after each bout on {backend}",
                ", ".join(map(str, found.descriptors)),
                "no growth beyond a connection for each worker",
                ok=grown <= 40,
            ),
        ]
    return rows
