"""`client.map`: what is taken when, what comes out in which order, and every way in which it may end."""

from __future__ import annotations

import gc
import itertools
import sys
import tracemalloc
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import attrs
import msgspec
import pytest

from bifrost import (
    AdaptiveConfig,
    Bifrost,
    BreakerConfig,
    CallCancelledError,
    CallTimeoutError,
    ChatRequest,
    ChatResponse,
    ConfigError,
    InternalError,
    InvalidRequestError,
    MapIterator,
    MapResult,
    Message,
    OutputValidationError,
    Plugin,
    ProviderConfig,
    ServerError,
    ShuttingDownError,
    StaticAccount,
    UnknownProviderError,
    UsageError,
)
from bifrost.testing import MockTransport, leak_check, no_waits
from tests.engine.cancelling import Stepped
from tests.engine.peers import MODEL
from tests.engine.rig import is_quiet, until
from tests.plugins.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

OTHER = "anthropic/claude-haiku-4-5"


def narrow(mock: MockTransport, concurrency: int = 4, **config: Any) -> StaticAccount:
    return mock.account_with(
        {"openai": ["a"], "anthropic": ["b"]}, configs={"openai": ProviderConfig(concurrency=concurrency, **config)}
    )


def echo(call: Any) -> str:
    """Answer with what was asked."""
    return getattr(call, "request", call).messages[-1].text


class Source:
    """Counts what was taken of it, and what of that is not answered yet."""

    def __init__(self, mock: MockTransport, count: int | None = None) -> None:
        self.taken = 0
        self.ahead = 0
        self._mock = mock
        self._count = count

    def __iter__(self) -> Iterator[str]:
        for number in itertools.count() if self._count is None else range(self._count):
            self.taken += 1
            self.ahead = max(self.ahead, self.taken - len(self._mock.calls))
            yield str(number)


async def agen(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        await anyio.lowlevel.checkpoint()
        yield item


async def all_of(results: MapIterator[Any, Any]) -> list[MapResult[Any, Any]]:
    async with results:
        return [result async for result in results]


def assert_matched(log: list[str]) -> None:
    """See that every hook that began was ended; calls ran beside one another."""
    assert log.count("a.before_call") == log.count("a.after_call")
    assert log.count("a.before") == log.count("a.after")


async def rest_of(results: MapIterator[Any, Any], got: list[MapResult[Any, Any]]) -> None:
    async for result in results:
        got.append(result)  # noqa: PERF401 - also those before it raises


# --- results


async def test_results_come_as_they_are_ready_and_say_whose_they_are(mock: MockTransport) -> None:
    mock.when(lambda call: echo(call) == "0").reply("slow").delay(5)
    mock.function(echo).always()
    async with leak_check(), mock.client() as client:
        results = await all_of(client.map(["0", "1", "2"], model=MODEL))
    # trio takes those that can go on in any order.
    first, second, last = [(result.index, result.input, result.unwrap().text) for result in results]
    assert sorted((first, second)) == [(1, "1", "1"), (2, "2", "2")]
    assert last == (0, "0", "slow")
    assert all(result.ok and result.error is None for result in results)


async def test_in_order_if_wanted(mock: MockTransport) -> None:
    mock.when(lambda call: echo(call) in ("0", "5")).reply("slow").delay(5).times(2)
    mock.function(echo).always()
    async with mock.client(narrow(mock)) as client:
        results = await all_of(client.map(map(str, range(20)), model=MODEL, ordered=True))
    assert [result.index for result in results] == list(range(20))


async def test_an_error_is_a_result(mock: MockTransport) -> None:
    mock.when(lambda call: echo(call) == "1").fail(500).always()
    mock.function(echo).always()
    async with mock.client() as client:
        results = await all_of(client.map(["0", "1", "2"], model=MODEL, max_retries=0, ordered=True))
    assert [result.ok for result in results] == [True, False, True]
    failed = results[1]
    assert failed.response is None
    assert isinstance(failed.error, ServerError)
    assert failed.error.__traceback__ is None
    with pytest.raises(ServerError) as caught:
        failed.unwrap()
    assert caught.value is failed.error


@pytest.mark.parametrize("plain", [True, False], ids=["async for", "async with"])
async def test_a_plain_async_for_does(mock: MockTransport, plain: bool) -> None:
    mock.function(echo).always()
    async with leak_check(), mock.client() as client:
        results = client.map(agen("a", "b"), model=MODEL, ordered=True)
        if plain:
            texts = [result.unwrap().text async for result in results]
        else:
            texts = [result.unwrap().text for result in await all_of(results)]
        assert texts == ["a", "b"]
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        assert repr(results) == "MapIterator(ended)"


async def test_nothing_in_nothing_out(mock: MockTransport) -> None:
    async with mock.client() as client:
        assert await all_of(client.map([], model=MODEL)) == []
        assert await all_of(client.map(agen(), model=MODEL)) == []


# --- inputs


async def test_inputs_may_be_prompts_messages_requests_and_forms(mock: MockTransport) -> None:
    mock.reply("x").always()
    inputs: list[Any] = [
        "text",
        Message(role="user", content="message"),
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "list"}],
        ChatRequest(model=OTHER, messages=[Message(role="user", content="request")], max_tokens=7),
        ChatRequest(model="", messages=[Message(role="user", content="request without a model")], temperature=0.5),
        {"messages": "form", "temperature": 0.7},
        {"model": OTHER, "messages": [{"role": "user", "content": "form with a model"}], "max_tokens": 9},
    ]
    async with mock.client() as client:
        options: Any = {"temperature": 0.1, "max_tokens": 5, "system": "Be brief."}
        results = await all_of(client.map(inputs, model=MODEL, concurrency=1, **options))
    assert [result.input for result in results] == inputs
    assert all(result.ok for result in results), [result.error for result in results]
    asked = [(call.provider, call.request.temperature, call.request.max_tokens) for call in mock.calls]
    assert asked == [
        ("openai", 0.1, 5),
        ("openai", 0.1, 5),
        ("openai", 0.1, 5),
        ("anthropic", 0.1, 7),
        ("openai", 0.5, 5),
        ("openai", 0.7, 5),
        ("anthropic", 0.1, 9),
    ]
    assert {call.request.messages[0].text for call in mock.calls} == {"Be brief."}


@pytest.mark.parametrize(
    "bad",
    [7, None, {"messages": []}, {"messages": "hi", "model": 3}, {"messages": "hi", "temprature": 1}, "", object()],
)
async def test_an_input_that_is_none_is_a_result(mock: MockTransport, bad: Any) -> None:
    mock.function(echo).always()
    async with mock.client() as client:
        results = await all_of(client.map(["a", bad, "b"], model=MODEL, ordered=True))
    assert [result.ok for result in results] == [True, False, True]
    assert isinstance(results[1].error, InvalidRequestError)


async def test_without_a_model_inputs_name_theirs(mock: MockTransport) -> None:
    mock.function(echo).delay(1).always()
    inputs = [{"model": MODEL, "messages": str(number)} for number in range(8)]
    async with mock.client(narrow(mock, 4)) as client:
        started = anyio.current_time()
        results = await all_of(client.map([*inputs, "no model"]))
        assert anyio.current_time() - started == pytest.approx(2, abs=0.1)
    assert [result.ok for result in results].count(True) == 8
    (failed,) = (result for result in results if not result.ok)
    assert "names no model" in str(failed.error)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ("hello", "not one str"),
        (b"hello", "not one bytes"),
        ({"messages": "hi"}, "not one dict"),
        (Message(role="user", content="hi"), "not one Message"),
        (7, "got int"),
        (None, "got NoneType"),
    ],
)
async def test_what_is_no_iterable_of_inputs_is_refused_at_once(mock: MockTransport, inputs: Any, told: str) -> None:
    async with mock.client() as client:
        with pytest.raises(InvalidRequestError, match=told):
            client.map(inputs, model=MODEL)


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0},
        {"concurrency": 1.5},
        {"concurrency": True},
        {"model": ""},
        {"model": 7},
        {"temprature": 0},
        {"max_output_retries": 1},
        {"output": int, "response_format": {"type": "json_object"}},
        {"timeout": 0},
        {"fallbacks": "openai/gpt-4o"},
    ],
)
async def test_arguments_that_no_call_could_be_made_with_are_refused_at_once(
    mock: MockTransport, options: dict[str, Any]
) -> None:
    every: Any = {"model": MODEL, **options}
    async with mock.client() as client:
        with pytest.raises((InvalidRequestError, ConfigError)):
            client.map([], **every)


@pytest.mark.parametrize("plain", [True, False])
async def test_a_model_that_leads_nowhere_is_told_before_an_input_is_taken(mock: MockTransport, plain: bool) -> None:
    source = Source(mock)
    async with mock.client() as client:
        results = client.map(source, model="nobody/model")
        with pytest.raises(UnknownProviderError):
            await (anext(results) if plain else all_of(results))
    assert source.taken == 0


async def test_a_plugin_may_give_such_a_model_a_meaning(mock: MockTransport) -> None:
    class Route(Plugin):
        name = "route"

        def before_call(self, call: Any, request: Any) -> None:
            call.model = MODEL

    mock.function(echo).always()
    async with mock.client(plugins=[Route()]) as client:
        (result,) = await all_of(client.map(["hi"], model="the good one"))
        assert result.unwrap().text == "hi"


async def test_options_are_those_of_chat(mock: MockTransport) -> None:
    class Answer(msgspec.Struct):
        number: int

    mock.on(provider="openai").fail(500).always()
    mock.when(lambda call: call.provider == "anthropic" and echo(call) == "bad").reply("no number").always()
    mock.on(provider="anthropic").reply('{"number": 3}').always()
    async with mock.client(max_retries=0) as client:
        mapped = client.map(["good", "bad"], model=MODEL, output=Answer, fallbacks=[OTHER], ordered=True, timeout=20)
        good, bad = await all_of(mapped)
    assert good.unwrap().parsed == Answer(number=3)
    assert isinstance(bad.error, ServerError)
    assert [type(error) for error in bad.error.errors] == [OutputValidationError]


async def test_a_copy_of_the_client_maps_with_its_own_defaults(mock: MockTransport) -> None:
    mock.hang().always()
    async with mock.client() as client:
        (result,) = await all_of(client.with_options(timeout=3).map(["hi"], model=MODEL))
        assert isinstance(result.error, CallTimeoutError)


# --- when inputs are taken


async def test_a_bulk_job_longer_than_the_timeout_loses_nothing(mock: MockTransport) -> None:
    mock.function(echo).delay(10).always()
    source = Source(mock, 1000)
    async with mock.client(narrow(mock, 8)) as client:
        started = anyio.current_time()
        results = await all_of(client.map(source, model=MODEL))
        assert anyio.current_time() - started == pytest.approx(1250, abs=5)
    assert all(result.ok for result in results)
    assert sorted(result.index for result in results) == list(range(1000))
    assert source.ahead <= 9
    assert max(attempt.queue or 0 for result in results for attempt in result.unwrap().attempts) < 1


async def test_the_clock_of_a_call_starts_when_its_input_is_taken(mock: MockTransport) -> None:
    mock.hang().always()
    async with mock.client() as client:
        started, ends = anyio.current_time(), list[float]()
        async with client.map(["a", "b", "c"], model=MODEL, concurrency=1, timeout=5) as results:
            async for result in results:
                assert isinstance(result.error, CallTimeoutError)
                ends.append(anyio.current_time() - started)
    assert ends == pytest.approx([5, 10, 15], abs=0.1)


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_concurrency_bounds_what_is_under_way(mock: MockTransport, concurrency: int) -> None:
    mock.function(echo).delay(1).always()
    async with mock.client() as client, client.map(Source(mock), model=MODEL, concurrency=concurrency) as results:
        for _ in range(3):
            await anyio.sleep(0.5)
            assert mock.connections.in_use == concurrency
            for _ in range(concurrency):
                await anext(results)


async def test_by_default_there_are_as_many_places_as_the_provider_has_for_now(mock: MockTransport) -> None:
    mock.function(echo).delay(1).always()
    async with mock.client(narrow(mock, 2)) as client, client.map(Source(mock, 12), model=MODEL) as results:
        await anext(results)
        await anext(results)
        await anyio.sleep(0.5)
        assert mock.connections.in_use == 2
        await client.update_provider("openai", config=lambda config: attrs.evolve(config, concurrency=5))
        await anext(results)
        await anext(results)
        await anyio.sleep(0.5)
        assert mock.connections.in_use == 5
        assert len([result async for result in results]) == 8


async def test_an_adaptive_limit_is_followed(mock: MockTransport) -> None:
    mock.fail(529).times(5)
    mock.function(echo).delay(1).always()
    async with mock.client(
        narrow(mock, 10, adaptive=AdaptiveConfig(factor=0.5), breaker=BreakerConfig(enabled=False))
    ) as client:
        results = await all_of(client.map(Source(mock, 60), model=MODEL))
    notes = [attempt.note or "" for result in results for attempt in result.unwrap().attempts]
    assert any("at most 5 at once" in note for note in notes)
    assert all(result.ok for result in results)
    assert max(result.unwrap().attempts[-1].queue or 0 for result in results) <= 2


async def test_of_a_group_the_smallest_provider_counts(mock: MockTransport) -> None:
    mock.function(echo).delay(1).always()
    configs = {"openai": ProviderConfig(concurrency=3), "anthropic": ProviderConfig(concurrency=7)}
    account = mock.account_with({"openai": ["a"], "anthropic": ["b"]}, configs=configs)
    client = mock.client(account, models={"any": [MODEL, OTHER]})
    async with client, client.map(Source(mock), model="any") as results:
        await anyio.sleep(0.5)
        assert mock.connections.in_use == 3
        await anext(results)


async def test_endless_inputs_are_taken_as_results_are_read(mock: MockTransport) -> None:
    mock.function(echo).always()
    source = Source(mock)
    async with leak_check(), mock.client() as client, client.map(source, model=MODEL, concurrency=4) as results:
        for expected in range(1, 30):
            await anext(results)
            await anyio.sleep(1)
            assert source.taken <= expected + 8
    assert source.taken < 50


async def test_in_order_too_what_waits_is_bounded(mock: MockTransport) -> None:
    mock.when(lambda call: echo(call) == "0").reply("slow").delay(100)
    mock.function(echo).always()
    source = Source(mock)
    async with mock.client() as client, client.map(source, model=MODEL, concurrency=4, ordered=True) as results:
        assert (await anext(results)).index == 0
        assert source.taken <= 8


async def test_memory_is_constant(mock: MockTransport) -> None:
    mock.reply("x").always()
    peaks: dict[int, int] = {}
    async with mock.client() as client:
        for count in (50, 100, 400):
            gc.collect()
            tracemalloc.start()
            async with client.map(("x" * 10_000 for _ in range(count)), model=MODEL, concurrency=4) as results:
                async for _ in results:
                    mock.calls.clear()
            peaks[count] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert peaks[400] < peaks[100] + 150_000, peaks


async def test_inputs_that_are_there_at_once_do_not_hold_the_loop(mock: MockTransport) -> None:
    turns, seen = 0, list[int]()

    def inputs() -> Iterator[str]:
        for number in range(50):
            seen.append(turns)
            yield str(number)

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    mock.function(echo).always()
    async with mock.client() as client, anyio.create_task_group() as group:
        group.start_soon(turn)
        await all_of(client.map(inputs(), model=MODEL))
        group.cancel_scope.cancel()
    # trio takes those that can go on in any order.
    assert seen[-1] - seen[0] >= 20


async def test_a_slow_async_source_holds_nothing_up(mock: MockTransport) -> None:
    async def slow() -> AsyncIterator[str]:
        for number in range(3):
            await anyio.sleep(10)
            yield str(number)

    mock.function(echo).always()
    ends = list[float]()
    async with mock.client() as client:
        started = anyio.current_time()
        async for _ in client.map(slow(), model=MODEL):
            ends.append(anyio.current_time() - started)
    assert ends == pytest.approx([10, 20, 30], abs=0.5)


async def test_inputs_may_follow_from_results(mock: MockTransport) -> None:
    mock.function(echo).always()
    send, receive = anyio.create_memory_object_stream[str](10)
    texts = list[str]()
    async with send, receive, mock.client() as client:
        await send.send("3")
        async with client.map(receive, model=MODEL) as results:
            async for result in results:
                texts.append(result.unwrap().text)
                if texts[-1] == "0":
                    break
                await send.send(str(int(texts[-1]) - 1))
    assert texts == ["3", "2", "1", "0"]


async def test_hooks_see_the_context_of_whoever_began_the_map(mock: MockTransport) -> None:
    tenant = ContextVar("tenant", default="nobody")
    seen = list[str]()

    class See(Plugin):
        name = "see"

        def before_call(self, call: Any, request: Any) -> None:
            seen.append(tenant.get())

    mock.function(echo).always()
    async with mock.client(plugins=[See()]) as client:
        tenant.set("acme")
        await all_of(client.map(["a", "b"], model=MODEL))
    assert seen == ["acme", "acme"]


# --- how it may end


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_the_inputs_raise_comes_behind_the_results(mock: MockTransport, kind: str) -> None:
    def broken() -> Iterator[str]:
        yield "a"
        yield "b"
        raise LookupError("the file ends here")

    async def abroken() -> AsyncIterator[str]:
        for item in broken():
            yield item

    mock.function(echo).delay(3).always()
    got = list[MapResult[Any, Any]]()
    inputs = broken() if kind == "sync" else abroken()
    async with leak_check(), mock.client() as client, client.map(inputs, model=MODEL) as results:
        with pytest.raises(LookupError, match="ends here"):
            await rest_of(results, got)
        with pytest.raises(LookupError):
            await anext(results)
    assert sorted(result.unwrap().text for result in got) == ["a", "b"]


@pytest.mark.parametrize("ordered", [True, False])
async def test_leaving_early_cancels_what_is_under_way(mock: MockTransport, ordered: bool) -> None:
    log: list[str] = []
    recorder = Recorder(log, "a", waits=True)
    closed = list[str]()

    async def inputs() -> AsyncIterator[str]:
        try:
            for number in itertools.count():
                yield str(number)
        finally:
            closed.append("closed")

    mock.when(lambda call: echo(call) == "0").reply("first")
    mock.hang().always()
    async with leak_check(), mock.client(narrow(mock), plugins=[recorder]) as client:
        async with client.map(inputs(), model=MODEL, ordered=ordered) as results:
            assert (await anext(results)).index == 0
            await until(lambda: mock.connections.in_use == 4)
        assert mock.connections.in_use == 0
        assert closed == ["closed"]
        assert_matched(log)
        ends = recorder.seen["after_call"]
        assert [type(end) for end in ends].count(CallCancelledError) == len(ends) - 1
        await until(lambda: is_quiet(client))
        assert repr(results) == "MapIterator(ended)"
        with pytest.raises(UsageError, match="closed before its end"):
            await anext(results)


async def test_a_map_that_is_dropped_is_cancelled(mock: MockTransport) -> None:
    mock.when(lambda call: echo(call) == "0").reply("first")
    mock.hang().always()
    async with leak_check(), mock.client() as client:
        async for _ in client.map(["0", "1", "2"], model=MODEL):
            break
        gc.collect()
        await until(lambda: is_quiet(client) and mock.connections.in_use == 0)


async def test_a_cancelled_reader_takes_a_plain_map_with_it(mock: MockTransport) -> None:
    mock.hang().always()
    async with leak_check(), mock.client() as client:
        results = client.map(["0", "1"], model=MODEL)
        with anyio.move_on_after(1):
            await anext(results)
        await until(lambda: is_quiet(client) and mock.connections.in_use == 0)
        with pytest.raises(UsageError, match="closed"):
            await anext(results)


async def test_within_its_block_a_map_outlives_a_wait_that_was_given_up(mock: MockTransport) -> None:
    mock.function(echo).delay(3).always()
    async with mock.client() as client, client.map(["0"], model=MODEL) as results:
        with anyio.move_on_after(1):
            await anext(results)
        assert (await anext(results)).unwrap().text == "0"


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("entered", [True, False])
async def test_results_that_are_always_there_do_not_keep_a_cancellation_away(
    mock: MockTransport, entered: bool, ordered: bool
) -> None:
    class Known(Plugin):
        name = "known"

        def before(self, call: Any, request: Any) -> ChatResponse:
            return ChatResponse.of("at once")

    read = 0
    async with leak_check(), mock.client(plugins=[Known()]) as client:
        results = client.map(itertools.repeat("a"), model=MODEL, concurrency=4, ordered=ordered)
        async with anyio.create_task_group() as group:

            async def use() -> None:
                nonlocal read
                if entered:
                    await results.__aenter__()
                try:
                    async for _ in results:
                        read += 1
                        assert read < 5_000, "it was cancelled long ago"
                        if read == 100:
                            group.cancel_scope.cancel()
                finally:
                    await results.close()

            group.start_soon(use)
        assert read == 100


async def test_an_error_in_the_block_leaves_it(mock: MockTransport) -> None:
    mock.hang().always()
    async with leak_check(), mock.client() as client:

        async def use() -> None:
            async with client.map(["0", "1"], model=MODEL):
                await until(lambda: mock.connections.in_use == 2)
                raise LookupError

        with pytest.raises(LookupError):
            await use()
        assert mock.connections.in_use == 0


@pytest.mark.parametrize("drain", [0.0, 30.0])
@pytest.mark.parametrize("ordered", [True, False])
async def test_a_client_that_is_closed_amid_answers_what_was_taken(
    mock: MockTransport, drain: float, ordered: bool
) -> None:
    mock.when(lambda call: echo(call) == "0").reply("first")
    mock.function(echo).delay(5).always()
    source = Source(mock)
    async with leak_check():
        client = mock.client(narrow(mock))
        got = list[MapResult[Any, Any]]()
        async with client.map(source, model=MODEL, ordered=ordered) as results:
            got.append(await anext(results))
            await until(lambda: mock.connections.in_use == 4)
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: client.close(drain=drain))
                with pytest.raises(ShuttingDownError, match="inputs were taken, the others were not"):
                    await rest_of(results, got)
    assert sorted(result.index for result in got) == list(range(source.taken))
    for result in got[1:]:
        assert result.ok if drain else isinstance(result.error, ShuttingDownError)


async def test_a_closed_client_takes_no_map(mock: MockTransport) -> None:
    client = mock.client()
    await client.close()
    with pytest.raises(UsageError):
        await anext(client.map(["a"], model=MODEL))


async def test_a_client_closed_while_its_map_waits_for_inputs(mock: MockTransport) -> None:
    send, receive = anyio.create_memory_object_stream[str](10)
    async with leak_check(), send, receive:
        client = mock.client()
        async with client.map(receive, model=MODEL) as results, anyio.create_task_group() as group:
            group.start_soon(client.close)
            with pytest.raises(ShuttingDownError, match="0 inputs were taken"):
                await anext(results)


async def test_closing_a_map_is_possible_at_any_time_and_again(mock: MockTransport) -> None:
    mock.function(echo).always()
    async with mock.client() as client:
        unused = client.map(["a"], model=MODEL)
        assert repr(unused) == "MapIterator(not begun)"
        await unused.close()
        await unused.close()
        with pytest.raises(UsageError, match="closed"):
            await anext(unused)
        used = client.map(["a"], model=MODEL)
        await anext(used)
        assert repr(used).startswith("MapIterator(")
        await used.close()
        await used.close()


async def test_one_task_reads_and_enters_once(mock: MockTransport) -> None:
    mock.function(echo).delay(5).always()
    async with mock.client() as client, client.map(["a"], model=MODEL) as results:
        async with anyio.create_task_group() as group:
            group.start_soon(results.__anext__)
            await until(lambda: mock.connections.in_use == 1)
            with pytest.raises(UsageError, match="another task"):
                await anext(results)
        with pytest.raises(UsageError, match="entered once"):
            await results.__aenter__()


async def test_what_ends_the_program_ends_the_map_at_once(mock: MockTransport) -> None:
    class Exit(Plugin):
        name = "exit"

        def before_call(self, call: Any, request: Any) -> None:
            if request.messages[-1].text == "1":
                sys.exit(3)

    mock.when(lambda call: echo(call) == "2").hang().always()
    mock.function(echo).always()
    async with leak_check(), mock.client(plugins=[Exit()]) as client:
        async with client.map(["2", "0", "1"], model=MODEL) as results:
            with pytest.raises(SystemExit):
                await rest_of(results, [])
            with pytest.raises(SystemExit):
                await anext(results)
        assert (await client.chat(MODEL, "0")).text == "0"


async def test_inputs_that_end_the_program_end_the_map_at_once(mock: MockTransport) -> None:
    def inputs() -> Iterator[str]:
        yield "a"
        raise KeyboardInterrupt

    mock.hang().always()
    async with leak_check(), mock.client() as client:
        async with client.map(inputs(), model=MODEL) as results:
            with pytest.raises(KeyboardInterrupt):
                await anext(results)
        mock.forget()
        mock.function(echo).always()
        assert (await client.chat(MODEL, "0")).text == "0"


async def test_a_generator_that_fails_as_it_is_closed_harms_nobody(mock: MockTransport) -> None:
    async def inputs() -> AsyncIterator[str]:
        try:
            while True:
                yield "a"
        finally:
            raise LookupError("closing failed")

    mock.function(echo).always()
    async with leak_check(), mock.client() as client:
        async with client.map(inputs(), model=MODEL) as results:
            await anext(results)
        assert (await client.chat(MODEL, "0")).text == "0"


async def test_files_and_lists_are_not_closed(mock: MockTransport, tmp_path: Any) -> None:
    mock.function(echo).always()
    (tmp_path / "prompts").write_text("a\nb\nc\n", encoding="utf-8")
    async with mock.client() as client:
        with (tmp_path / "prompts").open(encoding="utf-8") as lines:
            async with client.map(lines, model=MODEL, concurrency=1) as results:
                await anext(results)
            assert not lines.closed


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_stray_cancellation_is_a_result(mock: MockTransport) -> None:
    import asyncio

    class Stray(Plugin):
        name = "stray"

        async def before_call(self, call: Any, request: Any) -> None:
            if request.messages[-1].text == "1":
                raise asyncio.CancelledError

    async def inputs() -> AsyncIterator[str]:
        yield "0"
        yield "1"
        raise asyncio.CancelledError

    mock.function(echo).always()
    async with leak_check(), mock.client(plugins=[Stray()]) as client:
        got = list[Any]()
        async with client.map(inputs(), model=MODEL, ordered=True) as results:
            with pytest.raises(InternalError, match="CancelledError"):
                await rest_of(results, got)
    assert got[0].ok
    assert isinstance(got[1].error, InternalError)


@pytest.mark.parametrize("moment", ["waiting", "woken"])
@pytest.mark.parametrize("entered", [True, False])
@pytest.mark.parametrize("ordered", [True, False])
async def test_cancelled_wherever_it_waits_nothing_stays(
    mock: MockTransport, moment: Any, entered: bool, ordered: bool
) -> None:
    async def read(client: Bifrost) -> None:
        results = client.map(agen(*"abcdef"), model=MODEL, ordered=ordered, fallbacks=[OTHER])
        if entered:
            assert len(await all_of(results)) == 6
        else:
            assert len([result async for result in results]) == 6

    log: list[str] = []
    recorder = Recorder(log, "a", waits=True)
    account = narrow(mock, 2, on_full="drop", queue=0)
    mock.fail(503).then.reply("x").delay(0.1).always()
    with no_waits():
        async with leak_check(), mock.client(account, plugins=[recorder]) as client:
            at, reached = 0, True
            while reached:
                at += 1
                log.clear()
                recorder.seen.clear()
                scope = anyio.CancelScope()
                stepped = Stepped(read(client), at=at, moment=moment, act=scope.cancel)
                with scope:
                    await stepped
                reached = stepped.reached
                await until(lambda: is_quiet(client) and mock.connections.in_use == 0)
                assert_matched(log)
            assert at > 5
    assert mock.connections.open == 0


async def test_where_the_time_went_in_a_queue_the_error_says_what_to_do(mock: MockTransport) -> None:
    mock.hang().always()
    async with mock.client(narrow(mock, 1)) as client, anyio.create_task_group() as group:
        group.start_soon(all_of, client.map(["a"], model=MODEL))
        await until(lambda: mock.connections.in_use == 1)
        with pytest.raises(CallTimeoutError) as caught:
            await client.chat(MODEL, "hi", timeout=5)
        assert caught.value.phase == "queue"
        for word in ("`concurrency`", "`timeout`", "`map`"):
            assert word in str(caught.value)
        group.cancel_scope.cancel()


async def test_a_result_is_a_value() -> None:
    result = MapResult(index=0, input="a", response=ChatResponse.of("b"))
    assert (result.ok, result.unwrap().text) == (True, "b")
    assert result == MapResult(index=0, input="a", response=ChatResponse.of("b"))
