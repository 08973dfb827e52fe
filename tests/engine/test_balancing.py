"""Where the calls of a model group go while others run: the planner's view of what each provider has to do."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import ModelGroup, ProviderConfig
from bifrost.engine.clock import Clock
from bifrost.testing import MockTransport
from tests.engine.rig import until

if TYPE_CHECKING:
    from bifrost import Balance, Bifrost

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

MEMBERS = ["openai/gpt-4o-mini", "groq/llama"]


def client_of(mock: MockTransport, balance: Any, members: Any = MEMBERS, **configs: ProviderConfig) -> Bifrost:
    return mock.client(
        mock.account_with(configs=configs),
        models={"fast": ModelGroup(members, balance=balance)},
        clock=Clock(random=Random(2025).random),
    )


def asked(mock: MockTransport) -> Counter[str]:
    return Counter(call.provider for call in mock.calls)


async def test_calls_at_once_spread_over_the_least_busy(mock: MockTransport) -> None:
    mock.reply("hello").delay(10).always()
    async with client_of(mock, "least_busy", openai=ProviderConfig(concurrency=30)) as client:
        await client.chat(MEMBERS[0], "so that both are in use")
        await client.chat(MEMBERS[1], "so that both are in use")
        mock.calls.clear()
        async with anyio.create_task_group() as group:
            for _ in range(30):
                group.start_soon(client.chat, "fast", "hi")
    # 256 places at the one, 30 at the other.
    assert asked(mock) == {"groq": 26, "openai": 4}


async def test_one_after_the_other_least_busy_calls_are_drawn_by_weight(mock: MockTransport) -> None:
    mock.reply("hello").always()
    members = [(MEMBERS[0], 3), (MEMBERS[1], 1)]
    async with client_of(mock, "least_busy", members) as client:
        for _ in range(1_000):
            await client.chat("fast", "hi")
    counts = asked(mock)
    chi = (counts["openai"] - 750) ** 2 / 750 + (counts["groq"] - 250) ** 2 / 250
    assert chi < 10.828  # p = 0.001


@pytest.mark.parametrize("balance", ["weighted", "least_busy", "round_robin"])
@pytest.mark.parametrize("kind", ["chat", "stream"])
async def test_a_provider_without_a_free_worker_loses(mock: MockTransport, balance: Balance, kind: str) -> None:
    mock.on(provider="openai").reply("late").delay(100).always()
    mock.on(provider="groq").reply("soon").always()
    async with (
        client_of(mock, balance, openai=ProviderConfig(concurrency=2)) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(client.chat, MEMBERS[0], "hi")
        group.start_soon(client.chat, MEMBERS[0], "hi")
        await until(lambda: asked(mock)["openai"] == 2)
        for _ in range(20):
            if kind == "chat":
                reply = await client.chat("fast", "hi")
            else:
                async with client.stream_chat("fast", "hi") as stream:
                    reply = await stream.final()
            assert reply.text == "soon"
    assert asked(mock) == {"openai": 2, "groq": 20}


async def test_a_provider_without_a_place_for_streams_loses_streams_alone(mock: MockTransport) -> None:
    mock.reply("hello").always()
    config = ProviderConfig(concurrency=4, stream_share=0.25)
    async with client_of(mock, "round_robin", openai=config) as client, client.stream_chat(MEMBERS[0], "hi"):
        for _ in range(4):
            async with client.stream_chat("fast", "hi") as stream:
                assert (await stream.final()).provider == "groq"
        providers = [(await client.chat("fast", "hi")).provider for _ in range(4)]
    assert Counter(providers) == {"openai": 2, "groq": 2}


async def test_when_all_are_full_the_shorter_queue_is_chosen(mock: MockTransport) -> None:
    mock.reply("hello").delay(10).always()
    small = ProviderConfig(concurrency=1)
    async with (
        client_of(mock, "least_busy", openai=small, groq=small) as client,
        anyio.create_task_group() as group,
    ):
        for _ in range(4):
            group.start_soon(client.chat, MEMBERS[0], "hi")
        await until(lambda: asked(mock)["openai"] == 1)
        for _ in range(3):
            group.start_soon(client.chat, "fast", "hi")
    assert asked(mock) == {"openai": 4, "groq": 3}
