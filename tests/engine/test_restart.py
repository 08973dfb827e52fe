"""`on_interrupt="restart"`: a stream that breaks after its first content begins anew, and says so. In virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from bifrost import (
    DROP,
    BreakerConfig,
    CallTimeoutError,
    CircuitOpenError,
    InvalidRequestError,
    MalformedResponseError,
    ProviderConfig,
    RateLimitError,
    RetryBudgetConfig,
    RetryConfig,
    ServerError,
    StreamInterruptedError,
    StreamReset,
    Timeouts,
    TransportError,
    UsageError,
)
from bifrost.engine.clock import Clock
from bifrost.testing import MockTransport, leak_check
from tests.engine.rig import is_quiet, until
from tests.plugins.recorder import MODEL, OTHER, Recorder, assert_paired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bifrost import Bifrost, ChatResponse, Chunk, ChunkStream

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


class Plan(msgspec.Struct):
    days: list[str]


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
async def make(mock: MockTransport, log: list[str]) -> AsyncIterator[Any]:
    """Make clients whose streams restart; at the end they are quiet and every hook that was entered was left."""
    clients: list[Bifrost] = []

    def make(plugins: Any = (), *, keys: Any = ("one",), options: Any = None, **config: Any) -> Bifrost:
        account = mock.account_with(
            {"openai": keys, "anthropic": ["two"]}, configs={"openai": ProviderConfig(**config)}
        )
        options = {"on_interrupt": "restart", **(options or {})}
        recorder = Recorder(log, waits=True)
        clients.append(mock.client(account, plugins=[recorder, *plugins], clock=Clock(random=lambda: 0.5), **options))
        return clients[-1]

    async with leak_check():
        yield make
        for client in clients:
            if client._engine.state != "closed":
                await until(lambda made=client: is_quiet(made))
            await client.close()
        assert mock.connections.open == mock.connections.in_use == 0
        assert_paired([note for note in log if not note.endswith((".open", ".close"))])


def stream_of(client: Bifrost, **options: Any) -> ChunkStream:
    return client.stream_chat(MODEL, "hi", **options)


def shown(chunk: Chunk) -> str | None:
    """Give what a reader sees of a chunk: its text, or that it takes all before it back."""
    return "RESET" if isinstance(chunk, StreamReset) else chunk.text or None


async def read(stream: ChunkStream, into: list[str]) -> None:
    async for chunk in stream:
        if (seen := shown(chunk)) is not None:
            into.append(seen)  # noqa: PERF401 - a comprehension would give nothing when the stream breaks


def told(attempts: Any) -> list[tuple[str, str | None, str | None]]:
    return [(attempt.provider, attempt.key, attempt.category) for attempt in attempts]


# --- beginning anew


async def test_a_stream_that_breaks_begins_anew_and_says_so(mock: MockTransport, make: Any) -> None:
    mock.stream(["he", "llo"], usage=(9, 9)).cut(after_events=1).then.stream(["good ", "day"], usage=(3, 2))
    resets: list[StreamReset] = []
    seen: list[str] = []
    async with stream_of(make()) as stream:
        async for chunk in stream:
            if isinstance(chunk, StreamReset):
                resets.append(chunk)
                seen.clear()
            seen.append(chunk.text)
        whole = await stream.final()
    assert "".join(seen) == whole.text == "good day"
    assert whole.usage is not None
    assert whole.usage.output_tokens == 2
    assert told(whole.attempts) == [("openai", "one", "interrupted"), ("openai", "one", None)]
    (reset,) = resets
    assert (reset.attempt, reset.provider, reset.model) == (2, "openai", "gpt-4o-mini")
    assert reset.partial.text == "he"
    assert "cut" in reset.reason
    assert (reset.text, reset.choices, reset.has_content) == ("", [], False)


@pytest.mark.parametrize(
    "breaks",
    [
        lambda script: script.stream(["a", "b"]).reset(after_events=1),
        lambda script: script.stream(["a", "b"]).stall(after_events=1),
        lambda script: script.error_event(at=1, status=529),
        lambda script: script.malformed_event(at=1),
    ],
    ids=["reset", "silence", "error event", "malformed event"],
)
async def test_whatever_may_be_tried_again_may_begin_anew(mock: MockTransport, make: Any, breaks: Any) -> None:
    breaks(mock)
    mock.stream(["x", "y"])
    seen: list[str] = []
    async with stream_of(make()) as stream:
        await read(stream, seen)
    assert seen[1:] == ["RESET", "x", "y"]


async def test_the_final_answer_is_the_new_one_for_who_reads_nothing_else(mock: MockTransport, make: Any) -> None:
    mock.stream(["he", "llo"]).cut(after_events=1).then.stream(["good ", "day"])
    async with stream_of(make()) as stream:
        assert (await stream.final()).text == "good day"


async def test_what_breaks_before_the_new_beginning_is_tried_again_unseen(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).cut(after_events=1).then.fail(503).then.stream(["x", "y"])
    seen: list[str] = []
    async with stream_of(make()) as stream:
        await read(stream, seen)
        whole = await stream.final()
    assert seen == ["a", "RESET", "x", "y"]
    assert [attempt.category for attempt in whole.attempts] == ["interrupted", "transient", None]


async def test_a_new_beginning_waits_as_any_retry_does(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).cut(after_events=1).then.stream(["c", "d"]).cut(after_events=1).then.stream(["e"])
    async with stream_of(make()) as stream:
        whole = await stream.final()
    assert [attempt.wait for attempt in whole.attempts] == [0, 0.25, 0.5]


async def test_it_is_asked_for_by_client_copy_or_call(mock: MockTransport, make: Any) -> None:
    client = make(options={"on_interrupt": "raise"})
    for asked, options in ((client, {"on_interrupt": "restart"}), (client.with_options(on_interrupt="restart"), {})):
        mock.stream(["a", "b"]).cut(after_events=1).then.stream(["x"])
        async with stream_of(asked, **options) as stream:
            assert (await stream.final()).text == "x"
    mock.stream(["a", "b"]).cut(after_events=1)
    async with stream_of(client.with_options(on_interrupt="restart"), on_interrupt="raise") as stream:
        with pytest.raises(StreamInterruptedError):
            await stream.final()


# --- elsewhere


async def test_another_key_takes_over_at_once(mock: MockTransport, make: Any) -> None:
    mock.error_event(at=1, status=429, code="rate_limit_exceeded").then.stream(["x"])
    client = make(keys=("one", "spare"))
    async with stream_of(client) as stream:
        whole = await stream.final()
    assert whole.text == "x"
    assert {attempt.key for attempt in whole.attempts} == {"one", "spare"}
    assert whole.attempts[1].wait == 0


async def test_a_fallback_takes_over(mock: MockTransport, make: Any, log: list[str]) -> None:
    mock.on(provider="openai").stream(["a", "b"]).cut(after_events=1).always()
    mock.on(provider="anthropic").stream(["x", "y"])
    async with stream_of(make(), fallbacks=[OTHER], max_retries=0) as stream:
        resets = [chunk async for chunk in stream if isinstance(chunk, StreamReset)]
        whole = await stream.final()
    assert (whole.text, whole.provider) == ("xy", "anthropic")
    assert [(reset.provider, reset.model) for reset in resets] == [("anthropic", "claude-haiku-4-5")]
    assert told(whole.attempts) == [("openai", "one", "interrupted"), ("anthropic", "two", None)]
    assert log.count("a.before") == log.count("a.after") == 2
    assert log.count("a.after_call") == 1


async def test_a_fallback_takes_over_from_one_that_does_not_begin_anew(mock: MockTransport, make: Any) -> None:
    mock.on(provider="openai").stream(["a", "b"]).cut(after_events=1).then.fail(503).always()
    mock.on(provider="anthropic").stream(["x", "y"])
    seen: list[str] = []
    async with stream_of(make(), fallbacks=[OTHER]) as stream:
        await read(stream, seen)
        whole = await stream.final()
    assert seen == ["a", "RESET", "x", "y"]
    assert [attempt.category for attempt in whole.attempts] == ["interrupted", "transient", "transient", None]


# --- bounds


async def test_it_begins_anew_no_more_often_than_a_call_is_tried_again(mock: MockTransport, make: Any) -> None:
    for word in ("one", "two", "three"):
        mock.stream([word, "b"]).cut(after_events=1)
    seen: list[str] = []
    async with stream_of(make()) as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await read(stream, seen)
        assert seen == ["one", "RESET", "two", "RESET", "three"]
        error = caught.value
        assert stream.partial.text == error.partial.text == "three"
        assert [other.partial.text for other in error.errors if isinstance(other, StreamInterruptedError)] == [
            "one",
            "two",
        ]
        assert [attempt.category for attempt in error.attempts] == ["interrupted"] * 3
        with pytest.raises(StreamInterruptedError) as again:
            await stream.final()
        assert again.value is error


async def test_all_attempts_of_a_call_count(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).cut(after_events=1).always()
    client = make(retry=RetryConfig(max_retries=10, attempts_total=4))
    async with stream_of(client) as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
    assert len(caught.value.attempts) == len(mock.calls) == 4


@pytest.mark.parametrize(
    ("settings", "options"),
    [({"retry": RetryConfig(retry_sent="never")}, {}), ({}, {"max_retries": 0})],
    ids=["retry_sent", "max_retries"],
)
async def test_no_retries_are_no_new_beginnings(mock: MockTransport, make: Any, settings: Any, options: Any) -> None:
    mock.stream(["a", "b"]).cut(after_events=1)
    async with stream_of(make(**settings), **options) as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
    assert isinstance(caught.value.__cause__, TransportError)
    assert caught.value.errors == ()


BUDGET = RetryBudgetConfig(capacity=20, per_second=0, success=0)


def left(client: Bifrost) -> float:
    budget = client.stats().providers["openai"].budget
    assert budget is not None
    return budget.left


async def test_with_a_used_up_budget_it_does_not_begin_anew_and_says_why(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).cut(after_events=1).always()
    async with stream_of(make(retry_budget=RetryBudgetConfig(capacity=4))) as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
    assert [attempt.note for attempt in caught.value.attempts] == ["not tried again, the retry budget is used up"]
    assert any("its retry budget is used up" in note for note in caught.value.__notes__)
    assert len(mock.calls) == 1


async def test_with_a_used_up_budget_a_fallback_still_takes_over(mock: MockTransport, make: Any) -> None:
    mock.on(provider="openai").stream(["a", "b"]).cut(after_events=1).always()
    mock.on(provider="anthropic").stream(["x"])
    seen: list[str] = []
    async with stream_of(make(retry_budget=RetryBudgetConfig(capacity=4)), fallbacks=[OTHER]) as stream:
        await read(stream, seen)
        whole = await stream.final()
    assert seen == ["a", "RESET", "x"]
    assert told(whole.attempts) == [("openai", "one", "interrupted"), ("anthropic", "two", None)]
    assert whole.attempts[0].note == "not tried again, the retry budget is used up"


async def test_a_new_beginning_costs_what_a_retry_does_and_gets_it_back(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).cut(after_events=1).then.stream(["x", "y"]).drip(1)
    client = make(retry_budget=BUDGET)
    async with stream_of(client) as stream:
        seen = [shown(await stream.__anext__()) for _ in range(2)]
        assert seen == [None, "a"]
        assert left(client) == 20
        async with anyio.create_task_group() as group:
            group.start_soon(stream.__anext__)
            await anyio.sleep(0.1)
            assert left(client) == 15, "paid before the wait"
        assert left(client) == 20, "it has given its first content"
        assert (await stream.final()).text == "xy"
    assert left(client) == 20


async def test_new_beginnings_that_fail_use_the_budget_up(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).cut(after_events=1).then.fail(503).always()
    client = make(retry_budget=BUDGET)
    async with stream_of(client) as stream:
        with pytest.raises(StreamInterruptedError):
            await stream.final()
    assert left(client) == 10


async def open_breaker(client: Bifrost) -> None:
    """Let plain calls fail, after the one stream that began well, until the provider is left alone."""
    for _ in range(3):
        with pytest.raises(ServerError):
            await client.chat(MODEL, "hi", max_retries=0)
    with pytest.raises(CircuitOpenError):
        await client.chat(MODEL, "hi", max_retries=0)


def script_for_breaker(mock: MockTransport) -> None:
    mock.on(stream=False).fail(503).always()
    mock.on(provider="openai", stream=True).stream(["a", "b"]).cut(after_events=1).always()
    mock.on(provider="anthropic", stream=True).stream(["x"]).always()


async def test_while_the_breaker_is_open_it_does_not_begin_anew_and_says_why(mock: MockTransport, make: Any) -> None:
    script_for_breaker(mock)
    client = make(breaker=BreakerConfig(calls=4), retry_budget=BUDGET)
    async with stream_of(client) as stream:
        assert await stream.__anext__()
        await open_breaker(client)
        calls = len(mock.calls)
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
    assert len(mock.calls) == calls
    assert [attempt.note for attempt in caught.value.attempts] == ["not tried again, the breaker is open"]
    assert any("circuit breaker is open" in note for note in caught.value.__notes__)
    assert left(client) == 20


async def test_while_the_breaker_is_open_a_fallback_still_takes_over(mock: MockTransport, make: Any) -> None:
    script_for_breaker(mock)
    client = make(breaker=BreakerConfig(calls=4))
    async with stream_of(client, fallbacks=[OTHER]) as stream:
        assert await stream.__anext__()
        await open_breaker(client)
        whole = await stream.final()
    assert whole.text == "x"
    assert told(whole.attempts) == [("openai", "one", "interrupted"), ("anthropic", "two", None)]
    assert whole.attempts[0].note == "not tried again, the breaker is open"


@pytest.mark.parametrize("fallbacks", [[], [OTHER]], ids=["no fallback", "fallback"])
async def test_a_breaker_that_opens_during_the_wait_lets_nothing_begin_anew(
    mock: MockTransport, make: Any, fallbacks: list[str]
) -> None:
    script_for_breaker(mock)
    # The wait before the new beginning is 2.5 s.
    client = make(breaker=BreakerConfig(calls=4), retry_budget=BUDGET, retry=RetryConfig(backoff_base=5))
    seen: list[str] = []
    errors: list[StreamInterruptedError] = []

    async def read_all(stream: ChunkStream) -> None:
        try:
            await read(stream, seen)
        except StreamInterruptedError as error:
            errors.append(error)

    async with stream_of(client, fallbacks=fallbacks) as stream, anyio.create_task_group() as group:
        group.start_soon(read_all, stream)
        await until(lambda: left(client) == 15)
        await open_breaker(client)
        assert left(client) == 15
    assert left(client) == 20, "it was not made, so it costs nothing"
    if fallbacks:
        assert seen == ["a", "RESET", "x"]
    else:
        assert seen == ["a"]
        (error,) = errors
        assert [type(other) for other in error.errors] == [CircuitOpenError]
        assert len(error.attempts) == 1


async def test_what_cannot_be_read_twice_is_not_read_a_third_time(mock: MockTransport, make: Any) -> None:
    mock.malformed_event(at=1).then.malformed_event(at=1)
    async with stream_of(make()) as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
    assert isinstance(caught.value.provider_error, MalformedResponseError)
    assert len(mock.calls) == 2


@pytest.mark.parametrize("seen", [0, 1], ids=["unseen", "seen"])
async def test_a_stream_that_broke_does_not_stand_in_its_own_way(mock: MockTransport, make: Any, seen: int) -> None:
    mock.error_event(at=seen, status=429, code="rate_limit_exceeded").then.stream(["x"])
    client = make(keys=("one", "spare"), concurrency=1, queue=0, on_full="drop")
    async with stream_of(client) as stream:
        assert (await stream.final()).text == "x"


# --- when nothing comes of it


async def test_a_new_beginning_that_fails_leaves_the_reader_what_it_has(
    mock: MockTransport, make: Any, log: list[str]
) -> None:
    mock.on(provider="openai").stream(["a", "b"]).cut(after_events=1).then.fail(503).always()
    mock.on(provider="anthropic").fail(429).always()
    outcomes: list[Any] = []
    watching = Recorder([], "watching", after_call=lambda _call, outcome: outcomes.append(outcome))
    seen: list[str] = []
    async with stream_of(make([watching]), fallbacks=[OTHER]) as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await read(stream, seen)
        assert seen == ["a"]
        error = caught.value
        assert stream.partial.text == error.partial.text == "a"
        assert error.received_events == 2, "a role and a word"
        assert [type(other) for other in error.errors] == [ServerError, RateLimitError]
        assert len(error.attempts) == len(mock.calls)
    assert outcomes == [error]
    assert log.count("a.after") == 2


async def test_the_deadline_is_the_calls(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).cut(after_events=1).then.hang()
    started = anyio.current_time()
    client = make(options={"timeout": 10})
    async with stream_of(client) as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
        assert anyio.current_time() - started == pytest.approx(10)
    assert caught.value.partial.text == "a"
    assert [type(other) for other in caught.value.errors] == [CallTimeoutError]
    assert [attempt.category for attempt in caught.value.attempts] == ["interrupted", "transient"]


async def test_a_reader_that_leaves_while_it_waits_leaves_nothing(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).cut(after_events=1).then.hang()
    outcomes: list[Any] = []
    client = make([Recorder([], "watching", after_call=lambda _call, outcome: outcomes.append(outcome))])
    async with stream_of(client) as stream:
        with anyio.move_on_after(5) as scope:
            await stream.final()
        assert scope.cancelled_caught
        await until(lambda: is_quiet(client))
        with pytest.raises(UsageError, match="cancelled"):
            await stream.__anext__()
    assert [outcome.category for outcome in outcomes] == ["cancelled"]


async def test_a_stream_that_is_closed_while_it_begins_anew_is_over(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).cut(after_events=1).then.hang()
    client = make()
    errors: list[UsageError] = []
    async with stream_of(client) as stream:

        async def read_on() -> None:
            try:
                await stream.final()
            except UsageError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(read_on)
            await until(lambda: len(mock.calls) == 2)
            with pytest.raises(UsageError, match="another task"):
                await stream.__anext__()
            await stream.close()
        assert "closed before its end" in str(errors[0])
        assert stream.partial.text == "a"
        await until(lambda: is_quiet(client))


async def test_a_stream_that_nobody_reads_does_not_begin_anew(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b", "c", "d"]).drip(1)
    async with stream_of(make(timeouts=Timeouts(consumer_idle=30)), fallbacks=[OTHER]) as stream:
        await stream.__anext__()
        await anyio.sleep(60)
        with pytest.raises(StreamInterruptedError, match="consumer_idle"):
            await stream.final()
    assert len(mock.calls) == 1


async def test_a_client_that_closes_begins_nothing(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).stall(after_events=1)
    client = make()
    async with stream_of(client, fallbacks=[OTHER]) as stream:
        await stream.__anext__()
        await client.close(drain=0)
        with anyio.fail_after(1), pytest.raises(StreamInterruptedError):
            await stream.final()
    assert len(mock.calls) == 1


async def test_a_provider_that_is_taken_out_hands_its_stream_to_the_fallback(mock: MockTransport, make: Any) -> None:
    mock.on(provider="openai").stream(["a", "b"]).stall(after_events=1)
    mock.on(provider="anthropic").stream(["x"])
    client = make()
    async with stream_of(client, fallbacks=[OTHER]) as stream:
        await stream.__anext__()
        await client.remove_provider("openai", drain=0)
        assert (await stream.final()).text == "x"


# --- hooks


async def test_hooks_are_told_once_of_what_ends_a_candidate(mock: MockTransport, make: Any) -> None:
    mock.on(provider="openai").stream(["a", "b"]).cut(after_events=1)
    mock.on(provider="anthropic").stream(["x", "y"]).cut(after_events=1)
    outcomes: list[Any] = []
    watching = Recorder([], "watching", after=lambda _call, outcome: outcomes.append(outcome))
    async with stream_of(make([watching]), fallbacks=[OTHER], max_retries=0) as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
    assert [outcome.partial.text for outcome in outcomes] == ["a", "x"]
    assert caught.value is outcomes[1]
    assert caught.value.errors == (outcomes[0],)


async def test_a_hook_may_put_an_answer_in_a_broken_streams_place(mock: MockTransport, make: Any) -> None:
    mock.on(provider="openai").stream(["a", "b"]).cut(after_events=1).then.fail(503).always()

    def after(_call: Any, outcome: Any) -> Any:
        return answer if isinstance(outcome, ServerError) else None

    mock.on(provider="anthropic").reply("from a hook")
    client = make([Recorder([], "saves", after=after)])
    answer: ChatResponse = await client.chat(OTHER, "hi")
    seen: list[str] = []
    async with stream_of(client) as stream:
        await read(stream, seen)
        assert (await stream.final()).text == "from a hook"
    assert seen == ["a", "RESET", "from a hook"]


async def test_every_plugin_sees_a_reset_and_none_takes_it_out(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).cut(after_events=1).then.stream(["x"])

    def drop_empty(_call: Any, chunk: Any) -> Any:
        return None if chunk.text else DROP

    first = Recorder([], "first", on_chunk=drop_empty)
    last = Recorder([], "last", on_chunk=drop_empty)
    seen: list[str] = []
    async with stream_of(make([first, last])) as stream:
        await read(stream, seen)
    assert seen == ["a", "RESET", "x"]
    for plugin in (first, last):
        assert [shown(chunk) for chunk in plugin.seen["on_chunk"]].count("RESET") == 1


async def test_a_plugin_may_refuse_a_new_beginning(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).cut(after_events=1).then.stream(["x", "y"])

    def refuse(_call: Any, chunk: Any) -> None:
        if isinstance(chunk, StreamReset):
            raise InvalidRequestError("not twice")

    client = make([Recorder([], "refuses", on_chunk=refuse)])
    async with stream_of(client) as stream:
        with pytest.raises(StreamInterruptedError, match="not twice"):
            await stream.final()
    assert len(mock.calls) == 2


async def test_a_plugins_verdict_on_a_chunk_is_final(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"])

    def refuse(_call: Any, chunk: Any) -> None:
        if chunk.text == "b":
            raise TransportError("looks like something to try again")

    async with stream_of(make([Recorder([], "refuses", on_chunk=refuse)]), fallbacks=[OTHER]) as stream:
        with pytest.raises(StreamInterruptedError):
            await stream.final()
    assert len(mock.calls) == 1


# --- other ways of reading


async def test_text_alone_cannot_tell_of_a_new_beginning(mock: MockTransport, make: Any) -> None:
    mock.stream(["a"])
    async with stream_of(make()) as stream:
        with pytest.raises(UsageError, match="StreamReset"):
            _ = stream.text_stream
        assert (await stream.final()).text == "a"


async def test_partial_values_begin_anew(mock: MockTransport, make: Any) -> None:
    mock.stream(['{"days": ["mon', 'day"']).cut(after_events=1).then.stream(['{"days": ["tues', 'day"]}'])
    async with make().stream_chat(MODEL, "hi", output=Plan) as stream:
        values = [value["days"] async for value in stream.partial_stream]
        whole = await stream.final()
    assert values == [["mon"], ["tues"], ["tuesday"]]
    assert whole.parsed == Plan(["tuesday"])
