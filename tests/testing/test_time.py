from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from bifrost.engine.clock import Clock
from bifrost.testing import MockTransport, no_waits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio


async def is_at_once(sleep: Callable[[float], Awaitable[None]]) -> bool:
    with anyio.move_on_after(0.02):
        await sleep(3600)
        return True
    return False


async def test_waits_are_gone_within_the_block_only() -> None:
    before = Clock()
    with no_waits():
        within = Clock()
        assert await is_at_once(before.sleep)
        assert await is_at_once(within.sleep)
    for clock in (before, within, Clock()):
        assert clock.sleep is anyio.sleep


async def test_a_sleep_of_ones_own_stays() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    clock = Clock(sleep=sleep)
    with no_waits():
        await clock.sleep(5)
        clock.sleep = anyio.sleep
        assert await is_at_once(clock.sleep)
    assert slept == [5]


async def test_blocks_may_be_nested() -> None:
    with no_waits():
        with no_waits():
            assert await is_at_once(Clock().sleep)
        assert await is_at_once(Clock().sleep)
    assert Clock().sleep is anyio.sleep


async def test_a_wait_can_be_cancelled() -> None:
    with no_waits(), anyio.CancelScope() as scope:
        scope.cancel()
        await Clock().sleep(1)
    assert scope.cancelled_caught


async def test_a_client_retries_at_once() -> None:
    mock = MockTransport()
    mock.fail(503, retry_after=30).times(2).then.reply("ok")
    async with mock.client() as client:
        with no_waits(), anyio.fail_after(10):
            reply = await client.chat("openai/gpt-4o-mini", "hi")
    assert [attempt.wait >= 30 for attempt in reply.attempts] == [False, True, True]
