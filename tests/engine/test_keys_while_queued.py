"""What is learned of a key, an address or a breaker reaches the calls that are still queued. In virtual time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from bifrost import (
    AuthenticationError,
    Bifrost,
    BifrostError,
    BreakerConfig,
    CircuitOpenError,
    CredentialsExhaustedError,
    Key,
    KeyPoolConfig,
    QueueFullError,
    RateLimitError,
)
from bifrost.engine.pool.gate import Gate
from bifrost.testing import MockTransport, fake_key
from tests.engine.rig import until
from tests.engine.troubled import MODEL, OTHER, Calls, Sleeps, client_of, health_of, told
from tests.plugins.recorder import Kind, ask

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


class Asked:
    """Many calls with a number each: how they went, and in which order the provider saw them."""

    def __init__(self, client: Bifrost, mock: MockTransport, kind: Kind = "plain", **options: Any) -> None:
        self.client, self.mock, self.kind, self.options = client, mock, kind, options
        self.answers: dict[int, Any] = {}
        self.errors: dict[int, BifrostError] = {}

    async def one(self, number: int) -> None:
        try:
            if self.kind == "plain":
                self.answers[number] = await self.client.chat(MODEL, str(number), **self.options)
            else:
                async with self.client.stream_chat(MODEL, str(number), **self.options) as stream:
                    self.answers[number] = await stream.final()
        except BifrostError as error:
            self.errors[number] = error

    async def all(self, count: int, *, first: int = 0) -> None:
        async with anyio.create_task_group() as group:
            for number in range(first, first + count):
                group.start_soon(self.one, number)
                # Each is queued before the next comes.
                for _ in range(15):
                    await anyio.lowlevel.checkpoint()

    @property
    def served(self) -> list[int]:
        """The numbers of the calls that were answered with a 200, as the provider saw them."""
        return [int(call.json["messages"][0]["content"]) for call in self.mock.calls]


def two_keys(**weights: float) -> list[Key]:
    return [
        Key(name="first", value=fake_key("first"), weight=weights.get("first", 1e9)),
        Key(name="second", value=fake_key("second"), weight=weights.get("second", 1e-9)),
    ]


@pytest.mark.parametrize(
    ("status", "more"), [(429, {"retry_after": 100}), (401, {}), (402, {}), (429, {"code": "insufficient_quota"})]
)
async def test_a_key_that_is_refused_is_not_sent_by_those_who_were_queued(
    mock: MockTransport, kind: Kind, status: int, more: dict[str, Any]
) -> None:
    mock.on(key="first").fail(status, **more).delay(1).always()
    mock.on(key="second").reply("hello").delay(0.1).always()
    async with client_of(mock, *two_keys(), concurrency=4, stream_share=1.0) as client:
        asked = Asked(client, mock, kind)
        await asked.all(60)
    assert not asked.errors
    assert len(asked.answers) == 60
    # Only those that were under way when the first refusal came.
    assert Counter(call.key for call in mock.calls) == {"first": 4, "second": 60}
    assert {attempt.key for reply in asked.answers.values() for attempt in reply.attempts} == {"first", "second"}


@pytest.mark.parametrize("choose", ["weighted", "least_busy", "round_robin", "two_choices"])
async def test_however_keys_are_chosen(mock: MockTransport, choose: Any) -> None:
    mock.on(key="first").fail(429, retry_after=100).always()
    mock.on(key="second").reply("hello").delay(0.1).always()
    async with client_of(
        mock, *two_keys(first=1, second=1), concurrency=2, key_pool=KeyPoolConfig(choose=choose)
    ) as client:
        asked = Asked(client, mock)
        await asked.all(60)
    assert not asked.errors
    assert Counter(call.key for call in mock.calls)["first"] <= 2


async def test_calls_of_a_session_leave_its_key_in_the_queue_too(mock: MockTransport) -> None:
    mock.on(key="first").fail(401).delay(1).always()
    mock.on(key="second").reply("hello").delay(0.1).always()
    async with client_of(mock, *two_keys(), concurrency=1) as client:
        asked = Asked(client, mock, session="talk")
        await asked.all(20)
    assert not asked.errors
    assert Counter(call.key for call in mock.calls)["first"] <= 1


async def test_a_pinned_key_that_died_is_told_to_those_who_were_queued(mock: MockTransport) -> None:
    mock.on(key="first").fail(401).delay(1).always()
    async with client_of(mock, *two_keys(), concurrency=1) as client:
        asked = Asked(client, mock, key="first")
        await asked.all(20)
    assert len(mock.calls) == 1
    assert Counter(type(error) for error in asked.errors.values()) == {
        AuthenticationError: 1,
        CredentialsExhaustedError: 19,
    }
    assert all(not error.attempts for error in asked.errors.values() if isinstance(error, CredentialsExhaustedError))


async def test_a_retry_budget_that_is_used_up_keeps_nobody_from_a_ready_key(mock: MockTransport) -> None:
    mock.on(key="first").fail(429, retry_after=100).delay(1).always()
    mock.on(key="second").reply("hello").delay(0.1).always()
    async with client_of(mock, *two_keys()) as client:
        asked = Asked(client, mock)
        await asked.all(256)
    assert not asked.errors
    assert Counter(call.key for call in mock.calls) == {"first": 256, "second": 256}


# --- no key is ready


async def test_without_a_ready_key_a_call_waits_without_a_place_and_comes_first_again(
    mock: MockTransport, sleeps: Sleeps, kind: Kind
) -> None:
    mock.fail(429, retry_after=20).delay(1).then.reply("hello").delay(10).always()
    async with client_of(mock, sleeps=sleeps, concurrency=1, queue=100, stream_share=1.0) as client:
        asked = Asked(client, mock, kind, max_retries=0)
        async with anyio.create_task_group() as group:
            group.start_soon(asked.all, 6)
            await anyio.sleep(2)
            stats = client.stats().providers["openai"]
            assert (stats.in_flight, stats.waiting) == (0, 0)
            assert health_of(client).budget.tokens(anyio.current_time()) == 200
            await anyio.sleep(19.1)
            # The first is being served; three wait for their turns.
            assert client.stats().providers["openai"].in_flight == 1
            await anyio.sleep(2)
            group.start_soon(lambda: asked.all(3, first=6))
    assert list(asked.errors) == [0]
    assert asked.served == list(range(9))
    assert [reply.attempts[0].wait for _, reply in sorted(asked.answers.items())][:5] == pytest.approx(
        [20.0, 21.0, 21.0, 22.0, 22.0]
    )
    assert all(len(reply.attempts) == 1 for reply in asked.answers.values())


@pytest.fixture
def sleeps() -> Sleeps:
    return Sleeps()


async def test_a_wait_beyond_longest_wait_is_an_error_without_an_attempt(mock: MockTransport, kind: Kind) -> None:
    mock.fail(429, retry_after=31).delay(1).always()
    async with client_of(mock, concurrency=1, stream_share=1.0) as client:
        asked = Asked(client, mock, kind, max_retries=0)
        began = anyio.current_time()
        await asked.all(20)
        assert anyio.current_time() == began + 1
        assert health_of(client).budget.tokens(anyio.current_time()) == 200
    assert len(mock.calls) == 1
    assert {type(error) for error in asked.errors.values()} == {RateLimitError}
    assert [len(error.attempts) for _, error in sorted(asked.errors.items())] == [1] + [0] * 19
    assert asked.errors[5].retry_after == pytest.approx(31)


async def test_all_waits_of_a_call_for_keys_stay_within_longest_wait(mock: MockTransport) -> None:
    mock.fail(429, retry_after=8).always()
    async with client_of(mock) as client:
        asked = Asked(client, mock, max_retries=0)
        began = anyio.current_time()
        await asked.all(40)
        assert anyio.current_time() - began <= 30
    assert len(asked.errors) == 40
    # Each time one was let through, and the others were left waiting: at 0, 8, 16 and 24 seconds.
    assert len(mock.calls) == 4


async def test_those_who_wait_for_a_key_that_is_limited_again_are_let_go_little_by_little(mock: MockTransport) -> None:
    mock.fail(429, retry_after=5).times(2).then.reply("hello").always()
    async with client_of(mock) as client:
        with pytest.raises(RateLimitError):
            await client.chat(MODEL, "hi", max_retries=0)
        calls = Calls(client, max_retries=0)
        began = anyio.current_time()
        await calls.at_once(100)
    assert len(calls.errors) == 1
    seconds = Counter(round(ended - began, 3) for ended in calls.ended)
    assert seconds == {5.0: 1, 10.0: 1, 11.0: 2, 12.0: 4, 13.0: 8, 14.0: 16, 15.0: 32, 16.0: 36}


async def test_with_a_fallback_a_queued_call_goes_there_at_once(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="openai").fail(429, retry_after=20).delay(1).always()
    mock.on(provider="anthropic").reply("hello").always()
    async with client_of(mock, concurrency=1, stream_share=1.0) as client:
        asked = Asked(client, mock, kind, max_retries=0, fallbacks=[OTHER])
        await asked.all(20)
    assert not asked.errors
    assert Counter(call.provider for call in mock.calls) == {"openai": 1, "anthropic": 20}
    assert told(asked.answers[7].attempts) == [("anthropic-key", 200, None)]


async def test_a_breaker_that_opens_reaches_those_who_were_queued(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="openai").fail(503).delay(1).always()
    mock.on(provider="anthropic").reply("hello").always()
    async with client_of(mock, concurrency=1, stream_share=1.0, breaker=BreakerConfig(calls=2)) as client:
        asked = Asked(client, mock, kind, max_retries=0, fallbacks=[OTHER])
        await asked.all(10)
        alone = Asked(client, mock, kind, max_retries=0)
        await alone.all(1)
    assert not asked.errors
    assert Counter(call.provider for call in mock.calls) == {"openai": 2, "anthropic": 10}
    (error,) = alone.errors.values()
    assert isinstance(error, CircuitOpenError)
    assert error.attempts == []


async def test_a_call_that_leaves_while_it_waits_for_a_key_leaves_nothing(mock: MockTransport) -> None:
    mock.fail(429, retry_after=20).delay(1).then.reply("hello").always()
    async with client_of(mock, concurrency=1) as client:
        asked = Asked(client, mock, max_retries=0)
        with anyio.move_on_after(10):
            await asked.all(5)
        (key,) = health_of(client).keys._states.values()
        assert (key.waiting, key.in_flight) == (0, 0)
        reply = await client.chat(MODEL, "hi")
    assert reply.attempts[0].wait == pytest.approx(11)


async def test_a_deadline_that_ends_while_a_call_waits_for_a_key_says_so(mock: MockTransport) -> None:
    mock.fail(429, retry_after=20).delay(1).always()
    async with client_of(mock, concurrency=1) as client:
        asked = Asked(client, mock, max_retries=0, timeout=15.0)
        await asked.all(3)
    assert {type(error) for error in asked.errors.values()} == {RateLimitError}
    assert asked.errors[2].attempts == []


# --- a hedge


async def test_a_key_that_is_limited_while_a_hedge_is_begun_is_not_used_by_it(mock: MockTransport) -> None:
    mock.on(key="first").reply("slow").delay(30).always()
    mock.on(key="second").fail(401).always()
    async with client_of(mock, *two_keys(), concurrency=4) as client:
        with pytest.raises(AuthenticationError):
            await client.chat(MODEL, "hi", key="second", max_retries=0)
        assert (await client.chat(MODEL, "hi")).attempts[0].key == "first"


# --- places


@pytest.mark.parametrize("way", ["cancelled", "out of time"])
async def test_the_place_of_a_call_that_left_is_free_at_once(mock: MockTransport, kind: Kind, way: str) -> None:
    mock.hang().then.reply("hello").always()
    config: dict[str, Any] = {"concurrency": 1, "queue": 0, "on_full": "drop", "stream_share": 1.0}
    async with client_of(mock, **config) as client:
        if way == "cancelled":
            with anyio.move_on_after(1):
                await ask(client, kind)
        else:
            with pytest.raises(BifrostError):
                await ask(client, kind, timeout=1)
        assert (await ask(client, kind)).text == "hello"


async def test_the_place_of_a_stream_that_was_left_is_free_at_once(mock: MockTransport) -> None:
    mock.stream(["a", "long", "answer", "of", "many", "words"]).drip(1).then.reply("hello").always()
    config: dict[str, Any] = {"concurrency": 1, "queue": 0, "on_full": "drop", "stream_share": 1.0}
    async with client_of(mock, **config) as client:
        async with client.stream_chat(MODEL, "hi") as stream:
            await stream.__anext__()
        assert (await client.chat(MODEL, "hi")).text == "hello"


@pytest.mark.parametrize("trouble", ["full", "open", "limited", "dead"])
async def test_a_loop_that_tries_again_at_once_lets_the_others_get_on(mock: MockTransport, trouble: str) -> None:
    config: dict[str, Any] = {}
    match trouble:
        case "full":
            mock.reply("slow").delay(1).always()
            config = {"concurrency": 1, "queue": 0, "on_full": "drop"}
        case "open":
            mock.fail(503)
            config = {"breaker": BreakerConfig(calls=1)}
        case "limited":
            mock.fail(429, retry_after=60)
        case _:
            mock.fail(401)
    async with client_of(mock, **config) as client, anyio.create_task_group() as group:
        if trouble == "full":
            group.start_soon(client.chat, MODEL, "hi")
            await until(lambda: mock.calls)
        else:
            with pytest.raises(BifrostError):
                await client.chat(MODEL, "hi", max_retries=0)
        turns = 0

        async def other() -> None:
            nonlocal turns
            while turns < 20:
                await anyio.lowlevel.checkpoint()
                turns += 1

        group.start_soon(other)
        refused = 0
        while turns < 20 and refused < 200:
            with pytest.raises((QueueFullError, BifrostError)):
                await client.chat(MODEL, "hi", max_retries=0)
            refused += 1
        assert turns == 20


async def test_a_holder_that_comes_back_is_let_in_beyond_the_capacity() -> None:
    gate = Gate(1)
    assert gate.try_enter()
    gate.enter_again()
    assert gate.held == 2
    gate.leave()
    assert not gate.try_enter()
    gate.leave()
    assert gate.try_enter()
