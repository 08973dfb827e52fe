"""Real HTTP servers on the loopback interface: one with the providers' formats, one that a test controls by bytes."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from urllib.parse import urlsplit

import anyio
from anyio.abc import AsyncResource, ByteStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

from bifrost.config import ProviderConfig
from bifrost.engine.host import Host
from bifrost.errors import UsageError
from bifrost.providers.catalog import CATALOG
from bifrost.testing.calls import MockCall, body_of, key_of, masked
from bifrost.testing.faulty import FaultyStep
from bifrost.testing.mock import ConnectionCounts, make_account
from bifrost.testing.play import Answer, Ending, Play, Trouble, document
from bifrost.testing.recorded import Recordings
from bifrost.testing.rules import Rules, asked_of, dialect_of
from bifrost.testing.script import Step, spoken
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from anyio.streams.memory import MemoryObjectSendStream

    from bifrost.account import Key, StaticAccount
    from bifrost.client import Bifrost
    from bifrost.testing.dialect import Dialect

Handler: TypeAlias = Callable[[ByteStream], Awaitable[None]]
"""Serves one connection, which is closed when the function returns."""

_HEAD_LIMIT = 64 * 1024
_GARBAGE = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is not HTTP\r\n\r\n"
_KNOWN = frozenset(HTTPStatus)

_UNCONNECTED: Mapping[Trouble | None, Ending] = {"refuse": "reset", "black_hole": "stall"}
"""What the connection faults of a plan become here."""

_GONE = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
"""The errors that occur when a peer closes the connection."""


async def _pump(stream: ByteStream, send: MemoryObjectSendStream[bytes], served: anyio.CancelScope) -> None:
    """Receive what the client sends. When the client leaves, stop serving it."""
    try:
        while True:
            await send.send(await stream.receive())
    except _GONE:
        served.cancel()


class RawServer:
    r"""A server whose handler controls each connection byte by byte.

        async def answer_late(stream: ByteStream) -> None:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n")
            await anyio.sleep(1)

        async with RawServer(answer_late) as server:
            ...  # server.url, server.connections

    An error of the handler is raised when the server is closed, unless the peer has left. With `ssl_context` the server
    uses TLS. Starting and stopping may happen in different tasks of one event loop.
    """

    def __init__(self, handler: Handler, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self.connections = ConnectionCounts()
        self.port = 0
        self._handler = handler
        self._ssl = ssl_context
        self._host: Host | None = None
        self._listening: anyio.CancelScope | None = None
        self._serving: set[anyio.CancelScope] = set()
        self._changed: anyio.Event | None = None
        self._failure: Exception | None = None

    @property
    def url(self) -> str:
        """The server's address, `http://127.0.0.1:port`."""
        return f"{'https' if self._ssl else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start to listen on a port that the system chooses."""
        self._host = Host(setup=self._nothing, on_end=self._ended)
        self._host.start()
        await self._host.ready()
        await self.listen()

    async def stop(self) -> None:
        """Close everything. Raises the first error of a handler."""
        if self._host is not None:
            await self._host.stop()
            self._host = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    async def listen(self) -> None:
        """Accept connections again after `refuse`, at the same address."""
        if self._host is None or self._listening is not None:
            raise UsageError("the server is not started, or is listening already")
        multi = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self.port)
        (listener,) = multi.listeners
        self.port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no database here
        self._listening = anyio.CancelScope()
        self._host.run(self._accept, listener, self._listening)

    async def refuse(self) -> None:
        """Stop listening and close every connection, like a provider that goes down. `listen` reverses it."""
        if self._listening is None:
            raise UsageError("the server is not listening")
        self._listening.cancel()
        for scope in self._serving:
            scope.cancel()
        await self._until(lambda: self._listening is None and not self._serving)

    async def all_closed(self) -> None:
        """Wait until no connection is open."""
        await self._until(lambda: self.connections.open == 0)

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed = self._changed or anyio.Event()
            await self._changed.wait()

    def _notify(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    async def _accept(self, listener: Any, listening: anyio.CancelScope) -> None:
        host = self._host
        try:
            with listening:
                while host is not None:
                    stream = await listener.accept()
                    scope = anyio.CancelScope()
                    self._serving.add(scope)
                    host.run(self._serve, stream, scope)
        finally:
            await _close(listener)
            self._listening = None
            self._notify()

    async def _serve(self, stream: SocketStream, scope: anyio.CancelScope) -> None:
        counts = self.connections
        counts.opened += 1
        counts.open += 1
        try:
            with scope:
                await self._handler(await self._wrapped(stream))
        except (*_GONE, ssl.SSLError):
            pass
        except Exception as error:  # noqa: BLE001 - a test's own code; its error is raised when the server stops
            self._failure = self._failure or error
        finally:
            await _close(stream)
            self._serving.discard(scope)
            counts.open -= 1
            self._notify()

    async def _wrapped(self, stream: SocketStream) -> ByteStream:
        if self._ssl is None:
            return stream
        return await TLSStream.wrap(stream, server_side=True, ssl_context=self._ssl, standard_compatible=False)

    async def _nothing(self) -> None:
        """Do nothing: no set-up is needed before connections are accepted."""

    def _ended(self, host: Host) -> None:
        if host.failure is not None and self._failure is None and isinstance(host.failure, Exception):
            self._failure = host.failure


class LoopbackProvider(Rules):
    """A local server for OpenAI's and Anthropic's formats, with recorded responses over real HTTP.

        async with LoopbackProvider() as server, server.client() as client:
            reply = await client.chat("openai/gpt-4o-mini", "hello")

            server.on(provider="openai", key="first").fail(429, retry_after=1)
            server.on(provider="anthropic").reply("as scripted").drip(0.05)

    It serves `/v1/chat/completions`, `/v1/responses`, `/v1/embeddings`, `/v1/models`, `/v1/messages` and `/api/chat`,
    and requires a key except for the last. The script is written as for `MockTransport`. After its end, the server
    responds with recordings: that of the same request if there is one, else one of the same kind (plain or stream, with
    tools, after a tool's result). `pace` is the time between the events of a recorded stream, in seconds. `calls` has
    the requests, and `connections` counts connections.
    """

    def __init__(self, *, pace: float = 0.0, ssl_context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.pace = pace
        self._server = RawServer(self._serve, ssl_context=ssl_context)
        self._recordings = Recordings()

    @property
    def base_url(self) -> str:
        """The server's address without a path."""
        return self._server.url

    @property
    def connections(self) -> ConnectionCounts:
        """The numbers of connections."""
        return self._server.connections

    def config(self, provider: str) -> ProviderConfig:
        """Return settings that send a provider's calls here. Its format must be OpenAI's, Anthropic's or Gemini's."""
        return ProviderConfig(base_url=f"{self.base_url}{_path_of(provider)}")

    def account(
        self,
        keys: Mapping[str, Sequence[str | Key]] | None = None,
        *,
        configs: Mapping[str, ProviderConfig] | None = None,
    ) -> StaticAccount:
        """Return an account that sends OpenAI's and Anthropic's calls here, with fake keys of these names (or `Key`s).

        By default each has one key, named `<provider>-key`. `account({"openai": ["first", "second"]})` sets others.
        Base your own `configs` on `config(provider)`.
        """
        both: Mapping[str, Sequence[str]] = {"openai": ["openai-key"], "anthropic": ["anthropic-key"]}
        known = both if keys is None else keys
        return make_account(known, configs={**{name: self.config(name) for name in known}, **(configs or {})})

    def client(self, account: Any = None, **options: Any) -> Bifrost:
        """Return a client of this server, with `account` or `self.account()`. The options are those of `Bifrost`."""
        from bifrost.client import Bifrost

        return Bifrost(account=self.account() if account is None else account, **options)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start to serve. Starting and stopping may happen in different tasks of one event loop."""
        await self._server.start()

    async def stop(self) -> None:
        """Close everything. Raises the first error of a scripted function."""
        await self._server.stop()

    async def go_down(self) -> None:
        """Refuse connections and close those that are open, until `come_back`."""
        await self._server.refuse()

    async def come_back(self) -> None:
        """Accept connections again, at the same address."""
        await self._server.listen()

    async def all_closed(self) -> None:
        """Wait until no connection is open."""
        await self._server.all_closed()

    # --- one connection

    async def _serve(self, stream: ByteStream) -> None:
        """Respond to one request after another. A client that leaves ends it at once, even within a response."""
        number = self.connections.opened
        send, receive = anyio.create_memory_object_stream[bytes](0)
        ending: Ending = "clean"
        failure: Exception | None = None
        async with send, receive, anyio.create_task_group() as group:
            group.start_soon(_pump, stream, send, group.cancel_scope)
            incoming = BufferedByteReceiveStream(receive)
            try:
                while ending == "clean":
                    ending = await self._exchange(incoming, stream, number)
            except Exception as error:  # noqa: BLE001 - out of the group first, which would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if ending == "reset":
            reset_connection(stream)

    async def _exchange(self, incoming: BufferedByteReceiveStream, stream: ByteStream, number: int) -> Ending:
        """Respond to one request. Returns what happens to the connection."""
        request = await _read_request(incoming)
        self.connections.in_use += 1
        try:
            ending = await self._answer(request, stream, number)
        finally:
            self.connections.in_use -= 1
        closing = request.headers.get("connection", "").lower() == "close"
        return "cut" if closing and ending == "clean" else ending

    async def _answer(self, request: HttpRequest, stream: ByteStream, number: int) -> Ending:
        call, dialect = self._record(request, number)
        self.calls.append(call)
        play = self._play(call, dialect)
        if play.delay:
            await anyio.sleep(play.delay)
        if play.trouble == "garbage":
            await stream.send(_GARBAGE)
            return "cut"
        if play.trouble is not None:
            raise UsageError(
                f"{play.trouble}() cannot be scripted here, the connection is made before a request is seen; "
                "use go_down() and come_back()"
            )
        if not play.before_head:
            await _send(play, stream)
        if play.ending == "stall":
            await anyio.sleep_forever()
        return play.ending

    def _record(self, request: HttpRequest, number: int) -> tuple[MockCall, Dialect]:
        dialect, endpoint = dialect_of(request)
        body = body_of(request)
        has_key, key = key_of(request)
        model, stream = asked_of(dialect, request, body)
        call = MockCall(
            index=len(self.calls),
            provider=dialect.name,
            endpoint=endpoint,
            model=model,
            stream=stream,
            has_key=has_key,
            key=key,
            connection=number,
            http=masked(request),
            json=body,
        )
        return call, dialect

    def _play(self, call: MockCall, dialect: Dialect) -> Play:
        step = self.choose(call, now=anyio.current_time())
        if step is None:
            return self._recorded(call, dialect).play(pace=self.pace)
        step.use()
        play = step.play(call, dialect)
        if play.trouble in _UNCONNECTED and isinstance(step, FaultyStep) and step.planned:
            # The connection is established before the attempt is known, so this is the closest equivalent.
            return Play(before_head=True, ending=_UNCONNECTED[play.trouble])
        return play

    @property
    def _spare(self) -> Step:
        return Step(self, "recorded", self._recorded).later(delay=0.0, pace=self.pace)

    def _recorded(self, call: MockCall, dialect: Dialect) -> Answer:
        if dialect.needs_key and not call.has_key:
            return document(401, dialect.error(401, None, None, None))
        match call.endpoint:
            case "":
                return document(404, dialect.error(404, f"Unknown request URL: {call.http.path}", None, None))
            case "chat" if not self._recordings.has(dialect):
                return spoken("Hello! How can I help you today?", call, dialect)
            case "models":
                return document(200, dialect.models(self._recordings.models(dialect)))
            case "responses":
                return spoken("Hello! How can I help you today?", call, dialect)
            case _:
                return self._recordings.answer(call, dialect)


def reset_connection(stream: ByteStream) -> None:
    """Reset a connection (TCP RST), for handlers of a `RawServer`. Nothing can be sent on it afterwards."""
    raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - no database here
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # Closing through the event loop sends a FIN first, and the peer would see a regular end. If the descriptor is
    # replaced, the kernel closes the socket at once.
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(nothing, raw.fileno(), inheritable=False)
    finally:
        os.close(nothing)


async def _close(resource: AsyncResource) -> None:
    """Close without waiting for the peer, even during cancellation."""
    with anyio.CancelScope(shield=True):
        await anyio.aclose_forcefully(resource)


async def _read_request(incoming: BufferedByteReceiveStream) -> HttpRequest:
    head = (await incoming.receive_until(b"\r\n\r\n", _HEAD_LIMIT)).decode("latin-1")
    line, *fields = head.split("\r\n")
    method, path, _ = line.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    if "chunked" in headers.get("transfer-encoding", ""):
        body = await _read_chunks(incoming)
    else:
        body = await incoming.receive_exactly(int(headers.get("content-length", "0")))
    return HttpRequest(method=method, path=path, headers=headers, body=body)


async def _read_chunks(incoming: BufferedByteReceiveStream) -> bytes:
    body = b""
    while size := int((await incoming.receive_until(b"\r\n", _HEAD_LIMIT)).partition(b";")[0], 16):
        body += await incoming.receive_exactly(size)
        await incoming.receive_exactly(2)
    await incoming.receive_until(b"\r\n", _HEAD_LIMIT)
    return body


async def _send(play: Play, stream: ByteStream) -> None:
    """Send the head and the part of the body that is to be sent."""
    framing = "transfer-encoding: chunked" if play.stream else f"content-length: {play.length}"
    fields = [f"{name}: {value}" for name, value in play.headers.items()]
    reason = HTTPStatus(play.status).phrase if play.status in _KNOWN else "Unknown"
    lines = [f"HTTP/1.1 {play.status} {reason}", *fields, framing, "", ""]
    await stream.send("\r\n".join(lines).encode("latin-1"))
    for piece in play.pieces:
        if play.pace:
            await anyio.sleep(play.pace)
        await stream.send(b"%x\r\n%b\r\n" % (len(piece), piece) if play.stream else piece)
    if play.stream and play.ending in ("clean", "hang_up"):
        await stream.send(b"0\r\n\r\n")


def _path_of(provider: str) -> str:
    row = CATALOG.get(provider)
    return "" if row is None else urlsplit(row.base_url).path
