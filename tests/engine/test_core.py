from __future__ import annotations

import gc
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from bifrost import (
    Bifrost,
    BifrostError,
    CallTimeoutError,
    ClientClosedError,
    InternalError,
    PluginError,
    ShuttingDownError,
)
from bifrost.testing import MockTransport, leak_check
from tests.engine.peers import running
from tests.engine.rig import until
from tests.plugins.recorder import MODEL, Kind, Recorder, ask, assert_paired

pytestmark = pytest.mark.anyio


class Slow(MockTransport):
    """A provider that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.there = anyio.Event()
        self.function(self._arrived).delay(0.05).always()

    def _arrived(self, _request: Any) -> str:
        self.there.set()
        return "hello"


# --- life


async def test_a_client_opens_with_its_first_call(kind: Kind) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.reply("hello")
    client = mock.client(plugins=[Recorder(log, "a")])
    assert repr(client) == f"Bifrost({client._engine.account!r}, new)"
    assert log == []
    assert (await ask(client, kind)).text == "hello"
    assert log[0] == "a.open"
    await client.close()
    assert repr(client).endswith("closed)")


async def test_opening_and_closing_may_be_repeated() -> None:
    log: list[str] = []
    async with leak_check():
        client = MockTransport().client(plugins=[Recorder(log, "a")])
        await client.open()
        await client.open()
        await client.close()
        await client.close()
    assert log == ["a.open", "a.close"]


async def test_the_first_calls_open_the_client_once() -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.reply("hello").always()
    async with mock.client(plugins=[Recorder(log, "a", waits=True)]) as client, anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(client.chat, MODEL, "hi")
    assert log.count("a.open") == 1


async def test_a_client_that_was_closed_takes_no_calls(kind: Kind) -> None:
    client = MockTransport().client()
    async with client:
        pass
    with pytest.raises(ClientClosedError, match="make a new one"):
        await ask(client, kind)
    with pytest.raises(ClientClosedError):
        await client.open()


async def test_a_client_that_never_opened_can_be_closed(kind: Kind) -> None:
    client = MockTransport().client()
    await client.close()
    with pytest.raises(ClientClosedError):
        await ask(client, kind)


async def test_closing_lets_running_calls_end(kind: Kind) -> None:
    mock = Slow()
    client = mock.client()
    replies: list[str] = []

    async def call() -> None:
        replies.append((await ask(client, kind)).text)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await mock.there.wait()
        await client.close()
    assert replies == ["hello"]


async def test_two_may_close_at_once(kind: Kind) -> None:
    log: list[str] = []
    mock = Slow()
    client = mock.client(plugins=[Recorder(log, "a", waits=True)])
    replies: list[str] = []

    async def call() -> None:
        replies.append((await ask(client, kind)).text)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await mock.there.wait()
            group.start_soon(client.close)
            group.start_soon(client.close)
    assert replies == ["hello"]
    assert log.count("a.close") == 1
    assert_paired(log)


async def test_a_client_that_is_being_closed_takes_no_calls(kind: Kind) -> None:
    mock = Slow()
    client = mock.client()
    async with anyio.create_task_group() as group:
        group.start_soon(client.chat, MODEL, "hi")
        await mock.there.wait()
        group.start_soon(client.close)
        await until(lambda: "draining" in repr(client))
        with pytest.raises(ShuttingDownError, match="being closed") as caught:
            await ask(client, kind)
        assert caught.value.retryable


async def test_closing_at_once_ends_running_calls_with_their_hooks(kind: Kind) -> None:
    log: list[str] = []
    mock = MockTransport()
    there = anyio.Event()
    mock.function(lambda _request: there.set() or "hello").stall()
    client = mock.client(plugins=[Recorder(log, "a")])
    errors: list[BifrostError] = []

    async def call() -> None:
        try:
            await ask(client, kind)
        except BifrostError as error:
            errors.append(error)

    async with leak_check(), anyio.create_task_group() as group:
        group.start_soon(call)
        await there.wait()
        await client.close(drain=0)
    assert [type(error) for error in errors] == [ShuttingDownError]
    assert sorted(set(log)) == ["a.after", "a.after_call", "a.before", "a.before_call", "a.close", "a.open"]


async def test_leaving_the_block_with_an_error_does_not_wait_for_calls() -> None:
    mock = MockTransport()
    there = anyio.Event()
    mock.function(lambda _request: there.set() or "hello").stall()

    async def call(client: Bifrost) -> None:
        with pytest.raises(ShuttingDownError):
            await client.chat(MODEL, "hi")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            with suppress(ZeroDivisionError):
                async with mock.client() as client:
                    group.start_soon(call, client)
                    await there.wait()
                    raise ZeroDivisionError


@pytest.mark.parametrize("waits", [False, True], ids=["plain hooks", "async hooks"])
async def test_a_block_that_is_cancelled_closes_the_client(waits: bool) -> None:
    log: list[str] = []
    client = MockTransport().client(plugins=[Recorder(log, "a", waits=waits)])
    async with leak_check():
        with anyio.CancelScope() as scope:
            async with client:
                scope.cancel()
                await anyio.sleep_forever()
        assert repr(client).endswith("closed)")
    assert log == ["a.open", "a.close"]


async def test_one_who_is_cancelled_while_closing_closes_all_the_same() -> None:
    log: list[str] = []
    mock = MockTransport()
    there = anyio.Event()
    mock.function(lambda _request: there.set() or "hello").stall()
    client = mock.client(plugins=[Recorder(log, "a", waits=True)])

    async def call() -> None:
        with pytest.raises(ShuttingDownError):
            await client.chat(MODEL, "hi")

    async with leak_check(), anyio.create_task_group() as group:
        group.start_soon(call)
        await there.wait()
        with anyio.move_on_after(0.05):
            await client.close()
        assert repr(client).endswith("closed)")
    assert log.count("a.close") == 1


async def test_plugins_that_come_to_be_open_although_the_client_was_closed_are_closed_again() -> None:
    log: list[str] = []
    opening, may_open = anyio.Event(), anyio.Event()

    async def stubborn() -> None:
        opening.set()
        with anyio.CancelScope(shield=True):
            await may_open.wait()

    async def call() -> None:
        with pytest.raises((ClientClosedError, ShuttingDownError)):
            await client.chat(MODEL, "hi")

    client = MockTransport().client(plugins=[Recorder(log, "a"), Recorder(log, "b", open=stubborn)])
    async with leak_check(), anyio.create_task_group() as group:
        group.start_soon(call)
        await opening.wait()
        group.start_soon(client.close)
        await anyio.wait_all_tasks_blocked()
        may_open.set()
    assert log == ["a.open", "b.open", "b.close", "a.close"]


@pytest.mark.parametrize("closed", [False, True], ids=["draining", "closed"])
async def test_a_plugin_that_is_added_as_the_client_is_closed_is_not_left_open(closed: bool) -> None:
    log: list[str] = []
    mock, opening, may_open = Slow(), anyio.Event(), anyio.Event()

    async def slow() -> None:
        opening.set()
        await may_open.wait()

    async def add() -> None:
        with pytest.raises((ClientClosedError, ShuttingDownError)):
            await client.add_plugin(Recorder(log, "a", open=slow))

    client = mock.client()
    async with leak_check(), anyio.create_task_group() as group:
        if closed:
            await client.open()
        else:
            group.start_soon(client.chat, MODEL, "hi")
            await mock.there.wait()
        group.start_soon(add)
        await opening.wait()
        group.start_soon(client.close)
        await until(lambda: client._engine.state == ("closed" if closed else "draining"))
        may_open.set()
    assert log == ["a.open", "a.close"]


async def test_a_plugin_that_cannot_open_fails_every_caller_that_waits() -> None:
    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError

    errors: list[BifrostError] = []

    async def call(client: Bifrost) -> None:
        try:
            await client.chat(MODEL, "hi")
        except BifrostError as error:
            errors.append(error)

    client = MockTransport().client(plugins=[Recorder([], open=fail)])
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call, client)
    assert [type(error) for error in errors] == [PluginError] * 3
    await client.close()


async def test_a_plugin_that_opens_for_ever_holds_a_call_no_longer_than_its_timeout(kind: Kind) -> None:
    log: list[str] = []
    plugins = [Recorder(log, "a"), Recorder(log, "b", open=anyio.sleep_forever), Recorder(log, "c")]
    async with leak_check():
        client = MockTransport().client(plugins=plugins)
        with anyio.fail_after(3):
            with pytest.raises(CallTimeoutError, match="a plugin's `open` takes that long") as caught:
                await ask(client, kind, timeout=0.05)
            await client.close()
    assert caught.value.phase == "hook"
    assert log == ["a.open", "b.open", "a.close"]


async def test_a_client_whose_opening_failed_may_be_opened_again() -> None:
    fails = [True]

    def sometimes() -> None:
        if fails.pop():
            fails.append(False)
            raise ValueError
        fails.append(False)

    mock = MockTransport()
    mock.reply("hello")
    client = mock.client(plugins=[Recorder([], open=sometimes)])
    with pytest.raises(PluginError):
        await client.open()
    assert (await client.chat(MODEL, "hi")).text == "hello"
    await client.close()


async def test_a_failure_of_the_host_reaches_every_caller(kind: Kind) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    mock = MockTransport()
    mock.hang().times(2)
    client = mock.client()
    errors: list[BifrostError] = []

    async def call() -> None:
        with pytest.raises((InternalError, ShuttingDownError)) as caught:
            await ask(client, kind)
        errors.append(caught.value)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            group.start_soon(call)
            await until(lambda: len(mock.calls) == 2)
            running(client).host.run(fail)
    # Each has a trail of its own.
    assert len({id(error) for error in errors}) == 2
    assert [len(error.attempts) for error in errors] == [1, 1]
    await client.close()


async def test_calls_that_outlive_a_failed_host_are_not_counted_with_those_of_the_next() -> None:
    may_end = anyio.Event()

    async def fail() -> None:
        raise ZeroDivisionError

    async def call() -> None:
        with pytest.raises((InternalError, ShuttingDownError)):
            await client.chat(MODEL, "hi")

    async def wait(*_: Any) -> None:
        await may_end.wait()

    mock = MockTransport()
    mock.hang().then.reply("hello")
    client = mock.client(plugins=[Recorder([], after_call=wait)])
    await client.open()
    first = running(client)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await until(lambda: bool(mock.calls))
            first.host.run(fail)
            await until(lambda: first.host.ended)
            await client.open()
            may_end.set()
        assert (await client.chat(MODEL, "hi")).text == "hello"
        await client.close()
        assert first.active.count == 0


async def test_a_client_that_is_never_closed_warns_and_hangs_nothing() -> None:
    mock = MockTransport()
    mock.reply("hello")
    client = mock.client()
    await client.chat(MODEL, "hi")
    with pytest.warns(ResourceWarning, match="never closed; use `async with"):  # noqa: PT031 - it takes both
        del client
        gc.collect()
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


def test_a_client_that_could_not_be_made_is_finalised_in_peace() -> None:
    with pytest.raises(BifrostError):
        MockTransport().client(plugins=[7])
    gc.collect()


# --- two event loops, one after the other


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_a_client_serves_one_loop_after_another(anyio_backend: str) -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.reply("hello").times(2)
    client = mock.client(plugins=[Recorder(log, "a")])

    async def call() -> str:
        return (await client.chat(MODEL, "hi")).text

    async def last() -> str:
        text = await call()
        await client.close()
        return text

    assert anyio.run(call) == "hello"
    assert anyio.run(last) == "hello"
    assert log.count("a.open") == 2


async def test_plugins_are_closed_after_the_hooks_of_calls_that_were_cut_off() -> None:
    log: list[str] = []
    mock = MockTransport()
    mock.hang()
    client = mock.client(plugins=[Recorder(log, "a")])

    async def call() -> None:
        with suppress(BifrostError):
            await client.chat(MODEL, "hi")

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await until(lambda: bool(mock.calls))
            await client.close(drain=0)

    assert log[-2:] == ["a.after_call", "a.close"]
