from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import httpx
import pytest

from bifrost.config import NetworkConfig, ProviderConfig, Timeouts
from bifrost.errors import (
    BifrostError,
    CallTimeoutError,
    ConfigError,
    ConnectError,
    TransportError,
)
from bifrost.testing import RawServer, leak_check
from bifrost.transport import Connection, Origin, Transport, as_transport
from bifrost.transport.direct import DirectTransport
from bifrost.transport.httpx_adapter import Upload
from bifrost.wire.http import HttpRequest
from tests.engine.peers import SSE_HEAD, Authority, Served, answer, chunk, read_request, until_left
from tests.engine.rig import until
from tests.transport.proxying import SMALL, request, sent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio


class Road:
    """A server with this handler and one connection to it, closed at the end."""

    def __init__(self, handler: Any, *, ssl_context: Any = None, transport: Any = None) -> None:
        self.server = RawServer(handler, ssl_context=ssl_context)
        self._transport = transport
        self._leaks = leak_check()

    async def __aenter__(self) -> Connection:
        await self._leaks.__aenter__()
        await self.server.start()
        transport = as_transport(self._transport)
        self.connection = transport.open(Origin.of(self.server.url))
        return self.connection

    async def __aexit__(self, *raised: object) -> None:
        await self.connection.close()
        await self.server.stop()
        await self._leaks.__aexit__(None, None, None)


Roads: TypeAlias = "Callable[..., Road]"
Make: TypeAlias = "Callable[[], Transport]"


def by_httpx() -> httpx.AsyncHTTPTransport:
    """Give what a user may give: a transport of httpx for each connection."""
    return httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=1, keepalive_expiry=None))


CARRIERS: dict[str, Any] = {"direct": None, "httpx": by_httpx}


@pytest.fixture(params=CARRIERS)
def roads(request: pytest.FixtureRequest) -> Roads:
    """Return what makes roads over our own transport, and over one of httpx."""
    return partial(Road, transport=CARRIERS[request.param])


@pytest.fixture
def make() -> Make:
    """Return what makes our own transport."""
    return partial(as_transport, None)


# --- a good exchange


async def test_an_exchange_carries_the_request_as_it_was_built_and_the_answer_as_it_came(roads: Roads) -> None:
    served = Served(answer(b'{"a": 1}', status="201 Created", headers="x-request-id: r-1\r\n"))
    road = roads(served)
    async with road as connection:
        outgoing = request(b'{"q": 2}', **{"authorization": "Bearer k", "content-type": "application/json"})
        got = await connection.send(outgoing, timeouts=Timeouts(), read_timeout=None)
        assert got.status == 201
        assert got.headers.get("x-request-id") == "r-1"
        assert await got.reader.read() == b'{"a": 1}'
        assert await got.reader.read() == b""
        assert await got.reader.read() == b""
    assert served.bodies == [b'{"q": 2}']
    assert served.heads[0].lower().split("\r\n") == [
        "post /v1/things http/1.1",
        f"host: 127.0.0.1:{road.server.port}",
        "authorization: bearer k",
        "content-type: application/json",
        "content-length: 8",
    ]


async def test_a_get_has_no_body_and_no_length(roads: Roads) -> None:
    served = Served(SMALL)
    async with roads(served) as connection:
        await sent(connection, request(b"", method="GET"))
    assert "content-length" not in served.heads[0].lower()


async def test_what_may_not_stand_in_a_target_is_escaped_and_nothing_else(roads: Roads) -> None:
    served = Served(SMALL)
    async with roads(served) as connection:
        path = "/v1/models/a:b@c(d)/é ü?x=%20&y=[1]"
        outgoing = HttpRequest(method="GET", path=path)
        await sent(connection, outgoing)
    assert served.heads[0].split(" ")[1] == "/v1/models/a:b@c(d)/%C3%A9%20%C3%BC?x=%20&y=[1]"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_small_request_goes_out_as_one_piece(method: str) -> None:
    pieces: list[bytes] = []

    async def listen(stream: ByteStream) -> None:
        while True:
            pieces.append(await stream.receive())
            await stream.send(SMALL)

    async with Road(listen) as connection:
        for _ in range(2):
            assert await sent(connection, request(b"{}" if method == "POST" else b"", method=method)) == (200, b"{}")
            await connection.finish()
    ends = b"\r\n\r\n{}" if method == "POST" else b"\r\n\r\n"
    assert [piece.startswith(method.encode()) and piece.endswith(ends) for piece in pieces] == [True, True]


async def test_a_connection_serves_one_exchange_after_the_other(roads: Roads) -> None:
    road = roads(Served(SMALL))
    async with road as connection:
        for number in range(3):
            assert connection.reused is bool(number)
            await sent(connection)
            assert (connection.connect_time is None) is bool(number)
            await connection.finish()
            assert connection.usable()
        assert road.server.connections.opened == 1


async def test_interim_answers_are_passed_over(roads: Roads) -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with roads(Served(early + SMALL)) as connection:
        assert await sent(connection) == (200, b"{}")


async def test_an_answer_that_ends_with_the_connection_is_whole_and_the_connection_is_not_used_again(
    roads: Roads,
) -> None:
    async with roads(Served(b"HTTP/1.0 200 OK\r\n\r\nall of it", close=True)) as connection:
        assert await sent(connection) == (200, b"all of it")
        await connection.finish()
        assert not connection.usable()


async def test_redirects_are_not_followed(roads: Roads) -> None:
    async with RawServer(Served(SMALL)) as other:
        there = answer(b"", status="307 Temporary Redirect", headers=f"location: {other.url}/\r\n")
        async with roads(Served(there)) as connection:
            assert await sent(connection) == (307, b"")
        assert other.connections.opened == 0


async def test_a_big_body_is_written_in_slices_so_that_the_write_limit_is_one_of_standstill(roads: Roads) -> None:
    content = bytes(range(256)) * 3000
    slices = [piece async for piece in Upload(content)]
    assert b"".join(slices) == content
    assert max(map(len, slices)) <= 256 * 1024
    served = Served(SMALL)
    async with roads(served) as connection:
        await sent(connection, request(content))
    assert served.bodies == [content]


# --- no connection


async def test_a_refused_connection_is_told_so_and_nothing_was_sent(make: Make) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        connection = make().open(Origin("http", "127.0.0.1", closed.getsockname()[1]))
        with pytest.raises(ConnectError, match="refused") as caught:
            await sent(connection)
    assert caught.value.category == "never_sent"
    assert not connection.sent
    await connection.close()


async def test_a_name_that_nobody_has_is_told_so(make: Make) -> None:
    connection = make().open(Origin("http", "no-such-host.invalid", 80))
    with pytest.raises(ConnectError, match=r"no connection to http://no-such-host.invalid:80: .") as caught:
        await sent(connection)
    assert caught.value.category == "never_sent"
    await connection.close()


async def test_a_connection_that_is_never_made_ends_with_the_connect_limit(make: Make) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        place = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(place)
        connection = make().open(Origin("http", "127.0.0.1", place[1]))
        with pytest.raises(CallTimeoutError) as caught:
            await sent(connection, connect=0.1)
        await connection.close()
        for filler in fillers:
            filler.close()
    assert (caught.value.phase, caught.value.category) == ("connect", "never_sent")


async def test_a_tls_handshake_that_is_never_answered_ends_with_the_connect_limit(make: Make) -> None:
    async with leak_check(), RawServer(until_left) as server:
        connection = make().open(Origin("https", "127.0.0.1", server.port))
        with pytest.raises(CallTimeoutError) as caught:
            await sent(connection, connect=0.1)
        await connection.close()
        assert (caught.value.phase, caught.value.category) == ("connect", "never_sent")
        await server.all_closed()


# --- broken answers


async def _closes(stream: ByteStream) -> None:
    await stream.aclose()


async def _resets(stream: ByteStream) -> None:
    from bifrost.testing.loopback import reset_connection

    reset_connection(stream)


def _head(*lines: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *lines, "", "")).encode("latin-1")


BROKEN = {
    "closes at once": _closes,
    "resets": _resets,
    "garbage": b"\x16\x03\x01 this is no HTTP\r\n\r\n",
    "a status that is none": b"HTTP/1.1 abc Hm\r\n\r\n",
    "closes inside the head": b"HTTP/1.1 200 OK\r\ncontent-ty",
    "a NUL in a field": _head("x-y: a\0b", "content-length: 2") + b"{}",
    "two lengths": _head("content-length: 2", "content-length: 3") + b"{}",
    "a negative length": _head("content-length: -2") + b"{}",
    "a field of 200 KiB": _head(f"x-y: {'a' * 200_000}", "content-length: 2") + b"{}",
    "90 KiB of fields": _head(*(f"x-{n}: {'a' * 1000}" for n in range(90)), "content-length: 2") + b"{}",
    "5,000 fields": _head(*(f"x-{n}: a" for n in range(5000)), "content-length: 2") + b"{}",
    "201 fields": _head(*(f"x-{n}: a" for n in range(200)), "content-length: 2") + b"{}",
    "a body shorter than its length": _head("content-length: 200") + b"{}",
    "a chunk that is cut": _head("transfer-encoding: chunked") + b"5\r\nab",
    "a chunk whose size is none": _head("transfer-encoding: chunked") + b"zz\r\nab\r\n",
    "no last chunk": _head("transfer-encoding: chunked") + chunk(b"ab"),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_broken_answer_is_a_transport_error_of_ours(roads: Roads, how: str) -> None:
    given: Any = BROKEN[how]
    async with roads(Served(given, close=True)) as connection:
        with pytest.raises(TransportError) as caught:
            await sent(connection)
        assert caught.value.category == "transient"
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert len(str(caught.value)) < 200


async def test_as_many_header_fields_as_allowed_are_no_trouble(roads: Roads) -> None:
    fields = "".join(f"x-{n}: a\r\n" for n in range(198))
    async with roads(Served(answer(b"{}", headers=fields))) as connection:
        assert await sent(connection) == (200, b"{}")


async def test_an_early_refusal_during_an_upload_is_the_answer_and_no_broken_pipe(roads: Roads) -> None:
    async def refuse(stream: ByteStream) -> None:
        await stream.receive()
        await stream.send(answer(b"{}", status="413 Content Too Large"))
        with anyio.move_on_after(0.2):
            await until_left(stream)

    async with roads(refuse) as connection:
        assert (await sent(connection, request(b"x" * 8_000_000)))[0] == 413


# --- silence


async def test_a_head_that_never_comes_ends_with_the_read_limit(roads: Roads) -> None:
    async with roads(until_left) as connection:
        with pytest.raises(CallTimeoutError) as caught:
            await connection.send(request(), timeouts=Timeouts(), read_timeout=0.05)
        assert (caught.value.phase, caught.value.category) == ("headers", "transient")
        assert connection.sent


async def test_a_head_byte_by_byte_for_ever_ends_with_the_callers_scope(roads: Roads) -> None:
    async def drip(stream: ByteStream) -> None:
        await read_request(stream)
        await stream.send(b"HTTP/1.1 200 OK\r\nx: ")
        while True:
            await stream.send(b"x")
            await anyio.sleep(0.01)

    async with roads(drip) as connection:
        with anyio.move_on_after(1.2) as scope:
            await connection.send(request(), timeouts=Timeouts(), read_timeout=1.0)
        assert scope.cancelled_caught


async def test_an_upload_that_is_never_read_ends_with_the_write_limit() -> None:
    async with leak_check():
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen()
            connection = DirectTransport().open(Origin("http", "127.0.0.1", deaf.getsockname()[1]))
            with pytest.raises(CallTimeoutError) as caught:
                await sent(connection, request(b"x" * 16_000_000), write=0.1)
            await connection.close()
    assert (caught.value.phase, caught.value.category) == ("write", "transient")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("leaves", [False, True], ids=["stays", "leaves"])
async def test_a_refusal_ends_an_upload_and_is_read(tls: bool, leaves: bool, tmp_path: Path) -> None:
    refusal = answer(b'{"error": {}}', status="413 Content Too Large")
    authority = Authority()

    async def refuse(stream: ByteStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await stream.send(refusal)
        if not leaves:
            # It reads nothing more, and waits for us to leave.
            await anyio.sleep_forever()

    network = NetworkConfig(ca=authority.trust(tmp_path / "ca.pem")) if tls else NetworkConfig()
    transport = DirectTransport(ProviderConfig(network=network))
    road = Road(refuse, ssl_context=authority.context() if tls else None, transport=transport)
    with anyio.fail_after(20):
        async with road as connection:
            assert await sent(connection, request(b"x" * 16_000_000)) == (413, b'{"error": {}}')
            await connection.finish()
            assert not connection.usable()


async def test_an_answer_that_begins_early_does_not_end_an_upload_that_is_accepted(roads: Roads) -> None:
    seen = b""

    async def echo(stream: ByteStream) -> None:
        nonlocal seen
        seen += await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        while len(seen) < 3_000_000:
            seen += await stream.receive()
        await stream.send(b"{}")
        await until_left(stream)

    with anyio.fail_after(20):
        async with roads(echo) as connection:
            assert await sent(connection, request(b"x" * 3_000_000)) == (200, b"{}")
            await connection.finish()
    assert len(seen) > 3_000_000


async def test_a_body_that_stalls_ends_with_the_limit_set_after_the_head(roads: Roads) -> None:
    async with roads(Served(SSE_HEAD + chunk(b"one"))) as connection:
        got = await connection.send(request(), timeouts=Timeouts(), read_timeout=None)
        connection.limit_reads(0.05)
        assert await got.reader.read() == b"one"
        with pytest.raises(CallTimeoutError) as caught:
            await got.reader.read()
        assert caught.value.phase == "body"


async def test_a_cut_wakes_the_reader_at_once(roads: Roads) -> None:
    async with roads(Served(SSE_HEAD + chunk(b"one"))) as connection:
        got = await connection.send(request(), timeouts=Timeouts(), read_timeout=None)
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
                connection.cut()
        assert isinstance(errors[0], TransportError)


# --- whether a connection may be used again


async def test_a_connection_that_the_peer_closed_while_idle_is_seen(roads: Roads) -> None:
    async with roads(Served(SMALL, close=True)) as connection:
        await sent(connection)
        await connection.finish()
        await until(lambda: not connection.usable())


@pytest.mark.parametrize("late", [False, True])
async def test_bytes_behind_an_answer_spoil_the_connection(roads: Roads, late: bool) -> None:
    async def talk(stream: ByteStream) -> None:
        await read_request(stream)
        await stream.send(SMALL if late else SMALL + SMALL)
        if late:
            await stream.send(SMALL)
        await until_left(stream)

    async with roads(talk) as connection:
        await sent(connection)
        await connection.finish()
        await until(lambda: not connection.usable())


async def test_bytes_behind_an_answer_are_seen_through_tls_too(
    roads: Roads, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authority.trust(tmp_path / "ca.pem"))
    both = anyio.Event()

    async def talk(stream: ByteStream) -> None:
        await read_request(stream)
        # Two records; the client reads the second from the socket together with the first, or later.
        await stream.send(SMALL)
        await stream.send(SMALL)
        both.set()
        await until_left(stream)

    async with roads(talk, ssl_context=authority.context()) as connection:
        got = await connection.send(request(), timeouts=Timeouts(), read_timeout=None)
        await both.wait()
        await got.reader.read()
        assert await got.reader.read() == b""
        await connection.finish()
        await until(lambda: not connection.usable())


async def test_a_connection_thrown_away_in_the_middle_leaves_nothing(roads: Roads) -> None:
    served = Served(SSE_HEAD + chunk(b"one"))
    async with roads(served) as connection:
        got = await connection.send(request(), timeouts=Timeouts(), read_timeout=None)
        await got.reader.read()
        await connection.close()
        await connection.close()
        with anyio.fail_after(5):
            await served.left.wait()


# --- TLS


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


async def test_an_authority_named_in_the_environment_is_trusted(
    roads: Roads, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authority.trust(tmp_path / "ca.pem"))
    road = roads(Served(SMALL), ssl_context=authority.context())
    async with road as connection:
        for _ in range(3):
            assert await sent(connection) == (200, b"{}")
            await connection.finish()
            assert connection.usable()
        assert road.server.connections.opened == 1


async def test_the_same_context_serves_all_connections(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authority.trust(tmp_path / "ca.pem"))
    client = DirectTransport()
    transport = client.for_provider(ProviderConfig())
    assert isinstance(transport, DirectTransport)
    transport.open(Origin("http", "127.0.0.1", 1))
    assert transport._context is None, "plain http loads no certificates"
    transport.open(Origin("https", "127.0.0.1", 1))
    context = transport._context
    transport.open(Origin("https", "127.0.0.1", 2))
    assert context is not None
    assert transport._context is context
    other = client.for_provider(ProviderConfig())
    assert isinstance(other, DirectTransport)
    other.open(Origin("https", "127.0.0.1", 2))
    assert other._context is context


@pytest.mark.parametrize("how", ["self-signed", "wrong host", "expired"])
async def test_a_certificate_that_does_not_hold_is_a_fault_of_the_set_up(
    roads: Roads, how: str, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from datetime import UTC, datetime

    if how != "self-signed":
        monkeypatch.setenv("SSL_CERT_FILE", authority.trust(tmp_path / "ca.pem"))
    context = authority.context(
        "elsewhere.example" if how == "wrong host" else "127.0.0.1",
        **({"not_after": datetime(2020, 1, 1, tzinfo=UTC)} if how == "expired" else {}),
    )
    async with roads(Served(SMALL), ssl_context=context) as connection:
        with pytest.raises(ConfigError, match="is not trusted"):
            await sent(connection)
        assert not connection.sent


async def test_a_peer_without_tls_is_a_fault_of_the_set_up(make: Make) -> None:
    async def speak_http(stream: ByteStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with leak_check(), RawServer(speak_http) as server:
        connection = make().open(Origin("https", "127.0.0.1", server.port))
        with pytest.raises(ConfigError, match="does not speak TLS"):
            await sent(connection)
        await connection.close()


async def test_certificates_that_cannot_be_loaded_are_a_fault_of_the_set_up(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        make().open(Origin("https", "127.0.0.1", 1))


# --- a user's transport


class Counted(httpx.AsyncBaseTransport):
    def __init__(self, failure: Exception | None = None) -> None:
        self.requests = 0
        self.closed = 0
        self._failure = failure

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        await request.aread()
        if self._failure is not None:
            raise self._failure
        return httpx.Response(200, json={}, request=request)

    async def aclose(self) -> None:
        self.closed += 1


HERE = Origin("https", "here.example", 443)


async def test_a_given_transport_is_shared_as_it_is_and_never_closed() -> None:
    given = Counted()
    transport = as_transport(given)
    for _ in range(2):
        connection = transport.open(HERE)
        for _ in range(2):
            assert (await sent(connection))[0] == 200
            await connection.finish()
            assert connection.usable()
            assert not connection.reused, "whether it is, only its owner knows"
        await connection.close()
    assert (given.requests, given.closed) == (4, 0)


async def test_a_function_is_called_once_per_connection_and_what_it_makes_is_closed() -> None:
    made: list[Counted] = []

    def make() -> Counted:
        made.append(Counted())
        return made[-1]

    transport = as_transport(make)
    for _ in range(2):
        connection = transport.open(HERE)
        for _ in range(3):
            assert (await sent(connection))[0] == 200
            await connection.finish()
            assert connection.usable()
        await connection.close()
    assert [(each.requests, each.closed) for each in made] == [(3, 1), (3, 1)]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx.ReadError("secret"), TransportError),
        (httpx.ConnectError("secret"), ConnectError),
        (httpx.InvalidURL("secret"), ConfigError),
        (httpx.ProxyError("407 secret"), ConfigError),
        (httpx.ProxyError("502 secret"), ConnectError),
        (ValueError("secret"), TransportError),
        (ExceptionGroup("secret", [OSError("secret")]), TransportError),
    ],
)
async def test_what_a_users_transport_raises_is_translated_and_thought_to_have_been_sent(
    failure: Exception, kind: type[BifrostError]
) -> None:
    connection = as_transport(Counted(failure)).open(HERE)
    with pytest.raises(kind) as caught:
        await sent(connection)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.category in ("transient", "config")


async def test_a_function_that_makes_no_transport_is_told_so() -> None:
    def fail() -> Any:
        raise ValueError("secret")

    with pytest.raises(ConfigError, match="raised ValueError"):
        as_transport(fail).open(HERE)
    with pytest.raises(ConfigError, match="returned int"):
        as_transport(lambda: 3).open(HERE)
    with pytest.raises(ConfigError, match="not str"):
        as_transport("https://")


async def test_a_body_of_a_users_transport_that_fails_is_translated() -> None:
    class Failing(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"one"
            raise ValueError("secret")

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Failing())

    connection = as_transport(httpx.MockTransport(handler)).open(HERE)
    got = await connection.send(request(), timeouts=Timeouts(), read_timeout=None)
    assert await got.reader.read() == b"one"
    with pytest.raises(TransportError, match="broke off"):
        await got.reader.read()
