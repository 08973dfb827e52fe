"""A slow call is sent a second time, beside the first. In virtual time."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from bifrost import (
    AdaptiveConfig,
    BadRequestError,
    BreakerConfig,
    CallCancelledError,
    CallTimeoutError,
    HedgeConfig,
    Key,
    KeyPoolConfig,
    ProviderConfig,
    RateLimitError,
    RetryBudgetConfig,
    RetryConfig,
    ServerError,
)
from bifrost.engine.pool.workers import Replaced
from bifrost.routing.balance import WeightedRandom
from bifrost.testing import MockTransport, fake_key, leak_check
from tests.engine.peers import running
from tests.engine.rig import is_quiet, until
from tests.engine.troubled import MODEL, OTHER, Calls, client_of, health_of, now_and_then, states_of, told
from tests.plugins.recorder import Recorder, assert_paired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bifrost import Bifrost
    from bifrost.engine.pool.workers import Pool
    from bifrost.reports.stats import ProviderStats

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

USUAL = 2.0
"""What an answer takes as a rule."""


@pytest.fixture(autouse=True)
async def _leaves_nothing(mock: MockTransport) -> AsyncIterator[None]:
    async with leak_check():
        yield
    assert mock.connections.open == 0


def hedging(
    mock: MockTransport,
    *keys: str | Key,
    hedge: HedgeConfig | None = None,
    retry_budget: RetryBudgetConfig | None = None,
    **config: Any,
) -> Bifrost:
    """Give a client that hedges; its tokens come and go only with what it does."""
    return client_of(
        mock,
        *(keys or ("one", "two")),
        hedge=hedge or HedgeConfig(),
        retry_budget=retry_budget or RetryBudgetConfig(per_second=0, success=0),
        **config,
    )


async def known(client: Bifrost, mock: MockTransport, *, answers: int = 20, seconds: float = USUAL) -> None:
    """Let so many answers come, each after so long; what was scripted comes after them."""
    usual = mock.when(lambda call: call.index < answers)
    usual.reply("usual").delay(seconds).times(answers)
    await Calls(client).at_once(answers)
    assert len(mock.calls) == answers


def stats_of(client: Bifrost) -> ProviderStats:
    return client.stats().providers["openai"]


def pool_of(client: Bifrost) -> Pool:
    return running(client).upstreams._upstreams["openai"].pool


def tokens(client: Bifrost) -> float:
    return health_of(client).budget.tokens(anyio.current_time())


# --- when


async def test_an_attempt_that_takes_longer_than_nearly_all_is_raced_by_a_second(mock: MockTransport) -> None:
    mock.hang().then.reply("hedged").delay(0.5)
    async with hedging(mock) as client:
        await known(client, mock)
        began = anyio.current_time()
        reply = await client.chat(MODEL, "hi")
        assert anyio.current_time() - began == pytest.approx(USUAL + 0.5)
        await until(lambda: is_quiet(client))

        assert reply.text == "hedged"
        lost, won = reply.attempts
        assert {lost.key, won.key} == {"one", "two"}
        assert (lost.ok, lost.category, lost.status, lost.note) == (False, "cancelled", None, "lost to a hedge")
        assert (won.ok, won.status, won.note) == (True, 200, "hedge after 2.00 s")
        assert lost.total == pytest.approx(USUAL + 0.5)
        assert won.total == pytest.approx(0.5)
        assert len(mock.calls) == 22
        stats = stats_of(client)
        assert (stats.hedges, stats.hedge_wins, stats.ok, stats.cancelled) == (1, 1, 21, 1)
        assert (stats.failed, stats.retries, stats.calls) == (0, 0, 21)
        assert set(states_of(client).values()) == {"ready"}


async def test_the_first_may_still_be_the_first(mock: MockTransport) -> None:
    mock.reply("first").delay(3).then.reply("hedged").delay(5)
    async with hedging(mock) as client:
        await known(client, mock)
        began = anyio.current_time()
        reply = await client.chat(MODEL, "hi")
        assert anyio.current_time() - began == pytest.approx(3)
        await until(lambda: is_quiet(client))

        assert reply.text == "first"
        hedge, first = reply.attempts
        assert (hedge.category, hedge.note, hedge.total) == ("cancelled", "hedge after 2.00 s", pytest.approx(1))
        assert (first.ok, first.note, first.total) == (True, None, pytest.approx(3))
        stats = stats_of(client)
        assert (stats.hedges, stats.hedge_wins, stats.ok, stats.cancelled) == (1, 0, 21, 1)


async def test_before_twenty_answers_are_known_there_is_no_hedge(mock: MockTransport) -> None:
    mock.reply("late").delay(50).times(2)
    async with hedging(mock, hedge=HedgeConfig(share=1)) as client:
        await known(client, mock, answers=19)
        # Two at once, so that neither is the twentieth for the other.
        await Calls(client).at_once(2)
        assert len(mock.calls) == 21
        assert stats_of(client).hedges == 0


async def test_within_a_second_nothing_is_slow(mock: MockTransport) -> None:
    mock.reply("first").delay(0.9).then.reply("slow").delay(5).then.reply("hedged")
    async with hedging(mock) as client:
        await known(client, mock, seconds=0.1)
        assert (await client.chat(MODEL, "hi")).text == "first"
        began = anyio.current_time()
        assert (await client.chat(MODEL, "hi")).text == "hedged"
        assert anyio.current_time() - began == pytest.approx(1)


async def test_the_time_in_the_queue_is_not_the_providers(mock: MockTransport) -> None:
    mock.reply("first").delay(1.9).always()
    async with hedging(mock, concurrency=4) as client:
        await known(client, mock)
        calls = Calls(client)
        await calls.at_once(12)
        assert stats_of(client).hedges == 0
        assert not calls.errors


@pytest.mark.parametrize("limit", [None, AdaptiveConfig(start=2)], ids=["fixed", "adaptive"])
async def test_there_is_none_while_no_worker_is_free(mock: MockTransport, limit: AdaptiveConfig | None) -> None:
    mock.reply("late").delay(3).times(2).then.hang().then.reply("hedged")
    async with hedging(mock, concurrency=2) as client:
        await known(client, mock)
        if limit is not None:
            config = attrs.evolve(pool_of(client).config, concurrency=8, adaptive=limit)
            await client.update_provider("openai", config=config)
        calls = Calls(client)
        await calls.at_once(2)
        assert stats_of(client).hedges == 0
        await calls.at_once(1)
        assert stats_of(client).hedges == 1


async def test_it_waits_for_a_worker_within_queue_timeout_and_no_longer(mock: MockTransport) -> None:
    """`queue_timeout` is for the queue alone, also where an attempt is watched."""
    mock.reply("late").delay(9).always()
    async with hedging(mock, concurrency=1, queue_timeout=5) as client:
        await known(client, mock, seconds=0.1)
        calls = Calls(client)
        await calls.at_once(2)
        refused, served = sorted(calls.outcomes, key=lambda outcome: not isinstance(outcome, Exception))
        assert "queue_timeout=5" in str(refused)
        assert served.text == "late"


async def test_streams_are_not_hedged(mock: MockTransport) -> None:
    mock.stream(["la", "te"]).delay(50)
    async with hedging(mock) as client:
        await known(client, mock)
        async with client.stream_chat(MODEL, "hi") as stream:
            assert (await stream.final()).text == "late"
        assert stats_of(client).hedges == 0


async def test_embeddings_are_and_by_times_of_their_own(mock: MockTransport) -> None:
    mock.on(endpoint="embeddings").embed([[1.0]]).times(20).then.embed([[1.0]]).delay(9).then.embed([[2.0]])
    mock.reply("late").delay(50)
    async with hedging(mock) as client:
        for _ in range(20):
            await client.embed("openai/text-embedding-3-small", "hi")
        assert (await client.chat(MODEL, "hi")).text == "late"
        assert stats_of(client).hedges == 0
        await client.embed("openai/text-embedding-3-small", "hi")
        assert stats_of(client).hedges == 1


async def test_without_the_setting_nothing_is_hedged(mock: MockTransport) -> None:
    mock.reply("late").delay(50)
    async with client_of(mock, "one", "two") as client:
        await known(client, mock)
        assert (await client.chat(MODEL, "hi")).text == "late"
        assert len(mock.calls) == 21


async def test_of_all_calls_one_in_twenty_is_hedged_at_most(mock: MockTransport) -> None:
    """The bound holds when everything has become slow, where a hedge would help nobody."""
    mock.reply("late").delay(9).always()
    async with hedging(mock, hedge=HedgeConfig(percentile=0.1)) as client:
        await known(client, mock)
        for _ in range(100):
            await client.chat(MODEL, "hi")
            assert stats_of(client).hedges <= 0.05 * stats_of(client).calls
        assert stats_of(client).hedges == 6
        assert len(mock.calls) == 126


async def test_what_was_lost_is_remembered_as_slow(mock: MockTransport) -> None:
    """If only winners counted, more and more would be taken for slow."""
    slow = mock.when(lambda call: call.index >= 20 and call.index % 2 == 0)
    slow.hang().always()
    mock.reply("hedged").delay(0.5).always()
    async with hedging(mock, hedge=HedgeConfig(share=1)) as client:
        await known(client, mock)
        for _ in range(10):
            assert (await client.chat(MODEL, "hi")).text == "hedged"
        assert stats_of(client).hedges == 10
        delay = health_of(client).hedging
        assert delay is not None
        assert (delay.delay("chat", "gpt-4o-mini") or 0.0) >= 2.5


async def test_there_is_one_hedge_at_a_candidate(mock: MockTransport) -> None:
    mock.fail(503).delay(3).then.fail(503).delay(3).then.reply("late").delay(9)
    async with hedging(mock, hedge=HedgeConfig(share=1)) as client:
        await known(client, mock)
        reply = await client.chat(MODEL, "hi")
        assert reply.text == "late"
        assert stats_of(client).hedges == 1
        assert len(reply.attempts) == 3


@pytest.mark.parametrize("hedge", [None, HedgeConfig()])
async def test_of_calls_that_hang_nearly_all_are_served_in_time(mock: MockTransport, hedge: HedgeConfig | None) -> None:
    """Two of a hundred hang for a minute. The page on reliability has what comes of it."""
    usual, hangs = Random(7), now_and_then(0.02, seed=8)
    for _ in range(550):
        mock.reply("usual").delay(60 if hangs(None) else usual.uniform(0.5, 1.5))
    async with client_of(mock, "one", "two", hedge=hedge) as client:
        calls = Calls(client)
        took: list[float] = []

        async def one() -> None:
            began = anyio.current_time()
            await calls.one()
            took.append(anyio.current_time() - began)

        async with anyio.create_task_group() as group:
            for _ in range(500):
                group.start_soon(one)
                await anyio.sleep(0.5)
        assert not calls.errors
        slowest_of_a_hundred = sorted(took)[495]
        if hedge is None:
            assert slowest_of_a_hundred == 60
        else:
            assert slowest_of_a_hundred < 3
            assert len(mock.calls) <= 525


# --- where


async def test_with_one_key_there_is_no_hedge(mock: MockTransport) -> None:
    mock.reply("late").delay(9)
    async with hedging(mock, "one") as client:
        await known(client, mock)
        assert (await client.chat(MODEL, "hi")).text == "late"
        assert stats_of(client).hedges == 0
        assert tokens(client) == 200


@pytest.mark.parametrize("pinned", [False, True])
async def test_unless_the_same_key_may_be_used_twice(mock: MockTransport, pinned: bool) -> None:
    mock.hang().then.reply("hedged")
    keys = ("one", "two") if pinned else ("one",)
    async with hedging(mock, *keys, hedge=HedgeConfig(same_key=True)) as client:
        await known(client, mock)
        reply = await client.chat(MODEL, "hi", key="one" if pinned else None)
        assert told(reply.attempts) == [("one", None, "cancelled"), ("one", 200, None)]


async def test_a_provider_without_keys_may_be_hedged_too(mock: MockTransport) -> None:
    account = mock.account_with({"ollama": []}, configs={"ollama": ProviderConfig(hedge=HedgeConfig(same_key=True))})
    mock.hang().then.reply("hedged")
    async with mock.client(account) as client:
        usual = mock.when(lambda call: call.index < 20)
        usual.reply("usual").delay(USUAL).times(20)
        await Calls(client, model="ollama/llama3.2").at_once(20)
        reply = await client.chat("ollama/llama3.2", "hi")
        assert told(reply.attempts) == [(None, None, "cancelled"), (None, 200, None)]


async def test_a_pinned_key_leaves_no_other(mock: MockTransport) -> None:
    mock.reply("late").delay(9)
    async with hedging(mock) as client:
        await known(client, mock)
        assert (await client.chat(MODEL, "hi", key="one")).text == "late"
        assert stats_of(client).hedges == 0


async def test_a_key_that_rests_is_no_other(mock: MockTransport) -> None:
    mock.fail(429, retry_after=500)
    async with hedging(mock) as client:
        await known(client, mock)
        with pytest.raises(RateLimitError):
            await client.chat(MODEL, "hi", key="one", max_retries=0)
        assert states_of(client) == {"one": "cooling_down", "two": "ready"}
        mock.reply("late").delay(9)
        assert (await client.chat(MODEL, "hi")).text == "late"
        assert stats_of(client).hedges == 0


async def test_the_other_key_brings_its_own_name_of_the_model(mock: MockTransport) -> None:
    keys = [Key(name=name, value=fake_key(name), aliases={"gpt-4o-mini": f"{name}-mini"}) for name in ("one", "two")]
    mock.hang().then.reply("hedged")
    async with hedging(mock, *keys) as client:
        await known(client, mock)
        reply = await client.chat(MODEL, "hi")
        assert [attempt.model for attempt in reply.attempts] == [f"{attempt.key}-mini" for attempt in reply.attempts]
        assert {call.model for call in mock.calls[-2:]} == {"one-mini", "two-mini"}


async def test_it_is_not_taken_for_the_same_request(mock: MockTransport) -> None:
    mock.hang().then.reply("hedged")
    async with hedging(mock, idempotency_header="x-once") as client:
        await known(client, mock)
        await client.chat(MODEL, "hi")
        first, hedge = (call.http.headers["x-once"] for call in mock.calls[-2:])
        assert hedge == f"{first}-hedge"


# --- what it costs


@pytest.mark.parametrize("winner", ["first", "hedge", "nobody"])
async def test_it_costs_ten_of_the_budget_that_never_come_back(mock: MockTransport, winner: str) -> None:
    first = (
        mock.reply("first").delay(3)
        if winner == "first"
        else mock.fail(400).delay(3)
        if winner == "nobody"
        else mock.hang()
    )
    first.then.reply("hedged").delay(0.5 if winner == "hedge" else 9)
    async with hedging(mock) as client:
        await known(client, mock)
        assert tokens(client) == 200
        calls = Calls(client)
        await calls.at_once(1)
        assert len(calls.errors) == (winner == "nobody")
        assert stats_of(client).hedges == 1
        assert tokens(client) == 190


async def test_with_too_little_in_the_budget_there_is_none(mock: MockTransport) -> None:
    mock.reply("late").delay(9)
    async with hedging(mock, retry_budget=RetryBudgetConfig(capacity=9)) as client:
        await known(client, mock)
        assert (await client.chat(MODEL, "hi")).text == "late"
        assert stats_of(client).hedges == 0
        assert tokens(client) == 9


async def test_there_is_none_while_the_breaker_is_not_closed(mock: MockTransport) -> None:
    breaker = BreakerConfig(unreachable=1, open=5, successes=2)
    async with hedging(mock, hedge=HedgeConfig(share=1), breaker=breaker) as client:
        await known(client, mock)
        health = health_of(client)
        # It opens while a call is under way that becomes slow then.
        mock.reply("late").delay(4).then.refuse()
        slow, refused = Calls(client), Calls(client)
        async with anyio.create_task_group() as group:
            group.start_soon(slow.one)
            await anyio.sleep(1)
            group.start_soon(refused.one)
        assert (len(slow.errors), len(refused.errors)) == (0, 1)
        assert stats_of(client).hedges == 0
        # Half open: what is let through is a probe.
        await anyio.sleep(10)
        assert health.state("gpt-4o-mini", anyio.current_time()) == "half_open"
        mock.reply("probe").delay(9).times(2)
        assert (await client.chat(MODEL, "hi")).text == "probe"
        assert (await client.chat(MODEL, "hi")).text == "probe"
        assert stats_of(client).hedges == 0
        assert health.state("gpt-4o-mini", anyio.current_time()) == "closed"
        mock.hang().then.reply("hedged")
        assert (await client.chat(MODEL, "hi")).text == "hedged"


@pytest.mark.parametrize(
    ("retry", "options"),
    [
        (RetryConfig(retry_sent="never"), {}),
        (RetryConfig(max_retries=0), {}),
        (RetryConfig(), {"max_retries": 0}),
        (RetryConfig(attempts_total=1), {}),
        (RetryConfig(attempts_total=2), {"fallbacks": [OTHER]}),
    ],
)
async def test_where_no_retry_may_be_made_there_is_no_hedge(
    mock: MockTransport, retry: RetryConfig, options: dict[str, Any]
) -> None:
    mock.reply("late").delay(9)
    async with hedging(mock, retry=retry) as client:
        await known(client, mock)
        assert (await client.chat(MODEL, "hi", **options)).text == "late"
        assert stats_of(client).hedges == 0


# --- failures


async def test_if_the_first_fails_the_hedge_answers(mock: MockTransport) -> None:
    mock.fail(503).delay(3).then.reply("hedged").delay(4)
    async with hedging(mock) as client:
        await known(client, mock)
        began = anyio.current_time()
        reply = await client.chat(MODEL, "hi")
        assert anyio.current_time() - began == pytest.approx(6)
        assert reply.text == "hedged"
        assert [attempt.category for attempt in reply.attempts] == ["transient", None]
        stats = stats_of(client)
        assert (stats.hedges, stats.hedge_wins, stats.failed, stats.cancelled, stats.retries) == (1, 1, 1, 0, 0)
        assert health_of(client).breakers(anyio.current_time())["gpt-4o-mini"].failures == 1


async def test_if_the_hedge_fails_the_first_answers(mock: MockTransport) -> None:
    mock.reply("first").delay(5).then.fail(429, retry_after=30).delay(1)
    async with hedging(mock) as client:
        await known(client, mock)
        reply = await client.chat(MODEL, "hi")
        assert reply.text == "first"
        hedge, first = reply.attempts
        assert (hedge.category, hedge.note) == (
            "throttled",
            f"hedge after 2.00 s; key {hedge.key} cooling down for 30.0 s",
        )
        assert first.ok
        assert states_of(client) == {str(hedge.key): "cooling_down", str(first.key): "ready"}
        assert (stats_of(client).hedges, stats_of(client).hedge_wins) == (1, 0)


async def test_if_both_fail_a_retry_follows(mock: MockTransport) -> None:
    mock.fail(503).delay(3).then.fail(500).delay(4).then.reply("at last")
    async with hedging(mock) as client:
        await known(client, mock)
        reply = await client.chat(MODEL, "hi")
        assert reply.text == "at last"
        assert [(attempt.status, attempt.category) for attempt in reply.attempts] == [
            (503, "transient"),
            (500, "transient"),
            (200, None),
        ]
        # The wait of a second retry: both failures count.
        assert reply.attempts[2].wait == 0.5
        assert tokens(client) == 190
        assert stats_of(client).retries == 1


async def test_both_failures_count_as_attempts(mock: MockTransport) -> None:
    mock.fail(503).delay(3).then.fail(500).delay(4)
    async with hedging(mock, retry=RetryConfig(max_retries=1)) as client:
        await known(client, mock)
        with pytest.raises(ServerError) as caught:
            await client.chat(MODEL, "hi")
        assert caught.value.status == 500
        assert [attempt.status for attempt in caught.value.attempts] == [503, 500]


async def test_if_the_hedge_fails_first_and_then_the_other_both_count(mock: MockTransport) -> None:
    mock.fail(500).delay(5).then.fail(503).delay(1)
    async with hedging(mock, retry=RetryConfig(max_retries=1)) as client:
        await known(client, mock)
        with pytest.raises(ServerError) as caught:
            await client.chat(MODEL, "hi")
        assert caught.value.status == 500
        assert [attempt.status for attempt in caught.value.attempts] == [503, 500]
        assert [attempt.note for attempt in caught.value.attempts] == ["hedge after 2.00 s", None]


async def test_keys_that_both_are_refused_are_left_out(mock: MockTransport) -> None:
    mock.fail(401).delay(3).then.fail(401).delay(4).then.reply("third")
    async with hedging(mock, "one", "two", "three") as client:
        await known(client, mock)
        reply = await client.chat(MODEL, "hi")
        assert reply.text == "third"
        assert {attempt.key for attempt in reply.attempts} == {"one", "two", "three"}
        assert sorted(states_of(client).values()) == ["dead", "dead", "ready"]


async def test_after_both_failures_the_fallback_has_its_turn(mock: MockTransport) -> None:
    mock.on(provider="anthropic").reply("elsewhere")
    mock.fail(401).delay(3).then.fail(401).delay(4)
    async with hedging(mock) as client:
        await known(client, mock)
        reply = await client.chat(MODEL, "hi", fallbacks=[OTHER])
        assert reply.text == "elsewhere"
        assert [attempt.provider for attempt in reply.attempts] == ["openai", "openai", "anthropic"]


@pytest.mark.parametrize("which", ["first", "hedge"])
async def test_a_request_that_is_refused_as_wrong_is_not_waited_for_twice(mock: MockTransport, which: str) -> None:
    first = mock.fail(400).delay(3) if which == "first" else mock.hang()
    first.then.fail(400).delay(1 if which == "hedge" else 99)
    async with hedging(mock) as client:
        await known(client, mock)
        began = anyio.current_time()
        with pytest.raises(BadRequestError) as caught:
            await client.chat(MODEL, "hi")
        assert anyio.current_time() - began == pytest.approx(3)
        assert [attempt.category for attempt in caught.value.attempts] == ["cancelled", "caller"]
        await until(lambda: is_quiet(client))


async def test_two_that_come_at_once_give_one_answer(mock: MockTransport) -> None:
    mock.reply("first").delay(3).then.reply("hedged").delay(1)
    async with hedging(mock) as client:
        await known(client, mock)
        reply = await client.chat(MODEL, "hi")
        assert reply.text in ("first", "hedged")
        assert [attempt.ok for attempt in reply.attempts] == [False, True]
        await until(lambda: is_quiet(client))
        assert stats_of(client).attempts == 22


async def test_when_one_fails_as_the_other_answers_that_is_told(mock: MockTransport) -> None:
    mock.fail(503).delay(3).then.reply("hedged").delay(1)
    async with hedging(mock) as client:
        await known(client, mock)
        reply = await client.chat(MODEL, "hi")
        assert reply.text == "hedged"
        assert [attempt.category for attempt in reply.attempts] == ["transient", None]


# --- ends


async def test_the_calls_deadline_ends_both(mock: MockTransport) -> None:
    mock.hang().times(2)
    async with hedging(mock) as client:
        await known(client, mock)
        began = anyio.current_time()
        with pytest.raises(CallTimeoutError) as caught:
            await client.chat(MODEL, "hi", timeout=7)
        assert anyio.current_time() - began == pytest.approx(7)
        assert caught.value.phase == "headers"
        hedge, first = caught.value.attempts
        assert (hedge.category, hedge.note) == ("cancelled", "hedge after 2.00 s")
        assert first.category == "transient"
        await until(lambda: is_quiet(client))
        assert set(states_of(client).values()) == {"ready"}


async def test_a_share_of_the_time_ends_both(mock: MockTransport) -> None:
    mock.on(provider="anthropic").reply("elsewhere")
    mock.hang().times(2)
    async with hedging(mock) as client:
        await known(client, mock)
        began = anyio.current_time()
        reply = await client.chat(MODEL, "hi", timeout=40, fallbacks=[OTHER])
        assert anyio.current_time() - began == pytest.approx(20)
        assert reply.text == "elsewhere"
        assert [attempt.category for attempt in reply.attempts] == ["cancelled", "transient", None]
        await until(lambda: is_quiet(client))


async def test_a_deadline_after_the_first_has_failed_ends_the_hedge(mock: MockTransport) -> None:
    mock.fail(503).delay(3).then.hang()
    async with hedging(mock) as client:
        await known(client, mock)
        with pytest.raises(CallTimeoutError) as caught:
            await client.chat(MODEL, "hi", timeout=7)
        first, hedge = caught.value.attempts
        assert (first.status, first.category) == (503, "transient")
        assert (hedge.note, hedge.total) == ("hedge after 2.00 s", pytest.approx(5))
        await until(lambda: is_quiet(client))


async def test_with_no_time_left_there_is_no_hedge(mock: MockTransport) -> None:
    mock.hang()
    async with hedging(mock) as client:
        await known(client, mock)
        with pytest.raises(CallTimeoutError):
            await client.chat(MODEL, "hi", timeout=2.05)
        assert stats_of(client).hedges == 0


@pytest.mark.parametrize("at", [1.0, 2.5, 3.5])
async def test_a_caller_that_leaves_breaks_both_off(mock: MockTransport, at: float) -> None:
    """He may do so before the hedge, beside it, and when only it is left."""
    log: list[str] = []
    plugin = Recorder(log)
    mock.fail(503).delay(3).then.hang()
    async with hedging(mock) as client:
        await known(client, mock)
        await client.add_plugin(plugin)
        with anyio.move_on_after(at):
            await client.chat(MODEL, "hi")
        await until(lambda: is_quiet(client))
        assert_paired([note for note in log if not note.endswith("open")])
        (end,) = plugin.seen["after_call"]
        assert isinstance(end, CallCancelledError)
        assert [attempt.category for attempt in end.attempts] == {
            1.0: ["cancelled"],
            2.5: ["cancelled", "cancelled"],
            3.5: ["transient", "cancelled"],
        }[at]
        assert mock.connections.in_use == 0
        assert set(states_of(client).values()) == {"ready"}
        assert [key.in_flight for key in stats_of(client).keys or ()] == [0, 0]


async def test_hooks_run_once_for_both(mock: MockTransport) -> None:
    log: list[str] = []
    mock.hang().then.reply("hedged")
    async with hedging(mock) as client:
        await known(client, mock)
        await client.add_plugin(Recorder(log))
        assert (await client.chat(MODEL, "hi")).text == "hedged"
    assert log == ["a.open", "a.before_call", "a.before", "a.after", "a.after_call", "a.close"]


async def test_the_loser_frees_its_worker_at_once(mock: MockTransport) -> None:
    mock.hang().then.reply("hedged")
    async with hedging(mock, concurrency=2) as client:
        await known(client, mock)
        await client.chat(MODEL, "hi")
        began = anyio.current_time()
        await until(lambda: is_quiet(client))
        assert anyio.current_time() - began < 0.25
        assert mock.connections.in_use == 0
        mock.reply("next").times(2)
        calls = Calls(client)
        await calls.at_once(2)
        assert not calls.errors


async def test_a_provider_that_is_changed_meanwhile_ends_both_as_it_would_one(mock: MockTransport) -> None:
    mock.reply("late").delay(30).then.reply("hedged").delay(40)
    async with hedging(mock) as client:
        await known(client, mock)
        replies: list[str] = []

        async def call() -> None:
            replies.append((await client.chat(MODEL, "hi")).text)

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await anyio.sleep(5)
            assert stats_of(client).hedges == 1
            await client.update_provider("openai", config=ProviderConfig(base_url="https://elsewhere.example/v1"))
        assert replies == ["late"]


class AtTheHedge(WeightedRandom):
    """Chooses as ever, and tells the test when the choice is a hedge's: no worker has taken that then."""

    def __init__(self, mock: MockTransport) -> None:
        self.begins = anyio.Event()
        self._mock = mock

    def choose(self, candidates: Any, snapshot: Any, random: Any) -> Any:
        if len(self._mock.calls) == 21:
            self.begins.set()
        return super().choose(candidates, snapshot, random)


async def test_a_hedge_that_no_worker_has_taken_when_the_provider_is_changed_is_none(mock: MockTransport) -> None:
    mock.reply("first").delay(5).then.reply("hedged").delay(99)
    policy = AtTheHedge(mock)
    async with hedging(mock, key_pool=KeyPoolConfig(policy=policy)) as client:
        await known(client, mock)
        calls = Calls(client)
        async with anyio.create_task_group() as group:
            group.start_soon(calls.one)
            await policy.begins.wait()
            pool_of(client).refuse_queued(Replaced())
        assert [reply.text for reply in calls.outcomes] == ["first"]
        assert stats_of(client).hedges == 1
        await until(lambda: is_quiet(client))
        assert [key.in_flight for key in stats_of(client).keys or ()] == [0, 0]


async def test_if_the_first_has_failed_then_that_is_what_the_call_comes_to(mock: MockTransport) -> None:
    mock.hang().times(2)
    down = ServerError("down", status=503)
    down.retryable = False
    policy = AtTheHedge(mock)
    async with hedging(mock, key_pool=KeyPoolConfig(policy=policy)) as client:
        await known(client, mock)
        calls = Calls(client)
        async with anyio.create_task_group() as group:
            group.start_soon(calls.one)
            await policy.begins.wait()
            # As if the worker had come to its end in this very moment.
            workers = [job.worker for job in pool_of(client)._jobs if job.worker is not None and job.finish(error=down)]
            pool_of(client).refuse_queued(Replaced())
            for worker in workers:
                assert worker.scope is not None
                worker.scope.cancel()
        assert calls.errors == [down]
        assert {attempt.status for attempt in down.attempts} == {None}
        assert stats_of(client).hedges == 1
        await until(lambda: is_quiet(client))
        assert [key.in_flight for key in stats_of(client).keys or ()] == [0, 0]


async def test_hedges_may_be_switched_on_and_off_while_calls_run(mock: MockTransport) -> None:
    mock.reply("late").delay(9).always()
    async with hedging(mock, hedge=HedgeConfig(share=1)) as client:
        await known(client, mock)
        settings = ProviderConfig(retry_budget=RetryBudgetConfig(per_second=0, success=0))
        connections = stats_of(client).connections.opened
        for hedge, hedges in ((HedgeConfig(percentile=0.5, share=1), 1), (None, 1), (HedgeConfig(share=1), 1)):
            await client.update_provider("openai", config=attrs.evolve(settings, hedge=hedge))
            await client.chat(MODEL, "hi")
            assert stats_of(client).hedges == hedges
        # The pool has stayed, and so have its connections, but for the one that the hedge lost.
        assert stats_of(client).connections.opened == connections


# --- what is told


async def test_a_dry_run_tells_whether_and_when_there_would_be_a_hedge(mock: MockTransport) -> None:
    async def hedge(client: Bifrost, **options: Any) -> str | None:
        (told,) = (await client.explain(MODEL, "hi", **options)).candidates
        if told.hedge is not None:
            assert f"   hedge: {told.hedge}" in str(told)
        return told.hedge

    async with hedging(mock) as client:
        assert await hedge(client) == "none until 20 answers have come; 0 have"
        await known(client, mock)
        assert await hedge(client) == "a second attempt after 2 s, with another key"
        assert await hedge(client, stream=True) is None
        assert await hedge(client, key="one") == "none: no other key is ready"
        assert await hedge(client, max_retries=0) == "none: the settings of retries leave no room for it"
        assert stats_of(client).hedges == 0
    async with hedging(mock, "one", hedge=HedgeConfig(same_key=True)) as client:
        mock.calls.clear()
        await known(client, mock)
        assert await hedge(client) == "a second attempt after 2 s, with the same key"
    async with client_of(mock, "one", "two") as client:
        assert await hedge(client) is None


async def test_the_stats_print_them(mock: MockTransport) -> None:
    mock.hang().then.reply("hedged")
    async with hedging(mock) as client:
        await known(client, mock)
        assert "hedges" not in str(client.stats())
        await client.chat(MODEL, "hi")
        assert "1, 1 won" in str(client.stats())


async def test_closing_the_client_answers_once(mock: MockTransport) -> None:
    mock.hang().times(2)
    client = hedging(mock)
    async with client:
        await known(client, mock)
        calls = Calls(client)
        async with anyio.create_task_group() as group:
            group.start_soon(calls.one)
            await anyio.sleep(5)
            await client.close(drain=1)
    (error,) = calls.errors
    assert len(error.attempts) == 2
