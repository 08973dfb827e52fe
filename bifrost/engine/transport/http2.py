"""HTTP/2: few connections, each lent to many exchanges at once.

Nobody owns a connection: whoever waits for bytes reads for all, and hands the reading on when its own have come. What
is cancelled resets its own stream. A write is never broken off in the middle of a frame, which would end all streams.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

import anyio

from bifrost.engine.transport.failures import as_error, never_sent
from bifrost.engine.transport.goaway import Goaway, GoawayFilter
from bifrost.engine.transport.heads import CLOSE_LIMIT, SLICE, answer_of, briefly, fields_of, interim_alone
from bifrost.engine.transport.http1 import Http1Connection
from bifrost.engine.transport.logs import redacting
from bifrost.engine.transport.network import Network
from bifrost.engine.transport.wires import (
    ConnectTimeoutError,
    PeerError,
    ReadTimeoutError,
    WireError,
    WireReadError,
    WireWriteError,
    WriteTimeoutError,
)
from bifrost.errors import BifrostError, ConfigError, TransportError
from bifrost.wire.auth import credentials_of
from bifrost.wire.http.request import target_of
from bifrost.wire.http.response import INTERIM_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from h2.connection import H2Connection
    from h2.events import Event

    from bifrost.config import Timeouts
    from bifrost.engine.transport.roads import Road
    from bifrost.engine.transport.seam import Answer
    from bifrost.wire.auth import Secret
    from bifrost.wire.http import HttpRequest

_PROTOCOLS = ("h2", "http/1.1")
_READ = 64 * 1024
_STREAM_WINDOW = 1024 * 1024
"""How much of one answer may be on its way, or unread here."""
_WINDOW = 16 * 1024 * 1024
"""The same for all answers of a connection."""
_GLANCE = 0.05
"""How long a word is waited for that an idle connection seems to have received, in seconds."""
_CANCEL = 8
_REFUSED = 7


class _UntakenError(Exception):
    """The peer says that it has not looked at the request, and never will on this connection."""


class Http2Socket:
    """One connection of HTTP/2, or what turns out to be one of HTTP/1.1."""

    def __init__(self, road: Road, *, most: int, retire_at: float) -> None:
        self.road = road
        self.lent = 0
        """How many hold a place on it, busy or idle."""
        self.answered = False
        """An exchange has come to its end on it."""
        self.only_http1 = False
        """The peer does not speak HTTP/2."""
        self.broken: Exception | None = None
        """What ended it."""
        self.leaving = False
        """The peer takes no more requests on it."""
        self._most = most
        self._retire_at = retire_at
        self.network = Network()
        self._h2: H2Connection | None = None
        self._is_settled = False
        """The peer has said how many exchanges it takes at once."""
        self._goaways = GoawayFilter()
        self._streams: dict[int, Stream2] = {}
        self._reader: Stream2 | None = None
        self._waiting: dict[Stream2, None] = {}
        self._outbox = bytearray()
        self._limit = CLOSE_LIMIT
        """How long a write may stand still."""
        self._spare = False
        """The connection turned out to be one of HTTP/1.1 and nobody has it."""
        self._connecting = anyio.Lock()
        self._writing = anyio.Lock()
        self._secrets: dict[Secret, None] = dict.fromkeys(road.secrets)
        """What was sent on it: the tables of both directions repeat it in their logs, whoever reads or writes."""

    @property
    def takes_more(self) -> bool:
        """Say whether another may have a place on it."""
        most = self._most if self._h2 is None else min(self._most, self._h2.remote_settings.max_concurrent_streams)
        return self.usable and not self.only_http1 and self.lent < most and anyio.current_time() < self._retire_at

    @property
    def usable(self) -> bool:
        """Say whether requests can be sent on it, as far as is known."""
        return self.broken is None and not self.leaving

    @property
    def is_made(self) -> bool:
        """Say whether the peer has been reached."""
        return self._h2 is not None or self.only_http1

    # --- its beginning and end

    async def ready(self, seconds: float) -> bool:
        """Connect, unless that was done; others wait for the first. Gives whether there was something to wait for.

        Raises `WireError` and what a proxy says, for all that waited alike.
        """
        if self.is_made:
            return False
        try:
            with anyio.fail_after(seconds):
                await self._connecting.acquire()
        except TimeoutError as error:
            raise ConnectTimeoutError from error
        try:
            await self._connect_once(seconds)
        finally:
            self._connecting.release()
        return True

    async def _connect_once(self, seconds: float) -> None:
        self._check_whole()
        if not self.is_made:
            await self._connect(seconds)

    async def _connect(self, seconds: float) -> None:
        try:
            await self.road.lay(self.network, seconds=seconds, protocols=_PROTOCOLS)
            if self.network.protocol != "h2":
                self.only_http1 = self._spare = True
                return
            self._h2, self._is_settled = _new_connection(), False
            await self._flush(seconds)
        except BaseException as error:
            # Who waits behind one that was cancelled begins anew.
            await briefly(self.network.close())
            self.network = Network()
            self._h2 = None
            if isinstance(error, Exception):
                self.broken = error
            raise

    def as_http1(self) -> Http1Connection:
        """Give a connection of HTTP/1.1 instead: the one that was made, if nobody has that yet."""
        network, self._spare = (self.network if self._spare else None), False
        return Http1Connection(self.road, network)

    async def leave(self) -> None:
        """Give a place back. The last one closes the connection."""
        self.lent -= 1
        if self.lent <= 0 or self.broken is not None:
            await briefly(self.network.close())

    # --- one exchange

    def learn(self, secrets: Iterable[Secret]) -> None:
        """Take credentials that are about to be sent out of all that is logged of the connection."""
        self._secrets.update(dict.fromkeys(secrets))

    async def start(self, fields: list[tuple[bytes, bytes]], body: bytes, stream: Stream2, *, limit: float) -> None:
        """Open a stream and send a request on it. Returns early if the answer ends before the request does."""
        h2 = self._connection()
        self._limit = limit
        await self._glance(stream)
        while not self._takes_one_more():
            await self.wait(stream, self._takes_one_more, None)
        self._check(stream)
        stream.id = h2.get_next_available_stream_id()
        with redacting(self._secrets):
            h2.send_headers(stream.id, fields, end_stream=not body)
        self._streams[stream.id] = stream
        stream.sent = True
        sent = 0
        while sent < len(body):
            await self._wait_for_window(stream, limit)
            if stream.ended:
                break
            sent = self._send_piece(stream, body, sent)
            await self._flush(limit)
        stream.said_all = sent >= len(body)
        await self._flush(limit)

    def _takes_one_more(self) -> bool:
        h2 = self._connection()
        # Before its settings have come, one exchange is what every peer takes.
        most = h2.remote_settings.max_concurrent_streams if self._is_settled else 1
        return h2.open_outbound_streams < most

    def _send_piece(self, stream: Stream2, body: bytes, start: int) -> int:
        """Write as much of a body as may go out now; give where the rest begins."""
        h2 = self._connection()
        end = min(len(body), start + min(SLICE, h2.local_flow_control_window(stream.id)))
        while start < end:
            size = min(end - start, h2.max_outbound_frame_size)
            h2.send_data(stream.id, body[start : start + size], end_stream=start + size == len(body))
            start += size
        return start

    async def _wait_for_window(self, stream: Stream2, limit: float) -> None:
        h2 = self._connection()

        def may_go_on() -> bool:
            return stream.ended or stream.failure is not None or h2.local_flow_control_window(stream.id) > 0

        try:
            await self.wait(stream, may_go_on, limit)
        except ReadTimeoutError as error:
            raise WriteTimeoutError from error
        stream.check()

    async def wait(self, stream: Stream2, ready: Callable[[], object], limit: float | None) -> None:
        """Wait until something holds for a stream, reading for all if nobody does. `limit` bounds the silence."""
        if ready():
            return
        deadline = float("inf") if limit is None else anyio.current_time() + limit
        with anyio.CancelScope(deadline=deadline) as stream.scope:
            while not ready():
                self._check(stream)
                if self._reader is None:
                    await self._read_for_all(stream, ready)
                else:
                    await self._be_told(stream)
        if stream.scope.cancelled_caught:
            stream.check()
            raise ReadTimeoutError

    async def _read_for_all(self, stream: Stream2, ready: Callable[[], object]) -> None:
        self._reader = stream
        try:
            while not ready() and stream.failure is None and self.broken is None:
                await self._receive()
        finally:
            self._reader = None
            self._wake_one()

    async def _be_told(self, stream: Stream2) -> None:
        stream.news = anyio.Event()
        self._waiting[stream] = None
        try:
            await stream.news.wait()
        except BaseException:
            # It may have been asked to read for all, and leaves instead.
            del self._waiting[stream]
            if self._reader is None:
                self._wake_one()
            raise
        finally:
            stream.news = None
            self._waiting.pop(stream, None)

    def _wake_one(self) -> None:
        for stream in self._waiting:
            stream.wake()
            return

    def _wake_all(self) -> None:
        for stream in self._waiting:
            stream.wake()

    async def take(self, stream: Stream2) -> bytes:
        """Give what has come of an answer's body, and let the peer send as much again."""
        data = b"".join(stream.chunks)
        stream.chunks.clear()
        owed, stream.owed = stream.owed, 0
        if owed and self.broken is None:
            self._connection().acknowledge_received_data(owed, stream.id)
            await self._say_if_possible()
        return data

    async def reset(self, stream: Stream2) -> None:
        """Forget a stream; the peer is told, if it still is at it."""
        if self._streams.pop(stream.id, None) is None or self.broken is not None:
            return
        h2 = self._connection()
        if stream.owed:
            h2.acknowledge_received_data(stream.owed, stream.id)
        if not (stream.ended and stream.said_all) and not stream.is_known:
            h2.reset_stream(stream.id, _CANCEL)
        # Others may now open a stream.
        self._wake_all()
        await self._flush_if_free(CLOSE_LIMIT)

    # --- the socket

    async def _glance(self, stream: Stream2) -> None:
        """See what came while nobody was waiting: perhaps that the peer has left."""
        if not self._streams and self._reader is None and self.network.readable():
            self._reader = stream
            try:
                with anyio.move_on_after(_GLANCE):
                    await self._receive()
            finally:
                self._reader = None
                self._wake_one()

    async def _receive(self) -> None:
        """Read once, and tell the streams what came. A connection that ends here is left `broken`."""
        from h2.exceptions import ProtocolError

        h2 = self._connection()
        # What one who was cancelled had yet to say may be what the peer waits for.
        await self._flush_if_free()
        try:
            data = await self.network.read()
        except WireReadError as error:
            self._end(error)
            return
        if not data:
            self._end(PeerError("the peer has closed the connection"))
            return
        try:
            frames, goaways = self._goaways.feed(data)
            with redacting(self._secrets):
                events = h2.receive_data(frames)
        except (ProtocolError, ValueError) as error:
            self._end(PeerError(f"it does not speak HTTP/2 ({type(error).__name__})"))
            return
        for event in events:
            self._tell(event)
        for goaway in goaways:
            self._going(goaway)
        await self._say_if_possible()

    def _tell(self, event: Event) -> None:
        from h2 import events

        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        match event:
            case events.WindowUpdated() | events.RemoteSettingsChanged():
                self._is_settled = self._is_settled or isinstance(event, events.RemoteSettingsChanged)
                self._wake_all()
            case _ if stream is not None:
                stream.feed(event)
                if stream.ended or stream.failure is not None:
                    # One fewer is open.
                    self._wake_all()
            case _:
                pass

    def _going(self, goaway: Goaway) -> None:
        self.leaving = True
        for stream in self._streams.values():
            if stream.id > goaway.last_stream:
                stream.is_known = True
                stream.fail(_UntakenError())
        self._wake_all()

    def _end(self, error: Exception) -> None:
        self.broken = self.broken or error
        self._wake_all()

    def _check(self, stream: Stream2) -> None:
        stream.check()
        self._check_whole()
        if self.leaving and not stream.id:
            raise _UntakenError

    async def _say_if_possible(self) -> None:
        """Write what is to be said after something has come. That counts, also if the connection turns out broken."""
        with suppress(WireError):
            await self._flush_if_free()

    async def _flush_if_free(self, limit: float | None = None) -> None:
        """Write what is to be said, unless somebody is writing and takes it along."""
        self._outbox += self._connection().data_to_send()
        if self._outbox and not self._writing.locked():
            await self._flush(limit or self._limit)

    async def _flush(self, limit: float) -> None:
        """Write all that is to be said. Not broken off by a cancellation: half a frame would end all streams."""
        h2, outbox = self._connection(), self._outbox
        async with self._writing:
            while self.broken is None:
                outbox += h2.data_to_send()
                if not outbox:
                    return
                data = bytes(outbox)
                outbox.clear()
                with anyio.move_on_after(limit, shield=True) as scope:
                    try:
                        await self.network.write(data)
                    except (WireWriteError, WireReadError) as error:
                        self._end(error)
                if scope.cancelled_caught:
                    self._end(WriteTimeoutError())
        self._check_whole()

    def _check_whole(self) -> None:
        if self.broken is not None:
            raise self.broken

    def _connection(self) -> H2Connection:
        if self._h2 is None:
            raise WireReadError("there is no connection")
        return self._h2


class Stream2:
    """One exchange on a connection."""

    def __init__(self, place: str) -> None:
        self._place = place
        self.id = 0
        self.sent = False
        """Its head has (perhaps) gone out."""
        self.said_all = False
        """The request is out, to its end."""
        self.status: int | None = None
        self.fields: list[tuple[bytes, bytes]] = []
        self.chunks: deque[bytes] = deque()
        self.owed = 0
        """Bytes that came and that the peer may not yet send anew."""
        self.ended = False
        """The answer is here, to its end."""
        self.failure: Exception | None = None
        self.heard = False
        """Something of an answer has come."""
        self.is_known = False
        """The peer knows that it has ended: it has said so."""
        self._interim = 0
        self.scope: anyio.CancelScope | None = None
        self.news: anyio.Event | None = None

    def feed(self, event: Event) -> None:
        """Take what came for it."""
        from h2 import events

        self.heard = True
        match event:
            case events.InformationalResponseReceived():
                self._interim += 1
                if self._interim > INTERIM_LIMIT:
                    self.failure = self.failure or interim_alone(self._place)
            case events.ResponseReceived():
                given = event.headers or []
                self.status = int(next((value for name, value in given if name == b":status"), b"0"))
                self.fields = [(bytes(name), bytes(value)) for name, value in given if not name.startswith(b":")]
            case events.DataReceived():
                if event.data:
                    self.chunks.append(event.data)
                self.owed += event.flow_controlled_length or 0
            case events.StreamEnded():
                self.ended = True
            case events.StreamReset():
                refused = event.error_code == _REFUSED
                error = _UntakenError() if refused else PeerError("the peer has reset the stream")
                self.is_known = True
                if not self.ended:
                    self.failure = error
            case _:
                return
        self.wake()

    def fail(self, error: Exception) -> None:
        """End it; whoever waits for it hears of this."""
        self.failure = self.failure or error
        self.wake()
        if self.scope is not None:
            self.scope.cancel()

    def check(self) -> None:
        """Raise what ended it."""
        if self.failure is not None:
            raise self.failure

    def wake(self) -> None:
        """Have its waiter look again."""
        if self.news is not None:
            self.news.set()


class Http2Connection:
    """A place on a connection of HTTP/2: carries one exchange at a time."""

    def __init__(self, socket: Http2Socket) -> None:
        self._socket = socket
        socket.lent += 1
        self._road = socket.road
        self._place = str(socket.road)
        self._stream: Stream2 | None = None
        self._connect_time: float | None = None
        self._read_limit: float | None = None
        self._plain: Http1Connection | None = None
        """What takes its place where HTTP/2 is not spoken."""
        self._left = False

    @property
    def reused(self) -> bool:
        """The connection has served an exchange before this one."""
        return self._socket.answered if self._plain is None else self._plain.reused

    @property
    def sent(self) -> bool:
        """The present request's head has (perhaps) gone out."""
        if self._plain is not None:
            return self._plain.sent
        return self._stream is not None and self._stream.sent

    @property
    def heard(self) -> bool:
        """Something has come of an answer to the present request."""
        if self._plain is not None:
            return self._plain.heard
        return self._stream is not None and self._stream.heard

    @property
    def connect_time(self) -> float | None:
        """How long the present exchange waited for its connection to be made, in seconds."""
        return self._connect_time if self._plain is None else self._plain.connect_time or self._connect_time

    async def connect(self, *, seconds: float) -> None:
        """Make the connection ahead of its first request, unless another has."""
        await self._ready(seconds)
        self._socket.answered = True

    async def _ready(self, seconds: float) -> None:
        began = anyio.current_time()
        failure: BifrostError
        try:
            waited = await self._socket.ready(seconds)
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self._translate(error, phase="connect")
        else:
            self._connect_time = anyio.current_time() - began if waited else None
            if self._socket.only_http1:
                self._plain = self._socket.as_http1()
            return
        raise failure

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> Answer:
        """Send a request and wait for the head of the answer.

        Raises `ConnectError` if nothing could be sent, `CallTimeoutError`, `ProtocolError`, `TransportError`.
        """
        self._connect_time = self._stream = None
        if self._plain is None:
            await self._ready(timeouts.connect)
        if self._plain is not None:
            return await self._plain.send(request, timeouts=timeouts, read_timeout=read_timeout)
        self._stream = stream = Stream2(self._place)
        failure: BifrostError
        self._socket.learn(credentials_of(request.headers))
        try:
            await self._socket.start(self._fields(request), request.body, stream, limit=timeouts.write)
            await self._socket.wait(stream, lambda: stream.status is not None, read_timeout)
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self._translate(error, phase="headers")
        else:
            self._read_limit = read_timeout
            return answer_of(stream.status or 0, stream.fields, self, place=self._place)
        raise failure

    def _fields(self, request: HttpRequest) -> list[tuple[bytes, bytes]]:
        origin = self._road.origin
        authority = origin.authority.encode("ascii")
        return [
            (b":method", request.method.encode("ascii")),
            (b":authority", authority),
            (b":scheme", origin.scheme.encode("ascii")),
            (b":path", target_of(request.path).encode("ascii")),
            *((name.lower(), value) for name, value in fields_of(request, authority)[1:]),
        ]

    async def read(self) -> bytes:
        """Give the next bytes, empty at the clean end. Raises `TransportError`, `ProtocolError`, `CallTimeoutError`."""
        stream = self._stream
        if stream is None:
            return b""
        failure: BifrostError
        try:
            await self._socket.wait(stream, lambda: stream.chunks or stream.ended, self._read_limit)
            return await self._socket.take(stream)
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self._translate(error, phase="body")
        raise failure

    def limit_reads(self, seconds: float | None) -> None:
        """Bound each further wait for body bytes."""
        self._read_limit = seconds
        if self._plain is not None:
            self._plain.limit_reads(seconds)

    def usable(self) -> bool:
        """Say whether another request can be sent, as far as is known."""
        return self._socket.usable if self._plain is None else self._plain.usable()

    async def finish(self) -> None:
        """End an exchange whose body was read to its end."""
        if self._plain is not None:
            await self._plain.finish()
            return
        stream, self._stream = self._stream, None
        self._socket.answered = True
        if stream is not None:
            await self._socket.reset(stream)

    def cut(self) -> None:
        """Break the exchange under a waiting reader; the others on the connection go on."""
        if self._plain is not None:
            self._plain.cut()
        elif self._stream is not None:
            self._stream.fail(WireReadError("the exchange was cut"))

    async def close(self) -> None:
        """Reset the exchange, and give the place back. The last one closes the connection."""
        if self._left:
            return
        self._left = True
        stream, self._stream = self._stream, None
        if stream is not None:
            # Another task may be waiting for its bytes.
            stream.fail(WireReadError("the exchange was closed"))
            await briefly(self._socket.reset(stream))
        if self._plain is not None:
            await self._plain.close()
        await self._socket.leave()

    def _translate(self, error: Exception, *, phase: str) -> BifrostError:
        if isinstance(error, _UntakenError):
            return never_sent(TransportError(f"{self._place} takes no more requests on this connection"))
        if isinstance(error, BifrostError):
            # All that waited for the connection are told; each has an error of its own.
            told = type(error)(error.message)
            told.fault = error.fault
            return told
        return as_error(error, place=self._place, sent=self.sent, phase=phase)


def _new_connection() -> H2Connection:
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.settings import SettingCodes, Settings

    connection = H2Connection(
        # Vendors' answers need not be perfect; their size is bounded, and that is what matters.
        H2Configuration(client_side=True, header_encoding=None, validate_inbound_headers=False)
    )
    connection.local_settings = Settings(
        client=True,
        initial_values={
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
            SettingCodes.MAX_CONCURRENT_STREAMS: 100,
            SettingCodes.MAX_HEADER_LIST_SIZE: 65536,
        },
    )
    connection.initiate_connection()
    connection.increment_flow_control_window(_WINDOW)
    return connection


def check_installed() -> None:
    """Raise `ConfigError` if the extra is missing."""
    if find_spec("h2") is None:
        raise ConfigError("network.http2 needs the package h2; install bifrost-llm[http2]")
