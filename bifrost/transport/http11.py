"""bifrost's own HTTP/1.1 connection: the parser and the TLS of `wire/http` over a socket of the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.errors import BifrostError, InvalidRequestError, ProtocolError
from bifrost.transport.api import ResponseHead
from bifrost.transport.failures import as_error
from bifrost.transport.heads import HEAD_IS_TOO_LARGE, briefly, credentials_of_proxy, fields_of, interim_alone
from bifrost.transport.network import Network
from bifrost.transport.wires import PeerError, WireError
from bifrost.wire.http.request import UnsafeHeadError, request_head, target_of
from bifrost.wire.http.response import HeadTooLargeError, HttpFormatError, InterimAnswersError, ResponseParser
from bifrost.wire.http.values import Headers

if TYPE_CHECKING:
    from bifrost.config import Timeouts
    from bifrost.transport.routes import Route
    from bifrost.wire.http import HttpRequest

_JOINED = 64 * 1024
"""A body of up to this size is written together with the head."""
_NEVER_WAITS = 16 * 1024
"""Up to this size, a write fits into the buffer of a socket whose peer has read everything before, so it needs no
timer.
"""
_SLICE = 256 * 1024
"""How many bytes of a larger body are written at once. The `write` timeout applies to each of them, not to the whole
upload.
"""


class Http1Connection:
    """One HTTP/1.1 connection."""

    __slots__ = (
        "_authority",
        "_failure",
        "_limit",
        "_network",
        "_parser",
        "_place",
        "_route",
        "_spoilt",
        "connect_time",
        "reused",
    )

    def __init__(self, route: Route, network: Network | None = None) -> None:
        """Prepare a connection, or use the network of one that is established already."""
        self._route = route
        self._place = str(route)
        self._authority = route.origin.authority.encode("ascii")
        self._network = network or Network()
        self._parser = ResponseParser()
        self._limit: float | None = None
        self._failure: Exception | None = None
        """The error while an upload was in progress."""
        self._spoilt = False
        """Whether a request or response was not transferred exactly, so that the connection cannot be reused."""
        self.reused = False
        self.connect_time: float | None = None

    @property
    def sent(self) -> bool:
        """Whether the head of the current request may have been sent."""
        return self._network.sent

    @property
    def heard(self) -> bool:
        """Whether a part of the response to the current request was received."""
        return self._network.heard

    async def connect(self, *, seconds: float) -> bool:
        """Establish the connection before its first request, and return `True`.

        Raises `ConnectError`, `ConfigError` and `CallTimeoutError`.
        """
        failure: BifrostError
        try:
            await self._connect(seconds)
        except WireError as error:
            failure = self._translate(error, phase="connect")
        else:
            self.reused = True
            return True
        raise failure

    async def _connect(self, seconds: float) -> None:
        self.connect_time = await self._route.connect(self._network, seconds=seconds)

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> ResponseHead:
        """Send a request and wait for the head of the response.

        Raises `ConnectError` if nothing could be sent, `CallTimeoutError`, `ProtocolError` and `TransportError`.
        """
        network = self._network
        network.sent = network.heard = False
        self.connect_time = None
        self._limit = read_timeout
        failure: BifrostError
        try:
            if not network.connected:
                await self._connect(timeouts.connect)
            self._parser = parser = ResponseParser()
            self._spoilt = True
            await self._write(self._head(request), request.body, timeouts.write)
            while not parser.status:
                await self._read(parser)
            return ResponseHead(parser.status, Headers(parser.fields), _Body(self, parser))
        except (WireError, HttpFormatError, UnsafeHeadError) as error:
            failure = self._translate(error, phase="headers")
        raise failure

    def _head(self, request: HttpRequest) -> bytes:
        route = self._route
        try:
            fields = fields_of(request, self._authority)
        except UnicodeEncodeError:
            fields = [(b"", b"")]
        target = target_of(request.path, request.secret_query)
        if route.forwards:
            target = f"{route.origin}".encode("ascii") + target
            fields += credentials_of_proxy(route.proxy)
        return request_head(request.method.encode("ascii"), target, fields)

    async def _write(self, head: bytes, body: bytes, timeout: float) -> None:
        network = self._network
        if len(body) <= _JOINED:
            joined = head + body if body else head
            await network.write(joined, None if len(joined) <= _NEVER_WAITS else timeout)
            self._spoilt = False
            return
        await network.write(head, timeout)
        view = memoryview(body)
        for start in range(0, len(body), _SLICE):
            if not await network.write(view[start : start + _SLICE], timeout, until=self._is_answered):
                failure, self._failure = self._failure, None
                if failure is not None:
                    raise failure
                return
        self._spoilt = False

    def _is_answered(self) -> bool:
        """Process bytes that arrive during an upload. Returns whether the peer does not want the rest of it."""
        parser, network = self._parser, self._network
        while not parser.status and self._failure is None:
            try:
                data = network.take()
                if not data:
                    return network.ended
                parser.feed(data)
            except (WireError, HttpFormatError) as error:
                self._failure = error
        # A server that accepts the request may begin its response before it has read everything.
        return parser.status >= 300 or self._failure is not None

    async def _read(self, parser: ResponseParser) -> None:
        data = await self._network.read(self._limit)
        if data:
            parser.feed(data)
        else:
            parser.end()

    async def read_body(self, parser: ResponseParser) -> bytes:
        """Return the next bytes of a response's body, empty at its regular end."""
        if parser is not self._parser:
            return b""
        failure: BifrostError
        try:
            while not (data := parser.take()) and not parser.complete:
                await self._read(parser)
            return data
        except (WireError, HttpFormatError) as error:
            failure = self._translate(error, phase="body")
        raise failure

    def limit_reads(self, seconds: float | None) -> None:
        """Limit each further wait for bytes of the body, in seconds."""
        self._limit = seconds

    def usable(self) -> bool:
        """Return whether the idle connection is open and has no pending bytes."""
        return not self._spoilt and self._network.at_rest()

    async def finish(self) -> None:
        """End an exchange whose body was read completely."""
        parser = self._parser
        if not self.reused:
            self.reused = True
            self._route.remember(self._network)
        self._spoilt = self._spoilt or not (parser.complete and parser.reusable)
        self._parser = ResponseParser()

    def cut(self) -> None:
        """Break the connection, so that a waiting reader fails."""
        self._network.shut()

    async def close(self) -> None:
        """Close the connection."""
        self._spoilt = True
        await briefly(self._network.close())

    def _translate(self, error: Exception, *, phase: str) -> BifrostError:
        match error:
            case UnsafeHeadError():
                return InvalidRequestError(str(error))
            case HeadTooLargeError():
                return ProtocolError(HEAD_IS_TOO_LARGE.format(place=self._place))
            case InterimAnswersError():
                return interim_alone(self._place)
            case HttpFormatError():
                return as_error(PeerError(str(error)), place=self._place, sent=self.sent, phase=phase)
            case _:
                return as_error(error, place=self._place, sent=self.sent, phase=phase)


class _Body:
    """The body of one response."""

    __slots__ = ("_connection", "_parser")

    def __init__(self, connection: Http1Connection, parser: ResponseParser) -> None:
        self._connection = connection
        self._parser = parser

    async def read(self) -> bytes:
        """Return the next bytes, empty at the regular end. Raises `TransportError` and `CallTimeoutError`."""
        return await self._connection.read_body(self._parser)
