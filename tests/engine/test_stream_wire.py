"""Streams over real sockets: what a peer sends last, and what it sees of us."""

from __future__ import annotations

import gzip
import socket
import zlib
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import anyio.lowlevel
import httpx
import pytest

from bifrost import (
    Bifrost,
    CallTimeoutError,
    OverloadedError,
    ResponseTooLargeError,
    ShuttingDownError,
    StreamInterruptedError,
    Timeouts,
    TransportError,
    UsageError,
)
from bifrost.config import SizeLimits
from bifrost.engine.streaming.response_stream import ResponseStream
from bifrost.testing import RawServer, leak_check
from tests.engine.peers import DONE, END, MODEL, SSE_HEAD, Served, answer, chunk, client_of, event
from tests.engine.rig import is_quiet, until
from tests.plugins.recorder import read_into

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import ByteStream

    from bifrost import ChunkStream

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def _served(handler: Any, **config: Any) -> AsyncIterator[tuple[Bifrost, RawServer]]:
    """Give a client and its server; at the end the client is quiet and nothing is left."""
    async with leak_check(), RawServer(handler) as server:
        async with client_of(server.url, **config) as client:
            yield client, server
            if client._engine.state == "running":
                await until(lambda: is_quiet(client))
        assert is_quiet(client)
        with anyio.fail_after(5):
            await server.all_closed()


Serve: TypeAlias = "Callable[..., AbstractAsyncContextManager[tuple[Bifrost, RawServer]]]"


@pytest.fixture
def served() -> Serve:
    """Return what gives a client and its server."""
    return _served


async def first(stream: ChunkStream) -> str:
    """Read the first piece of text."""
    return await stream.text_stream.__anext__()


async def rest(stream: ChunkStream) -> list[str]:
    return [text async for text in stream.text_stream]


# --- how it ends


async def test_a_stream_read_to_its_end_keeps_its_connection(served: Serve) -> None:
    whole = SSE_HEAD + event("a") + event(finish="stop") + DONE + END
    async with served(Served(whole)) as (client, server):
        for _ in range(3):
            async with client.stream_chat(MODEL, "hi") as stream:
                assert (await stream.final()).text == "a"
            await until(lambda: is_quiet(client))
        assert server.connections.opened == 1


async def test_a_stream_ends_with_its_final_marker_though_the_connection_hangs(served: Serve) -> None:
    handler = Served(SSE_HEAD + event("a") + event(finish="stop") + DONE)
    async with served(handler) as (client, server):
        with anyio.fail_after(5):
            async with client.stream_chat(MODEL, "hi") as stream:
                whole = await stream.final()
            assert (whole.text, whole.warnings) == ("a", [])
            await handler.left.wait()
        await until(lambda: is_quiet(client))
        async with client.stream_chat(MODEL, "hi") as stream:
            await stream.final()
        assert server.connections.opened == 2


@pytest.mark.parametrize("apart", [False, True])
async def test_what_follows_the_final_marker_is_ignored_and_spoils_the_connection(served: Serve, apart: bool) -> None:
    junk = event("never seen") + chunk(b"data: {broken\n\n")
    before, after = SSE_HEAD + event("a") + event(finish="stop") + DONE, junk + END

    async def send(stream: ByteStream) -> None:
        if apart:
            await stream.send(before)
            await stream.send(after)
        else:
            await stream.send(before + after)

    async with served(Served(send)) as (client, _server), client.stream_chat(MODEL, "hi") as stream:
        assert await rest(stream) == ["a"]
        assert (await stream.final()).text == "a"


async def test_an_end_without_marker_but_with_a_finish_reason_is_an_end_with_a_warning(served: Serve) -> None:
    async with served(Served(SSE_HEAD + event("a") + event(finish="stop") + END)) as (client, _server):
        async with client.stream_chat(MODEL, "hi") as stream:
            whole = await stream.final()
        assert (whole.text, whole.warnings) == ("a", ["no_final_marker"])


@pytest.mark.parametrize(
    "last",
    [event("b"), event("b") + END, event("b") + b"5\r\nda"],
    ids=["the connection is closed", "the body ends", "a chunk is cut"],
)
async def test_an_end_without_marker_and_finish_reason_is_a_cut(served: Serve, last: bytes) -> None:
    async with served(Served(SSE_HEAD + event("a") + last, close=True)) as (client, _server):
        async with client.stream_chat(MODEL, "hi") as stream:
            with pytest.raises(StreamInterruptedError) as caught:
                await stream.final()
        assert caught.value.partial.text == "ab"
        assert caught.value.received_events == 2
        assert isinstance(caught.value.__cause__, TransportError)
        assert len(caught.value.attempts) == 1


async def test_what_came_before_an_error_event_is_given_even_if_it_came_in_the_same_read(served: Serve) -> None:
    error = chunk(b'data: {"error": {"message": "too much", "type": "overloaded_error"}}\n\n')
    async with served(Served(SSE_HEAD + event("a") + event("b") + error + END)) as (client, _server):
        texts: list[str] = []
        async with client.stream_chat(MODEL, "hi") as stream:
            with pytest.raises(StreamInterruptedError, match="too much") as caught:
                await read_into(texts, stream)
        assert texts == ["a", "b"]
        assert isinstance(caught.value.__cause__, OverloadedError)


async def test_a_failure_before_the_first_content_is_tried_again_unseen(served: Serve) -> None:
    error = chunk(b'data: {"error": {"message": "too much", "type": "overloaded_error"}}\n\n')
    good = SSE_HEAD + event("a") + event(finish="stop") + DONE + END
    from bifrost import RetryConfig

    answers = Served(SSE_HEAD + event() + error + END, good)
    async with served(answers, retry=RetryConfig(max_retries=1)) as (client, _server):
        async with client.stream_chat(MODEL, "hi") as stream:
            whole = await stream.final()
        assert [attempt.category for attempt in whole.attempts] == ["overloaded", None]


# --- packed streams


def packed(data: bytes, coding: str = "gzip") -> bytes:
    return SSE_HEAD.replace(b"\r\n\r\n", f"\r\ncontent-encoding: {coding}\r\n\r\n".encode()) + chunk(data)


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


def unframed(*events: bytes) -> bytes:
    """Take events out of their chunks."""
    return b"".join(event.split(b"\r\n", 1)[1].removesuffix(b"\r\n") for event in events)


async def test_a_packed_stream_is_unpacked_and_what_follows_its_marker_ignored(served: Serve) -> None:
    plain = unframed(event("a"), event(finish="stop"), DONE, event("never seen" * 20_000))
    handler = Served(packed(gzip.compress(plain)) + END)
    async with served(handler) as (client, _server), client.stream_chat(MODEL, "hi") as stream:
        assert (await stream.final()).text == "a"


async def test_a_packed_stream_that_is_cut_is_no_end(served: Serve) -> None:
    data = gzip.compress(unframed(event("a"), event("b" * 2000)))
    async with served(Served(packed(data[:-20]) + END)) as (client, _server):
        with pytest.raises((StreamInterruptedError, TransportError)):
            async with client.stream_chat(MODEL, "hi") as stream:
                await stream.final()


async def test_a_stream_that_unpacks_to_more_than_allowed_is_ended(served: Serve) -> None:
    data = gzip.compress(unframed(event("a")) + b": " + b"x" * 50_000_000)
    async with served(Served(packed(data)), size_limits=SizeLimits(stream=1_000_000)) as (client, _server):
        with pytest.raises(StreamInterruptedError, match="1,000,000"):
            async with client.stream_chat(MODEL, "hi") as stream:
                await stream.final()


def noisy_comments(size: int) -> bytes:
    """Return comments that pack some twenty times, so that they are no bomb by their ratio."""
    random = Random(1)
    return b"".join(b": " + random.randbytes(16).hex().encode() + b" " * 1000 + b"\n\n" for _ in range(size // 1000))


@pytest.mark.parametrize("coding", PACKERS)
async def test_other_tasks_run_while_a_packed_stream_is_unpacked(served: Serve, coding: str) -> None:
    size = 4_000_000
    data = unframed(event("a")) + noisy_comments(size) + unframed(event(finish="stop"), DONE)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    handler = Served(packed(PACKERS[coding](data), coding) + END)
    async with served(handler) as (client, _server), client.stream_chat(MODEL, "hi") as stream:
        assert await first(stream) == "a"
        async with anyio.create_task_group() as group:
            group.start_soon(count)
            await stream.final()
            group.cancel_scope.cancel()
    assert turns > size / (64 * 1024)


@pytest.mark.parametrize("before", [b"", unframed(event("a"))], ids=["before content", "after content"])
@pytest.mark.parametrize("coding", PACKERS)
async def test_a_packed_stream_that_grows_too_fast_is_refused(served: Serve, coding: str, before: bytes) -> None:
    data = PACKERS[coding](before + b": c\n\n" * 500_000)
    async with served(Served(packed(data, coding) + END)) as (client, _server):
        with pytest.raises((StreamInterruptedError, ResponseTooLargeError), match="more than 100 times its size"):
            async with client.stream_chat(MODEL, "hi", max_retries=0) as stream:
                await stream.final()


async def test_a_packed_stream_is_left_in_the_middle_of_what_was_read(served: Serve) -> None:
    data = unframed(event("a")) + noisy_comments(2_000_000) + unframed(event("b"))
    handler = Served(packed(gzip.compress(data)))
    async with served(handler) as (client, _server), client.stream_chat(MODEL, "hi") as stream:
        assert await first(stream) == "a"
        with anyio.CancelScope() as scope:
            scope.cancel()
            await first(stream)
        with pytest.raises(UsageError):
            await stream.final()


async def test_a_packed_stream_ends_with_the_clock_though_nothing_is_waited_for(served: Serve) -> None:
    """The deadline falls between two pieces of what was read at once."""
    data = unframed(event("a")) + noisy_comments(2_000_000) + unframed(event("b"))
    handler = Served(packed(gzip.compress(data)))
    async with served(handler) as (client, _server), client.stream_chat(MODEL, "hi") as stream:
        assert await first(stream) == "a"
        assert isinstance(stream._source, ResponseStream)
        stream._source._end_for(CallTimeoutError("time is over", phase="stream"))
        with pytest.raises(StreamInterruptedError, match="time is over"):
            await stream.final()


# --- before the first content


@pytest.mark.parametrize("role", [b"", event("")], ids=["nothing", "a role"])
@pytest.mark.parametrize("line", [b": keep-alive\n\n", b": keep-alive\n", b":\r\n", b"event: ping\ndata:\n\n"])
async def test_comments_before_the_first_content_are_signs_of_life(served: Serve, role: bytes, line: bytes) -> None:
    async def send(stream: ByteStream) -> None:
        await stream.send(SSE_HEAD)
        for _ in range(10):
            await stream.send(chunk(line * (40_000 // len(line))))
        await stream.send(chunk(b"\n") + role + event("a") + event(finish="stop") + DONE + END)

    handler = Served(send)
    async with served(handler) as (client, _server), client.stream_chat(MODEL, "hi") as stream:
        assert (await stream.final()).text == "a"
    assert len(handler.heads) == 1


async def test_comments_without_end_are_bounded_by_the_first_token(served: Serve) -> None:
    async def send(stream: ByteStream) -> None:
        await stream.send(SSE_HEAD)
        with suppress(anyio.BrokenResourceError):
            while True:
                await stream.send(chunk(b": keep-alive\n\n" * 1000))
                await anyio.lowlevel.checkpoint()

    async with served(Served(send), timeouts=Timeouts(first_token=0.3)) as (client, _server):
        with pytest.raises(CallTimeoutError) as caught:
            async with client.stream_chat(MODEL, "hi", max_retries=0):
                pass
        assert caught.value.phase == "first_token"


async def test_a_stream_that_announces_more_than_allowed_is_not_read(served: Serve) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 1000001\r\n\r\n"
    async with served(Served(head), size_limits=SizeLimits(stream=1_000_000)) as (client, _server):
        with anyio.fail_after(5), pytest.raises(ResponseTooLargeError, match=r"limits.stream=1,000,000"):
            async with client.stream_chat(MODEL, "hi", max_retries=0):
                pass


# --- what we end


LOOKS_WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + unframed(event("a"), event(finish="stop"))
"""Ends with its connection: if that is cut, nothing in the bytes tells it from a whole answer."""


async def test_a_stream_that_the_deadline_cuts_is_not_whole_though_its_bytes_look_so(served: Serve) -> None:
    async with served(Served(LOOKS_WHOLE), timeout=0.2) as (client, _server):
        async with client.stream_chat(MODEL, "hi") as stream:
            with pytest.raises(StreamInterruptedError) as caught:
                await stream.final()
        assert isinstance(caught.value.__cause__, CallTimeoutError)


async def test_a_stream_that_the_limit_on_events_cuts_is_not_whole_though_its_bytes_look_so(served: Serve) -> None:
    limits = Timeouts(idle_events=0.1)
    async with served(Served(LOOKS_WHOLE), timeouts=limits) as (client, _), client.stream_chat(MODEL, "hi") as stream:
        with pytest.raises(StreamInterruptedError, match="idle_events"):
            await stream.final()


@pytest.mark.parametrize("away", [False, True])
async def test_a_stream_that_the_clients_close_cuts_is_not_whole_though_its_bytes_look_so(
    served: Serve, away: bool
) -> None:
    handler = Served(LOOKS_WHOLE)
    async with served(handler) as (client, _server), client.stream_chat(MODEL, "hi") as stream:
        await stream.__anext__()
        errors: list[StreamInterruptedError] = []

        async def read() -> None:
            try:
                await stream.final()
            except StreamInterruptedError as error:
                errors.append(error)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                if not away:
                    group.start_soon(read)
                    await anyio.wait_all_tasks_blocked()
                await client.close(drain=0)
                await handler.left.wait()
                if away:
                    group.start_soon(read)
        assert isinstance(errors[0].__cause__, ShuttingDownError)


async def test_a_stream_that_nobody_reads_is_cut_and_not_whole_though_its_bytes_look_so(served: Serve) -> None:
    handler = Served(LOOKS_WHOLE)
    limits = Timeouts(consumer_idle=0.1)
    async with served(handler, timeouts=limits) as (client, _), client.stream_chat(MODEL, "hi") as stream:
        await stream.__anext__()
        with anyio.fail_after(5):
            await handler.left.wait()
        with pytest.raises(StreamInterruptedError, match="consumer_idle"):
            await stream.final()


async def test_silence_is_ended_in_time_however_long_the_first_token_may_take(served: Serve) -> None:
    handler = Served(SSE_HEAD + chunk(event("a")))
    limits = Timeouts(first_token=60, idle_bytes=0.1)
    async with served(handler, timeouts=limits) as (client, _), client.stream_chat(MODEL, "hi") as stream:
        await stream.__anext__()
        with anyio.fail_after(5), pytest.raises(StreamInterruptedError, match="sent nothing for too long") as caught:
            await stream.final()
        assert isinstance(caught.value.__cause__, CallTimeoutError)
        assert caught.value.__cause__.phase == "body"
        with anyio.fail_after(5):
            await handler.left.wait()


@pytest.mark.parametrize("shared", [False, True])
async def test_silence_is_ended_in_time_over_a_transport_of_httpx(shared: bool) -> None:
    limits = Timeouts(first_token=60, idle_bytes=0.1)
    async with AsyncExitStack() as stack:
        transport: Any = httpx.AsyncHTTPTransport
        if shared:
            transport = await stack.enter_async_context(httpx.AsyncHTTPTransport())
        handler = Served(SSE_HEAD + chunk(event("a")))
        client, _ = await stack.enter_async_context(_served(handler, transport=transport, timeouts=limits))
        async with client.stream_chat(MODEL, "hi") as stream:
            await stream.__anext__()
            with anyio.fail_after(5), pytest.raises(StreamInterruptedError, match="sent nothing for too long"):
                await stream.final()


# --- what the peer sees


async def _by_scope(read: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()


async def _by_timeout(read: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    with anyio.move_on_after(0.05):
        await read()


@pytest.mark.parametrize("leave", [_by_scope, _by_timeout])
async def test_the_peer_sees_at_once_that_a_reader_was_cancelled(served: Serve, leave: Any) -> None:
    handler = Served(SSE_HEAD + event("a"))
    async with served(handler) as (client, _server), client.stream_chat(MODEL, "hi") as stream:
        await stream.__anext__()
        await leave(stream.final)
        with anyio.fail_after(1):
            await handler.left.wait()
        with pytest.raises(UsageError, match="cancelled"):
            await stream.final()


async def test_the_peer_sees_at_once_that_a_stream_was_left(served: Serve) -> None:
    handler = Served(SSE_HEAD + event("a"))
    async with served(handler) as (client, _server):
        async with client.stream_chat(MODEL, "hi") as stream:
            await stream.__anext__()
        with anyio.fail_after(1):
            await handler.left.wait()


async def test_a_reader_that_is_cancelled_while_the_first_content_is_awaited_leaves_nothing(served: Serve) -> None:
    handler = Served(SSE_HEAD + event())
    async with served(handler) as (client, _server):
        with anyio.move_on_after(0.1) as scope:
            async with client.stream_chat(MODEL, "hi"):
                pass
        assert scope.cancelled_caught
        with anyio.fail_after(1):
            await handler.left.wait()


async def test_a_slow_reader_stops_the_peer_instead_of_filling_memory(served: Serve) -> None:
    sent = 0

    async def flood(stream: ByteStream) -> None:
        nonlocal sent
        from anyio.abc import SocketAttribute

        raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - no database here
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        await stream.send(SSE_HEAD)
        piece = event("x" * 100_000)
        while True:
            await stream.send(piece)
            sent += len(piece)

    async with served(Served(flood)) as (client, _server), client.stream_chat(MODEL, "hi") as stream:
        await stream.__anext__()
        before = -1
        while before != sent:
            before = sent
            await anyio.sleep(0.1)
        assert sent < 20_000_000
        for _ in range(50):
            await stream.__anext__()


async def test_a_json_answer_where_a_stream_was_asked_for_is_one_all_the_same(served: Serve) -> None:
    async with served(Served(answer())) as (client, _server), client.stream_chat(MODEL, "hi") as stream:
        assert await rest(stream) == ["hello"]
        assert (await stream.final()).text == "hello"
