"""Sources that block run in threads, while the event loop goes on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import Key, StaticAccount, Token, TokenError
from bifrost.testing import MockTransport, fake_key
from tests.engine.rig import until
from tests.engine.troubled import MODEL, Calls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio


def account(credentials: Any) -> StaticAccount:
    return StaticAccount(keys={"openai": Key(name="entra", credentials=credentials)})


async def test_a_plain_function_may_block(mock: MockTransport) -> None:
    mock.reply("hello").always()
    released, threads = threading.Event(), []

    def fetch() -> Token:
        threads.append(threading.current_thread())
        assert released.wait(10.0)
        return Token(fake_key("t1"))

    async with mock.client(account(fetch)) as client:
        calls = Calls(client)
        async with anyio.create_task_group() as group:
            group.start_soon(calls.at_once, 10)
            await until(lambda: threads)
            assert not calls.outcomes
            released.set()
        assert [each.text for each in calls.outcomes] == ["hello"] * 10
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


async def test_a_plain_function_may_return_something_to_await(mock: MockTransport) -> None:
    mock.reply("hello")
    loops: list[int] = []

    async def later() -> str:
        loops.append(threading.get_ident())
        return fake_key("t1")

    async with mock.client(account(Later(later))) as client:
        await client.chat(MODEL, "hi")
    assert loops == [threading.get_ident()]
    assert [call.key for call in mock.calls] == ["t1"]


class Later:
    """A plain method that returns something to await."""

    def __init__(self, function: Callable[[], Awaitable[str]]) -> None:
        self._function = function

    def __call__(self) -> Awaitable[str]:
        return self._function()


class Blocking:
    def fetch(self) -> Token:
        raise OSError("no such host: hunter2")


async def test_an_object_with_a_plain_method_fails_as_an_async_one_does(mock: MockTransport) -> None:
    async with mock.client(account(Blocking())) as client:
        with pytest.raises(TokenError, match="Blocking failed with OSError") as caught:
            await client.chat(MODEL, "hi", max_retries=0)
    assert "hunter2" not in str(caught.value)


async def test_a_closed_client_leaves_the_thread_behind(mock: MockTransport) -> None:
    began, released = threading.Event(), threading.Event()

    def fetch() -> Token:
        began.set()
        released.wait(10.0)
        return Token(fake_key("t1"))

    async with mock.client(account(fetch)) as client:
        calls = Calls(client)
        async with anyio.create_task_group() as group:
            group.start_soon(calls.at_once, 1)
            await until(began.is_set)
            with anyio.fail_after(5.0):
                await client.close(drain=0.0)
        released.set()
        assert len(calls.errors) == 1


async def test_a_source_alone_stands_for_a_key(mock: MockTransport) -> None:
    mock.reply("hello")

    class Source:
        def fetch(self) -> Token:
            return Token(fake_key("t1"))

    async with mock.client(StaticAccount(keys={"openai": Source()})) as client:
        reply = await client.chat(MODEL, "hi")
    assert reply.attempts[0].key == "openai"
