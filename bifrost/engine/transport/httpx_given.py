"""A connection over a transport of httpx that a user gave."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from bifrost.engine.transport.body import Body, Upload, answer_of, bound_interim, briefly, fields_of, is_ambiguous
from bifrost.engine.transport.failures import translate
from bifrost.engine.transport.logs import SENDING
from bifrost.engine.transport.sockets import is_readable, is_silent, shut
from bifrost.errors import BifrostError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.config import Timeouts
    from bifrost.engine.transport.seam import Answer, Origin
    from bifrost.wire.http import HttpRequest

_URLS_KEPT = 256


class HttpxConnection:
    """A connection of its own inside an httpx transport, or a place on a shared one."""

    __slots__ = (
        "_authority",
        "_body",
        "_extensions",
        "_network",
        "_origin",
        "_owned",
        "_spoilt",
        "_timeouts",
        "_traced",
        "_transport",
        "_urls",
        "connect_time",
        "reused",
        "sent",
    )

    def __init__(self, transport: httpx.AsyncBaseTransport, origin: Origin, *, owned: bool) -> None:
        self._transport = transport
        self._origin = origin
        self._owned = owned
        self._traced = owned and isinstance(transport, httpx.AsyncHTTPTransport)
        self._spoilt = False
        """Bytes may stand behind an answer that nobody asked for; the next request would take them for its own."""
        self._authority = origin.authority.encode("ascii")
        self._urls: dict[str, httpx.URL] = {}
        self._network: Any = None
        self._body: Body | None = None
        self._timeouts: dict[str, float | None] = {}
        self._extensions: dict[str, Any] = {}
        self.reused = False
        self.sent = False
        self.connect_time: float | None = None

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> Answer:
        """Send a request and wait for the head of the answer.

        Raises `ConnectError` if nothing could be sent, `CallTimeoutError`, `ProtocolError`, `TransportError`.
        """
        # Of a transport that does not tell, the worst is assumed: the request may have gone out.
        self.sent = not self._traced
        self.connect_time = None
        # `pool` is short on purpose: a connection that was not given back is our defect and should be loud.
        self._timeouts = {"connect": timeouts.connect, "write": timeouts.write, "read": read_timeout, "pool": 1.0}
        self._extensions = {"timeout": self._timeouts}
        if self._traced:
            self._extensions["trace"] = _Trace(self)
        failure: BifrostError
        sending = (request.headers, ())
        before = SENDING.set(sending)
        try:
            response = await self._transport.handle_async_request(self._outgoing(request))
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self.translate(error, phase="headers")
        else:
            self._body = Body(response.stream, self.translate, _PARSER, sending)
            answer = answer_of(response.status_code, response.headers.raw, self._body, place=str(self._origin))
            self._spoilt = is_ambiguous(answer.headers)
            return answer
        finally:
            SENDING.reset(before)
        raise failure

    def _outgoing(self, request: HttpRequest) -> httpx.Request:
        return httpx.Request(
            request.method,
            self._url(request.path),
            headers=fields_of(request, self._authority),
            stream=Upload(request.body),
            extensions=self._extensions,
        )

    def _url(self, path: str) -> httpx.URL:
        url = self._urls.get(path)
        if url is None:
            if len(self._urls) >= _URLS_KEPT:
                self._urls.clear()
            url = self._urls[path] = httpx.URL(f"{self._origin}{path}")
        return url

    def limit_reads(self, seconds: float | None) -> None:
        """Bound each further wait for body bytes (httpcore reads the limit when the body's first read begins).

        What cannot be cut keeps the limit that it has.
        """
        if seconds is not None or self._network is not None:
            self._timeouts["read"] = seconds

    def usable(self) -> bool:
        """Say whether the peer has neither closed the idle connection nor sent anything on it."""
        network = self._network
        if network is None:
            # Not one of httpcore's: its maker knows.
            return True
        if self._spoilt or is_readable(network.get_extra_info("socket")):
            return False
        tls = network.get_extra_info("ssl_object")
        return tls is None or is_silent(tls)

    async def finish(self) -> None:
        """End an exchange whose body was read to its end."""
        body, self._body = self._body, None
        self.reused = self._owned
        if body is not None:
            self._spoilt = self._spoilt or body.has_sequel()
            await body.close()

    def cut(self) -> None:
        """Break the connection under a waiting reader."""
        sock = None if self._network is None else self._network.get_extra_info("socket")
        if sock is not None:
            shut(sock)

    async def close(self) -> None:
        """Throw the connection away: the socket first, then the reader (so that no generator is left half-read)."""
        body, self._body = self._body, None
        network, self._network = self._network, None
        if network is not None:
            await briefly(network.aclose())
        if body is not None:
            await briefly(body.drain())
        if self._owned:
            await briefly(self._transport.aclose())

    def connected(self, network: Any) -> None:
        """Remember the raw stream: it is closed by us, since httpcore leaks it when cancelled in a TLS handshake."""
        self._network = network

    def awaits_head(self) -> None:
        """Bound what may come before an answer's head."""
        for held in getattr(getattr(self._transport, "_pool", None), "connections", ()):
            bound_interim(held, place=str(self._origin))

    def translate(self, error: Exception, *, phase: str) -> BifrostError:
        """Make our error of one that httpx or the user's transport raised."""
        return translate(error, place=str(self._origin), sent=self.sent, phase=phase)


class _Trace:
    """httpcore's trace hook: learns of the raw stream, the time of connecting, and whether the head went out."""

    __slots__ = ("_connection", "_started")

    def __init__(self, connection: HttpxConnection) -> None:
        self._connection = connection
        self._started: float | None = None

    async def __call__(self, name: str, info: Mapping[str, Any]) -> None:
        if name.endswith("send_request_headers.started"):
            # The request for a tunnel is the proxy's, not the provider's.
            self._connection.sent = info["request"].method != b"CONNECT"
        elif name == "http11.receive_response_headers.started":
            self._connection.awaits_head()
        elif name in ("connection.connect_tcp.started", "socks.connect_tcp.started"):
            self._started = anyio.current_time()
        elif name.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._connection.connected(info["return_value"])
            if self._started is not None:
                self._connection.connect_time = anyio.current_time() - self._started


_PARSER = attrgetter("_httpcore_stream._stream._connection._h11_state")
