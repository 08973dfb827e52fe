"""Attempts over real sockets: which connection carries them, what is read of an answer, and what nobody gets to see."""

from __future__ import annotations

import gzip
import socket
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import attrs
import pytest

from bifrost import (
    BadRequestError,
    Bifrost,
    BifrostError,
    CallTimeoutError,
    ConfigError,
    InternalError,
    MalformedResponseError,
    ProtocolError,
    ProviderConfig,
    ResponseTooLargeError,
    RetryConfig,
    StaticAccount,
    TransportError,
)
from bifrost.config import ConnectionConfig, SizeLimits
from bifrost.providers.catalog import CATALOG
from bifrost.testing import RawServer, leak_check
from bifrost.transport import ConnectionBase, Transport
from tests.canary import CANARY, assert_unseen, listening, shown_by
from tests.engine.peers import (
    CHAT,
    MODEL,
    SSE_HEAD,
    Authority,
    Served,
    account_of,
    answer,
    client_of,
    event,
    read_request,
    running,
    until_left,
)
from tests.engine.rig import is_quiet, until
from tests.plugins.recorder import KINDS, Kind, ask
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio

RETRIES = RetryConfig(max_retries=2)


@asynccontextmanager
async def _served(handler: Any, *, ssl_context: Any = None, **config: Any) -> AsyncIterator[tuple[Bifrost, RawServer]]:
    """Give a client and its server; at the end the client is quiet and nothing is left."""
    async with leak_check(), RawServer(handler, ssl_context=ssl_context) as server:
        async with client_of(server.url, key=CANARY, **config) as client:
            yield client, server
            await until(lambda: is_quiet(client))
        with anyio.fail_after(5):
            await server.all_closed()


Serve: TypeAlias = "Callable[..., AbstractAsyncContextManager[tuple[Bifrost, RawServer]]]"


@pytest.fixture
def served() -> Serve:
    """Return what gives a client and its server."""
    return _served


# --- which connection


async def test_one_connection_carries_one_call_after_the_other(served: Serve) -> None:
    async with served(Served(answer())) as (client, server):
        replies = [await client.chat(MODEL, "hi") for _ in range(5)]
        assert server.connections.opened == 1
    assert all(reply.text == "hello" for reply in replies)


async def test_the_time_of_connecting_is_told_by_the_call_that_connected(served: Serve) -> None:
    async with served(Served(answer())) as (client, _server):
        replies = [await client.chat(MODEL, "hi") for _ in range(3)]
    assert [reply.attempts[0].connect is None for reply in replies] == [False, True, True]


async def test_after_a_burst_calls_go_on_over_the_warmest_connection(served: Serve) -> None:
    together = anyio.Event()

    async def wait_for_all(stream: ByteStream) -> None:
        if len(handler.heads) >= 5:
            together.set()
        await together.wait()
        await stream.send(answer())

    handler = Served(wait_for_all)
    async with served(handler) as (client, server):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(client.chat, MODEL, "hi")
        assert server.connections.opened == 5
        for _ in range(5):
            await client.chat(MODEL, "hi")
        (upstream,) = running(client).upstreams._upstreams.values()
        (stack,) = upstream.connections._stacks.values()
        assert sorted(kept.requests for kept in stack) == [1, 1, 1, 1, 6]


async def test_a_connection_that_was_closed_while_idle_is_not_used(served: Serve) -> None:
    async with served(Served(answer(), close=True)) as (client, server):
        await client.chat(MODEL, "hi")
        await until(lambda: server.connections.open == 0)
        reply = await client.chat(MODEL, "hi")
        assert server.connections.opened == 2
    assert [attempt.category for attempt in reply.attempts] == [None]


async def test_a_connection_that_closes_as_it_is_used_again_costs_no_attempt(served: Serve) -> None:
    async def close(stream: ByteStream) -> None:
        await stream.aclose()

    handler = Served(answer(), close, answer())
    async with served(handler) as (client, server):
        await client.chat(MODEL, "hi")
        reply = await client.chat(MODEL, "hi")
        assert server.connections.opened == 2
    assert reply.text == "hello"
    assert [attempt.category for attempt in reply.attempts] == ["stale", None]


@pytest.mark.parametrize(
    "begins",
    [
        b"GARBAGE\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 21,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 201 + b"\r\n",
    ],
    ids=["garbage", "half a head", "interim answers", "too large a head"],
)
async def test_a_kept_connection_on_which_an_answer_has_begun_is_not_stale(served: Serve, begins: bytes) -> None:
    async def begin(stream: ByteStream) -> None:
        await stream.send(begins)
        await stream.aclose()

    handler = Served(answer(), begin, answer())
    async with served(handler) as (client, _):
        await client.chat(MODEL, "hi")
        with pytest.raises(ProtocolError) as caught:
            await client.chat(MODEL, "hi")
        assert [attempt.category for attempt in caught.value.attempts] == ["transient"]
        assert len(handler.heads) == 2


async def test_an_answer_that_announces_the_end_of_its_connection_is_followed_by_a_new_one(served: Serve) -> None:
    async with served(Served(answer(headers="connection: close\r\n"), close=True)) as (client, server):
        for _ in range(3):
            reply = await client.chat(MODEL, "hi")
            assert [attempt.category for attempt in reply.attempts] == [None]
        assert server.connections.opened == 3


@pytest.mark.parametrize("length", ["1001", "9" * 30, "9" * 5000])
@pytest.mark.parametrize("coding", ["", "content-encoding: gzip\r\n"], ids=["plain", "packed"])
async def test_an_answer_that_announces_more_than_allowed_is_not_read(served: Serve, length: str, coding: str) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{coding}content-length: {length}\r\n\r\n"
    handler = Served(head.encode())
    async with served(handler, size_limits=SizeLimits(body=1000)) as (client, _server):
        # Nothing follows the head, so whoever reads on waits.
        with anyio.fail_after(5), pytest.raises(BifrostError) as caught:
            await client.chat(MODEL, "hi", max_retries=0)
        assert isinstance(
            caught.value, ResponseTooLargeError if len(length) <= 20 else (ResponseTooLargeError, ProtocolError)
        )


async def test_bytes_behind_an_answer_never_reach_the_next_call(served: Serve) -> None:
    poison = answer(CHAT.replace(b"hello", b"poison"))

    async def talk(stream: ByteStream) -> None:
        await stream.send(answer() + poison)

    async with served(Served(talk)) as (client, server):
        for _ in range(3):
            assert (await client.chat(MODEL, "hi")).text == "hello"
        assert server.connections.opened == 3


async def test_idle_connections_are_closed_without_a_further_call(served: Serve) -> None:
    async with served(Served(answer()), connections=ConnectionConfig(idle=0.05)) as (client, server):
        await client.chat(MODEL, "hi")
        assert server.connections.open == 1
        with anyio.fail_after(5):
            await server.all_closed()
        (upstream,) = running(client).upstreams._upstreams.values()
        await until(lambda: upstream.connections.idle == 0)


async def test_a_whole_error_keeps_its_connection(served: Serve) -> None:
    async with served(Served(answer(b"{}", status="400 Bad Request"))) as (client, server):
        for _ in range(3):
            with pytest.raises(BadRequestError):
                await client.chat(MODEL, "hi")
        assert server.connections.opened == 1


async def test_of_a_huge_error_the_beginning_is_read_and_the_connection_dropped(served: Serve) -> None:
    async def complain(stream: ByteStream) -> None:
        await stream.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 100000000\r\n\r\n")
        while True:
            await stream.send(b"no " * 10_000)

    async with served(Served(complain), size_limits=SizeLimits(error_body=5000)) as (client, server):
        with pytest.raises(BadRequestError) as caught:
            await client.chat(MODEL, "hi")
        assert len(caught.value.body or b"") == 5000
        with anyio.fail_after(5):
            await server.all_closed()


async def test_an_interrupted_attempt_does_not_keep_its_connection(served: Serve) -> None:
    handler = Served(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    async with served(handler, timeout=0.1) as (client, server):
        with pytest.raises(CallTimeoutError) as caught:
            await client.chat(MODEL, "hi")
        assert caught.value.phase == "body"
        with anyio.fail_after(5):
            await handler.left.wait()
        assert server.connections.opened == 1


# --- what is read


def packed(data: bytes, coding: str) -> bytes:
    return answer(data, headers=f"content-encoding: {coding}\r\n")


@pytest.mark.parametrize(
    "given",
    [packed(gzip.compress(CHAT), "gzip"), packed(zlib.compress(CHAT), "deflate"), packed(CHAT, "identity")],
    ids=["gzip", "deflate", "identity"],
)
async def test_a_packed_answer_is_unpacked(served: Serve, given: bytes) -> None:
    async with served(Served(given)) as (client, _server):
        assert (await client.chat(MODEL, "hi")).text == "hello"


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (packed(gzip.compress(b" " * 30_000_000), "gzip"), ResponseTooLargeError),
        (packed(gzip.compress(b" " * 3_000), "gzip"), ResponseTooLargeError),
        (answer(b" " * 3_000), ResponseTooLargeError),
        (packed(gzip.compress(CHAT)[:-5], "gzip"), MalformedResponseError),
        (packed(CHAT, "br"), MalformedResponseError),
        (packed(b"no gzip at all", "gzip"), MalformedResponseError),
    ],
    ids=["a bomb", "too large unpacked", "too large", "cut", "an unknown coding", "not packed"],
)
async def test_an_answer_that_cannot_be_unpacked_or_is_too_large_is_told(
    served: Serve, given: bytes, kind: type[Exception]
) -> None:
    async with served(Served(given), size_limits=SizeLimits(body=2_000)) as (client, _server):
        with pytest.raises(kind) as caught:
            await client.chat(MODEL, "hi")
    assert isinstance(caught.value, BifrostError)
    assert (caught.value.provider, caught.value.status) == ("openai", 200)


async def test_a_redirect_is_a_fault_of_the_set_up_and_nobody_is_asked_there(served: Serve) -> None:
    async with RawServer(Served(answer())) as other:
        there = answer(b"", status="308 Permanent Redirect", headers=f"location: {other.url}/v1/chat\r\n")
        async with served(Served(there), retry=RETRIES) as (client, _server):
            with pytest.raises(ConfigError) as caught:
                await client.chat(MODEL, "hi")
        assert len(caught.value.attempts) == 1
        assert other.connections.opened == 0


# --- where time ended


async def test_time_that_ends_while_connecting_is_told_so() -> None:
    async with leak_check(), RawServer(until_left) as server:
        async with client_of(server.url.replace("http:", "https:"), timeout=0.1) as client:
            with pytest.raises(CallTimeoutError) as caught:
                await client.chat(MODEL, "hi")
        assert caught.value.phase == "connect"
        with anyio.fail_after(5):
            await server.all_closed()


async def test_time_that_ends_while_waiting_for_the_answer_is_told_so(served: Serve) -> None:
    async with served(until_left, timeout=0.1) as (client, _server):
        with pytest.raises(CallTimeoutError) as caught:
            await client.chat(MODEL, "hi")
        assert caught.value.phase == "headers"


# --- faults of the set-up


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


async def test_a_certificate_that_nobody_trusts_is_tried_once_and_falls_back(
    served: Serve, authority: Authority
) -> None:
    context = authority.context()
    async with (
        RawServer(Served(answer())) as good,
        served(Served(answer()), ssl_context=context, retry=RETRIES) as (
            client,
            _server,
        ),
    ):
        with listening() as log, pytest.raises(ConfigError, match="not trusted") as caught:
            await client.chat(MODEL, "hi")
        assert [attempt.category for attempt in caught.value.attempts] == ["config"]
        assert_unseen(*shown_by(caught.value), *log.lines)
        account = StaticAccount(
            keys={"openai": CANARY, "groq": CANARY},
            configs={
                "openai": ProviderConfig(base_url=_server.url, retry=RETRIES),
                "groq": ProviderConfig(base_url=good.url),
            },
            providers=[attrs.evolve(CATALOG["openai"], name="groq")],
        )
        async with Bifrost(account) as other:
            reply = await other.chat(MODEL, "hi", fallbacks=["groq/llama"])
        assert [attempt.category for attempt in reply.attempts] == ["config", None]


async def test_a_proxys_password_is_seen_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.parse import quote

    refusal = answer(b"", status="407 Proxy Authentication Required")
    async with leak_check(), RawServer(Served(refusal)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{quote(CANARY, safe='')}@127.0.0.1:{proxy.port}")
        async with client_of("https://127.0.0.1:4", retry=RETRIES) as client:
            with listening() as log, pytest.raises(ConfigError, match="proxy") as caught:
                await client.chat(MODEL, "hi")
        assert len(caught.value.attempts) == 1
        assert_unseen(*shown_by(caught.value), *log.lines)


# --- defects


class Broken(Transport, ConnectionBase):
    """A user's transport that is no good: each of its parts fails in turn."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.reused = self.sent = False
        self.connect_time = None

    def _at(self, part: str) -> None:
        if part == self.part:
            raise LookupError(f"{CANARY} in {part}")

    def open(self, origin: Any) -> Broken:
        self._at("open")
        return self

    async def send(self, request: Any, *, timeouts: Any, read_timeout: Any) -> Any:
        from bifrost.transport import ResponseHead
        from bifrost.wire.http import Headers

        self._at("send")
        self._body = CHAT
        return ResponseHead(200, Headers.of(("content-type", "application/json")), self)

    async def read(self) -> bytes:
        self._at("read")
        data, self._body = self._body, b""
        return data

    def limit_reads(self, seconds: Any) -> None:
        pass

    def usable(self) -> bool:
        self._at("usable")
        return True

    async def finish(self) -> None:
        self._at("finish")

    def cut(self) -> None:
        pass

    async def close(self) -> None:
        self._at("close")


@table("part", ["open", "send", "read"])
async def test_what_a_users_transport_should_not_raise_is_a_defect_that_says_where(part: str) -> None:
    async with leak_check():
        client = Bifrost(account_of("https://here.example", key=CANARY, retry=RETRIES), transport=Broken(part))
        async with client:
            with (
                listening() as log,
                pytest.raises(InternalError, match=r"test_exchange\.py:\d+: LookupError") as caught,
            ):
                await client.chat(MODEL, "hi")
            await until(lambda: is_quiet(client))
        assert len(caught.value.attempts) == 1
        assert caught.value.provider == "openai"
        assert_unseen(*shown_by(caught.value), *log.lines)


async def test_a_users_transport_that_cannot_tell_finish_or_close_harms_nobody() -> None:
    for part in ("usable", "finish", "close"):
        account = account_of("https://here.example", connections=ConnectionConfig(idle=0.02))
        async with Bifrost(account, transport=Broken(part)) as client:
            assert (await client.chat(MODEL, "hi")).text == "hello"
            (upstream,) = running(client).upstreams._upstreams.values()
            await until(lambda at=upstream: at.connections.idle == 0)
            assert (await client.chat(MODEL, "hi")).text == "hello"
        assert running(client).host.failure is None


async def test_a_codec_that_fails_is_a_defect_that_shows_no_key() -> None:
    def parse(response: Any, target: Any) -> Any:
        headers = {"authorization": CANARY}  # what a frame might hold
        raise KeyError(headers)

    row = CATALOG["openai"]
    broken = attrs.evolve(row, name="broken", codecs={"chat": attrs.evolve(row.codecs["chat"], parse=parse)})
    async with RawServer(Served(answer())) as server:
        account = StaticAccount(
            keys={"broken": CANARY}, configs={"broken": ProviderConfig(base_url=server.url)}, providers=[broken]
        )
        async with Bifrost(account) as client:
            with pytest.raises(InternalError, match="KeyError") as caught:
                await client.chat("broken/model", "hi")
    assert_unseen(*shown_by(caught.value))


# --- no key anywhere


async def _resets(stream: ByteStream) -> None:
    from bifrost.testing.loopback import reset_connection

    reset_connection(stream)


async def _echoes(stream: ByteStream) -> None:
    """Send back what came, as no HTTP at all."""
    head, _ = await read_request(stream)
    await stream.send(head.encode("latin-1"))


FAULTS = {
    "garbage": (Served(b"garbage\r\n\r\n", close=True), ProtocolError),
    "closes": (Served(b"", close=True), TransportError),
    "resets": (Served(_resets, close=True), TransportError),
    "echoes the request": (_echoes, TransportError),
    "cuts the body": (Served(answer()[:-10], close=True), TransportError),
    "a huge head": (Served(answer(headers=f"x-y: {'a' * 200_000}\r\n")), TransportError),
    "HTML": (
        Served(b"HTTP/1.1 200 OK\r\ncontent-type: Text/HTML\r\ncontent-length: 6\r\n\r\n<html>"),
        MalformedResponseError,
    ),
    "shows the key": (
        Served(answer(f'{{"error": {{"message": "no key {CANARY}"}}}}'.encode(), status="401 Unauthorized")),
        BifrostError,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FAULTS)
async def test_no_fault_of_a_peer_shows_the_key(served: Serve, name: str, kind: Kind) -> None:
    handler, wanted = FAULTS[name]
    with listening() as log:
        async with served(handler, timeout=0.3) as (client, _server):
            with pytest.raises(wanted) as caught:
                await ask(client, kind)
    assert isinstance(caught.value, BifrostError)
    assert_unseen(*shown_by(caught.value), *log.lines)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_peer_that_never_answers_sees_that_nobody_waits_and_no_key_is_shown(served: Serve, kind: Kind) -> None:
    with listening() as log:
        async with served(until_left, timeout=0.3) as (client, _server):
            with pytest.raises(CallTimeoutError) as caught:
                await ask(client, kind)
    assert_unseen(*shown_by(caught.value), *log.lines)


async def test_a_stream_that_breaks_shows_no_key(served: Serve) -> None:
    with listening() as log:
        handler = Served(SSE_HEAD + event("a") + b"zz\r\n", close=True)
        async with served(handler) as (client, _server), client.stream_chat(MODEL, "hi") as stream:
            with pytest.raises(BifrostError) as caught:
                await stream.final()
    assert_unseen(*shown_by(caught.value), *log.lines)


async def test_a_refused_connection_shows_no_key() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with listening() as log:
            async with client_of(url, key=CANARY) as client:
                with pytest.raises(BifrostError) as caught:
                    await client.chat(MODEL, "hi")
    assert_unseen(*shown_by(caught.value), *log.lines)
