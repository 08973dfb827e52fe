"""The provider of runs over sockets: a `LoopbackProvider` that knows its calls by their keys, also over HTTP/2."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from bifrost.testing import LoopbackProvider, RawServer
from bifrost.wire.http import HttpRequest
from tests.transport.http2_peer import Http2Server

if TYPE_CHECKING:
    import ssl

    from bifrost.testing import MockCall
    from bifrost.testing.dialect import Dialect
    from bifrost.testing.play import Play
    from tests.transport.http2_peer import Request


class SimulatedProvider(LoopbackProvider):
    """All providers of a run at one address. The name of a key begins with the name of its provider."""

    def __init__(self, *, ssl_context: ssl.SSLContext | None, http2: bool) -> None:
        super().__init__(ssl_context=ssl_context)
        self._http2 = Http2Server(self._respond)
        if http2:
            self._server = RawServer(self._http2, ssl_context=ssl_context)

    @property
    def port(self) -> int:
        """The port of the server."""
        return self._server.port

    def _record(self, request: HttpRequest, number: int) -> tuple[MockCall, Dialect]:
        call, dialect = super()._record(request, number)
        asked = SimpleNamespace(messages=[SimpleNamespace(text=_question(call.json))])
        name = (call.key or "nobody").partition("-")[0]
        return msgspec.structs.replace(call, provider=name, request=asked), dialect

    # --- HTTP/2

    async def _respond(self, request: Request) -> None:
        fields = request.fields
        headers = {name: value for name, value in fields.items() if not name.startswith(":")}
        received = HttpRequest(method=fields[":method"], path=fields[":path"], headers=headers, body=request.body)
        call, dialect = self._record(received, self._http2.peers.index(request.peer) + 1)
        self.calls.append(call)
        play = self._play(call, dialect)
        await anyio.sleep(play.delay)
        if play.trouble is not None:
            await request.refuse(1)
            return
        if not play.before_head:
            await _send(request, play)
        if play.ending in ("cut", "reset"):
            await request.refuse(2)


async def _send(request: Request, play: Play) -> None:
    peer = request.peer
    peer.h2.send_headers(request.id, [(":status", str(play.status)), *play.headers.items()])
    await peer.flush()
    for piece in play.pieces:
        await anyio.sleep(play.pace)
        await _send_data(request, piece)
    if play.ending in ("clean", "hang_up"):
        await request.data(b"", end=True)


async def _send_data(request: Request, piece: bytes) -> None:
    h2 = request.peer.h2
    while piece:
        room = min(h2.local_flow_control_window(request.id), h2.max_outbound_frame_size)
        if room:
            await request.data(piece[:room])
            piece = piece[room:]
        else:
            await anyio.sleep(0.001)


def _question(body: Any) -> str:
    """Return the text of the last message of a request."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
