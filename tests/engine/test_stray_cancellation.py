"""A cancellation that comes out of foreign code, though nobody has cancelled the task that it arises in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import httpx
import pytest

from bifrost import Bifrost, BifrostError, InternalError, StreamInterruptedError
from bifrost.testing import leak_check
from tests.engine.peers import CHAT, MODEL, account_of
from tests.engine.rig import is_quiet, until
from tests.plugins.recorder import KINDS, Kind, Recorder, ask, assert_paired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

WORD = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Only asyncio lets a cancellation come out of what is waited for."""
    return "asyncio"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


class Words(httpx.AsyncByteStream):
    """A streamed body that breaks off after its first event."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield WORD
        await anyio.lowlevel.checkpoint()
        await a_cancelled_task()


async def a_cancelled_task() -> None:
    """Wait for a task of the transport's own that was cancelled, as one is that belongs to a closed connection."""
    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()
    await task


class Transport(httpx.AsyncBaseTransport):
    """Breaks off its first exchange, before an answer or in its middle, and answers the others."""

    def __init__(self, *, within: bool) -> None:
        self.asked = 0
        self._within = within

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.asked > 1:
            return httpx.Response(200, content=CHAT, headers={"content-type": "application/json"})
        if not self._within:
            await a_cancelled_task()
        return httpx.Response(200, stream=Words(), headers={"content-type": "text/event-stream"})


def client_of(transport: Transport, log: list[str]) -> Bifrost:
    return Bifrost(account_of("https://api.example"), transport=transport, plugins=[Recorder(log, waits=True)])


@pytest.mark.parametrize("within", [False, True], ids=["before the response", "in its middle"])
async def test_it_fails_its_own_call_and_the_provider_goes_on(kind: Kind, within: bool) -> None:
    log: list[str] = []
    transport = Transport(within=within)
    async with leak_check(), client_of(transport, log) as client:
        with pytest.raises(BifrostError) as caught:
            await ask(client, kind)
        error: Any = caught.value.__cause__ if isinstance(caught.value, StreamInterruptedError) else caught.value
        assert isinstance(error, InternalError)
        assert error.message.endswith("CancelledError")
        await until(lambda: is_quiet(client))
        assert (await client.chat(MODEL, "hi")).text == "hello"
        assert transport.asked == 2
    assert_paired(log)
