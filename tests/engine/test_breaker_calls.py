"""Breakers and the retry budget, seen from the calls that meet them. In virtual time."""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import pytest

from bifrost import (
    BifrostError,
    BreakerConfig,
    CallTimeoutError,
    CircuitOpenError,
    RetryBudgetConfig,
    RetryConfig,
    ServerError,
    Timeouts,
)
from bifrost.testing import MockTransport
from tests.engine.rig import is_quiet, until
from tests.engine.troubled import MODEL, OTHER, Calls, Sleeps, client_of, health_of, now_and_then, told
from tests.plugins.recorder import Kind, ask

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

ONCE = RetryConfig(max_retries=0)
QUICK = BreakerConfig(calls=4)
"""Opens at the second failure of four."""
UNLIMITED = RetryBudgetConfig(retry=0, timeout=0)
STEADY = BreakerConfig(enabled=False)


@pytest.fixture
def sleeps() -> Sleeps:
    return Sleeps()


async def opened(client: Any, mock: MockTransport, *, failures: int = 20) -> None:
    """Let calls fail until the breaker is open."""
    mock.fail(503).times(failures)
    calls = Calls(client)
    await calls.at_once(failures)
    assert len(calls.errors) == failures
    assert health_of(client).state("gpt-4o-mini", anyio.current_time()) == "open"


# --- the breaker: fault 98


async def test_a_provider_that_keeps_failing_is_left_alone(mock: MockTransport, kind: Kind) -> None:
    async with client_of(mock, retry=ONCE) as client:
        await opened(client, mock)
        began = anyio.current_time()
        with pytest.raises(
            CircuitOpenError, match=r"openai/gpt-4o-mini has failed repeatedly; .* 5\.0 s more; set `fallbacks`"
        ) as caught:
            await ask(client, kind)
        assert anyio.current_time() == began
    error = caught.value
    assert (error.provider, error.model, error.retry_after, error.attempts) == ("openai", "gpt-4o-mini", 5.0, [])
    assert len(mock.calls) == 20


async def test_its_calls_go_to_the_fallback_at_once(mock: MockTransport, kind: Kind) -> None:
    async with client_of(mock, retry=ONCE) as client:
        await opened(client, mock)
        mock.on(provider="anthropic").reply("hello").always()
        began = anyio.current_time()
        reply = await ask(client, kind, fallbacks=[OTHER])
        assert anyio.current_time() == began
    assert told(reply.attempts) == [("anthropic-key", 200, None)]
    assert reply.warnings[0].startswith(f"{MODEL} was passed over: {MODEL} has failed repeatedly")


async def test_the_attempt_that_opened_it_says_so(mock: MockTransport) -> None:
    mock.fail(503).always()
    async with client_of(mock, breaker=QUICK) as client:
        with pytest.raises(ServerError):
            await client.chat(MODEL, "hi")
        with pytest.raises(ServerError) as caught:
            await client.chat(MODEL, "hi")
    assert [attempt.note for attempt in caught.value.attempts] == [
        "breaker opened for 5.0 s; not tried again, the breaker is open"
    ]
    assert caught.value.__notes__ == ["not tried again: its circuit breaker is open because it has failed repeatedly"]


async def test_switched_off_it_lets_go_of_nobody_who_waits_in_the_queue(mock: MockTransport) -> None:
    mock.fail(503).delay(1).always()
    async with client_of(mock, retry=ONCE, breaker=STEADY, concurrency=2) as client:
        calls = Calls(client)
        await calls.at_once(40)
    assert {type(error) for error in calls.errors} == {ServerError}
    assert len(mock.calls) == 40


async def test_five_connections_in_a_row_that_fail_open_it(mock: MockTransport) -> None:
    mock.refuse().always()
    async with client_of(mock, retry=ONCE) as client:
        calls = Calls(client)
        for _ in range(7):
            await calls.one()
    assert [type(error).__name__ for error in calls.errors] == ["ConnectError"] * 5 + ["CircuitOpenError"] * 2


async def test_what_is_not_the_providers_fault_does_not_open_it(mock: MockTransport) -> None:
    mock.fail(429).times(25).then.fail(400).times(25).then.fail(404).times(25).then.reply("hello")
    async with client_of(mock, retry=ONCE) as client:
        for _ in range(75):
            with pytest.raises(BifrostError):
                await client.chat(MODEL, "hi")
        assert (await client.chat(MODEL, "hi")).text == "hello"


async def test_deadlines_of_callers_do_not_open_it(mock: MockTransport, kind: Kind) -> None:
    mock.hang().times(25).then.reply("hello")
    async with client_of(mock, retry=ONCE, concurrency=5) as client:
        for _ in range(25):
            with pytest.raises(CallTimeoutError):
                await ask(client, kind, timeout=1)
        assert (await ask(client, kind)).text == "hello"


async def test_a_black_hole_with_a_fallback_behind_it_does(mock: MockTransport) -> None:
    mock.on(provider="openai").hang().always()
    mock.on(provider="anthropic").reply("hello").always()
    async with client_of(mock, breaker=QUICK) as client:
        calls = Calls(client, timeout=60, fallbacks=[OTHER])
        await calls.at_once(4)
        assert {told(reply.attempts)[0] for reply in calls.outcomes} == {("one", None, "transient")}
        began = anyio.current_time()
        assert began >= 30
        await client.chat(MODEL, "hi", timeout=60, fallbacks=[OTHER])
        assert anyio.current_time() == began


async def test_time_spent_in_our_own_queue_is_not_its_fault(mock: MockTransport) -> None:
    mock.on(provider="openai").hang().always()
    mock.on(provider="anthropic").reply("hello").always()
    async with client_of(mock, concurrency=1, breaker=QUICK) as client:
        calls = Calls(client, timeout=60, fallbacks=[OTHER])
        await calls.at_once(10)
        seen = health_of(client).breakers(anyio.current_time())["gpt-4o-mini"]
    assert not calls.errors
    assert (seen.state, seen.failures) == ("closed", 1)


async def test_those_in_the_queue_when_it_opens_are_not_sent(mock: MockTransport) -> None:
    mock.fail(503).delay(1).always()
    async with client_of(mock, concurrency=5, retry=ONCE, breaker=BreakerConfig(calls=5)) as client:
        calls = Calls(client)
        await calls.at_once(100)
    # A worker takes its next job before the caller of its last one has heard of the failure.
    assert len(mock.calls) <= 10
    assert [type(error) for error in calls.errors].count(CircuitOpenError) >= 90


async def test_half_open_lets_one_of_two_hundred_through(mock: MockTransport) -> None:
    async with client_of(mock, retry=ONCE) as client:
        await opened(client, mock)
        await anyio.sleep(5)
        mock.reply("hello").delay(1).always()
        calls = Calls(client)
        await calls.at_once(200)
        assert len(mock.calls) == 21
        assert {type(error) for error in calls.errors} == {CircuitOpenError}
        assert {error.retry_after for error in calls.errors} == {5.0}
        assert len(calls.errors) == 199
        await calls.at_once(10)
        assert len(mock.calls) == 22
        calls = Calls(client)
        await calls.at_once(200)
        assert not calls.errors


@pytest.mark.parametrize("how", ["scope", "deadline"])
async def test_a_probe_that_is_cancelled_gives_its_place_back(mock: MockTransport, kind: Kind, how: str) -> None:
    async with client_of(mock, retry=ONCE) as client:
        await opened(client, mock)
        await anyio.sleep(5)
        mock.hang().then.reply("hello").always()
        if how == "scope":
            with anyio.move_on_after(1):
                await ask(client, kind)
        else:
            with pytest.raises(CallTimeoutError):
                await ask(client, kind, timeout=1)
        assert (await ask(client, kind)).text == "hello"
        assert (await ask(client, kind)).text == "hello"
        assert health_of(client).state("gpt-4o-mini", anyio.current_time()) == "closed"


async def test_a_probe_that_hangs_makes_room_after_a_minute(mock: MockTransport) -> None:
    async with client_of(mock, retry=ONCE) as client:
        await opened(client, mock)
        await anyio.sleep(5)
        mock.hang().then.reply("hello").always()
        async with anyio.create_task_group() as group:
            group.start_soon(Calls(client).one)
            await until(lambda: len(mock.calls) == 21)
            await anyio.sleep(59)
            with pytest.raises(CircuitOpenError):
                await client.chat(MODEL, "hi")
            await anyio.sleep(1)
            for _ in range(2):
                assert (await client.chat(MODEL, "hi")).text == "hello"
            group.cancel_scope.cancel()
        assert (await client.chat(MODEL, "hi")).text == "hello"


async def test_a_late_success_does_not_close_it(mock: MockTransport) -> None:
    async with client_of(mock, retry=ONCE) as client, anyio.create_task_group() as group:
        mock.reply("late").delay(2).times(30)
        late = Calls(client)
        group.start_soon(late.at_once, 30)
        await until(lambda: len(mock.calls) == 30)
        await opened(client, mock)
        await anyio.sleep(3)
        assert len(late.outcomes) == 30
        assert not late.errors
        assert health_of(client).state("gpt-4o-mini", anyio.current_time()) == "open"


async def test_a_stream_closes_it_with_its_first_content(mock: MockTransport) -> None:
    async with client_of(mock, retry=ONCE, breaker=BreakerConfig(successes=1)) as client:
        await opened(client, mock)
        await anyio.sleep(5)
        mock.stream(["a", "b"]).always()
        async with client.stream_chat(MODEL, "hi") as stream:
            await stream.__anext__()
            assert health_of(client).state("gpt-4o-mini", anyio.current_time()) == "closed"
            async with client.stream_chat(MODEL, "hi") as other:
                await other.final()


async def test_each_model_is_judged_by_itself(mock: MockTransport) -> None:
    mock.on(model="gpt-4o-mini").fail(503).always()
    mock.on(model="gpt-4o").reply("hello").always()
    async with client_of(mock, retry=ONCE, breaker=BreakerConfig(calls=4)) as client:
        calls = Calls(client)
        await calls.at_once(4)
        with pytest.raises(CircuitOpenError, match="openai/gpt-4o-mini has failed"):
            await client.chat(MODEL, "hi")
        assert (await client.chat("openai/gpt-4o", "hi")).text == "hello"


async def test_it_can_be_switched_off(mock: MockTransport) -> None:
    mock.fail(503).always()
    async with client_of(mock, retry=ONCE, breaker=BreakerConfig(enabled=False)) as client:
        calls = Calls(client)
        for _ in range(50):
            await calls.one()
    assert len(mock.calls) == 50


async def test_a_group_passes_over_a_member_that_is_left_alone(mock: MockTransport) -> None:
    async with client_of(mock, retry=ONCE, models={"fast": [(MODEL, 1e6), OTHER]}) as client:
        await opened(client, mock)
        mock.on(provider="anthropic").reply("hello").always()
        for _ in range(5):
            reply = await client.chat("fast", "hi")
            assert (reply.provider, reply.warnings) == ("anthropic", [])


async def test_what_is_known_of_a_provider_can_be_seen(mock: MockTransport) -> None:
    async with client_of(mock, "a", "b", retry=ONCE, retry_budget=RetryBudgetConfig(per_second=0, success=0)) as client:
        mock.fail(401).then.reply("hello")
        await client.chat(MODEL, "hi")
        await opened(client, mock)
        seen = client.stats().providers["openai"]
        told = (await client.explain(MODEL, "hi", session="anna")).candidates[0]
    assert seen.keys is not None
    assert sorted((key.state, key.reason, key.wait) for key in seen.keys) == [
        ("dead", "credential", 600.0),
        ("ready", None, None),
    ]
    assert seen.breakers is not None
    assert [(each.model, each.state, each.wait, each.openings) for each in seen.breakers] == [
        ("", "closed", None, 0),
        ("gpt-4o-mini", "open", 5.0, 1),
    ]
    assert (seen.budget and seen.budget.left, seen.budget and seen.budget.capacity) == (200, 200)
    assert told.breaker == "open"
    assert sorted((key.state, key.share) for key in told.keys) == [("dead", 0.0), ("ready", 1.0)]


async def test_one_providers_breaker_touches_no_other(mock: MockTransport) -> None:
    async with client_of(mock, retry=ONCE) as client:
        await opened(client, mock)
        mock.on(provider="anthropic").reply("hello").always()
        assert (await client.chat(OTHER, "hi")).text == "hello"


# --- the retry budget


async def test_retries_that_fail_use_the_budget_up(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.fail(503).always()
    config = RetryBudgetConfig(capacity=25, per_second=0)
    async with client_of(mock, sleeps=sleeps, retry_budget=config, breaker=STEADY) as client:
        calls = Calls(client)
        for _ in range(4):
            await calls.one()
    assert [len(error.attempts) for error in calls.errors] == [3, 3, 2, 1]
    assert calls.errors[-1].__notes__ == [
        "not tried again: too many retries at this provider have failed, its retry budget is used up"
    ]
    assert calls.errors[-1].attempts[0].note == "not tried again, the retry budget is used up"
    assert len(sleeps) == 5


async def test_a_used_up_budget_leaves_the_fallback(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="openai").fail(503).always()
    mock.on(provider="anthropic").reply("hello").always()
    async with client_of(mock, retry_budget=RetryBudgetConfig(capacity=1), breaker=STEADY) as client:
        reply = await ask(client, kind, fallbacks=[OTHER])
    assert told(reply.attempts) == [("one", 503, "transient"), ("anthropic-key", 200, None)]
    assert reply.attempts[0].note == "not tried again, the retry budget is used up"


async def test_a_retry_that_succeeds_costs_nothing(mock: MockTransport, kind: Kind) -> None:
    async with client_of(
        mock, retry_budget=RetryBudgetConfig(capacity=10, per_second=0, success=0), breaker=STEADY
    ) as client:
        for _ in range(20):
            mock.fail(503).then.reply("hello")
            assert (await ask(client, kind)).text == "hello"
        assert health_of(client).budget.tokens(anyio.current_time()) == 10


async def test_a_timeout_costs_twice_as_much(mock: MockTransport) -> None:
    mock.hang().times(2)
    timeouts = Timeouts(first_token=5)
    async with client_of(
        mock, retry_budget=RetryBudgetConfig(per_second=0), timeouts=timeouts, retry=RetryConfig(max_retries=1)
    ) as client:
        with pytest.raises(CallTimeoutError):
            async with client.stream_chat(MODEL, "hi"):
                pass
        assert health_of(client).budget.tokens(anyio.current_time()) == 190


async def test_another_key_in_place_of_a_refused_one_costs_nothing(mock: MockTransport) -> None:
    mock.fail(401).then.reply("hello")
    async with client_of(mock, "a", "b", retry_budget=RetryBudgetConfig(per_second=0)) as client:
        await client.chat(MODEL, "hi")
        assert health_of(client).budget.tokens(anyio.current_time()) == 200


@pytest.mark.parametrize("where", ["in the wait", "in the attempt"])
async def test_a_retry_that_is_broken_off_leaves_the_budget_as_it_was(mock: MockTransport, where: str) -> None:
    mock.fail(429, retry_after=10).then.hang()
    async with client_of(mock, retry_budget=RetryBudgetConfig(per_second=0)) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(Calls(client).one)
            await anyio.sleep(5 if where == "in the wait" else 20)
            assert len(mock.calls) == (1 if where == "in the wait" else 2)
            assert health_of(client).budget.tokens(anyio.current_time()) == 195
            group.cancel_scope.cancel()
        await until(lambda: is_quiet(client))
        assert health_of(client).budget.tokens(anyio.current_time()) == 200


async def test_a_deadline_in_a_retry_leaves_the_budget_as_it_was(mock: MockTransport) -> None:
    mock.fail(503).then.hang()
    async with client_of(mock, retry_budget=RetryBudgetConfig(per_second=0)) as client:
        with pytest.raises(CallTimeoutError):
            await client.chat(MODEL, "hi", timeout=20)
        assert health_of(client).budget.tokens(anyio.current_time()) == 200


# --- storms and outages: faults 100 to 102. `tests/load` has them at full size.


async def test_a_storm_of_failures_is_ridden_out(mock: MockTransport) -> None:
    for place, fault in enumerate(("limit", "fail", "reset", "cut")):
        # Of what the scripts before have left, so that each has 7.5 % of all.
        script = mock.when(now_and_then(0.075 / (1 - 0.075 * place), seed=place))
        step = {
            "limit": lambda script=script: script.fail(429),
            "fail": lambda script=script: script.fail(503),
            "reset": lambda script=script: script.reset(),
            "cut": lambda script=script: script.cut(after_bytes=10),
        }[fault]()
        step.always()
    mock.reply("hello").always()
    async with client_of(mock, "a", "b", "c", random=Random(1).random) as client:
        calls = Calls(client)
        await calls.at_rate(20, seconds=40)
    assert calls.success >= 0.965
    assert 1.2 < len(mock.calls) / len(calls.outcomes) < 1.45


class Outage:
    """A provider that is down for a while, asked at an even rate: what it is sent in each second."""

    def __init__(self, mock: MockTransport) -> None:
        self.is_down = False
        self.sent: list[int] = []
        self._mock = mock
        mock.when(lambda _call: self.is_down).fail(503).always()
        mock.reply("hello").always()

    async def run(self, client: Any, *, rate: int, before: int, down: int, after: int) -> Calls:
        """Ask, and give the calls that were made after it was up again."""
        await Calls(client).at_rate(rate, before)
        self.is_down = True
        async with anyio.create_task_group() as group:
            group.start_soon(Calls(client).at_rate, rate, down)
            seen = len(self._mock.calls)
            for _ in range(down):
                await anyio.sleep(1)
                self.sent.append(len(self._mock.calls) - seen)
                seen = len(self._mock.calls)
        self.is_down = False
        self.back = anyio.current_time()
        recovery = Calls(client)
        await recovery.at_rate(rate, after)
        return recovery


def recovered(calls: Calls, *, since: float) -> float:
    """Give when the last call failed, in seconds."""
    failed = [
        end for end, outcome in zip(calls.ended, calls.outcomes, strict=True) if isinstance(outcome, BifrostError)
    ]
    return max(failed, default=since) - since


async def test_an_outage_is_not_made_worse_by_retries(mock: MockTransport) -> None:
    outage = Outage(mock)
    # A fifth of the usual rate, and a fifth of the usual budget.
    budget = RetryBudgetConfig(capacity=40, per_second=0.2)
    async with client_of(mock, random=Random(2).random, breaker=STEADY, retry_budget=budget) as client:
        recovery = await outage.run(client, rate=20, before=5, down=60, after=5)
    assert sum(outage.sent) <= 1.02 * 1200
    assert max(outage.sent) <= 1.5 * 20
    assert recovery.success >= 0.95


async def test_what_is_down_is_hardly_asked_and_used_again_when_it_is_back(mock: MockTransport) -> None:
    outage = Outage(mock)
    async with client_of(mock, random=Random(3).random) as client:
        recovery = await outage.run(client, rate=5, before=5, down=60, after=80)
    # A few seconds until it is clear; from then on a probe now and then.
    assert sum(outage.sent[:10]) <= 1.5 * 10 * 5
    assert sum(outage.sent[10:]) <= 8
    assert recovered(recovery, since=outage.back) <= BreakerConfig().longest_open * 1.2
    ends = [int(end) for end in recovery.ended]
    assert max(ends.count(second) for second in set(ends)) <= 1.5 * 5


async def test_when_all_are_down_the_error_tells_every_attempt(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="openai").fail(503).always()
    mock.on(provider="anthropic").hang().always()
    async with client_of(mock) as client:
        began = anyio.current_time()
        with pytest.raises(ServerError) as caught:
            await ask(client, kind, timeout=30, fallbacks=[OTHER])
        assert anyio.current_time() - began <= 30 + 1e-6
    error = caught.value
    assert told(error.attempts)[:3] == [("one", 503, "transient")] * 3
    assert [attempt.provider for attempt in error.attempts] == [call.provider for call in mock.calls]
    assert [other.provider for other in error.errors] == ["anthropic"]
