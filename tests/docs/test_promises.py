"""Promises of the pages on concurrency, streams, threads, tests and plugins, as their readers would try them."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

import bifrost
from bifrost import Bifrost, Key, Plugin, ProviderConfig, SyncBifrost, UsageError
from bifrost.testing import DeadlockError, MockTransport, fake_key, leak_check, run_virtual
from tests.engine.rig import is_quiet, until
from tests.table import table

GPT = "openai/gpt-4o-mini"

BOTH = pytest.mark.parametrize("backend", ["asyncio", "trio"])


# --- concurrency


@BOTH
def test_callers_are_served_in_the_order_in_which_they_came(mock: MockTransport, backend: Any) -> None:
    mock.function(lambda request: request.messages[-1].text).delay(1).always()
    client = mock.client(mock.account_with({"openai": ["a"]}, configs={"openai": ProviderConfig(concurrency=1)}))

    async def ask(number: int) -> None:
        await client.chat(GPT, str(number))

    async def main() -> None:
        async with client, anyio.create_task_group() as group:
            group.start_soon(ask, 0)
            await until(lambda: mock.connections.in_use == 1)
            for number in range(1, 30):
                group.start_soon(ask, number)
                await until(lambda number=number: client.stats().providers["openai"].waiting == number)

    run_virtual(main, backend=backend)
    assert [call.request.messages[-1].text for call in mock.calls] == [str(number) for number in range(30)]


@BOTH
def test_waits_between_attempts_hold_no_worker(backend: Any) -> None:
    mock = MockTransport()
    mock.when(lambda call: call.request.messages[-1].text == "slow").fail(503, retry_after=20).times(2)
    mock.reply("served").always()
    config = {"openai": ProviderConfig(concurrency=1)}

    client = mock.client(mock.account_with({"openai": ["a"]}, configs=config))
    ends: dict[str, float] = {}

    async def ask(text: str) -> None:
        await client.chat(GPT, text)
        ends[text] = anyio.current_time()

    async def main() -> None:
        async with client, anyio.create_task_group() as group:
            group.start_soon(ask, "slow")
            await until(lambda: len(mock.calls) == 1)
            group.start_soon(ask, "quick")

    run_virtual(main, backend=backend)
    assert ends["quick"] < 1
    assert ends["slow"] >= 40


# --- changes while calls run


@BOTH
def test_a_call_under_way_keeps_the_keys_that_it_began_with(mock: MockTransport, backend: Any) -> None:
    mock.fail(503, retry_after=5).then.reply("x").always()
    client = mock.client(mock.account_with({"openai": ["old"]}))

    async def main() -> None:
        async with client, anyio.create_task_group() as group:
            group.start_soon(client.chat, GPT, "hi")
            await until(lambda: len(mock.calls) == 1)
            await client.update_provider("openai", keys=[Key(name="new", value=fake_key("new"))])
            await client.chat(GPT, "hi")

    run_virtual(main, backend=backend)
    assert [call.key for call in mock.calls] == ["old", "new", "old"]


@BOTH
def test_more_concurrency_takes_queued_calls_at_once(mock: MockTransport, backend: Any) -> None:
    mock.reply("x").delay(10).always()
    client = mock.client(mock.account_with({"openai": ["a"]}, configs={"openai": ProviderConfig(concurrency=1)}))

    async def main() -> float:
        async with client, anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(client.chat, GPT, "hi")
            await until(lambda: mock.connections.in_use == 1)
            await client.update_provider("openai", config=lambda config: attrs.evolve(config, concurrency=5))
            await until(lambda: mock.connections.in_use == 5)
        return anyio.current_time()

    assert run_virtual(main, backend=backend) < 11


# --- streams


@pytest.mark.anyio
async def test_a_stream_may_be_broken_off_read_on_and_handed_to_another_task(mock: MockTransport) -> None:
    mock.stream(["a", "b", "c", "d"])
    texts: list[str] = []

    async def read_two(stream: Any) -> None:
        async for text in stream.text_stream:
            texts.append(text)
            if len(texts) % 2 == 0:
                break

    async with mock.client() as client, client.stream_chat(GPT, "hi") as stream:
        await read_two(stream)
        async with anyio.create_task_group() as group:
            group.start_soon(read_two, stream)
        assert (await stream.final()).text == "abcd"
        with pytest.raises(UsageError, match="read to its end"):
            async for _ in stream:
                pass
    assert texts == ["a", "b", "c", "d"]


@pytest.mark.anyio
async def test_dropping_the_last_reference_to_a_stream_frees_its_place(mock: MockTransport) -> None:
    mock.stream(["a", "b"]).stall(after_events=1).always()
    config = {"openai": ProviderConfig(concurrency=1)}
    async with leak_check(), mock.client(mock.account_with({"openai": ["a"]}, configs=config)) as client:
        for _ in range(3):
            stream = await client.stream_chat(GPT, "hi").__aenter__()
            assert (await anext(stream.text_stream)) == "a"
            del stream
            gc.collect()
            with anyio.fail_after(5):
                await until(lambda: is_quiet(client) and mock.connections.in_use == 0)


# --- threads


def test_threads_share_the_limits_of_one_client(mock: MockTransport) -> None:
    most, lock = 0, threading.Lock()

    class Watch(Plugin):
        name = "watch"

        def after(self, call: Any, outcome: Any) -> None:
            nonlocal most
            with lock:
                most = max(most, client.stats().providers["openai"].in_flight)

    mock.reply("x").delay(0.01).always()
    account = mock.account_with({"openai": ["a"]}, configs={"openai": ProviderConfig(concurrency=2)})
    with SyncBifrost(account, transport=mock, plugins=[Watch()]) as client, ThreadPoolExecutor(16) as pool:
        assert len([reply.text for reply in pool.map(lambda _: client.chat(GPT, "hi"), range(40))]) == 40
    assert mock.connections.opened <= 2
    assert most <= 2


def test_a_stream_is_read_by_one_thread_at_a_time(mock: MockTransport) -> None:
    mock.stream(["a", "b"]).stall(after_events=1)
    with SyncBifrost(mock.account, transport=mock) as client, client.stream_chat(GPT, "hi") as stream:
        assert next(stream.text_stream) == "a"
        failures: list[BaseException] = []
        reading = threading.Event()

        def read() -> None:
            reading.set()
            try:
                next(stream)
            except UsageError as error:
                failures.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        reading.wait(5)
        while not stream._stream._busy:
            threading.Event().wait(0.001)
        with pytest.raises(UsageError, match="another task"):
            next(stream)
        stream.close()
        thread.join(20)
        assert len(failures) == 1


_DROPPED = """
import gc, sys, threading
from bifrost import Plugin
from bifrost.sync import SyncBifrost
from bifrost.testing import MockTransport

GPT = "openai/gpt-4o-mini"
mock = MockTransport()
mock.stream(["a", "b", "c"]).stall(after_events=1).always()

def texts(client):
    with client.stream_chat(GPT, "hi") as stream:
        yield from stream.text_stream

def results(client):
    with client.map(["a", "b"], model=GPT) as mapped:
        for result in mapped:
            yield result

def begun(client):
    generator = texts(client)
    assert next(generator) == "a"
    return generator
"""

DROPS = {
    "by its last reference": """
client = SyncBifrost(mock.account, transport=mock)
begun(client)
client.close()
""",
    "in another thread": """
client = SyncBifrost(mock.account, transport=mock)
held = [begun(client)]
thread = threading.Thread(target=held.clear)
thread.start()
thread.join()
client.close()
""",
    "by the garbage collector in the client's own thread": """
class Collect(Plugin):
    name = "collect"
    def before_call(self, call, request):
        if request.messages[-1].text == "collect":
            gc.collect()

mock.forget()
mock.when(lambda call: call.stream).stream(["a", "b", "c"]).stall(after_events=1).always()
mock.reply("x").always()
client = SyncBifrost(mock.account, transport=mock, plugins=[Collect()])
gc.disable()
ring = {"generator": begun(client)}
ring["itself"] = ring
del ring
client.chat(GPT, "collect")
client.close()
""",
    "after the client was closed": """
client = SyncBifrost(mock.account, transport=mock)
generator = begun(client)
client.close(drain=0)
del generator
""",
    "while another thread closes the client": """
client = SyncBifrost(mock.account, transport=mock)
generators = [begun(client) for _ in range(20)]
thread = threading.Thread(target=lambda: client.close(drain=0))
thread.start()
while generators:
    generators.pop()
thread.join()
""",
    "at the end of the program": """
client = SyncBifrost(mock.account, transport=mock)
generator = begun(client)
""",
    "at the end of the program, in a ring": """
client = SyncBifrost(mock.account, transport=mock)
ring = {"generator": begun(client)}
ring["itself"] = ring
sys.modules["kept"] = ring
""",
    "before it began": """
client = SyncBifrost(mock.account, transport=mock)
texts(client)
results(client)
client.close()
""",
    "with a map in it": """
mock.forget()
mock.reply("x").then.hang().always()
client = SyncBifrost(mock.account, transport=mock)
generator = results(client)
next(generator)
del generator
client.close()
""",
    "a plain map": """
mock.forget()
mock.reply("x").then.hang().always()
client = SyncBifrost(mock.account, transport=mock)
next(client.map(["a", "b"], model=GPT))
for _ in client.map([], model=GPT):
    pass
client.close()
""",
}


@table("how", DROPS)
def test_a_dropped_generator_makes_no_noise(how: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", _DROPPED + DROPS[how] + "\nprint('end')"],
        env={**os.environ, "PYTHONPATH": str(Path(bifrost.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "end\n", "")


# --- virtual time


@BOTH
def test_with_an_open_client_a_deadlock_is_one_all_the_same(mock: MockTransport, backend: Any) -> None:
    mock.reply("x").always()

    async def main() -> None:
        async with mock.client() as client:
            await client.chat(GPT, "hi")
            await anyio.Event().wait()

    with pytest.raises(DeadlockError):
        run_virtual(main, backend=backend)


# --- plugins


@pytest.mark.anyio
async def test_calls_under_way_keep_the_plugins_they_started_with(mock: MockTransport) -> None:
    seen: list[str] = []
    may_answer = anyio.Event()

    class Told(Plugin):
        def __init__(self, name: str) -> None:
            self.name = name

        async def before(self, call: Any, request: Any) -> None:
            await may_answer.wait()

        def after_call(self, call: Any, outcome: Any) -> None:
            seen.append(self.name)

    mock.reply("x").always()
    client = Bifrost(mock.account, transport=mock, plugins=[Told("old")])
    async with client, anyio.create_task_group() as group:
        group.start_soon(client.chat, GPT, "hi")
        await until(lambda: client.stats().calls == 1)
        await client.add_plugin(Told("new"))
        await client.remove_plugin("old")
        may_answer.set()
        await until(lambda: seen)
        assert seen == ["old"]
        await client.chat(GPT, "hi")
    assert seen == ["old", "new"]
