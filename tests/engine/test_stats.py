"""What `client.stats()` counts, held against what the mock has seen and the trails tell."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import (
    Bifrost,
    BifrostError,
    Message,
    Plugin,
    ProviderConfig,
    ServerError,
    Stats,
    StreamInterruptedError,
    SyncBifrost,
)
from bifrost.testing import MockTransport, no_waits
from tests.engine.rig import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bifrost import ProviderStats

GPT = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"


pytestmark = pytest.mark.virtual_time


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with no_waits():
        yield


def openai(client: Bifrost | SyncBifrost) -> ProviderStats:
    return client.stats().providers["openai"]


@pytest.mark.anyio
async def test_before_the_first_use_and_after_the_end_there_is_something_to_tell(mock: MockTransport) -> None:
    mock.reply("hello")
    client = mock.client()
    assert client.stats() == Stats()
    async with client:
        assert client.stats() == Stats(state="running")
        await client.chat(GPT, "hi")
    stats = client.stats()
    assert (stats.state, stats.calls, stats.in_flight, stats.waiting) == ("closed", 1, 0, 0)
    assert openai(client).ok == 1
    assert (openai(client).workers, openai(client).connections.idle) == (0, 0)


@pytest.mark.anyio
async def test_attempts_are_counted_as_the_trail_tells_them(mock: MockTransport) -> None:
    mock.fail(429).then.fail(500).then.reply("hello")
    async with mock.client() as client:
        reply = await client.chat(GPT, "hi")
        counted = openai(client)
    assert len(reply.attempts) == counted.attempts == len(mock.calls) == 3
    assert (counted.calls, counted.ok, counted.failed, counted.retries) == (1, 1, 2, 2)
    assert counted.failures == {"throttled": 1, "transient": 1}


@pytest.mark.anyio
async def test_a_fallback_is_counted_where_the_call_left(mock: MockTransport) -> None:
    mock.on(provider="openai").fail(500).always()
    mock.on(provider="anthropic").reply("hello")
    async with mock.client() as client:
        await client.chat(GPT, "hi", fallbacks=[CLAUDE], max_retries=0)
        with pytest.raises(ServerError):
            await client.chat(GPT, "hi", max_retries=0)
        stats = client.stats()
    assert stats.calls == 2
    assert (stats.providers["openai"].calls, stats.providers["openai"].fallbacks) == (2, 1)
    assert (stats.providers["anthropic"].calls, stats.providers["anthropic"].fallbacks) == (1, 0)


@pytest.mark.anyio
async def test_what_is_going_on_is_told(mock: MockTransport) -> None:
    mock.reply("hello").delay(10).always()
    config = ProviderConfig(concurrency=2, queue=1)
    async with mock.client(mock.account_with(configs={"openai": config})) as client:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(client.chat, GPT, "hi")
            await until(lambda: len(mock.calls) == 2)
            during = openai(client)
            assert (during.in_flight, during.waiting, during.workers) == (2, 3, 2)
            assert (during.concurrency, during.queue) == (2, 1)
            assert (during.connections.lent, during.connections.idle, during.attempts) == (2, 0, 0)
        after = openai(client)
    assert (after.in_flight, after.waiting, after.ok) == (0, 0, 5)
    assert (after.connections.lent, after.connections.idle) == (0, 2)
    assert (after.connections.opened, after.connections.reused) == (2, 3)
    assert mock.connections.opened == 2


@pytest.mark.anyio
async def test_an_open_stream_is_in_flight_until_it_ends(mock: MockTransport) -> None:
    mock.stream(["one", "two"])
    async with mock.client() as client:
        async with client.stream_chat(GPT, "hi") as stream:
            during = openai(client)
            await stream.final()
        await until(lambda: openai(client).in_flight == 0)
        after = openai(client)
    assert (during.in_flight, during.streams, during.calls, during.attempts) == (1, 1, 1, 0)
    assert (after.in_flight, after.streams, after.ok) == (0, 0, 1)


@pytest.mark.anyio
async def test_callers_that_leave_are_counted_apart_from_failures(mock: MockTransport) -> None:
    mock.reply("late").delay(100)
    mock.stream(["one", "two"]).cut(after_events=2)
    async with mock.client() as client:
        with anyio.move_on_after(1):
            await client.chat(GPT, "hi")
        with pytest.raises(StreamInterruptedError):
            async with client.stream_chat(GPT, "hi") as stream:
                await stream.final()
        counted = openai(client)
    assert (counted.calls, counted.ok, counted.failed, counted.cancelled) == (2, 0, 1, 1)
    assert counted.failures == {"interrupted": 1}


@pytest.mark.anyio
async def test_questions_asked_again_are_no_further_calls(mock: MockTransport) -> None:
    mock.reply("[]").then.reply('{"role": "user", "content": "hi"}')
    async with mock.client() as client:
        await client.chat(GPT, "hi", output=dict[str, str], max_output_retries=1)
        counted = openai(client)
    assert (counted.calls, counted.reasks, counted.ok, counted.retries) == (1, 1, 2, 0)


@pytest.mark.anyio
async def test_a_call_that_never_comes_to_a_provider_counts_for_the_client_alone(mock: MockTransport) -> None:
    class Cache(Plugin):
        def before(self, call: Any, request: Any) -> Any:
            return BifrostError("no") if call.model == "x" else None

    async with mock.client(plugins=[Cache()]) as client:
        for model in ("openai/x", "nowhere"):
            with pytest.raises(BifrostError):
                await client.chat(model, [Message(role="user", content="hi")])
        assert client.stats().calls == 2
        assert client.stats().providers == {}


@pytest.mark.anyio
async def test_a_copy_with_options_tells_of_the_same_client(mock: MockTransport) -> None:
    mock.reply("hello")
    async with mock.client() as client:
        await client.with_options(timeout=5).chat(GPT, "hi")
        assert client.with_options(timeout=7).stats() == client.stats()
        assert openai(client).ok == 1


def test_other_threads_may_ask_while_calls_come_and_go(mock: MockTransport) -> None:
    mock.reply("hello").always()
    ended = threading.Event()
    seen: list[Stats] = []
    problems: list[BaseException] = []

    def watch(client: SyncBifrost) -> None:
        try:
            while not ended.is_set():
                seen.append(client.stats())
        except BaseException as error:  # noqa: BLE001 - told below
            problems.append(error)

    with SyncBifrost(mock.account, transport=mock) as client:
        assert client.stats().state == "running"
        watchers = [threading.Thread(target=watch, args=(client,)) for _ in range(2)]
        for watcher in watchers:
            watcher.start()
        for provider in ("openai", "groq", "deepseek", "xai", "mistral", "together") * 10:
            client.chat(f"{provider}/x", "hi")
        ended.set()
        for watcher in watchers:
            watcher.join(20)
        assert sum(provider.ok for provider in client.stats().providers.values()) == client.stats().calls == 60
    assert problems == []
    assert all(stats.in_flight <= 1 for stats in seen)
    assert client.stats().state == "closed"


@pytest.mark.anyio
async def test_counts_outlive_other_settings_and_what_still_runs_is_told(mock: MockTransport) -> None:
    mock.reply("hello").then.reply("late").delay(10).then.reply("soon")
    account = mock.account_with({"openai": ["openai-key"]})
    async with mock.client(account) as client:
        await client.chat(GPT, "hi")
        async with anyio.create_task_group() as group:
            group.start_soon(client.chat, GPT, "hi")
            await until(lambda: len(mock.calls) == 2)
            await client.update_provider("openai", config=ProviderConfig(extra_headers={"x-a": "b"}))
            await client.chat(GPT, "hi")
            during = openai(client)
            assert (during.in_flight, during.ok, during.calls) == (1, 2, 3)
            assert (during.connections.lent, during.connections.opened, during.connections.reused) == (1, 2, 1)
        await until(lambda: openai(client).workers == 1)
        after = openai(client)
    assert (after.in_flight, after.ok) == (0, 3)
    assert (after.connections.opened, after.connections.reused) == (2, 1)
