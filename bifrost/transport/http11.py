"""A connection of HTTP/1.1 of our own: the parser and the TLS of `wire/http` over a socket of the event loop's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.errors import BifrostError, InvalidRequestError, ProtocolError
from bifrost.transport.api import Answer
from bifrost.transport.failures import as_error
from bifrost.transport.heads import HEAD_IS_TOO_LARGE, briefly, credentials_of_proxy, fields_of, interim_alone
from bifrost.transport.network import Network
from bifrost.transport.wires import PeerError, WireError
from bifrost.wire.http.request import UnsafeHeadError, request_head, target_of
from bifrost.wire.http.response import HeadTooLargeError, HttpFormatError, InterimAnswersError, ResponseParser
from bifrost.wire.http.values import Headers

if TYPE_CHECKING:
    from bifrost.config import Timeouts
    from bifrost.transport.routes import Road
    from bifrost.wire.http import HttpRequest

_JOINED = 64 * 1024
"""A body up to this size goes out with its head in one write."""
_NEVER_WAITS = 16 * 1024
"""Bytes that fit into the buffer of any socket whose peer has read everything before them: no timer is needed."""
_SLICE = 256 * 1024
"""How much of a larger body is written at once: `write` bounds the wait for each, not for the whole upload."""


class Http1Connection:
    """One connection of HTTP/1.1."""

    __slots__ = (
        "_authority",
        "_failure",
        "_limit",
        "_network",
        "_parser",
        "_place",
        "_road",
        "_spoilt",
        "connect_time",
        "reused",
    )

    def __init__(self, road: Road, network: Network | None = None) -> None:
        """Stand for a connection, or take over the network of one that is made."""
        self._road = road
        self._place = str(road)
        self._authority = road.origin.authority.encode("ascii")
        self._network = network or Network()
        self._parser = ResponseParser()
        self._limit: float | None = None
        self._failure: Exception | None = None
        """What went wrong while an upload was listened beside."""
        self._spoilt = False
        """What was read or written does not end where an answer and a request do: nothing may follow."""
        self.reused = False
        self.connect_time: float | None = None

    @property
    def sent(self) -> bool:
        """The present request's head has (perhaps) gone out."""
        return self._network.sent

    @property
    def heard(self) -> bool:
        """Something has come of an answer to the present request."""
        return self._network.heard

    async def connect(self, *, seconds: float) -> None:
        """Make the connection ahead of its first request. Raises `ConnectError`, `ConfigError`, `CallTimeoutError`."""
        failure: BifrostError
        try:
            await self._connect(seconds)
        except WireError as error:
            failure = self._translate(error, phase="connect")
        else:
            self.reused = True
            return
        raise failure

    async def _connect(self, seconds: float) -> None:
        self.connect_time = await self._road.lay(self._network, seconds=seconds)

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> Answer:
        """Send a request and wait for the head of the answer.

        Raises `ConnectError` if nothing could be sent, `CallTimeoutError`, `ProtocolError`, `TransportError`.
        """
        network = self._network
        network.sent = network.heard = False
        self.connect_time = None
        self._limit = read_timeout
        failure: BifrostError
        try:
            if not network.laid:
                await self._connect(timeouts.connect)
            self._parser = parser = ResponseParser()
            self._spoilt = True
            await self._write(self._head(request), request.body, timeouts.write)
            while not parser.status:
                await self._read(parser)
            return Answer(parser.status, Headers(parser.fields), _Body(self, parser))
        except (WireError, HttpFormatError, UnsafeHeadError) as error:
            failure = self._translate(error, phase="headers")
        raise failure

    def _head(self, request: HttpRequest) -> bytes:
        road = self._road
        try:
            fields = fields_of(request, self._authority)
        except UnicodeEncodeError:
            fields = [(b"", b"")]
        target = target_of(request.path)
        if road.forwards:
            target = f"{road.origin}{target}"
            fields += credentials_of_proxy(road.proxy)
        return request_head(request.method.encode("ascii"), target.encode("ascii"), fields)

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
        """Take what has come during an upload. Returns whether the peer does not want the rest."""
        parser, network = self._parser, self._network
        while not parser.status and self._failure is None:
            try:
                data = network.take()
                if not data:
                    return network.ended
                parser.feed(data)
            except (WireError, HttpFormatError) as error:
                self._failure = error
        # One that accepts the request may begin to answer before it has read all of it.
        return parser.status >= 300 or self._failure is not None

    async def _read(self, parser: ResponseParser) -> None:
        data = await self._network.read(self._limit)
        if data:
            parser.feed(data)
        else:
            parser.end()

    async def read_body(self, parser: ResponseParser) -> bytes:
        """Return the next bytes of an answer's body, empty at its clean end."""
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
        """Bound each further wait for body bytes."""
        self._limit = seconds

    def usable(self) -> bool:
        """Return whether the peer has neither closed the idle connection nor sent anything on it."""
        return not self._spoilt and self._network.at_rest()

    async def finish(self) -> None:
        """End an exchange whose body was read to its end."""
        parser = self._parser
        if not self.reused:
            self.reused = True
            self._road.remember(self._network)
        self._spoilt = self._spoilt or not (parser.complete and parser.reusable)
        self._parser = ResponseParser()

    def cut(self) -> None:
        """Break the connection under a waiting reader."""
        self._network.shut()

    async def close(self) -> None:
        """Throw the connection away."""
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
    """The body of one answer."""

    __slots__ = ("_connection", "_parser")

    def __init__(self, connection: Http1Connection, parser: ResponseParser) -> None:
        self._connection = connection
        self._parser = parser

    async def read(self) -> bytes:
        """Return the next bytes, empty at the clean end. Raises `TransportError`, `CallTimeoutError`."""
        return await self._connection.read_body(self._parser)
