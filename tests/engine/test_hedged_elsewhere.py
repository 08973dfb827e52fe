"""A slow call is sent to another candidate, beside the first. In virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import (
    BadRequestError,
    Bifrost,
    BifrostError,
    CallTimeoutError,
    HedgeConfig,
    ModelGroup,
    RetryBudgetConfig,
    RetryConfig,
    ServerError,
)
from bifrost.testing import MockTransport, leak_check
from tests.engine.rig import is_quiet, until
from tests.engine.test_hedged import USUAL, known, stats_of
from tests.engine.troubled import MODEL, OTHER, client_of, health_of
from tests.plugins.recorder import Recorder, assert_paired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

ELSEWHERE = HedgeConfig(other_candidate=True)


@pytest.fixture(autouse=True)
async def _leaves_nothing(mock: MockTransport) -> AsyncIterator[None]:
    async with leak_check():
        yield
    assert mock.connections.open == 0


def hedging(mock: MockTransport, **config: Any) -> Bifrost:
    """Return a client with one key for each provider, that hedges elsewhere."""
    return client_of(mock, hedge=ELSEWHERE, retry_budget=RetryBudgetConfig(per_second=0, success=0), **config)


def told(attempts: Any) -> list[tuple[str, str | None, str | None]]:
    return [(attempt.provider, attempt.category, attempt.note) for attempt in attempts]


async def test_a_response_does_not_wait_for_the_keys_of_another_candidate(mock: MockTransport) -> None:
    account, is_slow = mock.account, False

    class Slow:
        def providers(self) -> Any:
            return account.providers()

        def config(self, provider: str) -> Any:
            return account.config(provider).replace(hedge=ELSEWHERE)

        async def keys(self, provider: str, call: Any = None) -> Any:
            if is_slow and provider == "anthropic":
                await anyio.sleep_forever()
            return account.keys(provider, call)

    async with Bifrost(Slow(), transport=mock) as client:
        await known(client, mock)
        is_slow = True
        mock.reply("slow").delay(USUAL + 1)
        mock.fail(500).delay(USUAL + 1).then.reply("again")
        for text in ("slow", "again"):
            began = anyio.current_time()
            reply = await client.chat(MODEL, "hi", fallbacks=[OTHER])
            assert anyio.current_time() - began < 2 * USUAL + 3
            assert (reply.text, reply.provider) == (text, "openai")
        assert stats_of(client).hedges == 0


async def test_the_other_candidate_answers_and_the_slow_one_is_broken_off(mock: MockTransport) -> None:
    mock.on(provider="anthropic").reply("faster").delay(0.5)
    mock.hang()
    async with hedging(mock) as client:
        await known(client, mock)
        began = anyio.current_time()
        reply = await client.chat(MODEL, "hi", fallbacks=[OTHER])
        assert anyio.current_time() - began == pytest.approx(USUAL + 0.5)
        await until(lambda: is_quiet(client))
        assert (reply.text, reply.provider) == ("faster", "anthropic")
        assert told(reply.attempts) == [
            ("openai", "cancelled", "lost to a hedge"),
            ("anthropic", None, "hedge after 2.00 s"),
        ]
        stats = stats_of(client)
        assert (stats.hedges, stats.hedge_wins, stats.cancelled, stats.fallbacks) == (1, 1, 1, 0)
        # The other has been there for half a second.
        assert health_of(client, "anthropic").budget.tokens(anyio.current_time()) == 190.5
        assert health_of(client).budget.tokens(anyio.current_time()) == 200


async def test_the_first_may_still_answer(mock: MockTransport) -> None:
    mock.on(provider="anthropic").hang()
    mock.reply("first").delay(USUAL + 1)
    async with hedging(mock) as client:
        await known(client, mock)
        reply = await client.chat(MODEL, "hi", fallbacks=[OTHER])
        await until(lambda: is_quiet(client))
        assert (reply.text, reply.provider) == ("first", "openai")
        assert told(reply.attempts) == [("anthropic", "cancelled", "hedge after 2.00 s"), ("openai", None, None)]
        assert stats_of(client).hedge_wins == 0


async def test_a_sibling_of_a_group_may_be_the_other_candidate(mock: MockTransport) -> None:
    mock.on(provider="anthropic").reply("faster").delay(0.5)
    mock.hang()
    models = {"fast": ModelGroup([(MODEL, 1), (OTHER, 0)])}
    async with hedging(mock, models=models) as client:
        await known(client, mock)
        reply = await client.chat("fast", "hi")
        assert (reply.text, reply.provider) == ("faster", "anthropic")


async def test_a_failure_of_the_hedge_says_nothing_of_the_first(mock: MockTransport) -> None:
    mock.on(provider="anthropic").fail(400)
    mock.reply("first").delay(USUAL + 3)
    async with hedging(mock) as client:
        await known(client, mock)
        reply = await client.chat(MODEL, "hi", fallbacks=[OTHER])
        assert (reply.text, [attempt.category for attempt in reply.attempts]) == ("first", ["caller", None])


async def test_if_the_first_fails_the_hedge_is_waited_for(mock: MockTransport) -> None:
    mock.on(provider="anthropic").reply("hedged").delay(5)
    mock.fail(503).delay(USUAL + 1)
    async with hedging(mock) as client:
        await known(client, mock)
        reply = await client.chat(MODEL, "hi", fallbacks=[OTHER])
        assert (reply.text, [attempt.category for attempt in reply.attempts]) == ("hedged", ["transient", None])


@pytest.mark.parametrize("first_delay", [USUAL + 1, USUAL + 4], ids=["first fails first", "hedge fails first"])
async def test_if_both_fail_the_first_is_tried_again_and_the_other_is_not(
    mock: MockTransport, first_delay: float
) -> None:
    mock.on(provider="anthropic").fail(529).delay(2)
    mock.fail(503).delay(first_delay).then.reply("again")
    async with hedging(mock) as client:
        await known(client, mock)
        reply = await client.chat(MODEL, "hi", fallbacks=[OTHER])
        assert reply.text == "again"
        assert sorted(attempt.provider for attempt in reply.attempts) == ["anthropic", "openai", "openai"]
        assert reply.attempts[-1].provider == "openai"


async def test_if_nothing_helps_both_failures_are_told(mock: MockTransport) -> None:
    mock.on(provider="anthropic").fail(529).delay(1)
    mock.fail(503).delay(USUAL + 4)
    async with hedging(mock, retry=RetryConfig(max_retries=1)) as client:
        await known(client, mock)
        mock.fail(503).always()
        with pytest.raises(ServerError) as caught:
            await client.chat(MODEL, "hi", fallbacks=[OTHER])
        assert [attempt.provider for attempt in caught.value.attempts] == ["anthropic", "openai", "openai"]


async def test_a_request_that_is_wrong_ends_the_hedge(mock: MockTransport) -> None:
    mock.on(provider="anthropic").hang()
    mock.fail(400).delay(USUAL + 1)
    async with hedging(mock) as client:
        await known(client, mock)
        with pytest.raises(BadRequestError):
            await client.chat(MODEL, "hi", fallbacks=[OTHER])
        await until(lambda: is_quiet(client))


async def test_the_deadline_and_a_cancel_end_both(mock: MockTransport) -> None:
    mock.on(provider="anthropic").hang().always()
    mock.hang().times(2)
    async with hedging(mock) as client:
        await known(client, mock)
        with pytest.raises(CallTimeoutError) as caught:
            await client.chat(MODEL, "hi", fallbacks=[OTHER], timeout=10)
        assert {attempt.provider for attempt in caught.value.attempts} == {"openai", "anthropic"}
        await until(lambda: is_quiet(client))
        with anyio.move_on_after(5):
            await client.chat(MODEL, "hi", fallbacks=[OTHER])
        await until(lambda: is_quiet(client))


@pytest.mark.parametrize("why", ["no fallback", "breaker", "key", "not asked for"])
async def test_there_is_none_where_nobody_else_can_answer(mock: MockTransport, why: str) -> None:
    trouble = {"breaker": 503, "key": 401}.get(why)
    if trouble is not None:
        mock.on(provider="anthropic").fail(trouble).always()
    mock.on(provider="anthropic").reply("elsewhere").always()
    mock.reply("slow").delay(10)
    times = 5 if why == "breaker" else 1
    hedge = HedgeConfig() if why == "not asked for" else ELSEWHERE
    async with client_of(mock, hedge=hedge) as client:
        await known(client, mock)
        if trouble is not None:
            for _ in range(times):
                with pytest.raises(BifrostError):
                    await client.chat(OTHER, "hi", max_retries=0)
        reply = await client.chat(MODEL, "hi", fallbacks=[] if why == "no fallback" else [OTHER])
        assert reply.text == "slow"
        assert len(reply.attempts) == 1


async def test_plugins_see_one_call_and_who_has_answered(mock: MockTransport) -> None:
    mock.on(provider="anthropic").reply("faster").delay(0.5)
    mock.hang()
    log: list[str] = []
    async with hedging(mock) as client:
        await known(client, mock)
        await client.add_plugin(Recorder(log))
        reply = await client.chat(MODEL, "hi", fallbacks=[OTHER])
    assert reply.provider == "anthropic"
    assert_paired([note for note in log if not note.endswith(("open", "close"))])
