"""Streams as their callers see them, in virtual time: an hour of silence takes none."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import (
    CallTimeoutError,
    Plugin,
    PluginError,
    ProviderConfig,
    ResponseTooLargeError,
    ShuttingDownError,
    StreamInterruptedError,
    Timeouts,
    UsageError,
)
from bifrost.config import Limits
from bifrost.engine.stream import ForeignChunks
from bifrost.schema.chunks import Chunk, ChunkChoice, Delta
from bifrost.testing import MockTransport, leak_check, virtual_backends
from tests.engine.rig import is_quiet, until
from tests.plugins.recorder import Recorder, assert_paired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bifrost import Bifrost, ChatResponse, ChunkStream

pytestmark = pytest.mark.anyio

MODEL = "openai/gpt-4o-mini"


@pytest.fixture(scope="module", params=virtual_backends(), ids=lambda backend: backend[0])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def mock() -> MockTransport:
    return MockTransport()


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
async def make(mock: MockTransport, log: list[str]) -> AsyncIterator[Any]:
    """Make clients of the mock with a recorder in them; at the end they are quiet, closed and leave nothing."""
    clients: list[Bifrost] = []

    def make(plugins: Any = (), *, timeout: float = 600.0, **config: Any) -> Bifrost:
        account = mock.account_with(configs={"openai": ProviderConfig(**config)})
        recorder = Recorder(log, waits=True)
        clients.append(mock.client(account, plugins=[recorder, *plugins], timeout=timeout))
        return clients[-1]

    async with leak_check():
        yield make
        for client in clients:
            if client._engine.state != "closed":
                await until(lambda made=client: is_quiet(made))
            await client.close()
            assert is_quiet(client)
        assert mock.connections.open == mock.connections.in_use == 0
        assert_paired(calls_in(log))


def calls_in(log: list[str]) -> list[str]:
    """Give what plugins noted of calls. (A stream that outlives its client ends after the plugins were closed.)"""
    return [note for note in log if not note.endswith((".open", ".close"))]


def stream_of(client: Bifrost, **options: Any) -> ChunkStream:
    return client.stream_chat(MODEL, "hi", **options)


async def first(stream: ChunkStream) -> str:
    """Read the first piece of text."""
    return await stream.text_stream.__anext__()


async def rest(stream: ChunkStream) -> list[str]:
    return [text async for text in stream.text_stream]


# --- reading


async def test_a_stream_gives_its_text_and_then_the_whole_answer(mock: MockTransport, make: Any) -> None:
    mock.stream(["Hel", "lo"], usage=(3, 2)).then.reply("Hello", usage=(3, 2))
    client = make()
    async with stream_of(client) as stream:
        assert await rest(stream) == ["Hel", "lo"]
        whole = await stream.final()
        assert await stream.final() is whole
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
    plain: ChatResponse = await client.chat(MODEL, "hi")
    assert (whole.text, whole.usage, whole.choices[0].finish_reason) == (
        plain.text,
        plain.usage,
        plain.choices[0].finish_reason,
    )
    await stream.close()
    assert (await stream.final()) is whole
    assert mock.connections.opened == 1


async def test_a_stream_is_read_in_one_task_then_in_another_and_closed_in_a_third(
    mock: MockTransport, make: Any
) -> None:
    mock.stream(["a", "b", "c"]).drip(0.1)
    stream = stream_of(make())
    texts: list[str] = []

    async def read_one() -> None:
        texts.append(await first(stream))

    async def read_rest() -> None:
        with anyio.fail_after(5):
            texts.extend(await rest(stream))

    for step in (stream.__aenter__, read_one, read_rest, stream.close):
        async with anyio.create_task_group() as group:
            group.start_soon(step)
    assert texts == ["a", "b", "c"]
    assert (await stream.final()).text == "abc"


async def test_a_second_reader_is_refused_and_the_first_goes_on(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).drip(1)
    async with stream_of(make()) as stream:
        texts: list[str] = [await first(stream)]

        async def read() -> None:
            texts.extend(await rest(stream))

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(UsageError, match="another task"):
                await stream.__anext__()
        assert texts == ["a", "b"]


async def test_a_stream_is_entered_once_and_not_read_before(mock: MockTransport, make: Any) -> None:
    mock.reply("hi")
    stream = stream_of(make())
    with pytest.raises(UsageError, match="async with"):
        await stream.__anext__()
    async with stream:
        pass
    with pytest.raises(UsageError, match="entered once"):
        await stream.__aenter__()


async def test_a_stream_that_is_never_entered_costs_nothing(mock: MockTransport, make: Any) -> None:
    stream_of(make())
    gc.collect()
    assert mock.calls == []


# --- leaving


async def test_leaving_early_frees_the_worker_and_drops_the_connection(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b", "c"]).drip(1).then.reply("next")
    client = make(concurrency=1)
    async with stream_of(client) as stream:
        assert await first(stream) == "a"
    await until(lambda: mock.connections.open == 0)
    assert (await client.chat(MODEL, "hi")).text == "next"
    with pytest.raises(UsageError, match="closed before its end"):
        await stream.final()
    assert stream.partial.text == "a"


async def test_an_early_close_is_never_mistaken_for_the_end(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b", "c"])
    async with stream_of(make()) as stream:
        await first(stream)
    with pytest.raises(UsageError, match="closed before its end"):
        await stream.__anext__()


async def test_an_answer_that_its_worker_let_go_of_cannot_be_read_any_more(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"])
    client = make()
    async with stream_of(client) as stream:
        source = stream._source
    assert source is not None
    await until(lambda: is_quiet(client))
    with pytest.raises(UsageError):
        await source.next()


async def test_a_reader_whose_stream_is_closed_by_another_task_does_not_see_an_end(
    mock: MockTransport, make: Any
) -> None:
    mock.stream(["a", "b"]).stall(after_events=1)
    stream = stream_of(make())
    await stream.__aenter__()
    assert await first(stream) == "a"
    errors: list[UsageError] = []

    async def read() -> None:
        try:
            await stream.__anext__()
        except UsageError as error:
            errors.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        await stream.close()
    assert len(errors) == 1
    with pytest.raises(UsageError):
        await stream.__anext__()


async def test_a_cancelled_read_ends_the_stream_and_a_later_one_does_not_see_an_end(
    mock: MockTransport, make: Any, log: list[str]
) -> None:
    mock.stream(["a", "b"]).stall(after_events=1).then.reply("next")
    client = make(concurrency=1)
    async with stream_of(client) as stream:
        assert await first(stream) == "a"
        with anyio.move_on_after(1) as scope:
            await stream.__anext__()
        assert scope.cancelled_caught
        assert_paired(calls_in(log))
        await until(lambda: mock.connections.open == 0)
        with pytest.raises(UsageError, match="cancelled"):
            await stream.__anext__()
        with pytest.raises(UsageError, match="cancelled"):
            await stream.final()
    assert (await client.chat(MODEL, "hi")).text == "next"


async def test_a_dropped_stream_frees_its_worker_and_its_hooks_run_once(
    mock: MockTransport, make: Any, log: list[str]
) -> None:
    mock.stream(["a", "b"]).drip(1).then.reply("next")
    client = make(concurrency=1)
    stream = stream_of(client)
    await stream.__aenter__()
    await first(stream)
    del stream
    await until(lambda: is_quiet(client) and log.count("a.after_call") == 1)
    assert mock.connections.open == 0
    assert (await client.chat(MODEL, "hi")).text == "next"


async def test_a_stream_that_is_collected_in_another_thread_is_ended_on_its_loop(
    mock: MockTransport, make: Any, log: list[str]
) -> None:
    mock.stream(["a", "b"]).drip(1)
    client = make(concurrency=1)
    stream = stream_of(client)
    await stream.__aenter__()
    cycle: list[Any] = [stream]
    cycle.append(cycle)
    gc.disable()
    try:
        del stream, cycle
        collector = threading.Thread(target=gc.collect)
        collector.start()
        collector.join()
    finally:
        gc.enable()
    await until(lambda: is_quiet(client) and log.count("a.after_call") == 1)


async def test_a_stream_dropped_after_its_client_was_closed_is_no_trouble(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).drip(1)
    client = make(plugins=[])
    stream = stream_of(client)
    await stream.__aenter__()
    await client.close(drain=0)
    with pytest.raises(StreamInterruptedError):
        await stream.final()
    del stream
    gc.collect()


# --- what ends a stream from this side


@pytest.mark.parametrize("away", [False, True])
async def test_the_deadline_ends_a_stream_and_is_no_clean_end(away: bool, mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b", "c", "d"]).drip(3)
    client = make(timeout=10)
    started = anyio.current_time()
    async with stream_of(client) as stream:
        assert await first(stream) == "a"
        if away:
            await anyio.sleep(20)
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
        assert anyio.current_time() - started == pytest.approx(26 if away else 10)
        cause = caught.value.__cause__
        assert isinstance(cause, CallTimeoutError)
        assert cause.phase == "stream"
        assert caught.value.partial.text == ("a" if away else "ab")
        with pytest.raises(StreamInterruptedError):
            await stream.__anext__()
    await until(lambda: is_quiet(client))


async def test_a_stream_that_only_gives_signs_of_life_is_ended(mock: MockTransport, make: Any) -> None:
    event = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
    mock.raw(200, event + b": alive\n\n" * 500, {"content-type": "text/event-stream"}).drip(1)
    async with stream_of(make(timeouts=Timeouts(idle_events=50))) as stream:
        assert await first(stream) == "a"
        started = anyio.current_time()
        with pytest.raises(StreamInterruptedError, match="idle_events=50"):
            await stream.final()
        assert anyio.current_time() - started == pytest.approx(50, abs=2)


async def test_time_that_the_reader_is_away_is_not_the_providers_silence(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b", "c"]).drip(3)
    async with stream_of(make(timeouts=Timeouts(idle_events=5, consumer_idle=200))) as stream:
        assert await first(stream) == "a"
        for _ in range(3):
            await anyio.sleep(100)
            await stream.__anext__()


async def test_silence_is_ended_by_the_limit_on_bytes(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).stall(after_events=1)
    async with stream_of(make(timeouts=Timeouts(idle_bytes=60))) as stream:
        assert await first(stream) == "a"
        started = anyio.current_time()
        with pytest.raises(StreamInterruptedError, match="sent nothing for too long"):
            await stream.final()
        assert anyio.current_time() - started == pytest.approx(60)


@pytest.mark.parametrize("consumer_idle", [30, 1000])
async def test_a_stream_that_nobody_reads_is_ended_in_time(consumer_idle: int, mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b", "c", "d"]).drip(1).then.reply("next")
    client = make(concurrency=1, timeout=5000, timeouts=Timeouts(consumer_idle=consumer_idle))
    async with stream_of(client) as stream:
        assert await first(stream) == "a"
        await stream.__anext__()
        started = anyio.current_time()
        assert (await client.chat(MODEL, "hi")).text == "next"  # waits for the only worker
        assert anyio.current_time() - started == pytest.approx(consumer_idle)
        with pytest.raises(StreamInterruptedError, match=f"consumer_idle={consumer_idle}"):
            await stream.final()


@pytest.mark.parametrize("away", [False, True])
async def test_closing_the_client_ends_a_stream_and_is_no_clean_end(away: bool, mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).stall(after_events=1)
    client = make()
    async with stream_of(client) as stream:
        assert await first(stream) == "a"
        errors: list[StreamInterruptedError] = []

        async def read() -> None:
            try:
                await stream.final()
            except StreamInterruptedError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            if not away:
                group.start_soon(read)
                await anyio.wait_all_tasks_blocked()
            await client.close(drain=0)
            if away:
                group.start_soon(read)
        assert isinstance(errors[0].__cause__, ShuttingDownError)
        assert errors[0].partial.text == "a"


async def test_a_drain_waits_for_a_stream_that_is_read_and_cuts_one_that_is_not(mock: MockTransport, make: Any) -> None:
    mock.stream([*"abcdefghij"]).drip(1).then.stream(["x", "y", "z"]).drip(0.01)
    client = make()
    read = stream_of(client)
    left = stream_of(client)
    await read.__aenter__()
    await left.__aenter__()
    answers: list[ChatResponse] = []

    async def finish() -> None:
        answers.append(await read.final())

    started = anyio.current_time()
    async with anyio.create_task_group() as group:
        group.start_soon(finish)
        await anyio.wait_all_tasks_blocked()
        await client.close(drain=30)
    assert answers[0].text == "abcdefghij"
    assert anyio.current_time() - started < 15
    with pytest.raises(StreamInterruptedError):
        await left.final()


async def test_a_drain_does_not_wait_for_a_stream_that_the_closing_task_itself_holds(
    mock: MockTransport, make: Any
) -> None:
    mock.stream(["a", "b"]).stall(after_events=1)
    client = make()
    async with stream_of(client) as stream:
        assert await first(stream) == "a"
        started = anyio.current_time()
        await client.close(drain=30)
        assert anyio.current_time() - started < 2


async def test_a_stream_that_grows_too_large_is_ended(mock: MockTransport, make: Any) -> None:
    mock.stream(["a" * 1000] * 20)
    async with stream_of(make(limits=Limits(stream=5000))) as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
        assert isinstance(caught.value.__cause__, ResponseTooLargeError)
        assert caught.value.partial.text
    assert caught.value.provider == "openai"


async def test_a_preamble_that_grows_too_large_is_no_stream(mock: MockTransport, make: Any) -> None:
    empty = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"role": "assistant"}}]}\n\n'
    mock.raw(200, empty * 100, {"content-type": "text/event-stream"}).then.reply("second try")
    async with stream_of(make(limits=Limits(preamble=2000))) as stream:
        whole = await stream.final()
    assert whole.text == "second try"
    assert "2,000 bytes" in str(whole.attempts[0].error)


# --- streams of plugins


class Answers(Plugin):
    """Answers a stream by itself, with what a function gives."""

    name = "answers"

    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks

    def before(self, call: Any, request: Any) -> Any:
        return self._chunks()


async def _chunks_then(ending: Any) -> AsyncIterator[Any]:
    for text in ("a", "b"):
        yield _chunk(text)
    await ending()


def _chunk(text: str) -> Chunk:
    return Chunk(choices=[ChunkChoice(delta=Delta(content=text))])


async def test_a_plugins_stream_that_is_left_early_is_closed(make: Any) -> None:
    closed = anyio.Event()

    async def chunks() -> AsyncIterator[Any]:
        try:
            while True:
                yield _chunk("a")
        finally:
            closed.set()

    async with stream_of(make([Answers(chunks)])) as stream:
        assert await first(stream) == "a"
    assert closed.is_set()


async def test_a_plugins_stream_is_bounded_by_the_calls_deadline(make: Any) -> None:
    async with stream_of(make([Answers(lambda: _chunks_then(anyio.sleep_forever))], timeout=10)) as stream:
        with pytest.raises(StreamInterruptedError, match="plugin's stream") as caught:
            await stream.final()
    assert isinstance(caught.value.__cause__, CallTimeoutError)
    assert caught.value.partial.text == "ab"


async def test_a_plugins_stream_that_fails_is_its_plugins_error() -> None:
    async def fail() -> None:
        raise LookupError("no such thing")

    chunks = ForeignChunks(_chunks_then(fail), anyio.current_time() + 10)
    assert [await chunks.next(), await chunks.next()]
    with pytest.raises(PluginError, match="LookupError"):
        await chunks.next()
    await chunks.close()
