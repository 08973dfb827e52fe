"""A hedge over real sockets: what becomes of the connection of the attempt that loses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from bifrost import Bifrost, HedgeConfig, Key, ProviderConfig, StaticAccount
from bifrost.engine.clock import Clock
from bifrost.testing import RawServer, leak_check
from tests.engine.peers import MODEL, answer, read_request, until_left
from tests.engine.rig import is_quiet, until

if TYPE_CHECKING:
    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio


class Peer:
    """Answers at once, or if it is slow not before both attempts have come, and then one of them in part only."""

    def __init__(self, *, loser: str) -> None:
        self.loser = loser
        self.is_slow = False
        self.asked: list[str] = []
        self.both = anyio.Event()
        """Both attempts have come."""
        self.left = anyio.Event()
        """The loser's connection was closed."""

    async def __call__(self, stream: ByteStream) -> None:
        while True:
            head, _ = await read_request(stream)
            if self.is_slow:
                key = "first" if "sk-first" in head else "second"
                self.asked.append(key)
                if len(self.asked) == 2:
                    self.both.set()
                await self.both.wait()
                if key == self.loser:
                    await stream.send(answer()[:-10])
                    try:
                        await until_left(stream)
                    finally:
                        self.left.set()
            await stream.send(answer())


@pytest.mark.parametrize("loser", ["first", "second"])
async def test_the_losers_connection_is_closed_and_the_winners_is_kept(loser: str) -> None:
    peer = Peer(loser=loser)
    async with leak_check(), RawServer(peer) as server:
        account = StaticAccount(
            keys={"openai": [Key(name=name, value=f"sk-{name}") for name in ("first", "second")]},
            configs={
                "openai": ProviderConfig(base_url=f"{server.url}/v1", concurrency=2, hedge=HedgeConfig(floor=0.01))
            },
        )
        async with Bifrost(account, clock=Clock(random=lambda: 0.0)) as client:
            for _ in range(20):
                await client.chat(MODEL, "hi", key="first")
            peer.is_slow = True
            with anyio.fail_after(20):
                reply = await client.chat(MODEL, "hi")
                await peer.left.wait()
            assert peer.asked == ["first", "second"]
            assert reply.text == "hello"
            assert [(attempt.key, attempt.category) for attempt in reply.attempts] == [
                (loser, "cancelled"),
                ("second" if loser == "first" else "first", None),
            ]
            await until(lambda: is_quiet(client))
            stats = client.stats().providers["openai"]
            assert (stats.connections.lent, stats.connections.idle) == (0, 1)
            peer.is_slow = False
            assert (await client.chat(MODEL, "hi")).text == "hello"
    with anyio.fail_after(5):
        await server.all_closed()
