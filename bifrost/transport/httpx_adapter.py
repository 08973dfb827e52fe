"""A connection over a transport of httpx that a user gave. The one file that names httpx."""

from __future__ import annotations

from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, cast

import anyio
import httpx

from bifrost.errors import BifrostError, CallTimeoutError, ConfigError, ConnectError, ProtocolError, TransportError
from bifrost.transport.failures import connect_failure, never_sent
from bifrost.transport.heads import SLICE, answer_of, briefly, fields_of, interim_alone
from bifrost.transport.logs import SENDING
from bifrost.transport.sockets import is_readable, is_silent, shut
from bifrost.wire.http.response import INTERIM_LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from bifrost.config import Timeouts
    from bifrost.transport.api import Answer, Origin
    from bifrost.transport.logs import Sending
    from bifrost.wire.http import Headers, HttpRequest

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
        return _as_error(error, place=str(self._origin), sent=self.sent, phase=phase)


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


class _Translate(Protocol):
    """Makes our error of a foreign one."""

    def __call__(self, error: Exception, *, phase: str) -> BifrostError:
        """Say what went wrong while `phase` was waited for."""
        ...


def is_ambiguous(headers: Headers) -> bool:
    """Say whether an answer has two lengths, so that nothing may follow it.

    RFC 9112, 6.3: the chunks count; but somebody in between may go by the other.
    """
    return headers.get("transfer-encoding") is not None and headers.get("content-length") is not None


def bound_interim(held: Any, *, place: str) -> None:
    """Let a connection's parser end an exchange of interim answers alone, which httpcore reads without end.

    `held` is a connection of httpcore's, which may stand inside others (TLS, a proxy).
    """
    while (inner := getattr(held, "_connection", None)) is not None:
        held = inner
    parser = getattr(held, "_h11_state", None)
    if parser is not None and "next_event" not in vars(parser):
        parser.next_event = _Events(parser.next_event, place)


class _Events:
    """The events of an HTTP/1.1 parser, of which only so many in a row may be interim answers."""

    __slots__ = ("_interim", "_next", "_place")

    def __init__(self, following: Callable[[], Any], place: str) -> None:
        self._next = following
        self._place = place
        self._interim = 0

    def __call__(self) -> Any:
        event = self._next()
        status = getattr(event, "status_code", None)
        if status is not None:
            self._interim = self._interim + 1 if status < 200 else 0
            if self._interim > INTERIM_LIMIT:
                raise interim_alone(self._place)
        return event


class Upload(httpx.AsyncByteStream):
    """A request body that is no generator, so that a cancelled upload leaves none behind."""

    __slots__ = ("_content", "_sent")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._sent = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        start = self._sent
        if start >= len(self._content):
            raise StopAsyncIteration
        self._sent += SLICE
        return self._content[start : self._sent]


class Body:
    """Reads an answer's body, and can be ended from either side without leaving a generator half-read."""

    __slots__ = ("_ended", "_iterator", "_parser", "_sending", "_stream", "_translate")

    def __init__(self, stream: Any, translate: _Translate, parser: Callable[[Any], Any], sending: Sending) -> None:
        self._stream = stream
        self._sending = sending
        self._translate = translate
        self._parser = parser
        self._iterator: Any = None
        self._ended = False

    async def read(self) -> bytes:
        """Give the next bytes, empty at the clean end. Raises `TransportError`, `ProtocolError`, `CallTimeoutError`."""
        if self._ended:
            return b""
        if self._iterator is None:
            self._iterator = self._stream.__aiter__()
        before = SENDING.set(self._sending)
        try:
            while True:
                data: bytes = await self._iterator.__anext__()
                if data:
                    return data
        except StopAsyncIteration:
            self._ended = True
            return b""
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self._translate(error, phase="body")
        finally:
            SENDING.reset(before)
        self._ended = True
        raise failure

    def has_sequel(self) -> bool:
        """Say whether bytes follow the body in the parser's buffer. httpcore tells nowhere, so its parser is asked."""
        try:
            data, _ = self._parser(self._stream).trailing_data
        except AttributeError:
            return False  # another library, or HTTP/2, which has frames
        return bool(data)

    async def close(self) -> None:
        """End an exchange whose body was read."""
        with suppress(Exception):  # foreign code, and the body was read
            await self._stream.aclose()

    async def drain(self) -> None:
        """Pull until the reader ends or raises: its socket is closed by now, so this does not wait."""
        if not self._ended and self._iterator is not None:
            self._ended = True
            with suppress(Exception):
                while True:
                    await self._iterator.__anext__()
        await self.close()


def _as_error(error: Exception, *, place: str, sent: bool, phase: str) -> BifrostError:
    """Return our error for a foreign one. It holds no reference to that and none of its text that could be ours."""
    match error:
        case BifrostError():
            return error
        case httpx.ConnectTimeout():
            failure: BifrostError = CallTimeoutError(f"no connection to {place} in time", phase="connect")
        case httpx.WriteTimeout():
            failure = CallTimeoutError(f"{place} did not take the request in time", phase="write")
        case httpx.TimeoutException():
            reading = cast("Any", phase if sent else "connect")
            failure = CallTimeoutError(f"{place} sent nothing for too long", phase=reading)
        case httpx.ProxyError():
            failure = _proxy_failure(error, place)
        case httpx.ConnectError():
            failure = connect_failure(error, place)
        case httpx.ProtocolError():
            failure = ProtocolError(f"{place} broke the HTTP protocol or cut its answer ({type(error).__name__})")
        case httpx.UnsupportedProtocol() | httpx.InvalidURL():
            failure = ConfigError(f"{place} is no address that can be called")
        case _:
            failure = TransportError(f"the exchange with {place} broke off ({type(error).__name__})")
    return failure if sent else never_sent(failure)


def _proxy_failure(error: Exception, place: str) -> BifrostError:
    """Tell a proxy that will never let us through from one that cannot reach the provider just now."""
    status = str(error)[:3]
    if status.startswith("5"):
        return ConnectError(f"the proxy could not connect to {place}: status {status}")
    return ConfigError(f"the proxy on the way to {place} refuses: check HTTPS_PROXY and its credentials")
