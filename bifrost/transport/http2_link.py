"""One connection of HTTP/2, shared by many exchanges.

Two tasks belong to it: one reads whatever comes and hands it to the exchanges, the other writes whatever is to be said.
So an exchange that is cancelled never breaks off a frame, and one whose reader rests holds up nobody: what has come for
it waits in its own window, and the connection's window is opened again at once.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from bifrost.transport.frames import END_STREAM, GOAWAY, HEADERS, Frame, FrameCutter
from bifrost.transport.heads import SLICE, briefly
from bifrost.transport.http2_stream import Http2Stream, UntakenError
from bifrost.transport.http11 import Http1Connection
from bifrost.transport.logs import redacting
from bifrost.transport.network import Network
from bifrost.transport.wires import (
    ConnectTimeoutError,
    PeerError,
    ReadTimeoutError,
    WireError,
    WireReadError,
    WriteTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from h2.connection import H2Connection
    from h2.events import Event

    from bifrost.transport.api import Task
    from bifrost.transport.routes import Road
    from bifrost.wire.auth import Secret

_PROTOCOLS = ("h2", "http/1.1")
_STREAM_WINDOW = 1024 * 1024
"""How much of one answer may be on its way, or unread here."""
_WINDOW = 16 * 1024 * 1024
"""How much of all answers may be on its way."""
_UNSAID = 256 * 1024
"""How many bytes may wait to be written before uploads wait."""
_FRAMES_AT_ONCE = 128
"""After so many frames the event loop has its turn."""
_LARGEST_HEAD = 1024 * 1024
"""What a head may unpack to before the whole connection is given up; a single answer is refused far below that."""
_DOUBT = 0.25
"""An exchange that is given up after so many seconds without a byte raises doubts about the connection."""
_REFUSAL = 1.0
"""For so many seconds after a refusal other connections are preferred."""
_CANCEL = 8
_DEFAULT_WRITE_LIMIT = 30.0


class Http2Link:
    """One connection of HTTP/2, or what turns out to be one of HTTP/1.1.

    Args:
        most: How many exchanges may share it.
        retire_at: When it takes no further ones, by the event loop's clock.
        run: Starts a task.
    """

    def __init__(self, road: Road, *, most: int, retire_at: float, run: Callable[[Task], None]) -> None:
        self.road = road
        self.lent = 0
        """How many hold a place on it, busy or idle."""
        self.answered = False
        """An exchange has come to its end on it."""
        self.only_http1 = False
        """The peer does not speak HTTP/2."""
        self.failure: Exception | None = None
        """What ended it."""
        self.is_counted = False
        """What ended it was reported to the provider's health."""
        self.is_leaving = False
        """The peer takes no more requests on it."""
        self.secrets: dict[Secret, None] = dict.fromkeys(road.secrets)
        """What was sent on it: the tables of both directions repeat it in their logs, whoever reads or writes."""
        self.network = Network()
        self._most = most
        self._retire_at = retire_at
        self._run = run
        self._h2: H2Connection | None = None
        self._is_settled = False
        """The peer has said how many exchanges it takes at once."""
        self._cutter = FrameCutter()
        self._streams: dict[int, Http2Stream] = {}
        self._unsaid = 0
        """Bytes of uploads that wait to be written."""
        self._received = 0
        """Bytes that came and that the peer may not yet send anew to all of the connection."""
        self._something_to_say: anyio.Event | None = None
        """What the writer waits for."""
        self._is_silent = False
        """The writer has written everything."""
        self._silence: anyio.Event | None = None
        """What waits for that."""
        self._write_limit = _DEFAULT_WRITE_LIMIT
        self._heard_at = 0.0
        self._refuses_until = 0.0
        """The peer has refused an exchange, and would perhaps refuse the next."""
        self._is_doubtful = False
        """Nothing came for long; a ping is on its way."""
        self._spare = False
        """The connection turned out to be one of HTTP/1.1 and nobody has it."""
        self._connecting = anyio.Lock()

    @property
    def takes_more(self) -> bool:
        """Whether another may have a place on it."""
        most = self._most if self._h2 is None else min(self._most, self._h2.remote_settings.max_concurrent_streams)
        now = anyio.current_time()
        return self.usable and not self.only_http1 and self.lent < most and self._refuses_until <= now < self._retire_at

    @property
    def usable(self) -> bool:
        """Whether requests can be sent on it, as far as is known."""
        return self.failure is None and not self.is_leaving and not self._is_doubtful

    @property
    def is_made(self) -> bool:
        """Whether the peer has been reached."""
        return self._h2 is not None or self.only_http1

    # --- its beginning and end

    async def ready(self, seconds: float) -> bool:
        """Connect, unless that was done; others wait for the first. Returns whether there was something to wait for.

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
            self._check_whole()
            if not self.is_made:
                await self._connect(seconds)
        finally:
            self._connecting.release()
        return True

    async def _connect(self, seconds: float) -> None:
        try:
            await self.road.lay(self.network, seconds=seconds, protocols=_PROTOCOLS)
        except BaseException as error:
            # Who waits behind one that was cancelled begins anew.
            await briefly(self.network.close())
            self.network = Network()
            if isinstance(error, Exception):
                self.failure = error
            raise
        if self.network.protocol != "h2":
            self.only_http1 = self._spare = True
            return
        self._h2 = _new_connection()
        self._heard_at = anyio.current_time()
        self._run(self._read_all)
        self._run(self._write_all)

    def as_http1(self) -> Http1Connection:
        """Return a connection of HTTP/1.1 instead: the one that was made, if nobody has that yet."""
        network, self._spare = (self.network if self._spare else None), False
        return Http1Connection(self.road, network)

    async def leave(self) -> None:
        """Give a place back. The last one closes the connection."""
        self.lent -= 1
        if self.lent <= 0 and self._h2 is not None:
            # The peer may still have to hear that an exchange was given up.
            await briefly(self._said_all())
        if self.lent <= 0:
            self._end(WireReadError("the connection was closed"))
        if self.failure is not None and not (self.only_http1 and not self._spare):
            await briefly(self.network.close())

    def _end(self, error: Exception) -> None:
        """End everything here: exchanges hear of it, and both tasks."""
        if self.failure is None and not self.only_http1:
            self.failure = error
            self.network.shut()
        for stream in self._streams.values():
            stream.wake()
        self.say()

    # --- one exchange

    async def start(
        self,
        fields: list[tuple[bytes, bytes]],
        body: bytes,
        stream: Http2Stream,
        *,
        limit: float,
        secrets: Iterable[Secret] = (),
    ) -> None:
        """Open a stream and send a request on it. Returns early if the answer ends before the request does."""
        h2 = self._connection()
        self.secrets.update(dict.fromkeys(secrets))
        self._write_limit = limit
        if not self._takes_one_more():
            waiting = -id(stream)
            self._streams[waiting] = stream
            try:
                await self.wait(stream, self._takes_one_more, None)
            finally:
                del self._streams[waiting]
        self._check(stream)
        stream.id = h2.get_next_available_stream_id()
        with redacting(self.secrets):
            h2.send_headers(stream.id, fields, end_stream=not body)
        # h2 would end the whole connection for an odd length of one answer; it is checked by the stream itself.
        vars(h2.streams[stream.id])["_initialize_content_length"] = _ignore
        self._streams[stream.id] = stream
        stream.sent, stream.sent_at = True, anyio.current_time()
        self.say()
        sent = 0
        while sent < len(body):
            await self._wait_to_upload(stream, limit)
            if stream.ended or (stream.status is not None and stream.status >= 300):
                return
            sent = self._send_piece(stream, body, sent)
        stream.said_all = True

    def _takes_one_more(self) -> bool:
        h2 = self._connection()
        # Before its settings have come, one exchange is what every peer takes.
        most = h2.remote_settings.max_concurrent_streams if self._is_settled else 1
        return h2.open_outbound_streams < most

    async def _wait_to_upload(self, stream: Http2Stream, limit: float) -> None:
        h2 = self._connection()

        def may_go_on() -> bool:
            if stream.ended or (stream.status is not None and stream.status >= 300):
                return True
            return self._unsaid < _UNSAID and h2.local_flow_control_window(stream.id) > 0

        try:
            await self.wait(stream, may_go_on, limit)
        except ReadTimeoutError as error:
            raise WriteTimeoutError from error
        self._check(stream)

    def _send_piece(self, stream: Http2Stream, body: bytes, start: int) -> int:
        """Hand the writer as much of a body as may go out now. Returns where the rest begins."""
        h2 = self._connection()
        end = min(len(body), start + min(SLICE, h2.local_flow_control_window(stream.id)))
        self._unsaid += end - start
        while start < end:
            size = min(end - start, h2.max_outbound_frame_size)
            h2.send_data(stream.id, body[start : start + size], end_stream=start + size == len(body))
            start += size
        self.say()
        return start

    async def wait(self, stream: Http2Stream, ready: Callable[[], object], limit: float | None) -> None:
        """Wait until something holds for a stream. `limit` bounds the silence. Raises what ended the stream."""
        if ready():
            return
        deadline = float("inf") if limit is None else anyio.current_time() + limit
        with anyio.CancelScope(deadline=deadline) as scope:
            while not ready():
                self._check(stream)
                stream.news = anyio.Event()
                try:
                    await stream.news.wait()
                finally:
                    stream.news = None
        if scope.cancelled_caught:
            self._check(stream)
            raise ReadTimeoutError

    def take(self, stream: Http2Stream) -> bytes:
        """Return what has come of an answer's body, and let the peer send as much again."""
        data = b"".join(stream.chunks)
        stream.chunks.clear()
        owed, stream.owed = stream.owed, 0
        if owed and not stream.ended and stream.failure is None and self.failure is None:
            self._connection().increment_flow_control_window(owed, stream.id)
            self.say()
        return data

    def forget(self, stream: Http2Stream) -> None:
        """End a stream; the peer is told, if it still is at it."""
        if self._streams.pop(stream.id, None) is None or self.failure is not None:
            return
        h2 = self._connection()
        if not (stream.ended and stream.said_all) and not stream.is_known:
            h2.reset_stream(stream.id, _CANCEL)
            if anyio.current_time() - max(self._heard_at, stream.sent_at) >= _DOUBT and not self._is_doubtful:
                # Perhaps the connection is dead. Until the peer answers this, nobody else is sent there.
                self._is_doubtful = True
                h2.ping(b"bifrost?")
        # Others may now open a stream.
        self._wake_all()
        self.say()

    def _check(self, stream: Http2Stream) -> None:
        stream.check()
        self._check_whole()
        if self.is_leaving and not stream.id:
            raise UntakenError

    def _check_whole(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _wake_all(self) -> None:
        for stream in self._streams.values():
            stream.wake()

    def _connection(self) -> H2Connection:
        if self._h2 is None:
            raise WireReadError("there is no connection")
        return self._h2

    # --- the reader

    async def _read_all(self) -> None:
        """Read until the connection ends, and hand what comes to the exchanges."""
        failure: Exception = WireReadError("the connection was closed")
        try:
            while self.failure is None:
                data = await self.network.read()
                if not data:
                    failure = PeerError("the peer has closed the connection")
                    break
                self._heard_at, self._is_doubtful = anyio.current_time(), False
                await self._feed(data)
        except WireError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - h2, which may fail in many ways at what a peer sends
            failure = PeerError(f"it does not keep to HTTP/2 ({type(error).__name__})")
        finally:
            self._end(failure)
            with suppress(WireError):
                # Whoever reads what has come still may.
                await briefly(self.network.close())

    async def _feed(self, data: bytes) -> None:
        h2 = self._connection()
        received = 0
        for number, frame in enumerate(self._cutter.feed(data), 1):
            if frame.kind == GOAWAY:
                self._going(frame)
                continue
            with redacting(self.secrets):
                events = h2.receive_data(self._judged(frame))
            for event in events:
                received += getattr(event, "flow_controlled_length", None) or 0
                self._tell(event)
            if number % _FRAMES_AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()
        self._received += received
        if self._received >= _WINDOW // 4:
            # Whether it is read or not: an exchange that rests has a window of its own.
            h2.increment_flow_control_window(self._received)
            self._received = 0
        self.say()

    def _judged(self, frame: Frame) -> bytes:
        """Return a frame's bytes for h2, or what takes their place where h2 would end the connection for one answer."""
        stream = self._streams.get(frame.stream_id)
        if frame.kind == HEADERS and stream is not None and stream.status and not frame.flags & END_STREAM:
            stream.fail(PeerError("the answer has two heads"))
            return frame.ending()
        return frame.data

    def _tell(self, event: Event) -> None:
        from h2 import events

        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        match event:
            case events.WindowUpdated():
                self._wake_all()
            case events.RemoteSettingsChanged():
                self._is_settled = True
                self._wake_all()
            case _ if stream is not None:
                stream.feed(event)
                if isinstance(stream.failure, UntakenError):
                    self._refuses_until = anyio.current_time() + _REFUSAL
                if stream.ended or stream.failure is not None:
                    # One fewer is open.
                    self._wake_all()
            case _:
                pass

    def _going(self, farewell: Frame) -> None:
        self.is_leaving = True
        for stream in self._streams.values():
            if stream.id > farewell.last_stream:
                stream.is_known = True
                stream.fail(UntakenError())
        self._wake_all()

    # --- the writer

    def say(self) -> None:
        """Have the writer look whether there is something to be said."""
        self._is_silent = False
        if self._something_to_say is not None:
            self._something_to_say.set()

    async def _said_all(self) -> None:
        """Wait until the writer has written everything."""
        self.say()
        while self.failure is None and not self._is_silent:
            self._silence = anyio.Event()
            await self._silence.wait()

    async def _write_all(self) -> None:
        """Write what is to be said until the connection ends."""
        h2 = self._connection()
        try:
            while self.failure is None:
                data = h2.data_to_send()
                if data:
                    await self.network.write(data, self._write_limit)
                    self._unsaid = 0
                    self._wake_all()
                    continue
                self._something_to_say = anyio.Event()
                self._is_silent = True
                if self._silence is not None:
                    self._silence.set()
                await self._something_to_say.wait()
                self._something_to_say = None
        except WireError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - h2
            self._end(PeerError(f"nothing more can be said in HTTP/2 ({type(error).__name__})"))


def _ignore(_headers: object) -> None:
    """Take no note of a length."""


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
        },
    )
    connection.decoder.max_header_list_size = _LARGEST_HEAD
    connection.initiate_connection()
    connection.increment_flow_control_window(_WINDOW)
    return connection
