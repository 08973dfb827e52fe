"""Streams as their callers see them, in virtual time: an hour of silence takes none."""

from __future__ import annotations

import gc
import threading
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

from bifrost import (
    BifrostError,
    CallTimeoutError,
    InternalError,
    MalformedResponseError,
    Plugin,
    PluginError,
    ProviderConfig,
    ResponseTooLargeError,
    ServerError,
    ShuttingDownError,
    StaticAccount,
    StreamInterruptedError,
    Timeouts,
    TransportError,
    UsageError,
)
from bifrost.config import SizeLimits
from bifrost.engine.streaming.response_stream import ResponseStream
from bifrost.engine.streaming.sources import ForeignChunks
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta
from bifrost.providers.catalog import CATALOG
from bifrost.testing import MockTransport, fake_key, leak_check
from tests.engine.rig import is_quiet, until
from tests.plugins.recorder import Recorder, assert_paired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bifrost import Bifrost, ChatResponse, ChunkStream
    from bifrost.providers.base import Ending, Target

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

MODEL = "openai/gpt-4o-mini"
CHAT = CATALOG["openai"].codecs["chat"]


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


def size_of(stream: ChunkStream) -> int:
    """Give how many bytes of a stream have been read from its connection."""
    assert isinstance(stream._source, ResponseStream)
    return stream._source._size


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


async def test_a_stream_is_read_once(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"])
    async with stream_of(make()) as stream:
        assert await first(stream) == "a"
        assert await rest(stream) == ["b"], "who breaks off may go on"
        for again in (stream, stream.text_stream):
            with pytest.raises(UsageError, match="read to its end"):
                aiter(again)
        assert (await stream.final()).text == "ab"


async def test_a_broken_stream_that_is_read_again_tells_what_broke_it(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).cut(after_events=1)
    async with stream_of(make()) as stream:
        errors: list[StreamInterruptedError] = []
        for _ in range(2):
            with pytest.raises(StreamInterruptedError) as caught:
                await rest(stream)
            errors.append(caught.value)
    assert errors[0] is errors[1]


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


async def _by_break(stream: ChunkStream) -> None:
    async with stream:
        async for _ in stream.text_stream:
            break


async def _by_error(stream: ChunkStream) -> None:
    with suppress(LookupError):
        async with stream:
            await first(stream)
            raise LookupError


async def _by_cancel(stream: ChunkStream) -> None:
    with anyio.CancelScope() as scope:
        async with stream:
            await first(stream)
            scope.cancel()
            await first(stream)


async def _by_drop(stream: ChunkStream) -> None:
    await stream.__aenter__()
    await first(stream)


@pytest.mark.parametrize("leave", [_by_break, _by_error, _by_cancel, _by_drop])
@pytest.mark.parametrize("said", ["stalls", "hangs on after its end", "goes on for ever"])
async def test_a_worker_is_free_at_once_when_its_stream_is_left(
    mock: MockTransport, make: Any, log: list[str], leave: Any, said: str
) -> None:
    word = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}\n\n'
    kind = {"content-type": "text/event-stream"}
    match said:
        case "stalls":
            mock.stream(["a", "b"]).stall(after_events=1)
        case "goes on for ever":
            mock.raw(200, word * 500, kind).drip(0.2)
        case _:
            mock.raw(200, word + b"data: [DONE]\n\n", kind).stall(after_events=2)
    client = make(concurrency=1)
    await leave(stream_of(client))
    left = anyio.current_time()
    await until(lambda: is_quiet(client) and log.count("a.after_call") == 1)
    assert anyio.current_time() - left <= 0.25
    mock.forget()
    mock.reply("next")
    assert (await client.chat(MODEL, "hi")).text == "next"


async def test_hundreds_of_slow_readers_read_nothing_ahead(mock: MockTransport, make: Any) -> None:
    mock.stream(["word "] * 50).always()
    client = make(concurrency=400, timeouts=Timeouts(consumer_idle=100))
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(stream_of(client)) for _ in range(200)]
        (upstream,) = client._engine._running.upstreams._upstreams.values()
        assert len(upstream.open_streams) == 200
        sizes = {stream: size_of(stream) for stream in streams}
        for _ in range(3):
            await anyio.sleep(60)
            for stream in streams[:100]:
                await stream.__anext__()
        for stream in streams[100:]:
            assert size_of(stream) == sizes[stream], "what nobody asks for is not read"
        assert len(upstream.open_streams) == 100, "those that nobody reads were ended"
        for stream in streams[:100]:
            assert size_of(stream) <= 4 * sizes[stream]
            assert len(stream._buffer) <= 2
        for stream in streams[100:]:
            with pytest.raises(StreamInterruptedError, match="consumer_idle=100"):
                await stream.final()


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


async def test_a_model_may_think_longer_than_a_stream_may_be_silent(mock: MockTransport, make: Any) -> None:
    role = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"role": "assistant"}}]}\n\n'
    word = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}\n\n'
    mock.raw(200, role + word + b"data: [DONE]\n\n", {"content-type": "text/event-stream"}).drip(40)
    limits = Timeouts(first_token=100, idle_bytes=20, idle_events=30)
    started = anyio.current_time()
    async with stream_of(make(timeouts=limits)) as stream:
        assert anyio.current_time() - started == pytest.approx(80)
        with pytest.raises(StreamInterruptedError, match="sent nothing for too long"):
            await stream.final()
        assert anyio.current_time() - started == pytest.approx(100)


async def test_signs_of_life_are_no_first_token(mock: MockTransport, make: Any) -> None:
    mock.raw(200, b": alive\n\n" * 500, {"content-type": "text/event-stream"}).drip(1).then.reply("second try")
    async with stream_of(make(timeouts=Timeouts(first_token=50, idle_events=20, idle_bytes=5))) as stream:
        whole = await stream.final()
    assert [attempt.category for attempt in whole.attempts] == ["transient", None]
    assert whole.attempts[0].total == pytest.approx(50)


async def test_time_in_the_queue_is_not_the_first_tokens(mock: MockTransport, make: Any) -> None:
    mock.reply("a").delay(100).then.stream(["b"]).drip(10)
    client = make(concurrency=1, timeouts=Timeouts(first_token=60))
    async with anyio.create_task_group() as group:
        group.start_soon(client.chat, MODEL, "hi")
        await anyio.wait_all_tasks_blocked()
        async with stream_of(client) as stream:
            (attempt,) = (await stream.final()).attempts
            assert attempt.category is None
            assert attempt.queue == pytest.approx(100, abs=1)


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


async def test_a_reader_that_takes_its_time_with_what_has_come_is_there(mock: MockTransport, make: Any) -> None:
    word = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
    end = b'data: {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    # All in one piece: no byte is needed for a long time.
    mock.raw(200, (word * 9)[:-1].replace(b"\n\n", b"\r\r") + b"\r" + end, {"content-type": "text/event-stream"})
    client = make(timeouts=Timeouts(consumer_idle=100))
    async with stream_of(client) as stream:
        for _ in range(9):
            await anyio.sleep(60)
            assert await first(stream) == "a"
        assert (await stream.final()).text == "a" * 9


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
    async with stream_of(make(size_limits=SizeLimits(stream=5000))) as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
        assert isinstance(caught.value.__cause__, ResponseTooLargeError)
        assert caught.value.partial.text
    assert caught.value.provider == "openai"


@pytest.mark.parametrize(
    "spoils", [b"{", b'"\xff\xfe"', b'{"choices": 5}', b'{"error": {"message": "no", "code": 500}}']
)
async def test_an_event_that_cannot_be_read_ends_a_stream_with_what_came(
    mock: MockTransport, make: Any, log: list[str], spoils: bytes
) -> None:
    word = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"content": "a"}}], "usage": {"prompt_tokens": 7}}\n\n'
    mock.raw(200, word + b"data: " + spoils + b"\n\n" + word, {"content-type": "text/event-stream"})
    async with stream_of(make()) as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
    error = caught.value
    assert (error.partial.text, error.received_events) == ("a", 1)
    assert error.usage.input_tokens == 7
    assert isinstance(error.provider_error, ServerError if b"error" in spoils else MalformedResponseError)
    assert log.count("a.after") == log.count("a.after_call") == 1
    assert len(mock.calls) == 1


class Stumbles:
    """A decoder that fails at an event in a way that no decoder may."""

    def __init__(self, target: Target, *, at: int) -> None:
        decoder = CHAT.decoder
        assert decoder is not None
        self._inner = decoder(target)
        self._left = at
        self.done = False

    def feed(self, event: Any) -> Sequence[Chunk]:
        self._left -= 1
        if not self._left:
            raise KeyError("sk-canary")
        return self._inner.feed(event)

    def finish(self) -> Ending:
        return self._inner.finish()


@pytest.mark.parametrize("at", [1, 4], ids=["before its first content", "in its middle"])
async def test_a_decoder_that_fails_ends_a_stream_with_an_error_of_ours(
    mock: MockTransport, log: list[str], at: int
) -> None:
    mock.stream(["a", "b", "c", "d"]).drip(1)
    codec = attrs.evolve(CHAT, decoder=partial(Stumbles, at=at))
    row = attrs.evolve(CATALOG["openai"], codecs={"chat": codec})
    recorder = Recorder(log)
    account = StaticAccount(keys={"openai": fake_key("one")}, providers=[row])
    async with leak_check(), mock.client(account, plugins=[recorder]) as client:
        with pytest.raises(BifrostError) as caught:
            async with stream_of(client) as stream:
                await stream.final()
        error = caught.value if at == 1 else caught.value.__cause__
        assert isinstance(error, InternalError)
        assert error.message.endswith("KeyError")
        assert error.__context__ is None
        assert recorder.seen["after_call"] == [caught.value]
        assert [attempt.category for attempt in caught.value.attempts] == ["unknown" if at == 1 else "interrupted"]
        await until(lambda: is_quiet(client))
    assert_paired(calls_in(log))


async def test_a_cut_is_no_error_of_the_providers(mock: MockTransport, make: Any) -> None:
    mock.stream(["a", "b"]).cut(after_events=1)
    async with stream_of(make()) as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
    assert caught.value.provider_error is None
    assert isinstance(caught.value.__cause__, TransportError)


async def test_a_web_page_where_a_stream_was_asked_for_is_malformed(mock: MockTransport, make: Any) -> None:
    mock.html().then.html()
    with pytest.raises(MalformedResponseError) as caught:
        await stream_of(make()).__aenter__()
    assert [attempt.category for attempt in caught.value.attempts] == ["malformed", "malformed"]


async def test_a_preamble_that_grows_too_large_is_no_stream(mock: MockTransport, make: Any) -> None:
    empty = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"role": "assistant"}}]}\n\n'
    mock.raw(200, empty * 100, {"content-type": "text/event-stream"}).then.reply("second try")
    async with stream_of(make(size_limits=SizeLimits(preamble=2000))) as stream:
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


NOTHING: Any = None
NUMBER: Any = 5


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk(choices=NOTHING),
        Chunk(choices=[NOTHING]),
        Chunk(choices=[ChunkChoice(index=0, delta=NOTHING)]),
        Chunk(choices=[ChunkChoice(index=0, delta=Delta(content=NUMBER))]),
    ],
    ids=["no choices", "no choice", "no delta", "no text"],
)
@pytest.mark.parametrize("how", ["read", "left", "dropped"])
async def test_a_plugins_chunk_that_is_none_ends_the_stream_in_order(
    mock: MockTransport, make: Any, log: list[str], how: str, chunk: Chunk
) -> None:
    odd = chunk

    class Puts(Plugin):
        def on_chunk(self, call: Any, chunk: Chunk) -> Chunk:
            return odd

    mock.stream(["a", "b"]).drip(1)
    client = make([Puts()])
    stream = stream_of(client)
    await stream.__aenter__()
    if how == "read":
        with pytest.raises(InternalError, match="a plugin has put in one"):
            await stream.final()
    else:
        with suppress(InternalError):
            await stream.__anext__()
    if how == "left":
        await stream.close()
    del stream
    await until(lambda: is_quiet(client) and log.count("a.after_call") == 1)


async def test_a_plugins_stream_that_fails_is_its_plugins_error() -> None:
    async def fail() -> None:
        raise LookupError("no such thing")

    chunks = ForeignChunks(_chunks_then(fail), anyio.current_time() + 10, kind=Chunk)
    assert [await chunks.next(), await chunks.next()]
    with pytest.raises(PluginError, match="LookupError"):
        await chunks.next()
    await chunks.close()


# --- beside plain calls


async def test_streams_do_not_keep_plain_calls_waiting(mock: MockTransport, make: Any) -> None:
    mock.on(stream=True).stream(["a", "b"]).stall(after_events=1).always()
    mock.on(stream=False).reply("at once").delay(1).always()
    client = make(concurrency=4, queue=8)
    async with anyio.create_task_group() as group:

        async def hold() -> None:
            async with stream_of(client) as stream:
                await stream.final()

        for _ in range(50):
            group.start_soon(hold)
        await until(lambda: len(mock.calls) == 3)
        started = anyio.current_time()
        for _ in range(5):
            assert (await client.chat(MODEL, "hi")).text == "at once"
        assert anyio.current_time() - started == pytest.approx(5, abs=0.5)
        group.cancel_scope.cancel()
