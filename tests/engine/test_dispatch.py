from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

from bifrost import (
    AuthenticationError,
    BadRequestError,
    BifrostError,
    CallTimeoutError,
    ConfigError,
    ConnectError,
    ContentFilterError,
    ContextLengthError,
    CredentialsExhaustedError,
    InvalidRequestError,
    Key,
    MalformedResponseError,
    MissingKeyError,
    OverloadedError,
    ProviderConfig,
    QueueFullError,
    RateLimitError,
    RetryConfig,
    ServerError,
    StaticAccount,
    StreamInterruptedError,
    Timeouts,
    TransportError,
    UnknownProviderError,
    UnsupportedError,
)
from bifrost.engine.clock import Clock
from bifrost.engine.pool.perform import STALE_WITHIN
from bifrost.providers.catalog import CATALOG
from bifrost.routing.keys import KeyPool
from bifrost.testing import MockTransport, fake_key
from tests.engine.rig import until
from tests.plugins.recorder import MODEL, OTHER, Kind, Recorder, ask, read_into

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost import Bifrost, ChatResponse

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

THIRD = "third/llama"
THIRD_ROW = attrs.evolve(CATALOG["openai"], name="third", base_url="https://third.example/v1")
"""A provider that the catalog does not have; the mock knows it by its host."""


class Sleeps(list[float]):
    """A clock whose sleeps are noted, and slept on the loop's own time; chance is always one half."""

    def clock(self) -> Clock:
        async def sleep(seconds: float) -> None:
            self.append(round(seconds, 6))
            await anyio.sleep(seconds)

        return Clock(sleep=sleep, random=lambda: 0.5)


@pytest.fixture
def sleeps() -> Sleeps:
    return Sleeps()


def client_of(
    mock: MockTransport, sleeps: Sleeps, keys: dict[str, Any] | None = None, *, config: Any = None, **options: Any
) -> Bifrost:
    """Give a client with these keys by provider (one each for three by default) and a config for openai."""
    known = keys or {"openai": ["one"], "anthropic": ["two"], "third": ["three"]}
    account = StaticAccount(
        keys={
            provider: [Key(name=key, value=fake_key(key)) if isinstance(key, str) else key for key in named]
            for provider, named in known.items()
        },
        configs=None if config is None else {"openai": config},
        providers=[THIRD_ROW] if "third" in known else (),
    )
    return mock.client(account, clock=sleeps.clock(), **options)


def told(attempts: Any) -> list[tuple[str, str | None, int | None, str | None]]:
    """Give the trail in short."""
    return [(attempt.provider, attempt.key, attempt.status, attempt.category) for attempt in attempts]


# --- keys


async def test_a_throttled_key_is_followed_by_another_at_once(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.fail(429, retry_after=30).then.reply("hello")
    async with client_of(mock, sleeps, {"openai": ["one", "two"]}) as client:
        reply = await ask(client, kind)
    first, second = (attempt.key for attempt in reply.attempts)
    assert {first, second} == {"one", "two"}
    assert told(reply.attempts) == [("openai", first, 429, "throttled"), ("openai", second, 200, None)]
    assert [call.key for call in mock.calls] == [first, second]
    assert sleeps == []


async def test_a_refused_key_is_left_out_even_without_retries(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.on(key="bad").fail(401).always()
    mock.on(key="good").reply("hello")
    keys = [Key(name="bad", value=fake_key("bad"), weight=1e6), Key(name="good", value=fake_key("good"), weight=1e-6)]
    async with client_of(mock, sleeps, {"openai": keys}) as client:
        reply = await ask(client, kind, max_retries=0)
    assert told(reply.attempts) == [("openai", "bad", 401, "credential"), ("openai", "good", 200, None)]
    assert sleeps == []


async def test_every_key_refused_is_the_last_refusal(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.fail(401).always()
    async with client_of(mock, sleeps, {"openai": ["one", "two", "three"]}) as client:
        with pytest.raises(AuthenticationError) as caught:
            await ask(client, kind)
    assert sorted(str(call.key) for call in mock.calls) == ["one", "three", "two"]
    assert (caught.value.provider, caught.value.status, caught.value.key) == ("openai", 401, mock.calls[-1].key)


async def test_a_key_without_quota_is_followed_by_another(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.fail(429, code="insufficient_quota").then.reply("hello")
    async with client_of(mock, sleeps, {"openai": ["one", "two"]}) as client:
        reply = await ask(client, kind, max_retries=0)
    assert [attempt.category for attempt in reply.attempts] == ["quota", None]


async def test_a_pinned_key_is_the_only_one_used(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.fail(429).then.reply("hello")
    async with client_of(mock, sleeps, {"openai": ["one", "two"]}) as client:
        reply = await ask(client, kind, key="two")
        with pytest.raises(MissingKeyError, match="no key of the name or id in key=; the names are: one, two"):
            await ask(client, kind, key="three")
    assert [attempt.key for attempt in reply.attempts] == ["two", "two"]
    assert sleeps == [0.25]


async def test_a_key_serves_a_model_under_the_providers_own_name(
    mock: MockTransport, sleeps: Sleeps, kind: Kind
) -> None:
    mock.reply("hello")
    key = Key(name="azure", value=fake_key("azure"), aliases={"gpt-4o-mini": "my-deployment"})
    async with client_of(mock, sleeps, {"openai": [key]}) as client:
        reply = await ask(client, kind)
    assert mock.calls[0].model == "my-deployment"
    assert reply.attempts[0].model == "my-deployment"


# --- retries and waits


async def test_a_provider_that_fails_is_tried_again_after_growing_waits(
    mock: MockTransport, sleeps: Sleeps, kind: Kind
) -> None:
    mock.fail(503).times(2).then.reply("hello")
    async with client_of(mock, sleeps) as client:
        reply = await ask(client, kind)
    assert told(reply.attempts) == [
        ("openai", "one", 503, "transient"),
        ("openai", "one", 503, "transient"),
        ("openai", "one", 200, None),
    ]
    assert sleeps == [0.25, 0.5]
    assert [attempt.wait for attempt in reply.attempts] == [0.0, 0.25, 0.5]


async def test_the_number_of_retries_is_the_calls(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.fail(503).always()
    for max_retries in (0, 1, 4):
        async with client_of(mock, sleeps) as client:
            mock.calls.clear()
            with pytest.raises(ServerError):
                await ask(client, kind, max_retries=max_retries)
            assert len(mock.calls) == max_retries + 1


async def test_a_call_has_six_attempts_at_most(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.fail(503).always()
    async with client_of(mock, sleeps) as client:
        with pytest.raises(ServerError) as caught:
            await ask(client, kind, max_retries=9, fallbacks=[OTHER, THIRD])
    # The last one is kept for a fallback.
    assert [call.provider for call in mock.calls] == ["openai"] * 5 + ["anthropic"]
    assert len(caught.value.attempts) == 6


async def test_the_wait_that_a_provider_asks_for_is_kept(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.fail(429, retry_after=7).then.reply("hello")
    async with client_of(mock, sleeps) as client:
        reply = await ask(client, kind)
    assert sleeps == [7.35]
    assert reply.attempts[1].wait == pytest.approx(7.35)


async def test_a_wait_of_more_than_a_minute_is_not_slept(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.fail(429, retry_after=61)
    async with client_of(mock, sleeps) as client:
        with pytest.raises(RateLimitError) as caught:
            await ask(client, kind)
    assert caught.value.retry_after == 61
    assert caught.value.__notes__ == ["not tried again: the wait that is asked for is above longest_wait=60"]
    assert sleeps == []


async def test_a_long_wait_leads_to_the_fallback(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.on(provider="openai").fail(429, retry_after=61)
    mock.on(provider="anthropic").reply("hello")
    async with client_of(mock, sleeps) as client:
        reply = await ask(client, kind, fallbacks=[OTHER])
    assert (reply.provider, sleeps) == ("anthropic", [])


async def test_a_wait_beyond_the_deadline_is_not_slept(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.fail(429, retry_after=30)
    async with client_of(mock, sleeps) as client:
        with pytest.raises(RateLimitError) as caught:
            await ask(client, kind, timeout=20)
    assert caught.value.__notes__ == [
        "not tried again: the wait before it (phase backoff) would pass the call's timeout"
    ]
    assert sleeps == []


async def test_a_stale_connection_costs_no_attempt_and_no_wait(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.reply("first").then.reset().then.reply("second")
    async with client_of(mock, sleeps) as client:
        await ask(client, kind)
        await until(lambda: not mock.connections.in_use)
        reply = await ask(client, kind, max_retries=0)
    assert reply.text == "second"
    assert told(reply.attempts) == [("openai", "one", None, "stale"), ("openai", "one", 200, None)]
    assert [call.connection for call in mock.calls] == [1, 1, 2]
    assert sleeps == []


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_kept_connection_that_ends_after_a_while_follows_the_ordinary_rules(
    mock: MockTransport, sleeps: Sleeps, kind: Kind, retries: int
) -> None:
    mock.reply("first").then.reset().delay(STALE_WITHIN + 0.1).then.reply("second")
    async with client_of(mock, sleeps, {"openai": ["one"]}) as client:
        await ask(client, kind)
        await until(lambda: not mock.connections.in_use)
        if retries:
            reply = await ask(client, kind, max_retries=1)
            assert told(reply.attempts) == [("openai", "one", None, "transient"), ("openai", "one", 200, None)]
        else:
            with pytest.raises(TransportError) as caught:
                await ask(client, kind, max_retries=0)
            assert told(caught.value.attempts) == [("openai", "one", None, "transient")]
    assert len(mock.calls) == 2 + retries
    assert len(sleeps) == retries


async def test_a_kept_connection_that_ends_within_the_bound_is_stale(
    mock: MockTransport, sleeps: Sleeps, kind: Kind
) -> None:
    mock.reply("first").then.reset().delay(STALE_WITHIN - 0.1).then.reply("second")
    async with client_of(mock, sleeps) as client:
        await ask(client, kind)
        await until(lambda: not mock.connections.in_use)
        reply = await ask(client, kind, max_retries=0)
    assert [attempt.category for attempt in reply.attempts] == ["stale", None]


async def test_an_answer_that_is_cut_is_tried_again(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.reply("hello").cut(after_bytes=20).then.reply("hello")
    async with client_of(mock, sleeps) as client:
        reply = await client.chat(MODEL, "hi")
    assert told(reply.attempts) == [("openai", "one", 200, "transient"), ("openai", "one", 200, None)]


async def test_an_answer_that_is_cut_is_not_asked_for_again_when_told_so(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.reply("hello").cut(after_bytes=20)
    mock.on(provider="anthropic").reply("served")
    never = ProviderConfig(retry=RetryConfig(retry_sent="never"))
    async with client_of(mock, sleeps, config=never) as client:
        reply = await client.chat(MODEL, "hi", fallbacks=[OTHER])
    assert told(reply.attempts) == [("openai", "one", 200, "transient"), ("anthropic", "two", 200, None)]


async def test_what_no_provider_may_be_asked_twice_is_raised_at_once(
    mock: MockTransport, sleeps: Sleeps, kind: Kind
) -> None:
    mock.fail(404).always()
    async with client_of(mock, sleeps) as client:
        with pytest.raises(BifrostError):
            await ask(client, kind)
    assert len(mock.calls) == 1


# --- a request that comes again is known to be the same


async def test_attempts_of_a_call_have_the_same_key_for_a_gateway_that_wants_one(
    mock: MockTransport, sleeps: Sleeps, kind: Kind
) -> None:
    mock.fail(503).then.reset().then.reply("hello").then.reply("hello")
    config = ProviderConfig(idempotency_header="Idempotency-Key")
    async with client_of(mock, sleeps, config=config) as client:
        await ask(client, kind)
        await ask(client, kind, extra_headers={"x-team": "search"})
    first, second, third, other = (call.http.headers["idempotency-key"] for call in mock.calls)
    assert first == second == third != other
    assert mock.calls[-1].http.headers["x-team"] == "search"


async def test_a_fallback_and_other_providers_have_none(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.on(provider="openai").fail(503).always()
    mock.on(provider="anthropic").reply("hello")
    config = ProviderConfig(idempotency_header="Idempotency-Key", retry=RetryConfig(max_retries=0))
    async with client_of(mock, sleeps, config=config) as client:
        await client.chat(MODEL, "hi", fallbacks=[OTHER])
    assert ["idempotency-key" in call.http.headers for call in mock.calls] == [True, False]


@pytest.mark.parametrize("name", ["Authorization", "x y", ""])
def test_a_header_for_it_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="idempotency_header"):
        ProviderConfig(idempotency_header=name)


# --- fallbacks


async def test_a_provider_that_keeps_failing_is_followed_by_the_fallback(
    mock: MockTransport, sleeps: Sleeps, kind: Kind
) -> None:
    mock.on(provider="openai").fail(503).always()
    mock.on(provider="anthropic").reply("hello")
    async with client_of(mock, sleeps) as client:
        reply = await ask(client, kind, fallbacks=[OTHER])
    assert (reply.text, reply.provider) == ("hello", "anthropic")
    assert told(reply.attempts) == [("openai", "one", 503, "transient")] * 3 + [("anthropic", "two", 200, None)]
    assert sleeps == [0.25, 0.5]


async def test_when_all_fail_the_primarys_error_is_raised_with_the_others_on_it(
    mock: MockTransport, sleeps: Sleeps, kind: Kind
) -> None:
    mock.on(provider="openai").fail(503)
    mock.on(provider="anthropic").fail(529)
    mock.on(provider="third").fail(429, retry_after=100)
    async with client_of(mock, sleeps) as client:
        with pytest.raises(ServerError) as caught:
            await ask(client, kind, fallbacks=[OTHER, THIRD], max_retries=0)
    error = caught.value
    assert (error.provider, error.model, error.status) == ("openai", "gpt-4o-mini", 503)
    assert [(type(other), other.provider) for other in error.errors] == [
        (OverloadedError, "anthropic"),
        (RateLimitError, "third"),
    ]
    assert [attempt.provider for attempt in error.attempts] == ["openai", "anthropic", "third"]


async def test_what_a_provider_cannot_say_falls_back(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.on(provider="openai").reply("hello")
    async with client_of(mock, sleeps) as client:
        reply = await ask(client, kind, OTHER, fallbacks=[MODEL], n=2)
    assert reply.provider == "openai"
    # What was never sent is no attempt.
    assert told(reply.attempts) == [("openai", "one", 200, None)]


async def test_what_no_candidate_can_say_is_the_primarys_refusal(
    mock: MockTransport, sleeps: Sleeps, kind: Kind
) -> None:
    async with client_of(mock, sleeps) as client:
        with pytest.raises(UnsupportedError, match="n must be 1") as caught:
            await ask(client, kind, OTHER, n=2)
    assert (caught.value.provider, caught.value.model) == ("anthropic", "claude-haiku-4-5")
    assert list(caught.value.attempts) == []
    assert mock.calls == []


REFUSALS: dict[str, tuple[int, str | None, type[BifrostError], str]] = {
    "context": (400, "context_length_exceeded", ContextLengthError, "fallback_on_context_length"),
    "content": (400, "content_policy_violation", ContentFilterError, "fallback_on_content_filter"),
    "content 403": (403, "content_filter", ContentFilterError, "fallback_on_content_filter"),
    "400": (400, None, BadRequestError, "fallback_on_caller_error"),
    "413": (413, None, BadRequestError, "fallback_on_caller_error"),
    "422": (422, None, BadRequestError, "fallback_on_caller_error"),
}
SWITCHES = ("fallback_on_context_length", "fallback_on_content_filter", "fallback_on_caller_error")


@pytest.mark.parametrize("on", [(), *((switch,) for switch in SWITCHES), SWITCHES], ids="-".join)
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_refused_request_falls_back_only_where_that_is_wanted(
    mock: MockTransport, sleeps: Sleeps, kind: Kind, refusal: str, on: tuple[str, ...]
) -> None:
    status, code, error, switch = REFUSALS[refusal]
    mock.on(provider="openai").fail(status, code=code)
    mock.on(provider="anthropic").reply("hello")
    switches: dict[str, Any] = {name: name in on for name in SWITCHES}
    retry = RetryConfig(**switches)
    async with client_of(mock, sleeps, config=ProviderConfig(retry=retry)) as client:
        if switch in on:
            assert (await ask(client, kind, fallbacks=[OTHER])).provider == "anthropic"
        else:
            with pytest.raises(error) as caught:
                await ask(client, kind, fallbacks=[OTHER])
            assert type(caught.value) is error
    assert [call.provider for call in mock.calls] == ["openai", "anthropic"][: 1 + (switch in on)]


async def test_a_request_that_is_too_long_goes_to_the_fallback_by_default_and_refused_content_does_not(
    mock: MockTransport, sleeps: Sleeps, kind: Kind
) -> None:
    mock.on(provider="openai").fail(400, code="context_length_exceeded").then.fail(400, code="content_filter")
    mock.on(provider="anthropic").reply("hello")
    async with client_of(mock, sleeps) as client:
        assert (await ask(client, kind, fallbacks=[OTHER])).provider == "anthropic"
        with pytest.raises(ContentFilterError, match="refuses the content"):
            await ask(client, kind, fallbacks=[OTHER])


async def test_a_fallback_without_a_key_is_passed_over(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.on(provider="openai").fail(503)
    async with client_of(mock, sleeps, {"openai": ["one"]}) as client:
        with pytest.raises(ServerError) as caught:
            await ask(client, kind, fallbacks=[OTHER], max_retries=0)
    (other,) = caught.value.errors
    assert isinstance(other, MissingKeyError)
    assert "ANTHROPIC_API_KEY" in str(other)


async def test_a_fallback_that_nobody_knows_is_told_before_anything_is_sent(
    mock: MockTransport, sleeps: Sleeps, kind: Kind
) -> None:
    async with client_of(mock, sleeps) as client:
        with pytest.raises(UnknownProviderError, match="did you mean 'anthropic'"):
            await ask(client, kind, fallbacks=["anthropc/claude"])
    assert mock.calls == []


async def test_a_full_queue_falls_back(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    there = anyio.Event()
    mock.on(provider="openai").function(lambda _request: there.set() or "late").delay(10)
    mock.on(provider="anthropic").reply("hello")
    config = ProviderConfig(concurrency=1, queue=0, on_full="drop")
    async with client_of(mock, sleeps, config=config) as client, anyio.create_task_group() as group:
        group.start_soon(client.chat, MODEL, "hi")
        await there.wait()
        with pytest.raises(QueueFullError):
            await ask(client, kind)
        reply = await ask(client, kind, fallbacks=[OTHER])
        assert reply.provider == "anthropic"
        assert [attempt.category for attempt in reply.attempts] == ["limit", None]


async def test_a_connection_that_is_refused_falls_back(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.on(provider="openai").refuse().always()
    mock.on(provider="anthropic").reply("hello")
    async with client_of(mock, sleeps) as client:
        reply = await ask(client, kind, fallbacks=[OTHER])
        with pytest.raises(ConnectError):
            await ask(client, kind)
    assert told(reply.attempts) == [("openai", "one", None, "never_sent")] * 3 + [("anthropic", "two", 200, None)]


async def test_a_black_hole_leaves_its_fallbacks_their_time(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.on(provider="openai").hang().always()
    mock.on(provider="anthropic").hang().always()
    mock.on(provider="third").reply("hello").delay(10)
    async with client_of(mock, sleeps) as client:
        begin = anyio.current_time()
        reply = await ask(client, kind, fallbacks=[OTHER, THIRD], timeout=90)
        took = anyio.current_time() - begin
    assert reply.provider == "third"
    assert took == pytest.approx(70, abs=0.1)
    assert [round(attempt.total or 0) for attempt in reply.attempts] == [30, 30, 10]
    assert [attempt.category for attempt in reply.attempts] == ["transient", "transient", None]
    assert [attempt.error for attempt in reply.attempts[:2]] == [
        f"{provider}'s share of the call's timeout, 30 s with {left} left, ended while waiting for the response; "
        "set a longer `timeout`"
        for provider, left in (("openai", "2 fallbacks"), ("anthropic", "1 fallback"))
    ]


async def test_when_time_ends_at_a_fallback_the_primarys_error_is_raised(
    mock: MockTransport, sleeps: Sleeps, kind: Kind
) -> None:
    mock.on(provider="openai").fail(503)
    mock.on(provider="anthropic").hang()
    async with client_of(mock, sleeps) as client:
        with pytest.raises(ServerError) as caught:
            await ask(client, kind, fallbacks=[OTHER], timeout=20, max_retries=0)
    (other,) = caught.value.errors
    assert isinstance(other, CallTimeoutError)
    assert (other.phase, other.provider, other.key) == ("headers", "anthropic", "two")
    assert told(caught.value.attempts) == [("openai", "one", 503, "transient"), ("anthropic", "two", None, "transient")]


async def test_no_fallback_begins_without_time(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.on(provider="openai").fail(503).delay(9.98)
    async with client_of(mock, sleeps) as client:
        with pytest.raises(ServerError):
            await ask(client, kind, fallbacks=[OTHER, THIRD], timeout=10.05)
    assert len(mock.calls) == 1


# --- time


async def test_time_in_the_queue_counts(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    there = anyio.Event()
    mock.function(lambda _request: there.set() or "late").delay(60)
    client = client_of(mock, sleeps, config=ProviderConfig(concurrency=1))
    async with client, anyio.create_task_group() as group:
        group.start_soon(client.chat, MODEL, "hi")
        await there.wait()
        with pytest.raises(CallTimeoutError) as caught:
            await ask(client, kind, timeout=5)
        assert caught.value.phase == "queue"
        assert "the timeout of 5 s ended while waiting for a free worker" in str(caught.value)
        # It was not sent, and so with no key.
        assert told(caught.value.attempts) == [("openai", None, None, "transient")]
        assert caught.value.attempts[0].queue is None
        assert caught.value.attempts[0].total == pytest.approx(5)
        group.cancel_scope.cancel()


async def test_time_of_connecting_counts(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.black_hole()
    async with client_of(mock, sleeps) as client:
        with pytest.raises(CallTimeoutError) as caught:
            await ask(client, kind, timeout=3)
    assert (caught.value.phase, caught.value.status) == ("connect", None)


async def test_connecting_has_a_limit_of_its_own(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.black_hole().then.reply("hello")
    async with client_of(mock, sleeps) as client:
        reply = await ask(client, kind)
    assert told(reply.attempts) == [("openai", "one", None, "never_sent"), ("openai", "one", 200, None)]
    assert reply.attempts[0].total == pytest.approx(5)


async def test_time_until_the_head_counts(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.hang()
    async with client_of(mock, sleeps) as client:
        with pytest.raises(CallTimeoutError) as caught:
            await ask(client, kind, timeout=5)
    error = caught.value
    assert (error.phase, error.provider, error.model, error.key) == ("headers", "openai", "gpt-4o-mini", "one")
    assert [(attempt.queue, attempt.total) for attempt in error.attempts] == [(pytest.approx(0), pytest.approx(5))]


async def test_time_of_the_body_counts(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.reply("hello", headers={"x-request-id": "req_1"}).stall(after_bytes=20)
    async with client_of(mock, sleeps) as client:
        with pytest.raises(CallTimeoutError) as caught:
            await client.chat(MODEL, "hi", timeout=5)
    assert (caught.value.phase, caught.value.status, caught.value.request_id) == ("body", 200, "req_1")
    assert caught.value.attempts[0].first_byte == pytest.approx(0)


async def test_time_until_the_first_token_counts(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.stream(["a"], headers={"x-request-id": "req_1"}).stall(after_events=0)
    async with client_of(mock, sleeps) as client:
        with pytest.raises(CallTimeoutError) as caught:
            await ask(client, "stream", timeout=5)
    assert (caught.value.phase, caught.value.status, caught.value.request_id) == ("first_token", 200, "req_1")


async def test_the_first_token_has_a_limit_of_its_own(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.stream(["a"]).stall(after_events=0).then.stream(["b"])
    config = ProviderConfig(timeouts=Timeouts(first_token=4))
    async with client_of(mock, sleeps, config=config) as client:
        reply = await ask(client, "stream")
    assert reply.text == "b"
    assert reply.attempts[0].total == pytest.approx(4)


async def test_time_between_attempts_counts(mock: MockTransport, kind: Kind) -> None:
    async def oversleep(_seconds: float) -> None:
        await anyio.sleep_forever()

    mock.fail(503)
    async with mock.client(clock=Clock(sleep=oversleep, random=lambda: 0.5)) as client:
        with pytest.raises(CallTimeoutError) as caught:
            await ask(client, kind, timeout=5)
    assert caught.value.phase == "backoff"
    assert told(caught.value.attempts) == [("openai", "openai-key", 503, "transient")]


async def test_time_of_the_account_counts(mock: MockTransport, kind: Kind) -> None:
    class Slow:
        def __init__(self, inner: Any) -> None:
            self.providers, self.config = inner.providers, inner.config

        async def keys(self, _provider: str, _call: Any) -> Any:
            await anyio.sleep_forever()

    async with mock.client(Slow(mock.account)) as client:
        with pytest.raises(CallTimeoutError, match="a plugin's hook or the account was asked") as caught:
            await ask(client, kind, timeout=5)
    assert caught.value.phase == "hook"


async def test_time_of_a_stream_counts(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.stream(["a", "b", "c", "d"]).drip(2)
    async with client_of(mock, sleeps) as client:
        with pytest.raises(StreamInterruptedError) as caught:
            await ask(client, "stream", timeout=7)
    cause = caught.value.__cause__
    assert isinstance(cause, CallTimeoutError)
    assert cause.phase == "stream"


async def test_an_enclosing_scope_that_ends_earlier_wins(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.hang()
    async with client_of(mock, sleeps) as client:
        begin = anyio.current_time()
        with pytest.raises(TimeoutError), anyio.fail_after(5):
            await ask(client, kind, timeout=50)
        assert anyio.current_time() - begin == pytest.approx(5)


# --- streams


async def test_what_breaks_before_the_first_content_is_not_seen(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.stream(["lost"]).cut(after_events=0)
    mock.error_event(at=0, status=500)
    mock.stream(["he", "llo"])
    texts: list[str] = []
    async with client_of(mock, sleeps) as client, client.stream_chat(MODEL, "hi") as stream:
        await read_into(texts, stream)
        reply = await stream.final()
    assert texts == ["he", "llo"]
    assert [attempt.category for attempt in reply.attempts] == ["transient", "transient", None]


async def test_what_keeps_breaking_before_the_first_content_falls_back(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.on(provider="openai").stream(["lost"]).cut(after_events=0).always()
    mock.on(provider="anthropic").stream(["hello"])
    async with client_of(mock, sleeps) as client:
        reply = await ask(client, "stream", fallbacks=[OTHER])
    assert (reply.text, reply.provider, len(reply.attempts)) == ("hello", "anthropic", 4)


@pytest.mark.parametrize(
    ("breaks", "cause"),
    [
        (lambda script: script.stream(["he", "llo"]).cut(after_events=1), TransportError),
        (lambda script: script.stream(["he", "llo"]).reset(after_events=1), TransportError),
        (lambda script: script.error_event(at=1, status=500), ServerError),
        (lambda script: script.malformed_event(at=1), MalformedResponseError),
    ],
    ids=["cut", "reset", "error event", "malformed event"],
)
async def test_what_breaks_after_the_first_content_is_told_with_what_came(
    mock: MockTransport, sleeps: Sleeps, breaks: Callable[[Any], Any], cause: type[BifrostError]
) -> None:
    breaks(mock)
    texts: list[str] = []
    async with client_of(mock, sleeps) as client, client.stream_chat(MODEL, "hi", fallbacks=[OTHER]) as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await read_into(texts, stream)
        error = caught.value
        assert error.partial.text == "".join(texts) == ("he" if "he" in texts else "ok")
        assert error.received_events >= 1
        assert isinstance(error.__cause__, cause)
        assert (error.provider, error.model, error.key) == ("openai", "gpt-4o-mini", "one")
        assert error.status in (200, 500)  # an error event may say its own
        assert told(error.attempts) == [("openai", "one", 200, "interrupted")]
        for again in (stream.__anext__, stream.final):
            with pytest.raises(StreamInterruptedError) as repeated:
                await again()
            assert repeated.value is error
    assert len(mock.calls) == 1


async def test_the_usage_so_far_is_told_with_an_interrupted_stream(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.on(provider="anthropic").stream(["a", "b"], usage=(11, 2)).cut(after_events=1)
    async with client_of(mock, sleeps) as client:
        with pytest.raises(StreamInterruptedError) as caught:
            await ask(client, "stream", OTHER)
    assert caught.value.usage.input_tokens == 11


async def test_an_interrupted_stream_tells_what_was_tried_before_it(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.on(provider="openai").fail(503)
    mock.on(provider="anthropic").stream(["a", "b"]).cut(after_events=1)
    async with client_of(mock, sleeps) as client:
        with pytest.raises(StreamInterruptedError) as caught:
            await ask(client, "stream", fallbacks=[OTHER], max_retries=0)
    assert [attempt.category for attempt in caught.value.attempts] == ["transient", "interrupted"]
    assert [type(error) for error in caught.value.errors] == [ServerError]


async def test_a_whole_answer_will_do_for_a_stream(mock: MockTransport, sleeps: Sleeps) -> None:
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    mock.json(body, headers={"x-request-id": "req_1"})
    async with client_of(mock, sleeps) as client:
        reply = await ask(client, "stream")
    assert (reply.text, reply.finish_reason, reply.request_id) == ("hello", "stop", "req_1")
    assert reply.usage is not None
    assert reply.usage.total_tokens == 5


async def test_a_stream_gives_what_a_plain_call_gives(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.reply("hello you", headers={"x-request-id": "req_1"}).times(2)
    async with client_of(mock, sleeps) as client:
        plain, streamed = await ask(client, "plain"), await ask(client, "stream")

    def facts(reply: ChatResponse) -> Any:
        return (
            reply.text,
            reply.finish_reason,
            reply.model,
            reply.provider,
            reply.usage,
            reply.request_id,
            reply.warnings,
            told(reply.attempts),
        )

    assert facts(plain) == facts(streamed)
    assert plain.request_id == "req_1"


# --- the trail


async def test_the_trail_tells_how_long_everything_took(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.fail(503, headers={"x-request-id": "req_0"}).delay(1)
    mock.reply("a b c", headers={"x-request-id": "req_1"}).delay(2).drip(0.5)
    async with client_of(mock, sleeps) as client:
        reply = await ask(client, kind)
    first, second = reply.attempts
    assert first.request_id == "req_0"
    assert second.request_id == "req_1"
    assert first.error is not None
    assert "openai failed" in first.error
    assert (first.connect, first.first_byte, first.total) == (0.0, pytest.approx(1), pytest.approx(1))
    assert (second.wait, second.connect, second.first_byte) == (0.25, None, pytest.approx(2))
    # To the end of the answer, also where it is read bit by bit.
    assert second.total is not None
    assert second.total > 2.9
    assert all(attempt.queue == pytest.approx(0) for attempt in (first, second))


async def test_the_trail_tells_how_long_a_call_was_queued(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.reply("hello").delay(3).times(2)
    replies: list[ChatResponse] = []

    async def call() -> None:
        replies.append(await ask(client, kind))

    client = client_of(mock, sleeps, config=ProviderConfig(concurrency=1))
    async with client, anyio.create_task_group() as group:
        group.start_soon(call)
        group.start_soon(call)
    queues = sorted(reply.attempts[0].queue or 0 for reply in replies)
    assert queues == [pytest.approx(0), pytest.approx(3, abs=0.2)]


async def test_a_stream_that_was_left_has_its_attempt_on_the_trail(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.stream(["a", "b"]).drip(1).times(2)
    plugin = Recorder([])
    async with client_of(mock, sleeps, plugins=[plugin]) as client:
        async with client.stream_chat(MODEL, "hi") as stream:
            await anext(stream)
            await anyio.sleep(7)
        with anyio.move_on_after(3):
            await ask(client, "stream")
    closed, left = (outcome.attempts for outcome in plugin.seen["after_call"])
    assert told(closed) == [("openai", "one", 200, None)]
    assert closed[0].total > 7
    assert told(left) == [("openai", "one", 200, "cancelled")]


async def test_every_error_has_its_evidence(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.fail(400, message="no such option", headers={"x-request-id": "req_9"})
    async with client_of(mock, sleeps) as client:
        with pytest.raises(BadRequestError) as caught:
            await ask(client, kind)
    error = caught.value
    assert (error.provider, error.model, error.status, error.key, error.request_id) == (
        "openai",
        "gpt-4o-mini",
        400,
        "one",
        "req_9",
    )
    assert "no such option" in str(error)
    assert told(error.attempts) == [("openai", "one", 400, "caller")]


async def test_calls_do_not_share_their_trails(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.fail(400).always()
    errors: list[BifrostError] = []

    async def call(client: Bifrost) -> None:
        try:
            await ask(client, kind)
        except BifrostError as error:
            errors.append(error)

    async with client_of(mock, sleeps) as client, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call, client)
    assert len({id(error) for error in errors}) == 3
    assert [len(error.attempts) for error in errors] == [1, 1, 1]


async def test_mappings_are_told_on_the_answer(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.on(provider="anthropic").reply("hello")
    async with client_of(mock, sleeps) as client:
        reply = await ask(client, kind, OTHER, seed=7)
    assert any("seed" in warning for warning in reply.warnings)


# --- where a call goes


async def test_a_group_leads_to_one_of_its_members(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.reply("hello").always()
    groups = {"fast": [(MODEL, 0.0), OTHER], "deep": [THIRD]}
    async with client_of(mock, sleeps, models=groups) as client:
        assert (await ask(client, kind, "fast")).provider == "anthropic"
        assert (await ask(client, kind, "deep")).provider == "third"


async def test_a_bare_name_leads_to_the_provider_whose_key_has_it(
    mock: MockTransport, sleeps: Sleeps, kind: Kind
) -> None:
    mock.reply("hello").always()
    keys = {
        "openai": [Key(name="one", value=fake_key("one"), models=["gpt-4o-mini"])],
        "anthropic": [Key(name="two", value=fake_key("two"), aliases={"best": "claude-opus-4-5"})],
    }
    async with client_of(mock, sleeps, keys) as client:
        assert (await ask(client, kind, "gpt-4o-mini")).provider == "openai"
        reply = await ask(client, kind, "best")
    assert (reply.provider, reply.attempts[0].model) == ("anthropic", "claude-opus-4-5")


async def test_a_model_that_no_key_may_serve_is_told(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    keys = {"openai": [Key(name="one", value=fake_key("one"), models=["gpt-4o"])]}
    async with client_of(mock, sleeps, keys) as client:
        with pytest.raises(MissingKeyError, match="no key of openai may serve gpt-4o-mini"):
            await ask(client, kind)


async def test_keys_that_are_all_out_of_use_say_so(mock: MockTransport, sleeps: Sleeps) -> None:
    # One key that may not be used again is the refusal itself; this error is for a choice without anything to choose.
    ring = KeyPool(CATALOG["openai"], mock.account_with({"openai": ["one"]}).keys("openai", None))
    with pytest.raises(CredentialsExhaustedError, match="has no usable key for m left: one"):
        ring.choose("m", random=lambda: 0.5, excluded={"one"})


async def test_a_model_without_a_name_is_told(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    async with client_of(mock, sleeps) as client:
        with pytest.raises(InvalidRequestError, match="ends after its provider"):
            await ask(client, kind, "openai/")
