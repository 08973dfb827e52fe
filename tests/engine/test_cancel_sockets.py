"""Cancellation over real sockets, where the worker waits at other points than its caller."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from contextlib import asynccontextmanager, contextmanager, suppress
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from bifrost.testing import RawServer, leak_check
from tests.engine.peers import DONE, END, MODEL, SSE_HEAD, answer, client_of, event, read_request, until_left
from tests.engine.rig import is_quiet, until
from tests.plugins.recorder import Recorder, assert_paired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from anyio.abc import ByteStream

    from bifrost import Bifrost

pytestmark = pytest.mark.anyio


@pytest.fixture
async def slow_peer() -> AsyncIterator[RawServer]:
    """Answer piece by piece, with a turn of the loop between the pieces."""

    async def serve(stream: ByteStream) -> None:
        while True:
            _, body = await read_request(stream)
            if b'"stream":true' in body.replace(b" ", b""):
                pieces = [SSE_HEAD, event("go"), event("od"), event(finish="stop"), DONE, END]
            else:
                whole = answer()
                pieces = [whole[start : start + 100] for start in range(0, len(whole), 100)]
            for piece in pieces:
                await stream.send(piece)
                await anyio.lowlevel.checkpoint()

    async with RawServer(serve) as server:
        yield server


@pytest.mark.parametrize("call", ["plain", "stream"])
async def test_a_call_may_be_cancelled_after_any_number_of_turns_of_the_loop(call: str, slow_peer: RawServer) -> None:
    log: list[str] = []
    async with (
        leak_check(),
        client_of(slow_peer.url, plugins=[Recorder(log, waits=True)], concurrency=1) as client,
    ):
        finished: list[bool] = []

        async def plain() -> None:
            assert (await client.chat(MODEL, "hi")).text == "hello"
            finished.append(True)

        async def stream() -> None:
            async with client.stream_chat(MODEL, "hi") as stream:
                assert (await stream.final()).text == "good"
            finished.append(True)

        turns = 0
        while not finished or turns < 40:
            del log[:]
            async with anyio.create_task_group() as group:
                group.start_soon(plain if call == "plain" else stream)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            await until(lambda: is_quiet(client))
            assert_paired(log)
            turns += 1 + turns // 20
        assert (await client.chat(MODEL, "hi")).text == "hello"
    with anyio.fail_after(5):
        await slow_peer.all_closed()


async def all_good(client: Bifrost, count: int) -> None:
    """Make so many calls at once; every one must be answered."""
    answers: list[str] = []

    async def call() -> None:
        answers.append((await client.chat(MODEL, "now")).text)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(call)
    assert answers == ["hello"] * count


async def cut_off(work: Callable[[], Coroutine[Any, Any, None]], *, seconds: float, style: str) -> None:
    """Give work so long, and cancel it then."""
    if style == "scope":
        with anyio.move_on_after(seconds):
            await work()
    elif style == "wait_for":
        with suppress(TimeoutError):
            await asyncio.wait_for(work(), seconds)
    else:
        task = asyncio.create_task(work())
        asyncio.get_running_loop().call_later(seconds, task.cancel)
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def styles(anyio_backend: str) -> list[str]:
    return ["scope", "wait_for", "task"] if anyio_backend == "asyncio" else ["scope"]


# --- a storm


async def test_a_storm_of_cancellations_costs_no_place(slow_peer: RawServer, styles: list[str]) -> None:
    async with leak_check(), client_of(slow_peer.url, concurrency=10, queue=5) as client:
        random = Random(1)
        end = anyio.current_time() + 1.5
        came_through: list[bool] = []

        async def plain() -> None:
            came_through.append((await client.chat(MODEL, "hi")).text == "hello")

        async def stream() -> None:
            async with client.stream_chat(MODEL, "hi") as stream:
                came_through.append((await stream.final()).text == "good")

        async def caller() -> None:
            while anyio.current_time() < end:
                work = plain if random.random() < 0.5 else stream
                await cut_off(work, seconds=random.random() * 0.06, style=random.choice(styles))

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(caller)
        assert all(came_through)
        await until(lambda: is_quiet(client))
        await all_good(client, 100)
        await until(lambda: is_quiet(client))
    with anyio.fail_after(5):
        await slow_peer.all_closed()


# --- at every stage of an exchange


@contextmanager
def deaf_peer() -> Iterator[str]:
    """Take connections (the system does) and never read from them; give host and port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def _moody(stream: ByteStream) -> None:
    """Answer as the prompt says: at once, after the head, or never."""
    while True:
        _, body = await read_request(stream)
        whole = answer()
        if b"late head" in body:
            await until_left(stream)
        if b"late body" in body:
            await stream.send(whole[:-10])
            await until_left(stream)
        if b"late stream" in body:
            await stream.send(SSE_HEAD + event("a"))
            await until_left(stream)
        await stream.send(whole)


@asynccontextmanager
async def three_clients() -> AsyncIterator[tuple[Bifrost, Bifrost, Bifrost]]:
    """Give clients of a moody peer, of one that answers no TLS handshake, and of one that reads no request."""
    with deaf_peer() as deaf:
        async with (
            RawServer(_moody) as moody,
            client_of(moody.url) as talking,
            client_of(f"https://{deaf}") as shaking,
            client_of(f"http://{deaf}") as uploading,
        ):
            yield talking, shaking, uploading


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - their number is all


async def test_random_cancellations_at_every_stage_leave_no_descriptor_behind(styles: list[str]) -> None:
    random = Random(2)
    big = "x" * 8 * 1024 * 1024
    async with leak_check(), three_clients() as (talking, shaking, uploading):

        async def ask(client: Bifrost, prompt: str) -> None:
            await client.chat(MODEL, prompt)

        async def stream() -> None:
            async with talking.stream_chat(MODEL, "late stream") as open_stream:
                await open_stream.final()

        stages: list[Callable[[], Coroutine[Any, Any, None]]] = [
            lambda: ask(shaking, "hi"),
            lambda: ask(uploading, big),
            lambda: ask(talking, "late head"),
            lambda: ask(talking, "late body"),
            lambda: ask(talking, "now"),
            stream,
        ]
        await all_good(talking, 1)
        gc.collect()
        before = descriptors()
        gc.disable()  # what is freed must not need it
        try:
            for start in range(0, 200, 8):
                async with anyio.create_task_group() as group:
                    for number in range(start, start + 8):
                        work, seconds = stages[number % len(stages)], random.random() * 0.04
                        group.start_soon(lambda w=work, s=seconds: cut_off(w, seconds=s, style=random.choice(styles)))
            clients = (talking, shaking, uploading)
            await until(lambda: all(is_quiet(client) for client in clients))
            # What is left is idle connections, and the peer's ends of them.
            idle = sum(_idle(client) for client in clients)
            await until(lambda: descriptors() <= before + 2 * idle)
            await all_good(talking, 40)
        finally:
            gc.enable()


def _idle(client: Bifrost) -> int:
    running = client._engine._running
    return 0 if running is None else sum(u.connections.idle for u in running.upstreams._upstreams.values())
