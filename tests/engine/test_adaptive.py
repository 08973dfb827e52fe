"""A limit that follows what a provider takes: seen from the calls, from the queue, and from what is told. Virtual time.

What moves the limit is tested in `tests/routing/test_adaptive.py`.
"""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import anyio
import httpx
import pytest

from bifrost import (
    AdaptiveConfig,
    Bifrost,
    BifrostError,
    BreakerConfig,
    CallTimeoutError,
    ModelGroup,
    OverloadedError,
    ProviderConfig,
    ProviderStats,
    QueueFullError,
    RateLimitError,
    RetryConfig,
    ServerError,
    ShuttingDownError,
    StaticAccount,
    Timeouts,
)
from bifrost.engine.clock import Clock
from bifrost.testing import MockTransport, fake_key, leak_check, virtual_backends
from tests.engine.rig import is_quiet, until
from tests.engine.troubled import MODEL, OTHER, Calls, client_of, health_of, states_of
from tests.plugins.recorder import KINDS, Kind, ask

pytestmark = pytest.mark.anyio

ONCE = RetryConfig(max_retries=0)
STEADY = BreakerConfig(enabled=False)
ADAPTS = AdaptiveConfig()


@pytest.fixture(scope="module", params=virtual_backends(), ids=lambda backend: backend[0])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def mock() -> MockTransport:
    return MockTransport()


class Crowded(httpx.AsyncBaseTransport):
    """A provider with room for so many at once: it serves each in a second, and refuses the others in 50 ms."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.inside = 0
        self.served: Counter[str] = Counter()
        """What was asked and answered."""
        self.refused = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        text = json.loads(await request.aread())["messages"][0]["content"]
        if self.inside >= self.room:
            self.refused += 1
            await anyio.sleep(0.05)
            return httpx.Response(429, json={"error": {"message": "too many at once", "type": "rate_limit_error"}})
        self.inside += 1
        try:
            await anyio.sleep(1)
        finally:
            self.inside -= 1
        self.served[text] += 1
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return httpx.Response(200, json={"id": "1", "object": "chat.completion", "created": 1, "choices": [choice]})

    @property
    def share_refused(self) -> float:
        return self.refused / (self.refused + self.served.total())

    def client(self, **config: Any) -> Bifrost:
        account = StaticAccount(keys={"openai": fake_key("one")}, configs={"openai": ProviderConfig(**config)})
        return Bifrost(account, transport=self, clock=Clock(random=Random(7).random))


class Callers:
    """Callers that ask again and again, a second later if they failed, for so many seconds."""

    def __init__(self, client: Bifrost) -> None:
        self.client = client
        self.asked = 0
        self.answered: list[str] = []
        self.failed = 0
        self.limits: list[int] = []
        """The limit at the end of each second."""

    async def work(self, callers: int, *, seconds: int) -> None:
        async with anyio.create_task_group() as group:
            end = anyio.current_time() + seconds
            for _ in range(callers):
                group.start_soon(self._caller, end)
            for _ in range(seconds):
                await anyio.sleep(1)
                self.limits.append(limit_of(self.client))

    async def _caller(self, end: float) -> None:
        while anyio.current_time() < end:
            self.asked += 1
            text = str(self.asked)
            try:
                reply = await self.client.chat(MODEL, text)
            except BifrostError:
                self.failed += 1
                await anyio.sleep(1)
            else:
                assert reply.text == text
                self.answered.append(text)


def seen(client: Bifrost, provider: str = "openai") -> ProviderStats:
    return client.stats().providers[provider]


def limit_of(client: Bifrost) -> int:
    return seen(client).limit or 0


async def refused(client: Bifrost, mock: MockTransport, *, times: int = 1) -> None:
    """Let the limit fall so many times."""
    mock.fail(529).times(times)
    for _ in range(times):
        with pytest.raises(OverloadedError):
            await client.chat(MODEL, "hi", max_retries=0)


# --- a provider that takes so many at once


async def test_the_limit_finds_what_a_provider_takes_and_refusals_become_few() -> None:
    fixed, adaptive = Crowded(10), Crowded(10)
    async with fixed.client(concurrency=40) as client:
        await Callers(client).work(60, seconds=10)
        assert seen(client).limit is None
    async with leak_check(), adaptive.client(concurrency=40, adaptive=ADAPTS) as client:
        callers = Callers(client)
        await callers.work(60, seconds=10)
        at_first = adaptive.refused
        await callers.work(60, seconds=20)
        await until(lambda: is_quiet(client))
    assert all(9 <= limit <= 11 for limit in callers.limits[2:]), callers.limits
    assert fixed.share_refused > 0.8
    # Nearly all of them in the first crowd; after that one for each time that the limit is tried.
    assert adaptive.share_refused < 0.25
    assert adaptive.refused - at_first < 20
    assert adaptive.served.total() / 30 > 0.9 * fixed.served.total() / 10


async def test_it_begins_where_it_is_told_to_and_then_hardly_anybody_is_refused() -> None:
    upstream = Crowded(10)
    async with upstream.client(concurrency=40, adaptive=AdaptiveConfig(start=4)) as client:
        callers = Callers(client)
        await callers.work(60, seconds=60)
    assert callers.limits[:5] == [5, 6, 7, 8, 9] or callers.limits[:5] == [4, 5, 6, 7, 8]
    assert callers.failed == 0
    assert upstream.share_refused < 0.1


async def test_when_the_provider_takes_more_again_so_does_the_limit() -> None:
    upstream = Crowded(3)
    async with upstream.client(concurrency=30, adaptive=ADAPTS) as client:
        callers = Callers(client)
        await callers.work(40, seconds=20)
        assert max(callers.limits[5:]) <= 4
        upstream.room = 100
        await callers.work(40, seconds=40)
        assert callers.limits[-1] == 30
        assert upstream.refused < 200


async def test_a_provider_that_refuses_everything_is_asked_by_one_and_found_again() -> None:
    upstream = Crowded(0)
    async with upstream.client(concurrency=20, adaptive=ADAPTS) as client:
        callers = Callers(client)
        await callers.work(30, seconds=20)
        assert callers.limits[-1] == 1
        upstream.room = 100
        await callers.work(30, seconds=40)
        assert callers.limits[-1] == 20


async def test_clients_that_share_a_providers_room_come_to_equal_parts_of_it() -> None:
    upstream = Crowded(16)
    clients = [upstream.client(concurrency=40, adaptive=AdaptiveConfig(start=start)) for start in (14, 2)]
    callers = [Callers(client) for client in clients]
    async with anyio.create_task_group() as group:
        for each in callers:
            group.start_soon(lambda each=each: each.work(30, seconds=80))
    for client in clients:
        await client.close()
    parts = [sum(each.limits[40:]) / 40 for each in callers]
    assert all(6.5 <= part <= 9.5 for part in parts), parts
    assert upstream.share_refused < 0.1


async def test_no_call_is_lost_or_made_twice_while_the_limit_moves() -> None:
    upstream, chance = Crowded(5), Random(3)
    async with leak_check(), upstream.client(concurrency=30, adaptive=ADAPTS) as client:
        callers = Callers(client)
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: callers.work(40, seconds=60))
            for _ in range(30):
                await anyio.sleep(2)
                upstream.room = chance.choice((0, 2, 5, 12, 50))
        await until(lambda: is_quiet(client))
        stats = seen(client)
    assert len(callers.answered) + callers.failed == callers.asked == stats.calls
    assert sorted(callers.answered) == sorted(upstream.served)
    assert set(upstream.served.values()) == {1}
    assert (stats.ok, stats.failed) == (upstream.served.total(), upstream.refused)
    assert len(set(callers.limits)) > 8, callers.limits


# --- what moves it


@pytest.mark.parametrize("status", [429, 529])
async def test_an_attempt_that_was_too_much_says_so(mock: MockTransport, status: int, kind: Kind) -> None:
    mock.fail(status)
    async with client_of(mock, retry=ONCE, concurrency=20, adaptive=ADAPTS) as client:
        with pytest.raises(RateLimitError if status == 429 else OverloadedError) as caught:
            await ask(client, kind)
        assert limit_of(client) == 18
    (attempt,) = caught.value.attempts
    assert str(attempt.note).endswith("at most 18 at once from here on")


async def test_an_overload_that_is_told_inside_a_stream_counts_too(mock: MockTransport) -> None:
    mock.error_event(at=0, status=429)
    async with client_of(mock, retry=ONCE, concurrency=20, adaptive=ADAPTS) as client:
        with pytest.raises(RateLimitError):
            await ask(client, "stream")
        assert limit_of(client) == 18


async def test_a_time_limit_of_an_attempt_lowers_it_once_for_all_that_were_under_way(mock: MockTransport) -> None:
    mock.hang().always()
    config: dict[str, Any] = {"retry": ONCE, "breaker": STEADY, "timeouts": Timeouts(first_token=30)}
    async with client_of(mock, concurrency=20, adaptive=ADAPTS, **config) as client:
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            for _ in range(15):
                group.start_soon(_fails, client, CallTimeoutError)
        assert anyio.current_time() - began == pytest.approx(30)
        assert limit_of(client) == 18


async def _fails(client: Bifrost, error: type[BifrostError]) -> None:
    with pytest.raises(error):
        await ask(client, "stream")


async def test_a_candidates_share_of_the_time_counts(mock: MockTransport) -> None:
    mock.on(provider="openai").hang().always()
    mock.on(provider="anthropic").reply("hello").always()
    async with client_of(mock, concurrency=20, adaptive=ADAPTS) as client:
        reply = await client.chat(MODEL, "hi", timeout=60, fallbacks=[OTHER])
        assert limit_of(client) == 18
    assert [attempt.category for attempt in reply.attempts] == ["transient", None]


async def test_other_failures_the_calls_own_deadline_and_callers_that_leave_do_not_count(mock: MockTransport) -> None:
    mock.fail(500).then.fail(400).then.refuse().then.fail(408).then.hang().times(2)
    async with client_of(mock, retry=ONCE, concurrency=20, adaptive=ADAPTS) as client:
        for _ in range(4):
            with pytest.raises(BifrostError):
                await client.chat(MODEL, "hi")
        with pytest.raises(CallTimeoutError):
            await client.chat(MODEL, "hi", timeout=1)
        with anyio.move_on_after(1):
            await client.chat(MODEL, "hi")
        assert limit_of(client) == 20
    assert len(mock.calls) == 6


async def test_a_wait_in_the_queue_does_not_count(mock: MockTransport) -> None:
    mock.reply("hello").delay(10).always()
    async with client_of(mock, concurrency=1, adaptive=ADAPTS, queue_timeout=1) as client:
        calls = Calls(client)
        await calls.at_once(4)
        assert [type(error) for error in calls.errors] == [QueueFullError] * 3
        assert limit_of(client) == 1


async def test_without_it_refusals_change_nothing(mock: MockTransport) -> None:
    async with client_of(mock, concurrency=20, breaker=BreakerConfig(enabled=False)) as client:
        await refused(client, mock, times=5)
        assert seen(client).limit is None
        mock.reply("hello").delay(1).always()
        await Calls(client).at_once(20)
        assert seen(client).workers == 20


# --- what a limit does


async def test_what_is_in_flight_goes_on_and_what_is_queued_waits_its_turn(mock: MockTransport) -> None:
    mock.fail(529).delay(1).then.reply("hello").delay(10).always()
    async with client_of(mock, retry=ONCE, concurrency=4, adaptive=AdaptiveConfig(factor=0.5)) as client:
        calls = Calls(client)
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            group.start_soon(calls.at_once, 10)
            await anyio.sleep(5)
            assert (limit_of(client), seen(client).in_flight, seen(client).waiting) == (2, 3, 6)
            await anyio.sleep(6)
            assert (limit_of(client), seen(client).in_flight, seen(client).waiting) == (2, 2, 4)
    assert [type(error) for error in calls.errors] == [OverloadedError]
    # Two answers of exchanges that began under the new limit have raised it.
    assert [round(ended - began) for ended in calls.ended] == [1, 10, 10, 10, 20, 20, 30, 30, 30, 40]
    assert len(mock.calls) == 10


async def test_at_one_everybody_is_served_in_turn(mock: MockTransport) -> None:
    mock.reply("hello").delay(1).always()
    served: list[int] = []
    async with client_of(mock, concurrency=1, adaptive=ADAPTS) as client:

        async def one(number: int) -> None:
            await client.chat(MODEL, "hi")
            served.append(number)

        await client.chat(MODEL, "so that the provider is in use")
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            for number in range(30):
                group.start_soon(one, number)
                await until(lambda count=number: seen(client).in_flight + seen(client).waiting == count + 1)
        assert anyio.current_time() - began == pytest.approx(30)
        assert limit_of(client) == 1
    assert served == list(range(30))


async def test_refusals_at_one_leave_one_at_a_time(mock: MockTransport) -> None:
    mock.fail(529).delay(1).always()
    config: dict[str, Any] = {"retry": ONCE, "breaker": STEADY}
    async with client_of(mock, concurrency=8, adaptive=AdaptiveConfig(start=1), **config) as client:
        calls = Calls(client)
        began = anyio.current_time()
        await calls.at_once(30)
        assert anyio.current_time() - began == pytest.approx(30)
        assert limit_of(client) == 1
    assert {type(error) for error in calls.errors} == {OverloadedError}


async def test_at_one_a_stream_and_a_plain_call_do_not_starve_each_other(mock: MockTransport) -> None:
    mock.reply("hello").delay(1).always()
    async with client_of(mock, concurrency=8, adaptive=AdaptiveConfig(start=1)) as client:
        replies: list[str] = []

        async def one(kind: Kind) -> None:
            replies.append((await ask(client, kind)).text)

        async with anyio.create_task_group() as group:
            for _ in range(10):
                for kind in KINDS:
                    group.start_soon(one, kind)
    assert replies == ["hello"] * 20


async def test_streams_have_their_share_of_the_limit(mock: MockTransport) -> None:
    async with client_of(mock, concurrency=8, adaptive=AdaptiveConfig(factor=0.5), stream_share=0.5) as client:
        await refused(client, mock)
        assert limit_of(client) == 4
        mock.stream(["one", "two"]).always()
        streams = [client.stream_chat(MODEL, "hi") for _ in range(3)]
        await streams[0].__aenter__()
        await streams[1].__aenter__()
        with anyio.move_on_after(5) as scope:
            await streams[2].__aenter__()
        assert scope.cancelled_caught
        assert (await client.chat(MODEL, "hi")).text == "onetwo"
        for stream in streams:
            await stream.close()


async def test_a_full_queue_is_one_of_the_limit(mock: MockTransport) -> None:
    config: dict[str, Any] = {"concurrency": 8, "queue": 2, "on_full": "drop"}
    async with client_of(mock, adaptive=AdaptiveConfig(factor=0.5), **config) as client:
        await refused(client, mock)
        mock.reply("hello").delay(1).always()
        calls = Calls(client)
        await calls.at_once(8)
    assert len(calls.errors) == 2
    assert str(calls.errors[0]).startswith("openai: all 4 workers are busy and the queue of 2 is full")


async def test_a_group_sees_the_limit_and_not_the_concurrency(mock: MockTransport) -> None:
    group = ModelGroup([MODEL, OTHER], balance="least_busy")
    config = AdaptiveConfig(factor=0.01)
    async with client_of(mock, concurrency=256, adaptive=config, retry=ONCE, models={"fast": group}) as client:
        await refused(client, mock)
        assert limit_of(client) == 2
        mock.reply("hello").delay(1).always()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.chat, MODEL, "hi")
            tasks.start_soon(client.chat, MODEL, "hi")
            await until(lambda: seen(client).in_flight == 2)
            for _ in range(6):
                assert (await client.chat("fast", "hi")).provider == "anthropic"


# --- beside the breaker and the keys


async def test_a_probe_gets_through_at_one(mock: MockTransport, kind: Kind) -> None:
    config: dict[str, Any] = {"retry": ONCE, "breaker": BreakerConfig(calls=4)}
    async with client_of(mock, concurrency=2, adaptive=ADAPTS, **config) as client:
        mock.fail(529).times(4)
        for _ in range(4):
            with pytest.raises(OverloadedError):
                await ask(client, kind)
        assert limit_of(client) == 1
        assert health_of(client).state("gpt-4o-mini", anyio.current_time()) == "open"
        mock.reply("hello").delay(1).always()
        await anyio.sleep(10)
        calls = Calls(client)
        await calls.at_once(5)
        # One probe, and a second behind it in the queue. It closes the breaker; the others met it under way.
        assert sum(not isinstance(outcome, BifrostError) for outcome in calls.outcomes) == 2
        assert (await ask(client, kind)).text == "hello"
        assert health_of(client).state("gpt-4o-mini", anyio.current_time()) == "closed"


async def test_calls_queued_behind_the_limit_leave_when_the_breaker_opens(mock: MockTransport) -> None:
    mock.fail(529).delay(1).always()
    config: dict[str, Any] = {"retry": ONCE, "breaker": BreakerConfig(calls=2)}
    async with client_of(mock, concurrency=2, adaptive=ADAPTS, **config) as client:
        calls = Calls(client)
        began = anyio.current_time()
        await calls.at_once(20)
        assert anyio.current_time() - began <= 2
        assert limit_of(client) == 1
    assert Counter(type(error).__name__ for error in calls.errors)["CircuitOpenError"] >= 17


async def test_a_key_that_is_limited_rests_and_the_others_carry_on_below_the_limit(mock: MockTransport) -> None:
    mock.on(key="a").fail(429, retry_after=20).always()
    mock.on(key="b").reply("hello").delay(1).always()
    config: dict[str, Any] = {"concurrency": 10, "adaptive": ADAPTS, "random": Random(1).random}
    async with client_of(mock, "a", "b", **config) as client:
        calls = Calls(client)
        await calls.at_once(30)
        assert states_of(client) == {"a": "cooling_down", "b": "ready"}
    assert calls.errors == []
    notes = [attempt.note for reply in calls.outcomes for attempt in reply.attempts if not attempt.ok]
    # Those that were under way together, with either key, count once.
    assert len(notes) > 1
    assert [str(note).endswith("at most 9 at once from here on") for note in notes].count(True) == 1


async def test_calls_that_wait_for_a_key_that_cools_down_take_no_part(mock: MockTransport) -> None:
    mock.fail(429, retry_after=5).then.reply("hello").delay(1).always()
    async with client_of(mock, concurrency=10, adaptive=ADAPTS) as client:
        await Calls(client).at_once(1)
        assert limit_of(client) == 9
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(client.chat, MODEL, "hi")
        assert limit_of(client) == 10


# --- changes while calls run


async def test_a_limit_at_the_top_goes_with_concurrency_and_a_lower_one_stays(mock: MockTransport) -> None:
    async with client_of(mock, concurrency=10, adaptive=ADAPTS) as client:
        mock.reply("hello")
        await client.chat(MODEL, "hi")
        await client.update_provider("openai", config=ProviderConfig(concurrency=20, adaptive=ADAPTS))
        assert limit_of(client) == 20
        await refused(client, mock)
        assert limit_of(client) == 18
        await client.update_provider("openai", config=ProviderConfig(concurrency=100, adaptive=ADAPTS))
        assert (limit_of(client), seen(client).concurrency) == (18, 100)
        await client.update_provider("openai", config=ProviderConfig(concurrency=5, adaptive=ADAPTS))
        assert limit_of(client) == 5
        mock.reply("hello").delay(1).always()
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(client.chat, MODEL, "hi")
            await anyio.sleep(0.5)
            assert (seen(client).in_flight, seen(client).waiting) == (5, 15)


async def test_it_can_be_turned_on_and_off_while_calls_wait(mock: MockTransport) -> None:
    mock.reply("hello").delay(1).always()
    async with client_of(mock, concurrency=4) as client:
        calls = Calls(client)
        async with anyio.create_task_group() as group:
            group.start_soon(calls.at_once, 30)
            await anyio.sleep(0.5)
            on = ProviderConfig(concurrency=4, adaptive=AdaptiveConfig(start=2))
            await client.update_provider("openai", config=on)
            await anyio.sleep(1)
            assert (limit_of(client), seen(client).in_flight, seen(client).workers) == (2, 2, 2)
            await client.update_provider("openai", config=ProviderConfig(concurrency=4))
            await until(lambda: seen(client).workers == 4)
            assert seen(client).limit is None
        await until(lambda: is_quiet(client))
    assert calls.errors == []
    assert len(mock.calls) == len(calls.outcomes) == 30


async def test_a_limit_that_was_switched_off_moves_nothing_any_more(mock: MockTransport) -> None:
    mock.fail(529).delay(1).always()
    async with client_of(mock, retry=ONCE, concurrency=4, adaptive=ADAPTS) as client:
        calls = Calls(client)
        async with anyio.create_task_group() as group:
            group.start_soon(calls.at_once, 4)
            await anyio.sleep(0.5)
            plain = ProviderConfig(retry=ONCE, concurrency=4)
            await client.update_provider("openai", config=plain)
        mock.forget()
        mock.reply("hello").delay(1).always()
        async with anyio.create_task_group() as group:
            group.start_soon(calls.at_once, 4)
            await anyio.sleep(0.5)
            assert (seen(client).limit, seen(client).in_flight) == (None, 4)


async def test_a_change_of_the_limits_settings_keeps_what_is_known_of_the_provider(mock: MockTransport) -> None:
    async with client_of(mock, concurrency=20, adaptive=ADAPTS) as client:
        await refused(client, mock)
        before = health_of(client)
        other = ProviderConfig(concurrency=20, adaptive=AdaptiveConfig(factor=0.5))
        await client.update_provider("openai", config=other)
        assert health_of(client) is before
        assert limit_of(client) == 18
        await refused(client, mock)
        assert limit_of(client) == 9


@pytest.mark.parametrize("how", ["close", "remove"])
async def test_a_drain_finishes_what_is_in_flight_and_refuses_the_rest(mock: MockTransport, how: str) -> None:
    mock.fail(529).delay(1).then.reply("hello").delay(10).then.fail(529).delay(20).then.reply("hello").delay(
        10
    ).always()
    client = client_of(mock, retry=ONCE, concurrency=4, adaptive=AdaptiveConfig(factor=0.5))
    async with leak_check(), client:
        calls = Calls(client)
        async with anyio.create_task_group() as group:
            group.start_soon(calls.at_once, 10)
            await anyio.sleep(5)
            assert (seen(client).in_flight, seen(client).waiting) == (3, 6)
            if how == "close":
                await client.close(drain=30)
            else:
                await client.remove_provider("openai", drain=30)
    kinds = Counter(type(outcome).__name__ for outcome in calls.outcomes)
    assert kinds == {"OverloadedError": 2, "ShuttingDownError": 6, "ChatResponse": 2}
    assert ShuttingDownError.__name__ in kinds


# --- what is told


async def test_stats_and_explain_tell_the_limit(mock: MockTransport) -> None:
    async with client_of(mock, concurrency=20, adaptive=ADAPTS) as client:
        await refused(client, mock, times=2)
        assert "0/16 of 20" in str(client.stats())
        assert "0/16 of 20" in client.stats()._repr_html_()
        explanation = await client.explain(MODEL, "hi")
    (candidate,) = explanation.candidates
    assert (candidate.concurrency, candidate.limit) == (20, 16)
    assert "queue: 0/16 of 20 in flight, 0 waiting" in str(explanation)


async def test_where_it_is_fixed_they_tell_the_concurrency(mock: MockTransport) -> None:
    async with client_of(mock, concurrency=20) as client:
        mock.fail(500)
        with pytest.raises(ServerError):
            await client.chat(MODEL, "hi", max_retries=0)
        assert "0/20  " in str(client.stats())
        assert "queue: 0/20 in flight, 0 waiting" in str(await client.explain(MODEL, "hi"))
