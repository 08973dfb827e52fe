from __future__ import annotations

import logging
import sys
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from bifrost.config import ConnectionConfig, NetworkConfig, ProviderConfig, Timeouts
from bifrost.errors import BifrostError, CallTimeoutError, ConfigError, ConnectError, ProtocolError, TransportError
from bifrost.testing import RawServer, leak_check
from bifrost.testing.loopback import reset_connection
from bifrost.transport import Connection, Origin, Transport
from bifrost.transport.direct import DirectTransport
from bifrost.transport.http2 import Http2Connection
from bifrost.transport.wires import WireWriteError
from bifrost.wire.auth import BEARER
from bifrost.wire.secrets import Secret
from tests.canary import CANARY, Log, assert_unseen
from tests.engine.peers import CHAT, MODEL, Authority, Served, answer, client_of, until_left
from tests.engine.rig import is_quiet, until
from tests.transport.http2_peer import Http2Server, Request, serving
from tests.transport.proxying import Proxy, request, sent
from tests.wire.signing import sign

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream

    from bifrost import Bifrost

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def transport_of(authority: Authority, *, config: dict[str, Any] | None = None, **network: Any) -> Transport:
    """Give the transport of a provider that speaks HTTP/2."""
    road = NetworkConfig(http2=True, ca=authority.pem, **network)
    return DirectTransport().for_provider(ProviderConfig(network=road, **(config or {})))


def raw(server: Any, authority: Authority, *protocols: str) -> RawServer:
    context = authority.context()
    context.set_alpn_protocols(list(protocols or ("h2",)))
    return RawServer(server, ssl_context=context)


@asynccontextmanager
async def place_on(
    server: Http2Server, authority: Authority, **network: Any
) -> AsyncIterator[tuple[Connection, Transport, Origin]]:
    """Give a place on a connection to a server, and what more are to be had from."""
    async with leak_check(), raw(server, authority) as there:
        transport, origin = transport_of(authority, **network), Origin.of(there.url)
        connection = transport.open(origin)
        yield connection, transport, origin
        await connection.close()


# --- what is logged


async def test_the_tables_of_a_shared_connection_show_no_key_of_any_exchange_on_it(authority: Authority) -> None:
    """The tables of HPACK log each field that is added to them or leaves them, whoever of all is at it."""
    keys = [f"sk-{letter * 4}-{CANARY}-{letter * 4}" for letter in "abc"]

    async def echo(request: Request) -> None:
        fields: dict[str, Any] = {f"x-{key[3:14]}": key for key in keys}
        fields["x-echo"] = keys[0].upper()
        await request.head(**fields)
        await request.data(CHAT, end=True)

    def mine(record: logging.LogRecord) -> bool:
        return not serving.get()

    log = Log()
    log.addFilter(mine)
    logger = logging.getLogger("hpack")
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)
    try:
        async with place_on(Http2Server(echo), authority) as (connection, transport, origin):
            for number, key in enumerate(keys):
                outgoing = request()
                sign(outgoing.headers, BEARER, Secret(key))
                place = connection if not number else transport.open(origin)
                assert await sent(place, outgoing) == (200, CHAT)
                await place.finish()
                if number:
                    await place.close()
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(log)
    assert any("***" in line for line in log.lines)
    assert_unseen(*log.lines)


# --- a good exchange


async def test_an_exchange_carries_the_request_and_the_answer(authority: Authority) -> None:
    server = Http2Server()
    async with place_on(server, authority) as (connection, _, origin):
        for number in range(3):
            assert connection.reused is bool(number)
            outgoing = request(b'{"q": 1}', **{"authorization": "Bearer k", "X-Mine": "a"})
            assert await sent(connection, outgoing) == (200, CHAT)
            assert connection.sent
            assert (connection.connect_time is None) is bool(number)
            await connection.finish()
            assert connection.usable()
    assert [each.body for each in server.seen] == [b'{"q": 1}'] * 3
    assert server.seen[0].fields == {
        ":method": "POST",
        ":authority": origin.authority,
        ":scheme": "https",
        ":path": "/v1/things",
        "authorization": "Bearer k",
        "x-mine": "a",
        "content-length": "8",
    }
    assert len(server.peers) == 1
    assert not server.resets


async def test_a_get_has_no_body(authority: Authority) -> None:
    server = Http2Server()
    async with place_on(server, authority) as (connection, _, _):
        assert await sent(connection, request(b"", method="GET")) == (200, CHAT)
    assert "content-length" not in server.seen[0].fields


async def test_large_bodies_pass_the_windows_both_ways(authority: Authority) -> None:
    content = bytes(range(256)) * 20_000

    async def echo(request: Request) -> None:
        await request.head()
        rest = request.body
        while rest:
            window = min(request.peer.h2.local_flow_control_window(request.id), 16_384)
            if window <= 0:
                await anyio.sleep(0.001)
                continue
            await request.data(rest[:window])
            rest = rest[window:]
        await request.data(b"", end=True)

    async with place_on(Http2Server(echo), authority) as (connection, _, _):
        assert await sent(connection, request(content)) == (200, content)


async def test_an_early_refusal_during_an_upload_is_the_answer(authority: Authority) -> None:
    async def refuse(request: Request) -> None:
        await request.answer(b"{}", status=413)

    server = Http2Server(early=refuse, reads=False)
    async with place_on(server, authority) as (connection, _, _):
        assert await sent(connection, request(b"x" * 1_000_000)) == (413, b"{}")
        await connection.finish()
        assert connection.usable()
        await until(lambda: server.resets)


async def test_interim_answers_and_trailers_are_passed_over(authority: Authority) -> None:
    async def respond(request: Request) -> None:
        request.peer.h2.send_headers(request.id, [(":status", "103"), ("link", "</x>")])
        await request.head()
        await request.data(b"{}")
        request.peer.h2.send_headers(request.id, [("x-sum", "1")], end_stream=True)
        await request.peer.flush()

    async with place_on(Http2Server(respond), authority) as (connection, _, _):
        got = await connection.send(request(), timeouts=Timeouts(), read_timeout=None)
        assert await got.reader.read() == b"{}"
        assert await got.reader.read() == b""
        await connection.finish()
        assert await got.reader.read() == b""


async def test_interim_answers_without_end_end_the_exchange(authority: Authority) -> None:
    async def flood(request: Request) -> None:
        while not server.resets:
            request.peer.h2.send_headers(request.id, [(":status", "103"), ("link", "</x>")])
            await request.peer.flush()

    server = Http2Server(flood)
    async with place_on(server, authority) as (connection, _, _):
        with anyio.fail_after(20):
            with pytest.raises(ProtocolError, match="more than 20 interim answers"):
                await sent(connection)
            await connection.close()


async def test_an_answer_counts_though_nothing_more_can_be_said_to_the_peer(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = anyio.Event()

    async def respond(request: Request) -> None:
        await request.head()
        await may_end.wait()
        request.peer.h2.ping(b"anyone?!")
        await request.data(CHAT, end=True)

    async def fail(*_args: object, **_options: object) -> bool:
        raise WireWriteError

    async with place_on(Http2Server(respond), authority) as (connection, _, _):
        assert isinstance(connection, Http2Connection)
        got = await connection.send(request(), timeouts=Timeouts(), read_timeout=None)
        tls: Any = connection._link.network.wire
        monkeypatch.setattr(tls._inner, "write", fail)
        may_end.set()
        assert await got.reader.read() == CHAT
        assert await got.reader.read() == b""
        await connection.finish()
        await until(lambda: not connection.usable())


async def test_an_answer_left_unread_costs_the_others_no_window(authority: Authority) -> None:
    async def much(request: Request) -> None:
        await request.head()
        await request.data(b"x" * 16_000)

    server = Http2Server(much)
    async with place_on(server, authority) as (connection, transport, origin):
        other = transport.open(origin)
        await other.send(request(), timeouts=Timeouts(), read_timeout=None)
        got = await connection.send(request(), timeouts=Timeouts(), read_timeout=None)
        assert len(await got.reader.read()) == 16_000
        await other.close()
        await until(lambda: server.resets)
        assert connection.usable()


# --- many at once


@asynccontextmanager
async def client_on(server: Http2Server, authority: Authority, **config: Any) -> AsyncIterator[Bifrost]:
    streams = config.pop("streams", 100)
    network = NetworkConfig(http2=True, ca=authority.pem, streams_per_connection=streams)
    async with (
        leak_check(),
        raw(server, authority) as there,
        client_of(there.url, network=network, **config) as client,
    ):
        yield client
        await until(lambda: is_quiet(client))


@pytest.mark.parametrize("streams", [50, 100])
async def test_a_hundred_calls_at_once_share_two_connections(streams: int, authority: Authority) -> None:
    everyone = anyio.Event()
    server = Http2Server()

    async def together(request: Request) -> None:
        if len(server.seen) == 100:
            everyone.set()
        await everyone.wait()
        await request.answer()

    server.respond = together
    answers: list[str] = []
    async with client_on(server, authority, streams=streams) as client:

        async def call() -> None:
            answers.append((await client.chat(MODEL, "hi")).text)

        for _ in range(2):
            with anyio.fail_after(20):
                async with anyio.create_task_group() as group:
                    for _ in range(100):
                        group.start_soon(call)
    assert answers == ["hello"] * 200
    assert len(server.peers) == 100 // streams
    assert server.most == streams


async def test_as_many_as_the_peer_allows_and_no_more(authority: Authority) -> None:
    async def slow(request: Request) -> None:
        await anyio.lowlevel.checkpoint()
        await request.answer()

    server = Http2Server(slow, max_concurrent_streams=3)
    answers: list[str] = []
    async with client_on(server, authority) as client:
        await client.chat(MODEL, "hi")

        async def call() -> None:
            answers.append((await client.chat(MODEL, "hi")).text)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for _ in range(30):
                    group.start_soon(call)
    assert answers == ["hello"] * 30
    assert server.most <= 3


async def test_what_is_cancelled_leaves_the_other_streams_whole(authority: Authority) -> None:
    """Half of the calls are cancelled once the server has begun with them: in the upload, the head or the body."""
    random = Random(3)

    async def in_pieces(request: Request) -> None:
        with_sleep = random.random() < 0.5
        await request.head()
        for start in range(0, len(CHAT), 50):
            await anyio.sleep(random.random() * 0.01 if with_sleep else 0)
            await request.data(CHAT[start : start + 50])
        await request.data(b"", end=True)

    server = Http2Server(in_pieces)
    answers: list[str] = []
    async with client_on(server, authority) as client:
        await client.chat(MODEL, "hi")

        async def stays(prompt: str) -> None:
            answers.append((await client.chat(MODEL, prompt)).text)

        async def leaves(count: int, prompt: str) -> None:
            async with anyio.create_task_group() as calling:
                calling.start_soon(client.chat, MODEL, prompt)
                await until(lambda: len(server.seen) >= count)
                calling.cancel_scope.cancel()

        with anyio.fail_after(30):
            for _ in range(4):
                async with anyio.create_task_group() as group:
                    begun = len(server.seen)
                    for number in range(20):
                        prompt = "x" * random.choice([1, 100_000])
                        group.start_soon(stays, prompt)
                        group.start_soon(leaves, begun + 2 * number, prompt)
        assert answers == ["hello"] * 80
        await until(lambda: is_quiet(client))
        assert (await client.chat(MODEL, "hi")).text == "hello"
        await until(lambda: len(server.resets) > 10)
        assert len(server.peers) == 1


async def test_one_that_reads_for_all_may_leave(authority: Authority) -> None:
    gate = anyio.Event()

    async def wait(request: Request) -> None:
        await gate.wait()
        await request.answer()

    async with place_on(Http2Server(wait), authority) as (first, transport, origin):
        others = [transport.open(origin) for _ in range(3)]
        results: list[tuple[int, bytes]] = []

        async def keep(connection: Connection) -> None:
            results.append(await sent(connection))

        async with anyio.create_task_group() as group:
            async with anyio.create_task_group() as reading:
                reading.start_soon(sent, first)
                await anyio.wait_all_tasks_blocked()
                for other in others:
                    group.start_soon(keep, other)
                await anyio.sleep(0.05)
                reading.cancel_scope.cancel()
            await first.close()
            gate.set()
        assert results == [(200, CHAT)] * 3
        for other in others:
            await other.close()


@pytest.mark.parametrize("ends", ["cut", "closed"])
async def test_a_cut_ends_one_exchange_and_wakes_its_reader(ends: str, authority: Authority) -> None:
    async def begin(request: Request) -> None:
        await request.head()
        await request.data(b"one")

    server = Http2Server(begin)
    async with place_on(server, authority) as (connection, transport, origin):
        other = transport.open(origin)
        got = await connection.send(request(), timeouts=Timeouts(), read_timeout=None)
        there = await other.send(request(), timeouts=Timeouts(), read_timeout=None)
        assert await got.reader.read() == b"one"
        errors: list[BifrostError] = []

        async def read() -> None:
            try:
                await got.reader.read()
            except BifrostError as error:
                errors.append(error)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(read)
                await anyio.wait_all_tasks_blocked()
                if ends == "cut":
                    connection.cut()
                else:
                    await connection.close()
            await connection.close()
            await until(lambda: server.resets)
        assert isinstance(errors[0], TransportError)
        assert await there.reader.read() == b"one"
        await other.close()


# --- a peer that leaves or refuses


async def test_a_refused_stream_was_never_sent(authority: Authority) -> None:
    server = Http2Server(Request.refuse)
    async with place_on(server, authority) as (connection, _, _):
        with pytest.raises(TransportError) as caught:
            await sent(connection)
        assert caught.value.category == "stale"
        assert caught.value.__context__ is None
        assert connection.usable()


async def test_a_call_whose_stream_is_refused_is_made_again(authority: Authority) -> None:
    async def second_time(request: Request) -> None:
        await (request.answer() if len(server.seen) > 2 else request.refuse())

    server = Http2Server(second_time)
    from bifrost.config import RetryConfig

    async with client_on(server, authority, retry=RetryConfig(max_retries=2)) as client:
        response = await client.chat(MODEL, "hi")
        assert [attempt.category for attempt in response.attempts] == ["stale", "stale", None]
        assert len(server.peers) == 3


async def test_a_stream_that_is_reset_for_another_reason_may_have_been_seen(authority: Authority) -> None:
    async def reset(request: Request) -> None:
        await request.refuse(2)

    async with place_on(Http2Server(reset), authority) as (connection, _, _):
        with pytest.raises(ProtocolError) as caught:
            await sent(connection)
        assert caught.value.category == "transient"


async def test_a_farewell_lets_answers_come_to_their_end_and_gives_back_the_rest(authority: Authority) -> None:
    arrived = anyio.Event()

    async def leave(request: Request) -> None:
        if request.id == 1:
            await request.head()
            await arrived.wait()
            peer = request.peer
            # Only the first was looked at. Not through h2, which would say no more after a farewell.
            await peer.stream.send(bytes([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]))
            await request.data(b"first", end=True)
        else:
            arrived.set()

    server = Http2Server(leave)
    async with place_on(server, authority) as (first, transport, origin):
        second = transport.open(origin)
        failures: list[BifrostError] = []

        async def ask_too_late() -> None:
            try:
                await sent(second)
            except BifrostError as error:
                failures.append(error)

        with anyio.fail_after(5):
            got = await first.send(request(), timeouts=Timeouts(), read_timeout=None)
            async with anyio.create_task_group() as group:
                group.start_soon(ask_too_late)
                assert await got.reader.read() == b"first"
        assert await got.reader.read() == b""
        await first.finish()
        assert [error.category for error in failures] == ["stale"]
        assert not first.usable()
        server.respond = Request.answer
        third = transport.open(origin)
        assert await sent(third) == (200, CHAT)
        assert len(server.peers) == 2
        await second.close()
        await third.close()


async def test_a_farewell_while_nobody_waits_is_seen_before_the_next_request(authority: Authority) -> None:
    server = Http2Server()
    async with place_on(server, authority) as (connection, _, _):
        await sent(connection)
        await connection.finish()
        server.peers[0].h2.close_connection()
        await server.peers[0].flush()
        await until(lambda: not connection.usable())
        with pytest.raises(TransportError) as caught:
            await sent(connection)
        assert caught.value.category == "stale"


async def test_a_connection_that_the_peer_closed_ends_all_its_exchanges(authority: Authority) -> None:
    both = anyio.Event()

    async def close(request: Request) -> None:
        if len(server.seen) == 2:
            both.set()
            await request.peer.stream.aclose()

    server = Http2Server(close)
    async with place_on(server, authority) as (first, transport, origin):
        second = transport.open(origin)
        faults: list[str] = []

        async def ask(connection: Connection) -> None:
            with pytest.raises(TransportError) as caught:
                await sent(connection)
            faults.append(caught.value.category)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(ask, first)
                group.start_soon(ask, second)
        # What ended the connection counts once.
        assert faults == ["transient", "lost"]
        assert not first.usable()
        await second.close()


async def test_a_ping_is_answered(authority: Authority) -> None:
    async def ping(request: Request) -> None:
        request.peer.h2.ping(b"12345678")
        await request.peer.flush()
        await until(lambda: server.pongs)
        await request.answer()

    server = Http2Server(ping)
    async with place_on(server, authority) as (connection, _, _):
        assert await sent(connection) == (200, CHAT)


@pytest.mark.parametrize("what", [b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100, b"\xff" * 100, bytes(9) + bytes(9)])
async def test_what_is_no_http2_ends_the_connection(what: bytes, authority: Authority) -> None:
    async def talk(stream: Any) -> None:
        await stream.receive()
        await stream.send(what)
        await until_left(stream)

    async with leak_check(), raw(talk, authority) as there:
        connection = transport_of(authority).open(Origin.of(there.url))
        with pytest.raises(TransportError) as caught:
            await sent(connection, connect=1.0)
        assert len(str(caught.value)) < 200
        await connection.close()


# --- silence


async def test_a_head_that_never_comes_ends_with_the_read_limit_and_ends_nothing_else(authority: Authority) -> None:
    async def later(request: Request) -> None:
        if request.id != 1:
            await request.answer()

    server = Http2Server(later)
    async with place_on(server, authority) as (connection, transport, origin):
        with pytest.raises(CallTimeoutError) as caught:
            await connection.send(request(), timeouts=Timeouts(), read_timeout=0.05)
        assert (caught.value.phase, caught.value.category) == ("headers", "transient")
        other = transport.open(origin)
        await connection.close()
        await until(lambda: server.resets == [1])
        assert await sent(other) == (200, CHAT)
        await other.close()
    assert len(server.peers) == 1


async def test_a_body_that_stalls_ends_with_the_limit_set_after_the_head(authority: Authority) -> None:
    async def begin(request: Request) -> None:
        await request.head()
        await request.data(b"one")

    async with place_on(Http2Server(begin), authority) as (connection, _, _):
        got = await connection.send(request(), timeouts=Timeouts(), read_timeout=None)
        connection.limit_reads(0.05)
        assert await got.reader.read() == b"one"
        with pytest.raises(CallTimeoutError) as caught:
            await got.reader.read()
        assert caught.value.phase == "body"


async def test_an_upload_that_is_not_read_ends_with_the_write_limit(authority: Authority) -> None:
    server = Http2Server(reads=False)
    async with place_on(server, authority) as (connection, _, _):
        with pytest.raises(CallTimeoutError) as caught:
            await sent(connection, request(b"x" * 1_000_000), write=0.1)
        assert (caught.value.phase, caught.value.category) == ("write", "transient")
        assert connection.usable()


def stuck(*, resets: bool) -> Any:
    """Give a peer with wide windows that does not read what comes, and may break the connection."""

    async def serve(stream: ByteStream) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection
        from h2.settings import SettingCodes

        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**26})
        connection.increment_flow_control_window(2**26)
        await stream.send(connection.data_to_send())
        if resets:
            came = 0
            while came < 100_000:
                came += len(await stream.receive())
            reset_connection(stream)
        else:
            await anyio.sleep_forever()

    return serve


async def test_a_socket_that_is_not_read_ends_with_the_write_limit(authority: Authority) -> None:
    async with leak_check(), raw(stuck(resets=False), authority) as there:
        connection = transport_of(authority).open(Origin.of(there.url))
        with pytest.raises(CallTimeoutError) as caught:
            await sent(connection, request(b"x" * 32_000_000), write=0.2)
        assert (caught.value.phase, caught.value.category) == ("write", "transient")
        await until(lambda: not connection.usable())
        await connection.close()


async def test_a_connection_that_breaks_under_an_upload_is_told(authority: Authority) -> None:
    async with leak_check(), raw(stuck(resets=True), authority) as there:
        connection = transport_of(authority).open(Origin.of(there.url))
        with pytest.raises(TransportError) as caught:
            await sent(connection, request(b"x" * 32_000_000))
        assert caught.value.category == "transient"
        assert not connection.usable()
        await connection.close()


async def test_a_handshake_that_is_never_answered_ends_for_all_that_wait(authority: Authority) -> None:
    async with leak_check(), RawServer(until_left) as there:
        transport, origin = transport_of(authority), Origin("https", "127.0.0.1", there.port)
        faults: list[str] = []

        async def ask() -> None:
            connection = transport.open(origin)
            with pytest.raises(CallTimeoutError) as caught:
                await sent(connection, connect=0.2)
            assert not connection.sent
            await connection.close()
            faults.append(caught.value.category)

        with anyio.fail_after(2):
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(ask)
        assert faults == ["never_sent"] * 5


async def test_one_that_leaves_while_it_connects_leaves_the_others_to_connect(authority: Authority) -> None:
    server = Http2Server()
    async with place_on(server, authority) as (second, transport, origin):
        first = transport.open(origin)
        async with anyio.create_task_group() as group:
            group.start_soon(sent, first)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert await sent(second) == (200, CHAT)
        await first.close()


# --- where there is no HTTP/2


async def test_a_peer_without_http2_is_spoken_to_in_http1(authority: Authority) -> None:
    served = Served(answer(b"{}"))
    async with leak_check(), raw(served, authority, "http/1.1") as there:
        transport, origin = transport_of(authority), Origin.of(there.url)
        places = [transport.open(origin) for _ in range(3)]
        async with anyio.create_task_group() as group:
            for place in places:
                group.start_soon(sent, place)
        for place in places:
            assert place.sent
            assert place.connect_time is not None
            await place.finish()
            assert place.reused
            assert place.usable()
            place.limit_reads(1.0)
            assert await sent(place) == (200, b"{}")
            await place.finish()
        later = transport.open(origin)
        assert await sent(later) == (200, b"{}")
        later.cut()
        places[0].cut()
        for place in [*places, later]:
            await place.close()
        assert there.connections.opened == 4


async def test_plain_http_stays_at_http1(authority: Authority) -> None:
    async with leak_check(), RawServer(Served(answer(b"{}"))) as there:
        connection = transport_of(authority).open(Origin.of(there.url))
        assert await sent(connection) == (200, b"{}")
        await connection.close()


async def test_http2_goes_through_a_proxy(authority: Authority) -> None:
    server, proxy = Http2Server(), Proxy()
    async with leak_check(), RawServer(proxy) as way, raw(server, authority) as there:
        transport = transport_of(authority, proxy=f"http://127.0.0.1:{way.port}")
        connection = transport.open(Origin.of(there.url))
        assert await sent(connection) == (200, CHAT)
        await connection.close()
    assert len(proxy.heads) == 1


async def test_a_refusal_by_the_proxy_is_told_to_each(authority: Authority) -> None:
    refusal = answer(b"", status="502 Bad Gateway")
    async with leak_check(), RawServer(Proxy(refusal=refusal)) as way:
        transport = transport_of(authority, proxy=f"http://127.0.0.1:{way.port}")
        errors: list[BifrostError] = []

        async def ask() -> None:
            connection = transport.open(Origin("https", "127.0.0.1", 4))
            with pytest.raises(ConnectError) as caught:
                await sent(connection)
            errors.append(caught.value)
            await connection.close()

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(ask)
    assert errors[0] is not errors[1]
    assert {error.category for error in errors} == {"never_sent"}


async def test_an_old_connection_takes_no_more(authority: Authority) -> None:
    server = Http2Server()
    async with leak_check(), raw(server, authority) as there:
        transport = transport_of(authority, config={"connections": ConnectionConfig(age=0.05)})
        first = transport.open(Origin.of(there.url))
        assert await sent(first) == (200, CHAT)
        await anyio.sleep(0.06)
        second = transport.open(Origin.of(there.url))
        assert await sent(second) == (200, CHAT)
        assert len(server.peers) == 2
        await first.close()
        await second.close()


async def test_http2_without_its_extra_names_it(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)
    with pytest.raises(ConfigError, match=r"bifrost-llm\[http2\]"):
        transport_of(authority).open(Origin("https", "127.0.0.1", 4))
