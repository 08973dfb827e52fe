"""One behaviour over every transport: what the provider received, and what became of what it sent."""

from __future__ import annotations

import gzip
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import (
    AuthenticationError,
    BadRequestError,
    BifrostError,
    CallTimeoutError,
    ConfigError,
    MalformedResponseError,
    RateLimitError,
    ResponseTooLargeError,
    RetryConfig,
    ServerError,
    StreamInterruptedError,
    Timeouts,
    TransportError,
)
from bifrost.config import ConnectionConfig, SizeLimits
from tests.canary import assert_unseen, shown_by, walked
from tests.conformance.provider import BEGUN, REST, WHOLE, Received, Reply, good, key_of
from tests.conformance.transports import MODELS, client_logs, key_for, staged
from tests.engine.rig import until

if TYPE_CHECKING:
    from tests.conformance.transports import Route
    from tests.plugins.recorder import Kind

pytestmark = pytest.mark.anyio


def packed(received: Received, pack: Any, coding: str) -> Reply:
    """Return the right answer, packed."""
    right = good(received)
    return Reply(
        body=pack(right.body), kind=right.kind, length=right.length, headers=(("content-encoding", coding.encode()),)
    )


# --- what the provider receives


async def test_the_request_arrives_with_the_key_in_its_header(route: Route, dialect: str, kind: Kind) -> None:
    async with staged(route) as scene:
        reply = await scene.ask(dialect, kind)
        assert reply.text == "hello"
        (received,) = scene.journal
    path, header, other = {
        "openai": ("/v1/chat/completions", "authorization", "x-api-key"),
        "anthropic": ("/v1/messages", "x-api-key", "authorization"),
    }[dialect]
    assert (received.method, received.path) == ("POST", path)
    assert received.headers[header] == {"openai": "Bearer "}.get(dialect, "") + key_for(dialect)
    assert other not in received.headers
    assert received.headers["content-type"] == "application/json"
    assert received.headers["host"].startswith("127.0.0.1:")
    assert received.headers["user-agent"].startswith("bifrost-llm/")
    assert received.headers["accept-encoding"] == "identity"
    assert int(received.headers["content-length"]) == len(received.body)
    assert not {"cookie", "proxy-authorization", "proxy-connection"} & received.headers.keys()
    assert (received.json["model"], received.is_stream) == ("m", kind == "stream")
    assert received.json["messages"][0]["role"] == "user"


async def test_a_request_without_a_body_arrives(route: Route, dialect: str) -> None:
    async with staged(route) as scene:
        found = await scene.client.list_models(dialect)
        assert [model.id for model in found.data] == ["m"]
        (received,) = scene.journal
    assert (received.method, received.path.partition("?")[0], received.body) == ("GET", "/v1/models", b"")
    assert key_of(received) == key_for(dialect)
    assert "content-length" not in received.headers


async def test_headers_of_the_caller_arrive(route: Route, dialect: str) -> None:
    async with staged(route, extra_headers={"X-Team": "search"}) as scene:
        await scene.ask(dialect, extra_headers={"x-call": "a b"})
        (received,) = scene.journal
    assert (received.headers["x-team"], received.headers["x-call"]) == ("search", "a b")
    assert key_of(received) == key_for(dialect)


@pytest.mark.parametrize("size", [16_000, 1_000_000])
async def test_bodies_of_any_size_arrive_and_come_back_whole(route: Route, size: int) -> None:
    prompt = "".join(chr(32 + number % 90) for number in range(size))

    def echo(received: Received) -> Reply:
        said = received.body.partition(b'"content":')[2].partition(b"}]")[0]
        return Reply(body=WHOLE["openai"].replace(b'"hello"', said))

    async with staged(route, echo) as scene:
        assert (await scene.ask("openai", prompt=prompt)).text == prompt


async def test_calls_at_once_get_each_their_own_answer(route: Route) -> None:
    def echo(received: Received) -> Reply:
        said = received.json["messages"][0]["content"].encode()
        return Reply(body=WHOLE["openai"].replace(b"hello", said))

    async with staged(route, echo) as scene:

        async def call(number: int) -> None:
            assert (await scene.ask("openai", prompt=f"number {number}")).text == f"number {number}"

        async with anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(call, number)
        assert {key_of(received) for received in scene.journal} == {key_for("openai")}


async def test_calls_in_turn_use_one_connection(route: Route, dialect: str) -> None:
    async with staged(route) as scene:
        for number in range(6):
            await scene.ask(dialect, ("plain", "stream")[number % 2])
            await scene.quiet()
        assert {received.connection for received in scene.journal} == {1}


# --- answers


async def test_a_header_byte_above_0x7f_breaks_no_answer(route: Route, dialect: str, kind: Kind) -> None:
    odd = (("x-odd", b"caf\xe9 \xff\x80"), ("x-request-id", b"r\xe9q-1"), ("request-id", b"r\xe9q-1"))
    async with staged(route, lambda received: good(received, headers=odd)) as scene:
        reply = await scene.ask(dialect, kind)
    assert (reply.text, reply.request_id, reply.attempts[0].category) == ("hello", "réq-1", None)


async def test_interim_answers_are_passed_over(route: Route, kind: Kind) -> None:
    async with staged(route, lambda received: good(received, interim=3)) as scene:
        assert (await scene.ask("openai", kind)).text == "hello"


async def test_packed_answers_are_unpacked(route: Route, dialect: str, kind: Kind) -> None:
    packers: list[tuple[str, Any]] = [("gzip", gzip.compress), ("deflate", zlib.compress)]
    scripts = [partial(packed, pack=pack, coding=coding) for coding, pack in packers]
    async with staged(route, *scripts) as scene:
        for _ in scripts:
            assert (await scene.ask(dialect, kind)).text == "hello"


async def test_a_packed_answer_that_grows_too_fast_is_refused(route: Route, kind: Kind) -> None:
    bomb = gzip.compress(b": c\n\n" * 600_000 if kind == "stream" else b" " * 3_000_000)
    content = "text/event-stream" if kind == "stream" else "application/json"
    reply = Reply(body=bomb, kind=content, length=kind == "plain", headers=(("content-encoding", b"gzip"),))
    async with staged(route, reply, good) as scene:
        with pytest.raises(ResponseTooLargeError, match="more than 100 times its size"):
            await scene.ask("openai", kind)
        assert (await scene.ask("openai", kind)).text == "hello"


async def test_an_answer_above_the_limit_is_refused_and_the_next_call_goes_on(route: Route, dialect: str) -> None:
    large = Reply(body=b" " * 100_000 + WHOLE[dialect], length=False)
    async with staged(route, large, good, size_limits=SizeLimits(body=50_000)) as scene:
        with pytest.raises(ResponseTooLargeError, match="50,000"):
            await scene.ask(dialect)
        assert (await scene.ask(dialect)).text == "hello"
        assert len(scene.journal) == 2


async def test_an_answer_that_announces_too_much_is_not_read(route: Route, kind: Kind) -> None:
    content = "text/event-stream" if kind == "stream" else "application/json"
    reply = Reply(body=b"{", announced=50_001, kind=content, ends="hang")
    async with staged(route, reply, good, size_limits=SizeLimits(body=50_000, stream=50_000)) as scene:
        with pytest.raises(ResponseTooLargeError, match="50,000"):
            await scene.ask("openai", kind)
        with anyio.fail_after(10):
            await scene.journal[0].left.wait()
        assert (await scene.ask("openai", kind)).text == "hello"


async def test_too_large_an_event_ends_the_stream(route: Route) -> None:
    reply = Reply(
        body=BEGUN["openai"] + b"data: " + b"x" * 100_000, kind="text/event-stream", length=False, ends="hang"
    )
    async with staged(route, reply, size_limits=SizeLimits(event=20_000)) as scene:
        with pytest.raises(StreamInterruptedError, match="20,000") as caught:
            await scene.ask("openai", "stream")
        assert caught.value.partial is not None
        assert caught.value.partial.text == "hel"


async def test_an_answer_that_is_cut_is_no_answer(route: Route, dialect: str) -> None:
    async with staged(route, Reply(body=WHOLE[dialect], ends="cut"), good) as scene:
        with pytest.raises((TransportError, MalformedResponseError)):
            await scene.ask(dialect)
        assert (await scene.ask(dialect)).text == "hello"


async def test_a_stream_that_is_cut_gives_what_came(route: Route, dialect: str) -> None:
    reply = Reply(body=BEGUN[dialect], kind="text/event-stream", length=False, ends="cut")
    async with staged(route, reply, good) as scene:
        with pytest.raises(StreamInterruptedError) as caught:
            await scene.ask(dialect, "stream")
        assert caught.value.partial is not None
        assert caught.value.partial.text == "hel"
        assert (await scene.ask(dialect, "stream")).text == "hello"


# --- errors


def refused(dialect: str) -> Reply:
    """Return a refusal that repeats the key wherever it can."""
    own = key_for(dialect).encode()
    body = b'{"error": {"message": "no key %b here", "type": "authentication_error"}}' % own
    echo = (("x-request-id", own), ("request-id", own), ("www-authenticate", own))
    return Reply(status=401, body=body, headers=echo)


async def test_a_refused_key_is_told_and_shown_nowhere(route: Route, dialect: str, kind: Kind) -> None:
    with client_logs() as log:
        async with staged(route, refused(dialect)) as scene:
            with pytest.raises(AuthenticationError) as caught:
                await scene.ask(dialect, kind)
            assert [key_of(received) == key_for(dialect) for received in scene.journal] == [True]
            error, client = caught.value, scene.client
            assert_unseen(*shown_by(error), *walked(client), repr(client), str(client.stats()))
    assert_unseen(*log.lines)


async def test_a_good_answer_that_echoes_the_key_shows_it_in_no_log(route: Route, dialect: str, kind: Kind) -> None:
    def echo(received: Received) -> Reply:
        own = key_for(dialect).encode()
        return good(received, headers=(("x-echo", own), ("set-cookie", own)))

    with client_logs() as log:
        async with staged(route, echo) as scene:
            assert (await scene.ask(dialect, kind)).text == "hello"
            await scene.ask(dialect, kind)
            assert "cookie" not in scene.journal[-1].headers
    assert_unseen(*log.lines)


async def test_a_limit_and_a_failure_are_tried_again(route: Route, dialect: str, kind: Kind) -> None:
    limited = Reply(status=429, body=b'{"error": {"message": "slow"}}', headers=(("retry-after", b"1"),))
    broken = Reply(status=500, body=b"<html>oops</html>", kind="text/html")
    async with staged(route, limited, broken, good, retry=RetryConfig(max_retries=2)) as scene:
        reply = await scene.ask(dialect, kind)
        assert (reply.text, [attempt.status for attempt in reply.attempts]) == ("hello", [429, 500, 200])
        assert [key_of(received) for received in scene.journal] == [key_for(dialect)] * 3


async def test_statuses_are_told(route: Route, kind: Kind) -> None:
    expected = {400: BadRequestError, 503: ServerError, 429: RateLimitError}
    scripts = [Reply(status=status, body=b'{"error": {"message": "so it is"}}') for status in expected]
    async with staged(route, *scripts) as scene:
        for status, kind_of_error in expected.items():
            with pytest.raises(kind_of_error, match="so it is") as caught:
                await scene.ask("openai", kind)
            assert caught.value.status == status
        assert len(scene.journal) == len(expected)


async def test_a_redirect_is_not_followed(route: Route, kind: Kind) -> None:
    async with staged(route, Reply(status=307, headers=(("location", b"http://127.0.0.1:1/"),))) as scene:
        with pytest.raises(ConfigError):
            await scene.ask("openai", kind)
        assert len(scene.journal) == 1


async def test_a_certificate_of_nobody_known_is_refused(route: Route, dialect: str) -> None:
    if not route.tls or route.brings_ca:
        # There is no certificate, or what is given trusts whom it wants.
        async with staged(route, trusts=False) as scene:
            assert (await scene.ask(dialect)).text == "hello"
        return
    async with staged(route, trusts=False) as scene:
        with pytest.raises(ConfigError, match="certificate"):
            await scene.ask(dialect)
        assert scene.journal == []


# --- early answers


@pytest.mark.parametrize("status", [413, 401])
async def test_an_early_answer_ends_the_upload(route: Route, kind: Kind, status: int) -> None:
    reply = Reply(status=status, body=b'{"error": {"message": "too large"}}', early=True)
    size = 6_000_000
    async with staged(route, reply) as scene:
        with pytest.raises(BifrostError) as caught:
            await scene.ask("openai", kind, prompt="x" * size)
        if route.reads_early:
            assert isinstance(caught.value, BadRequestError if status == 413 else AuthenticationError)
            assert caught.value.status == status
            assert "too large" in caught.value.message
        else:
            # httpx reads nothing while it writes, and the end of the connection takes along what was not read.
            assert isinstance(caught.value, (BadRequestError, AuthenticationError, TransportError))
        assert len(scene.journal) == 1
        assert len(scene.journal[0].body) < size


# --- leaving, and being left


async def test_a_cancelled_call_is_broken_off(route: Route, dialect: str) -> None:
    async with staged(route, Reply(ends="silent"), good) as scene:
        async with anyio.create_task_group() as group:
            group.start_soon(scene.ask, dialect)
            await until(lambda: scene.journal)
            group.cancel_scope.cancel()
        with anyio.fail_after(10):
            await scene.journal[0].left.wait()
        assert (await scene.ask(dialect)).text == "hello"


async def test_a_stream_that_is_left_is_broken_off(route: Route, dialect: str) -> None:
    reply = Reply(body=BEGUN[dialect], kind="text/event-stream", length=False, ends="hang")
    async with staged(route, reply, good) as scene:
        async with scene.client.stream_chat(MODELS[dialect], "hi") as stream:
            assert await stream.text_stream.__anext__() == "hel"
        with anyio.fail_after(10):
            await scene.journal[0].left.wait()
        assert (await scene.ask(dialect, "stream")).text == "hello"


async def test_a_call_whose_time_is_over_is_broken_off(route: Route, kind: Kind) -> None:
    async with staged(route, good, Reply(ends="silent"), good) as scene:
        await scene.ask("openai", kind)
        with pytest.raises(CallTimeoutError):
            await scene.ask("openai", kind, timeout=0.3)
        with anyio.fail_after(10):
            await scene.journal[1].left.wait()
        assert (await scene.ask("openai", kind)).text == "hello"


async def test_a_stream_without_its_first_token_is_broken_off(route: Route) -> None:
    reply = Reply(body=b": wait\n\n", kind="text/event-stream", length=False, ends="hang")
    async with staged(route, good, reply, good, timeouts=Timeouts(first_token=0.3)) as scene:
        await scene.ask("openai", "stream")
        with pytest.raises(CallTimeoutError) as caught:
            await scene.ask("openai", "stream")
        assert caught.value.phase == "first_token"
        with anyio.fail_after(10):
            await scene.journal[1].left.wait()


async def test_an_idle_connection_that_the_provider_closes_harms_no_call(route: Route, dialect: str) -> None:
    async with staged(route, lambda received: good(received, ends="close")) as scene:
        for number in range(4):
            reply = await scene.ask(dialect, ("plain", "stream")[number % 2], max_retries=0)
            assert reply.text == "hello"
            await scene.quiet()
            with anyio.fail_after(10):
                await scene.server.all_closed()
        assert len(scene.journal) == 4


async def test_an_idle_connection_is_closed_in_time(route: Route) -> None:
    async with staged(route, connections=ConnectionConfig(idle=0.05)) as scene:
        await scene.ask("openai")
        await scene.quiet()
        await anyio.sleep(0.1)
        assert (await scene.ask("openai")).text == "hello"
        # A pool that is not ours keeps its connections as it likes.
        assert scene.provider.connections == (1 if scene.route.pools else 2)


async def test_what_follows_the_first_word_is_read_as_it_comes(route: Route, dialect: str) -> None:
    async with staged(route) as scene, scene.client.stream_chat(MODELS[dialect], "hi") as stream:
        assert [text async for text in stream.text_stream] == ["hel", "lo"]
        assert REST[dialect]
