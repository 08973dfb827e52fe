"""Connections over a user's httpx transport. Only this file imports httpx."""

from __future__ import annotations

from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, cast

import anyio
import httpx

from bifrost.errors import BifrostError, CallTimeoutError, ConfigError, ConnectError, ProtocolError, TransportError
from bifrost.transport.api import ConnectionBase
from bifrost.transport.failures import connect_failure, never_sent
from bifrost.transport.heads import SLICE, briefly, fields_of, interim_alone, response_head_of
from bifrost.transport.logs import SENDING
from bifrost.transport.sockets import is_readable, is_silent, shut
from bifrost.wire.http.request import target_of
from bifrost.wire.http.response import INTERIM_LIMIT
from bifrost.wire.secrets import credentials_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from bifrost.config import Timeouts
    from bifrost.transport.api import Origin, ResponseHead
    from bifrost.transport.logs import Sending
    from bifrost.wire.http import Headers, HttpRequest

_URLS_KEPT = 256


class HttpxConnection(ConnectionBase):
    """A connection with an httpx transport of its own, or a place on a shared one."""

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
        """Whether unexpected bytes may follow the response. The next request would take them for its own response."""
        self._authority = origin.authority.encode("ascii")
        self._urls: dict[str, httpx.URL] = {}
        self._network: Any = None
        self._body: Body | None = None
        self._timeouts: dict[str, float | None] = {}
        self._extensions: dict[str, Any] = {}
        self.reused = False
        self.sent = False
        self.connect_time: float | None = None

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> ResponseHead:
        """Send a request and wait for the head of the response.

        Raises `ConnectError` if nothing could be sent, `CallTimeoutError`, `ProtocolError` and `TransportError`.
        """
        # If the transport does not report it, the request is assumed to have been sent.
        self.sent = not self._traced
        self.connect_time = None
        # `pool` is short on purpose: a connection that is not returned is a defect of ours and should be noticed.
        self._timeouts = {"connect": timeouts.connect, "write": timeouts.write, "read": read_timeout, "pool": 1.0}
        self._extensions = {"timeout": self._timeouts}
        if self._traced:
            self._extensions["trace"] = _Trace(self)
        failure: BifrostError
        sending = (request.headers, credentials_of(request.secret_query) if request.secret_query else ())
        before = SENDING.set(sending)
        try:
            response = await self._transport.handle_async_request(self._outgoing(request))
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self.translate(error, phase="headers")
        else:
            self._body = Body(response.stream, self.translate, _PARSER, sending)
            answer = response_head_of(response.status_code, response.headers.raw, self._body, place=str(self._origin))
            self._spoilt = is_ambiguous(answer.headers)
            return answer
        finally:
            SENDING.reset(before)
        raise failure

    def _outgoing(self, request: HttpRequest) -> httpx.Request:
        return httpx.Request(
            request.method,
            self._url(request),
            headers=fields_of(request, self._authority),
            stream=Upload(request.body),
            extensions=self._extensions,
        )

    def _url(self, request: HttpRequest) -> httpx.URL:
        path = request.path
        if request.secret_query:
            # Not remembered, since it contains a key.
            target = target_of(path, request.secret_query)
            return httpx.URL(str(self._origin)).copy_with(raw_path=target)
        url = self._urls.get(path)
        if url is None:
            if len(self._urls) >= _URLS_KEPT:
                self._urls.clear()
            url = self._urls[path] = httpx.URL(f"{self._origin}{path}")
        return url

    def limit_reads(self, seconds: float | None) -> None:
        """Limit each further wait for bytes of the body. httpcore reads the limit when the first read begins.

        The limit is not changed for a connection that cannot be cut.
        """
        if seconds is not None or self._network is not None:
            self._timeouts["read"] = seconds

    def usable(self) -> bool:
        """Return whether the idle connection is open and has no pending bytes."""
        network = self._network
        if network is None:
            # It is not a connection of httpcore; its author is responsible.
            return True
        if self._spoilt or is_readable(network.get_extra_info("socket")):
            return False
        tls = network.get_extra_info("ssl_object")
        return tls is None or is_silent(tls)

    async def finish(self) -> None:
        """End an exchange whose body was read completely."""
        body, self._body = self._body, None
        self.reused = self._owned
        if body is not None:
            self._spoilt = self._spoilt or body.has_sequel()
            await body.close()

    def cut(self) -> None:
        """Break the connection, so that a waiting reader fails."""
        sock = None if self._network is None else self._network.get_extra_info("socket")
        if sock is not None:
            shut(sock)

    async def close(self) -> None:
        """Close the connection: the socket first, then the reader, so that no generator is left suspended."""
        body, self._body = self._body, None
        network, self._network = self._network, None
        if network is not None:
            await briefly(network.aclose())
        if body is not None:
            await briefly(body.drain())
        if self._owned:
            await briefly(self._transport.aclose())

    def connected(self, network: Any) -> None:
        """Store the raw stream.

        bifrost closes it, because httpcore leaks it when it is cancelled during a TLS handshake.
        """
        self._network = network

    def awaits_head(self) -> None:
        """Limit the interim responses before the head of the response."""
        for held in getattr(getattr(self._transport, "_pool", None), "connections", ()):
            bound_interim(held, place=str(self._origin))

    def translate(self, error: Exception, *, phase: str) -> BifrostError:
        """Return bifrost's error for an error of httpx or of the user's transport."""
        return _as_error(error, place=str(self._origin), sent=self.sent, phase=phase)


class _Trace:
    """httpcore's trace hook, which reports the raw stream, the time to connect, and whether the head was sent."""

    __slots__ = ("_connection", "_started")

    def __init__(self, connection: HttpxConnection) -> None:
        self._connection = connection
        self._started: float | None = None

    async def __call__(self, name: str, info: Mapping[str, Any]) -> None:
        if name.endswith("send_request_headers.started"):
            # The request for a tunnel goes to the proxy, not to the provider.
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
    """Translates a foreign error to bifrost's."""

    def __call__(self, error: Exception, *, phase: str) -> BifrostError:
        """Return the error for what failed while `phase` was awaited."""
        ...


def is_ambiguous(headers: Headers) -> bool:
    """Return whether a response has two lengths, so that its connection must not be reused.

    RFC 9112, 6.3: the chunks determine the length, but an intermediary may use the other.
    """
    return headers.get("transfer-encoding") is not None and headers.get("content-length") is not None


def bound_interim(held: Any, *, place: str) -> None:
    """Make a connection's parser end a series of interim responses, which httpcore would read without limit.

    `held` is a connection of httpcore, which may be nested in others (TLS, a proxy).
    """
    while (inner := getattr(held, "_connection", None)) is not None:
        held = inner
    parser = getattr(held, "_h11_state", None)
    if parser is not None and "next_event" not in vars(parser):
        parser.next_event = _Events(parser.next_event, place)


class _Events:
    """The events of an HTTP/1.1 parser, with a limit for consecutive interim responses."""

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
    """A request body that is not a generator, so that a cancelled upload leaves none suspended."""

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
    """Reads the body of a response. It can be ended from either side without leaving a generator suspended."""

    __slots__ = ("_ended", "_iterator", "_parser", "_sending", "_stream", "_translate")

    def __init__(self, stream: Any, translate: _Translate, parser: Callable[[Any], Any], sending: Sending) -> None:
        self._stream = stream
        self._sending = sending
        self._translate = translate
        self._parser = parser
        self._iterator: Any = None
        self._ended = False

    async def read(self) -> bytes:
        """Return the next bytes, empty at the regular end.

        Raises `TransportError`, `ProtocolError` and `CallTimeoutError`.
        """
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
        """Return whether bytes follow the body. httpcore does not report it, so its parser is examined."""
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
        """Read until the reader ends or raises. Its socket is closed already, so this does not wait."""
        if not self._ended and self._iterator is not None:
            self._ended = True
            with suppress(Exception):
                while True:
                    await self._iterator.__anext__()
        await self.close()


def _as_error(error: Exception, *, place: str, sent: bool, phase: str) -> BifrostError:
    """Return bifrost's error for a foreign one.

    It does not refer to it, and has no text of it that may contain a secret.
    """
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
            failure = ProtocolError(f"{place} broke the HTTP protocol or cut its response ({type(error).__name__})")
        case httpx.UnsupportedProtocol() | httpx.InvalidURL():
            failure = ConfigError(f"{place} is no address that can be called")
        case _:
            failure = TransportError(f"the request to {place} broke off ({type(error).__name__})")
    return failure if sent else never_sent(failure)


def _proxy_failure(error: Exception, place: str) -> BifrostError:
    """Distinguish a proxy that refuses us for good from one that cannot reach the provider at the moment."""
    status = str(error)[:3]
    if status.startswith("5"):
        return ConnectError(f"the proxy could not connect to {place}: status {status}")
    return ConfigError(f"the proxy on the way to {place} refuses: check HTTPS_PROXY and its credentials")
