"""A client in virtual time whose providers are in trouble: what it slept, how they stand, many calls at once."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import anyio

from bifrost import Bifrost, BifrostError, Key, ProviderConfig, StaticAccount
from bifrost.engine.clock import Clock
from bifrost.testing import MockTransport, fake_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bifrost.routing.health import Health

MODEL = "openai/gpt-4o-mini"
OTHER = "anthropic/claude-haiku-4-5"


class Sleeps(list[float]):
    """What the clients slept of their own accord: every wait of a call, in the order in which they began."""

    def clock(self, random: Callable[[], float] | None = None, *, wall: Callable[[], float] | None = None) -> Clock:
        async def sleep(seconds: float) -> None:
            self.append(round(seconds, 6))
            await anyio.sleep(seconds)

        clock = Clock(sleep=sleep, random=random or (lambda: 0.5))
        if wall is not None:
            clock.wall = wall
        return clock


class Calls:
    """Many calls at once, and how each of them went."""

    def __init__(self, client: Bifrost, *, model: str = MODEL, **options: Any) -> None:
        self.client = client
        self.model = model
        self.options = options
        self.outcomes: list[Any] = []
        self.ended: list[float] = []

    async def one(self) -> None:
        try:
            outcome: Any = await self.client.chat(self.model, "hi", **self.options)
        except BifrostError as error:
            outcome = error
        self.outcomes.append(outcome)
        self.ended.append(anyio.current_time())

    async def at_once(self, count: int) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(self.one)

    async def at_rate(self, per_second: float, seconds: float) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(round(per_second * seconds)):
                group.start_soon(self.one)
                await anyio.sleep(1 / per_second)

    @property
    def errors(self) -> list[BifrostError]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, BifrostError)]

    @property
    def success(self) -> float:
        return 1 - len(self.errors) / len(self.outcomes)


def client_of(
    mock: MockTransport,
    *keys: str | Key,
    sleeps: Sleeps | None = None,
    random: Callable[[], float] | None = None,
    wall: Callable[[], float] | None = None,
    also: Sequence[str] = ("anthropic",),
    models: Any = None,
    **config: Any,
) -> Bifrost:
    """Give a client with these keys and this config for openai, and a key for each of the other providers."""
    named = [key if isinstance(key, Key) else Key(name=key, value=fake_key(key)) for key in keys or ("one",)]
    account = StaticAccount(
        keys={"openai": named, **{name: [Key(name=f"{name}-key", value=fake_key(f"{name}-key"))] for name in also}},
        configs={"openai": ProviderConfig(**config)},
    )
    clock = (Sleeps() if sleeps is None else sleeps).clock(random, wall=wall)
    return mock.client(account, clock=clock, models=models)


def health_of(client: Bifrost, provider: str = "openai") -> Health:
    """Give what a client knows of a provider that it has used."""
    running = client._engine._running
    assert running is not None
    return running.upstreams._upstreams[provider].health


def states_of(client: Bifrost, provider: str = "openai") -> dict[str, str]:
    """Give the states of a provider's keys by name."""
    running = client._engine._running
    assert running is not None
    _, _, ring = running.upstreams._rings[provider]
    return {key.name: key.state for key in ring.snapshot(anyio.current_time())}


def told(attempts: Any) -> list[tuple[str | None, int | None, str | None]]:
    """Give a trail in short: key, status, class of the failure."""
    return [(attempt.key, attempt.status, attempt.category) for attempt in attempts]


def now_and_then(share: float, *, seed: int) -> Callable[[Any], bool]:
    """Give what matches a share of all calls, by chance."""
    random = Random(seed).random
    return lambda _call: random() < share
