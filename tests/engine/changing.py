"""A provider that changes while it is called: who is asked where, and what came of every call."""

from __future__ import annotations

import json
import random
from typing import Any

import anyio
import anyio.lowlevel
import httpx

from bifrost import Bifrost, BifrostError, MissingKeyError, ProviderConfig, ShuttingDownError, StaticAccount
from bifrost.config import RetryConfig
from bifrost.testing import fake_key, leak_check
from tests.engine.peers import MODEL, running
from tests.engine.rig import until

OLD, NEW = "https://old.example/v1", "https://new.example/v1"


class Upstream(httpx.AsyncBaseTransport):
    """A provider that says who asked what where, and answers with the question once its gate is open."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.gate = anyio.Event()
        if is_open:
            self.gate.set()
        self.asked: list[tuple[str, str]] = []
        self.keys: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        text = json.loads(await request.aread())["messages"][0]["content"]
        self.asked.append((request.url.host.partition(".")[0], text))
        self.keys.append(request.headers["authorization"].removeprefix("Bearer "))
        await anyio.lowlevel.checkpoint()
        await self.gate.wait()
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return httpx.Response(200, json={"id": "1", "object": "chat.completion", "created": 1, "choices": [choice]})


def config_of(url: str, **settings: Any) -> ProviderConfig:
    return ProviderConfig(base_url=url, retry=RetryConfig(max_retries=0), **settings)


def client_of(upstream: Upstream, url: str = OLD, **settings: Any) -> Bifrost:
    account = StaticAccount(keys={"openai": fake_key("first")}, configs={"openai": config_of(url, **settings)})
    return Bifrost(account, transport=upstream)


class Callers:
    """Calls that run at once, and what came of them."""

    def __init__(self, client: Bifrost, **options: Any) -> None:
        self.client = client
        self.options = options
        self.answers: dict[str, str] = {}
        self.errors: dict[str, BifrostError] = {}

    async def ask(self, text: str) -> None:
        try:
            self.answers[text] = (await self.client.chat(MODEL, text, **self.options)).text
        except BifrostError as error:
            self.errors[text] = error

    @property
    def done(self) -> int:
        return len(self.answers) + len(self.errors)


async def change_under_load(seed: int, rounds: int) -> tuple[int, int]:
    """Change a provider so many times while it is called: its settings, its address, away with it and back.

    Each call is answered once, with its own text, or refused without having been sent. Gives how many were, of either.
    """
    chance = random.Random(seed)
    upstream = Upstream()
    over = False
    async with leak_check(), client_of(upstream, concurrency=3) as client:
        callers = Callers(client)
        names = iter(range(1_000_000))

        async def change() -> None:
            nonlocal over
            for _ in range(rounds):
                config = config_of(chance.choice((OLD, NEW)), concurrency=chance.randint(1, 8))
                if chance.random() < 0.1:
                    await client.remove_provider("openai")
                    await _turns(chance.randint(0, 3))
                    await client.add_provider("openai", keys=fake_key("again"), config=config)
                else:
                    await client.update_provider("openai", config=config)
                await _turns(chance.randint(0, 3))
            over = True

        async def call() -> None:
            while not over:
                text = str(next(names))
                await callers.ask(text)
                await _turns(20 if text in callers.errors else 1)

        with anyio.fail_after(600):
            async with anyio.create_task_group() as group:
                group.start_soon(change)
                for _ in range(12):
                    group.start_soon(call)
        assert callers.done == next(names), "each call has come to an end"
        assert callers.answers == {text: text for text in callers.answers}
        assert {type(error) for error in callers.errors.values()} <= {ShuttingDownError, MissingKeyError}
        assert sorted(text for _, text in upstream.asked) == sorted(callers.answers), "none is sent twice, or in vain"
        await until(lambda: not running(client).upstreams._retired)
    return len(callers.answers), len(callers.errors)


async def _turns(count: int) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()
