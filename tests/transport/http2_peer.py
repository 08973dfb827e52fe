"""A server of HTTP/2 for tests, frame by frame: what it answers is decided by the request's path or body."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio
import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from tests.engine.peers import CHAT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteStream

_LEFT = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
"""What the server meets when the client has gone."""


serving: ContextVar[bool] = ContextVar("serving", default=False)
"""Set in the server's tasks: what is logged there is not the client's."""


class Request:
    """A request that has come, and the way to answer it."""

    def __init__(self, peer: Peer, stream_id: int, fields: dict[str, str]) -> None:
        self.peer = peer
        self.id = stream_id
        self.fields = fields
        self.body = b""

    async def head(self, status: int = 200, **fields: str) -> None:
        given = [(":status", str(status)), ("content-type", "application/json"), *fields.items()]
        self.peer.h2.send_headers(self.id, given)
        await self.peer.flush()

    async def raw_head(self, fields: list[tuple[bytes, bytes]]) -> None:
        """Send a head as it is: h2 would refuse to write one that is odd."""
        block = self.peer.h2.encoder.encode(fields)
        for start in range(0, len(block), 16_000):
            piece = block[start : start + 16_000]
            kind, last = (1 if not start else 9), start + 16_000 >= len(block)
            head = len(piece).to_bytes(3, "big") + bytes([kind, 4 if last else 0]) + self.id.to_bytes(4, "big")
            self.peer.odd.add(self.id)
            await self.peer.send(head + piece)

    async def data(self, data: bytes, *, end: bool = False) -> None:
        if self.id in self.peer.odd:
            # Of this stream h2 does not know that it has a head.
            head = len(data).to_bytes(3, "big") + bytes([0, 1 if end else 0]) + self.id.to_bytes(4, "big")
            await self.peer.send(head + data)
            return
        self.peer.h2.send_data(self.id, data, end_stream=end)
        await self.peer.flush()

    async def answer(self, body: bytes = CHAT, *, status: int = 200) -> None:
        await self.head(status)
        await self.data(body, end=True)

    async def refuse(self, code: int = 7) -> None:
        self.peer.h2.reset_stream(self.id, code)
        await self.peer.flush()


class Peer:
    """One connection of the server."""

    def __init__(self, server: Http2Server, stream: ByteStream) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.server = server
        self.stream = stream
        self.requests: dict[int, Request] = {}
        self.odd: set[int] = set()
        """The streams whose head was written past h2."""
        self.is_deaf = False
        """It reads nothing more."""
        self._lock = anyio.Lock()

    async def send(self, data: bytes) -> None:
        async with self._lock:
            await self.stream.send(data)

    async def flush(self) -> None:
        async with self._lock:
            await self.stream.send(self.h2.data_to_send())

    async def serve(self) -> None:
        self.h2.initiate_connection()
        self.h2.update_settings(self.server.settings)
        await self.flush()
        async with anyio.create_task_group() as group:
            try:
                while not self.is_deaf:
                    for event in self.h2.receive_data(await self.stream.receive()):
                        self._take(event, group)
                    await self.flush()
                await anyio.sleep_forever()
            except (*_LEFT, h2.exceptions.ProtocolError):
                group.cancel_scope.cancel()

    def _take(self, event: Any, group: Any) -> None:
        server = self.server
        match event:
            case h2.events.RequestReceived():
                request = Request(self, event.stream_id, {str(name): str(value) for name, value in event.headers})
                self.requests[event.stream_id] = request
                server.seen.append(request)
                server.most = max(server.most, self.h2.open_inbound_streams)
                if server.early is not None:
                    group.start_soon(self._respond, server.early, request)
                elif event.stream_ended is not None:
                    group.start_soon(self._respond, server.respond, request)
            case h2.events.DataReceived():
                self.requests[event.stream_id].body += event.data
                if server.reads:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.stream_ended is not None and server.early is None:
                    group.start_soon(self._respond, server.respond, self.requests[event.stream_id])
            case h2.events.StreamReset():
                server.resets.append(event.stream_id)
            case h2.events.PingAckReceived():
                server.pongs += 1
            case _:
                pass

    async def _respond(self, respond: Callable[[Request], Awaitable[None]], request: Request) -> None:
        with suppress(h2.exceptions.ProtocolError, *_LEFT):
            await respond(request)


class Http2Server:
    """The handler for a `RawServer` with TLS: one `Peer` per connection."""

    def __init__(
        self,
        respond: Callable[[Request], Awaitable[None]] = Request.answer,
        *,
        early: Callable[[Request], Awaitable[None]] | None = None,
        reads: bool = True,
        **settings: int,
    ) -> None:
        self.respond = respond
        self.early = early
        """Called at a request's head instead of at its end."""
        self.reads = reads
        """Let clients send more than the first window."""
        self.settings: dict[Any, int] = {
            h2.settings.SettingCodes[name.upper()]: value for name, value in settings.items()
        }
        self.seen: list[Request] = []
        self.resets: list[int] = []
        self.peers: list[Peer] = []
        self.pongs = 0
        self.most = 0

    async def __call__(self, stream: ByteStream) -> None:
        serving.set(True)
        peer = Peer(self, stream)
        self.peers.append(peer)
        await peer.serve()
