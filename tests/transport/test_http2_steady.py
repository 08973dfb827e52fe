"""HTTP/2 in everyday trouble: readers that rest, peers that leave, answers that are odd, connections that fall silent.

Everything is asked through the public client, over TLS, of a peer that speaks HTTP/2 by itself.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from bifrost.config import BreakerConfig, NetworkConfig, RetryConfig
from bifrost.errors import BifrostError, CallTimeoutError
from bifrost.testing import RawServer, leak_check
from tests.engine.peers import CHAT, MODEL, Authority, client_of
from tests.engine.rig import is_quiet, until
from tests.transport.http2_peer import Http2Server, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bifrost import Bifrost

pytestmark = pytest.mark.anyio

EVENT = (
    b'data: {"id":"c","object":"chat.completion.chunk","model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
)
END = (
    b'data: {"id":"c","object":"chat.completion.chunk","model":"m",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@asynccontextmanager
async def client_on(server: Http2Server, authority: Authority, **config: Any) -> AsyncIterator[Bifrost]:
    network = NetworkConfig(http2=True, ca=authority.pem, streams_per_connection=config.pop("streams", 100))
    context = authority.context()
    context.set_alpn_protocols(["h2"])
    async with (
        leak_check(),
        RawServer(server, ssl_context=context) as there,
        client_of(there.url, network=network, **config) as client,
    ):
        yield client
        await until(lambda: is_quiet(client))


async def stream_of(request: Request, size: int) -> None:
    """Answer with a stream of so many bytes and more, as far as the windows allow."""
    request.peer.h2.send_headers(request.id, [(":status", "200"), ("content-type", "text/event-stream")])
    await request.peer.flush()
    event = EVENT % (b"x" * 8000)
    for _ in range(size // len(event) + 1):
        while request.peer.h2.local_flow_control_window(request.id) < len(event):  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.02)
        await request.data(event)
    await request.data(END, end=True)


def assert_unharmed(client: Bifrost) -> None:
    """Nothing was paid for a retry, and no failure was counted."""
    stats = client.stats().providers["openai"]
    assert stats.budget is not None
    assert stats.budget.left == stats.budget.capacity
    assert not any(breaker.failures for breaker in stats.breakers or [])


def wants_stream(request: Request) -> bool:
    return b'"stream":true' in request.body


# --- readers that rest


@pytest.mark.parametrize("resting", [1, pytest.param(17, marks=pytest.mark.wide), 90])
async def test_streams_whose_readers_rest_hold_up_nobody(resting: int, authority: Authority) -> None:
    async def respond(request: Request) -> None:
        await (stream_of(request, 3_000_000) if wants_stream(request) else request.answer())

    server = Http2Server(respond)
    with anyio.fail_after(60):
        async with client_on(server, authority) as client, AsyncExitStack() as open_streams:
            for _ in range(resting):
                stream = await open_streams.enter_async_context(client.stream_chat(MODEL, "hi"))
                await anext(stream.text_stream)
            for _ in range(3):
                assert (await client.chat(MODEL, "hi", timeout=20)).text == "hello"
            assert len(server.peers) == 1
            # A ping goes on, too.
            server.peers[0].h2.ping(b"anyone??")
            await server.peers[0].flush()
            await until(lambda: server.pongs == 1)


async def test_a_stream_that_rested_is_read_to_its_end(authority: Authority) -> None:
    async def respond(request: Request) -> None:
        await stream_of(request, 2_500_000)

    with anyio.fail_after(60):
        async with client_on(Http2Server(respond), authority) as client:
            async with client.stream_chat(MODEL, "hi") as stream:
                await anext(stream.text_stream)
                await anyio.sleep(0.2)
                reply = await stream.final()
            assert len(reply.text) >= 2_400_000


# --- peers that leave


async def farewell(request: Request) -> None:
    """Say that nothing of what came was looked at, and close."""
    await request.peer.send(bytes([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))


async def refusal(request: Request) -> None:
    await request.refuse()


@pytest.mark.parametrize("leave", [farewell, refusal], ids=["farewell", "refusal"])
@pytest.mark.parametrize("calls", [1, 5, 50])
async def test_what_a_peer_has_not_looked_at_is_made_again_at_once_and_free(
    leave: Any, calls: int, authority: Authority
) -> None:
    async def respond(request: Request) -> None:
        first = server.peers[0] is request.peer and len(server.seen) > 1
        await (leave(request) if first else request.answer())

    server = Http2Server(respond)
    with anyio.fail_after(30):
        async with client_on(server, authority, retry=RetryConfig(max_retries=0)) as client:
            await client.chat(MODEL, "hi")
            replies: list[Any] = []

            async def ask() -> None:
                replies.append(await client.chat(MODEL, "hi"))

            async with anyio.create_task_group() as group:
                for _ in range(calls):
                    group.start_soon(ask)
            assert [reply.text for reply in replies] == ["hello"] * calls
            assert_unharmed(client)


@pytest.mark.parametrize("calls", [1, 5, 50])
async def test_an_idle_connection_that_was_closed_costs_nothing(calls: int, authority: Authority) -> None:
    server = Http2Server()
    with anyio.fail_after(30):
        async with client_on(server, authority, retry=RetryConfig(max_retries=0)) as client:
            async with anyio.create_task_group() as group:
                for _ in range(calls):
                    group.start_soon(client.chat, MODEL, "hi")
            await server.peers[0].stream.aclose()
            answers: list[str] = []

            async def ask() -> None:
                answers.append((await client.chat(MODEL, "hi")).text)

            async with anyio.create_task_group() as group:
                for _ in range(calls):
                    group.start_soon(ask)
            assert answers == ["hello"] * calls
            assert_unharmed(client)


async def test_what_ends_a_connection_that_has_served_says_nothing_of_the_providers_health(
    authority: Authority,
) -> None:
    async def respond(request: Request) -> None:
        if len(server.seen) == 1 or len(server.peers) > 1:
            await request.answer()
        elif len(server.seen) == 41:
            # After more than a second a request may have been worked on.
            await anyio.sleep(1.1)
            await request.peer.stream.aclose()

    server = Http2Server(respond)
    with anyio.fail_after(30):
        async with client_on(
            server, authority, retry=RetryConfig(max_retries=1), breaker=BreakerConfig(in_a_row=2, calls=5)
        ) as client:
            await client.chat(MODEL, "hi")
            replies: list[Any] = []

            async def ask() -> None:
                replies.append(await client.chat(MODEL, "hi"))

            async with anyio.create_task_group() as group:
                for _ in range(40):
                    group.start_soon(ask)
            assert [reply.text for reply in replies] == ["hello"] * 40
            assert {attempt.category for reply in replies for attempt in reply.attempts} == {"lost", None}
            assert all(breaker.state == "closed" for breaker in client.stats().providers["openai"].breakers or [])


async def test_a_connection_that_fell_silent_takes_no_more(authority: Authority) -> None:
    async def respond(request: Request) -> None:
        if request.peer is server.peers[0] and len(server.seen) > 1:
            # From here on it neither reads nor writes.
            await anyio.sleep_forever()
        await request.answer()

    server = Http2Server(respond)
    with anyio.fail_after(30):
        async with client_on(server, authority, retry=RetryConfig(max_retries=0)) as client:
            await client.chat(MODEL, "hi")
            server.peers[0].is_deaf = True
            with pytest.raises(CallTimeoutError):
                await client.chat(MODEL, "hi", timeout=0.5)
            await until(lambda: is_quiet(client))
            for _ in range(3):
                assert (await client.chat(MODEL, "hi", timeout=5)).text == "hello"
            assert len(server.peers) == 2


# --- answers that are odd


async def no_status(request: Request) -> None:
    await request.raw_head([(b":status", b"abc")])
    await request.data(CHAT, end=True)


async def wrong_length(request: Request) -> None:
    await request.raw_head([(b":status", b"200"), (b"content-length", b"7")])
    await request.data(CHAT, end=True)


async def malformed_length(request: Request) -> None:
    await request.raw_head([(b":status", b"200"), (b"content-length", b"0x7")])
    await request.data(CHAT, end=True)


async def two_heads(request: Request) -> None:
    await request.raw_head([(b":status", b"200")])
    await request.raw_head([(b":status", b"200")])


async def huge_head(request: Request) -> None:
    await request.raw_head([(b":status", b"200"), *((b"x-%d" % number, b"y" * 900) for number in range(100))])


async def no_head(request: Request) -> None:
    await request.raw_head([(b"x", b"y")])


ODD = [no_status, wrong_length, malformed_length, two_heads, huge_head, no_head]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.__name__)
async def test_an_odd_answer_ends_its_own_stream_alone(odd: Any, authority: Authority) -> None:
    other_may_end = anyio.Event()

    async def respond(request: Request) -> None:
        if b"odd" in request.body:
            await odd(request)
        else:
            await other_may_end.wait()
            await request.answer()

    server = Http2Server(respond)
    with anyio.fail_after(20):
        async with client_on(server, authority, retry=RetryConfig(max_retries=0)) as client:
            answers: list[str] = []

            async def ask() -> None:
                answers.append((await client.chat(MODEL, "hi")).text)

            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(ask)
                await until(lambda: len(server.seen) == 3)
                with pytest.raises(BifrostError):
                    await client.chat(MODEL, "odd", timeout=5)
                other_may_end.set()
            assert answers == ["hello"] * 3
            assert (await client.chat(MODEL, "hi")).text == "hello"
            assert len(server.peers) == 1


# --- everything at once


async def test_nothing_is_lost_or_doubled_under_resets_cancels_and_readers_that_rest(authority: Authority) -> None:
    random = Random(7)
    seen: dict[bytes, int] = {}

    async def respond(request: Request) -> None:
        number = request.body.split(b"number ")[1].split(b" ")[0]
        seen[number] = seen.get(number, 0) + 1
        await anyio.sleep(random.random() * 0.02)
        if wants_stream(request):
            await stream_of(request, 200_000)
        elif random.random() < 0.1 and seen[number] == 1:
            await request.refuse()
        else:
            await request.answer(CHAT.replace(b"hello", b"number " + number))

    server = Http2Server(respond)
    right = 0
    with anyio.fail_after(60):
        async with client_on(server, authority, streams=100, concurrency=200) as client:

            async def ask(number: int) -> None:
                nonlocal right
                match number % 4:
                    case 0:
                        with anyio.move_on_after(random.random() * 0.02):
                            await client.chat(MODEL, f"number {number} ")
                    case 1:
                        async with client.stream_chat(MODEL, f"number {number} ") as stream:
                            await anext(stream.text_stream)
                            await anyio.sleep(random.random() * 0.05)
                    case _:
                        reply = await client.chat(MODEL, f"number {number} ")
                        right += reply.text == f"number {number}"

            async with anyio.create_task_group() as group:
                for number in range(200):
                    group.start_soon(ask, number)
    assert right == 100
    plain = [count for number, count in seen.items() if int(number) % 4 > 1]
    assert max(plain) <= 2
