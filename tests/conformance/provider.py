"""A provider that keeps a journal of what it received, over HTTP/1.1 and HTTP/2 alike. The journal is the judge."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import attrs

from tests.engine.peers import CHAT
from tests.engine.rig import until
from tests.transport.http2_peer import Http2Server, Request, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyio.abc import ByteStream

LEFT = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.IncompleteRead)


@attrs.frozen(kw_only=True)
class Reply:
    """What the provider answers."""

    status: int = 200
    body: bytes = attrs.field(default=b"", repr=False)
    headers: tuple[tuple[str, bytes], ...] = attrs.field(default=(), repr=False)
    kind: str = "application/json"
    length: bool = True
    """Announce the body's length; otherwise it is framed as HTTP does without."""
    announced: int | None = None
    """Announce this length instead of the true one."""
    interim: int = 0
    """So many answers of status 103 before this one."""
    early: bool = False
    """Answer at the request's head, without reading its body, and close the connection."""
    ends: str = "whole"
    """`whole`; `hang`: keep the exchange open after the body; `cut`: end the connection inside the body; `close`: end
    the connection after the answer; `silent`: say nothing at all, and wait until the client leaves."""


Script: TypeAlias = "Reply | Callable[[Received], Reply]"


@attrs.define
class Received:
    """A request as it was received."""

    method: str
    path: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    connection: int
    left: anyio.Event = attrs.field(factory=anyio.Event)
    """The client has ended the exchange, or the connection, before the answer was complete."""

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)

    @property
    def is_stream(self) -> bool:
        """It asks for a stream."""
        return b'"stream":true' in self.body.replace(b" ", b"")


_CLAUDE = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
).encode()


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def _piece(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "choices": [choice]}).encode() + b"\n\n"


BEGUN = {
    "openai": _piece({"role": "assistant", "content": ""}) + _piece({"content": "hel"}),
    "anthropic": _event("message_start", message={"id": "msg_1", "model": "m", "usage": {"input_tokens": 3}})
    + _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    + _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "hel"}),
}
"""How a stream begins."""
REST = {
    "openai": _piece({"content": "lo"}) + _piece({}, "stop") + b"data: [DONE]\n\n",
    "anthropic": _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "lo"})
    + _event("content_block_stop", index=0)
    + _event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2})
    + _event("message_stop"),
}
"""How it goes on to its end."""
WHOLE = {"openai": CHAT, "anthropic": _CLAUDE}
"""A whole answer."""
MODELS = b'{"data": [{"id": "m", "object": "model", "type": "model"}], "has_more": false}'


def good(received: Received, **changes: Any) -> Reply:
    """Return the right answer to a request: "hello"."""
    if received.method == "GET":
        return Reply(body=MODELS, **changes)
    dialect = "anthropic" if received.path.endswith("/messages") else "openai"
    if received.is_stream:
        return Reply(body=BEGUN[dialect] + REST[dialect], kind="text/event-stream", length=False, **changes)
    return Reply(body=WHOLE[dialect], **changes)


class Provider:
    """Answers the first request with its first script, and the last one again and again; without scripts, well."""

    def __init__(self, *scripts: Script) -> None:
        self.journal: list[Received] = []
        self.connections = 0
        self._scripts = scripts
        self.http2 = Http2Server(self._respond, early=self._respond_early if self._is_early() else None)

    def _is_early(self) -> bool:
        return any(isinstance(script, Reply) and script.early for script in self._scripts)

    def _next(self, received: Received) -> Reply:
        self.journal.append(received)
        if not self._scripts:
            return good(received)
        script = self._scripts[min(len(self.journal), len(self._scripts)) - 1]
        return script if isinstance(script, Reply) else script(received)

    # --- HTTP/1.1

    async def __call__(self, stream: ByteStream) -> None:
        """Serve a connection of HTTP/1.1."""
        serving.set(True)
        self.connections += 1
        number, rest = self.connections, b""
        while True:
            data = rest
            while b"\r\n\r\n" not in data:
                data += await stream.receive()
            head, _, body = data.partition(b"\r\n\r\n")
            received = _read_head(head, number)
            if self._is_early():
                received.body = body
            else:
                missing = int(received.headers.get("content-length", "0"))
                pieces, size = [body], len(body)
                while size < missing:
                    pieces.append(await stream.receive())
                    size += len(pieces[-1])
                body = b"".join(pieces)
                received.body, rest = body[:missing], body[missing:]
            reply = self._next(received)
            try:
                await _send(stream, reply)
                if reply.ends in ("hang", "silent"):
                    while True:
                        await stream.receive()
            except LEFT:
                received.left.set()
                raise
            if reply.early or reply.ends in ("cut", "close"):
                return

    # --- HTTP/2

    async def _respond_early(self, request: Request) -> None:
        await self._respond(request)

    async def _respond(self, request: Request) -> None:
        fields = request.fields
        headers = {name: value for name, value in fields.items() if not name.startswith(":")}
        headers["host"] = fields[":authority"]
        self.connections = len(self.http2.peers)
        number = self.http2.peers.index(request.peer) + 1
        received = Received(fields[":method"], fields[":path"], headers, request.body, number)
        reply = self._next(received)
        try:
            await _send_http2(request, reply)
        finally:
            if reply.ends in ("hang", "silent"):
                received.left.set()


def _read_head(head: bytes, connection: int) -> Received:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    pairs = [line.partition(":") for line in lines]
    names = [name.lower() for name, _, _ in pairs]
    assert len(names) == len(set(names)), "a header field came twice"
    return Received(method, path, {name.lower(): value.strip() for name, _, value in pairs}, b"", connection)


async def _send(stream: ByteStream, reply: Reply) -> None:
    if reply.ends == "silent":
        return
    await stream.send(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * reply.interim)
    lines = [f"HTTP/1.1 {reply.status} X".encode(), b"content-type: " + reply.kind.encode()]
    lines += [name.encode() + b": " + value for name, value in reply.headers]
    length = len(reply.body) if reply.announced is None else reply.announced
    lines.append(b"content-length: %d" % length if reply.length else b"transfer-encoding: chunked")
    await stream.send(b"\r\n".join(lines) + b"\r\n\r\n")
    body = reply.body[: len(reply.body) // 2] if reply.ends == "cut" and reply.length else reply.body
    if reply.length:
        await stream.send(body)
    elif body:
        await stream.send(b"%x\r\n%b\r\n" % (len(body), body))
    if not reply.length and reply.ends in ("whole", "close"):
        await stream.send(b"0\r\n\r\n")


async def _send_http2(request: Request, reply: Reply) -> None:
    peer = request.peer
    if reply.ends == "silent":
        await _until_reset(request)
        return
    for _ in range(reply.interim):
        peer.h2.send_headers(request.id, [(":status", "103"), ("link", "x")])
    fields: list[Any] = [(b":status", str(reply.status).encode()), (b"content-type", reply.kind.encode())]
    fields += [(name.encode(), value) for name, value in reply.headers]
    if reply.length:
        length = len(reply.body) if reply.announced is None else reply.announced
        fields.append((b"content-length", b"%d" % length))
    peer.h2.send_headers(request.id, fields)
    body = reply.body[: len(reply.body) // 2] if reply.ends == "cut" and reply.length else reply.body
    await _send_data(request, body, end=reply.ends in ("whole", "close"))
    if reply.ends == "hang":
        await _until_reset(request)
    elif reply.early:
        # As RFC 9113, 8.1 says: a whole answer, then a reset without an error.
        peer.h2.reset_stream(request.id, 0)
        await peer.flush()
    elif reply.ends in ("cut", "close"):
        await peer.stream.aclose()


async def _send_data(request: Request, body: bytes, *, end: bool) -> None:
    peer, sent = request.peer, 0
    while sent < len(body):
        window = peer.h2.local_flow_control_window(request.id)
        piece = body[sent : sent + min(window, peer.h2.max_outbound_frame_size)]
        if not piece:
            await peer.flush()
            await anyio.sleep(0.001)
            continue
        peer.h2.send_data(request.id, piece)
        sent += len(piece)
    if end:
        peer.h2.end_stream(request.id)
    await peer.flush()


async def _until_reset(request: Request) -> None:
    await request.peer.flush()
    server = request.peer.server
    await until(lambda: request.id in server.resets, seconds=30)


def key_of(received: Received) -> str | None:
    """Return the credential that a request came with."""
    bearer = re.fullmatch("Bearer (.*)", received.headers.get("authorization", ""))
    return bearer[1] if bearer else received.headers.get("x-api-key")
