"""Once a caller has its answer, nothing of its call is held by the client: no idle worker keeps its last job."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from bifrost import BifrostError, ChatResponse, HedgeConfig
from bifrost.engine.attempt import Attempt
from bifrost.engine.call import Call
from bifrost.engine.pool.workers import Job
from bifrost.operations.chat.request import ChatRequest
from tests.engine.rig import is_quiet, until
from tests.engine.troubled import MODEL, client_of

if TYPE_CHECKING:
    from bifrost import Bifrost
    from bifrost.testing import MockTransport

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

OF_A_CALL = (Call, Attempt, Job, ChatRequest, ChatResponse)


async def plain(client: Bifrost, mock: MockTransport) -> None:
    mock.reply("hello")
    await client.chat(MODEL, "hi")


async def stream(client: Bifrost, mock: MockTransport) -> None:
    mock.reply("hello")
    async with client.stream_chat(MODEL, "hi") as opened:
        await opened.final()


async def left_stream(client: Bifrost, mock: MockTransport) -> None:
    mock.stream(["one", "two", "three"]).drip(1)
    async with client.stream_chat(MODEL, "hi") as opened:
        await opened.__anext__()


async def error(client: Bifrost, mock: MockTransport) -> None:
    mock.fail(400)
    try:
        await client.chat(MODEL, "hi")
    except BifrostError:
        return
    raise AssertionError


async def cancelled(client: Bifrost, mock: MockTransport) -> None:
    mock.hang()
    with anyio.move_on_after(1):
        await client.chat(MODEL, "hi")


async def hedge(client: Bifrost, mock: MockTransport) -> None:
    mock.reply("usual").times(20)
    for _ in range(20):
        await client.chat(MODEL, "hi")
    mock.hang().then.reply("hedged")
    assert len((await client.chat(MODEL, "hi")).attempts) == 2


def of_calls() -> list[Any]:
    """Give all that is alive of any call."""
    return [each for each in gc.get_objects() if type(each) in OF_A_CALL]


@pytest.mark.parametrize("call", [plain, stream, left_stream, error, cancelled, hedge])
async def test_nothing_of_a_call_is_held_after_it(mock: MockTransport, call: Any) -> None:
    # What other tests have left in this process is no matter of this one. Kept, so that no identity is used again.
    before = of_calls()
    known = set(map(id, before))
    async with client_of(mock, "a", "b", hedge=HedgeConfig()) as client:
        mock.reply("first")
        await client.chat(MODEL, "hi")
        await call(client, mock)
        await until(lambda: is_quiet(client))
        mock.forget()
        mock.calls.clear()
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        gc.collect()
        held = [type(each).__name__ for each in of_calls() if id(each) not in known]
        assert held == []
        assert client.stats().providers["openai"].workers > 0
