"""One HTTP/2 connection, shared by many exchanges.

It has two tasks: one reads and passes what it receives to the exchanges, the other writes. Therefore a cancelled
exchange never leaves an incomplete frame, and an exchange whose reader pauses does not block the others: its bytes stay
in its own window, and the window of the connection is opened again at once.
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
    from bifrost.transport.routes import Route
    from bifrost.wire.secrets import Secret

_PROTOCOLS = ("h2", "http/1.1")
_STREAM_WINDOW = 1024 * 1024
"""The most bytes of one response that are in transit or unread."""
_WINDOW = 16 * 1024 * 1024
"""The most bytes of all responses that are in transit."""
_UNSAID = 256 * 1024
"""The most bytes that wait to be written before uploads pause."""
_FRAMES_AT_ONCE = 128
"""The number of frames after which other tasks may run."""
_LARGEST_HEAD = 1024 * 1024
"""The largest size of a decompressed head before the whole connection is closed. The limit for a single response is far
lower.
"""
_DOUBT = 0.25
"""If an exchange is abandoned after this many seconds without a byte, the connection is checked before it is used
again.
"""
_REFUSAL = 1.0
"""How many seconds other connections are preferred after the peer has refused an exchange."""
_CANCEL = 8
_DEFAULT_WRITE_LIMIT = 30.0


class Http2Link:
    """One HTTP/2 connection, or an HTTP/1.1 connection if the peer does not support HTTP/2.

    Args:
        most: The most exchanges that may share it.
        retire_at: When it stops accepting exchanges, on the event loop's clock.
        run: Starts a task.
    """

    def __init__(self, route: Route, *, most: int, retire_at: float, run: Callable[[Task], None]) -> None:
        self.route = route
        self.lent = 0
        """The number of places in use, busy or idle."""
        self.answered = False
        """Whether an exchange has completed on it."""
        self.only_http1 = False
        """Whether the peer does not support HTTP/2."""
        self.failure: Exception | None = None
        """The error that ended the connection."""
        self.is_counted = False
        """Whether that error was reported to the provider's health."""
        self.is_leaving = False
        """Whether the peer accepts no more requests on it."""
        self.secrets: dict[Secret, None] = dict.fromkeys(route.secrets)
        """The secrets that were sent on it. h2's tables repeat header values in its logs, for all exchanges."""
        self.network = Network()
        self._most = most
        self._retire_at = retire_at
        self._run = run
        self._h2: H2Connection | None = None
        self._is_settled = False
        """Whether the peer has sent its settings, with the most exchanges at once."""
        self._cutter = FrameCutter()
        self._streams: dict[int, Http2Stream] = {}
        self._unsaid = 0
        """Bytes of uploads that wait to be written."""
        self._received = 0
        """Received bytes for which the window of the connection was not opened again yet."""
        self._something_to_say: anyio.Event | None = None
        """The event that the writer waits for."""
        self._is_silent = False
        """Whether the writer has written everything."""
        self._silence: anyio.Event | None = None
        """The event that tasks wait for until everything is written."""
        self._write_limit = _DEFAULT_WRITE_LIMIT
        self._heard_at = 0.0
        self._refuses_until = 0.0
        """Until when other connections are preferred, because the peer has refused an exchange."""
        self._is_doubtful = False
        """Whether nothing was received for long, and a ping is unanswered."""
        self._spare = False
        """Whether it turned out to be an HTTP/1.1 connection that is not in use yet."""
        self._connecting = anyio.Lock()

    @property
    def takes_more(self) -> bool:
        """Whether another exchange may have a place."""
        most = self._most if self._h2 is None else min(self._most, self._h2.remote_settings.max_concurrent_streams)
        now = anyio.current_time()
        return self.usable and not self.only_http1 and self.lent < most and self._refuses_until <= now < self._retire_at

    @property
    def usable(self) -> bool:
        """Whether requests can be sent, as far as is known."""
        return self.failure is None and not self.is_leaving and not self._is_doubtful

    @property
    def is_made(self) -> bool:
        """Whether the connection was established."""
        return self._h2 is not None or self.only_http1

    # --- opening and closing

    async def ready(self, seconds: float) -> bool:
        """Connect, unless that was done. Concurrent callers wait for the first.

        Returns whether there was something to wait for.

        Raises `WireError` and the errors of proxies, for all callers alike.
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
            await self.route.connect(self.network, seconds=seconds, protocols=_PROTOCOLS)
        except BaseException as error:
            # If the first caller was cancelled, the next one starts again.
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
        """Return an HTTP/1.1 connection instead: the established one if it is not in use, else a new one."""
        network, self._spare = (self.network if self._spare else None), False
        return Http1Connection(self.route, network)

    async def leave(self) -> None:
        """Release a place. The last place closes the connection."""
        self.lent -= 1
        if self.lent <= 0 and self._h2 is not None:
            # The peer may not yet know that an exchange was abandoned.
            await briefly(self._said_all())
        if self.lent <= 0:
            self._end(WireReadError("the connection was closed"))
        if self.failure is not None and not (self.only_http1 and not self._spare):
            await briefly(self.network.close())

    def _end(self, error: Exception) -> None:
        """End the connection, all exchanges on it, and both tasks."""
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
        """Open a stream and send a request on it. Returns early if the response ends before the request."""
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
        # h2 would close the connection if the length of one response were wrong; the stream itself checks it.
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
        # Before the peer has sent its settings, only one exchange is certain to be accepted.
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
        """Pass as much of a body to the writer as may be sent now. Returns the start of the rest."""
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
        """Wait until a condition holds for a stream. `limit` bounds the silence, in seconds.

        Raises the error that ended the stream.
        """
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
        """Return the bytes of a response's body that were received, and allow the peer to send as many again."""
        data = b"".join(stream.chunks)
        stream.chunks.clear()
        owed, stream.owed = stream.owed, 0
        if owed and not stream.ended and stream.failure is None and self.failure is None:
            self._connection().increment_flow_control_window(owed, stream.id)
            self.say()
        return data

    def forget(self, stream: Http2Stream) -> None:
        """End a stream. The peer is informed if the stream is still open."""
        if self._streams.pop(stream.id, None) is None or self.failure is not None:
            return
        h2 = self._connection()
        if not (stream.ended and stream.said_all) and not stream.is_known:
            h2.reset_stream(stream.id, _CANCEL)
            if anyio.current_time() - max(self._heard_at, stream.sent_at) >= _DOUBT and not self._is_doubtful:
                # The connection may be dead. It is not used for new exchanges until the peer responds to this ping.
                self._is_doubtful = True
                h2.ping(b"bifrost?")
        # Other exchanges may open a stream now.
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

    # --- reading

    async def _read_all(self) -> None:
        """Read until the connection ends, and pass events to the exchanges."""
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
                # Bytes that were received can still be read.
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
            # The window of the connection is opened whether the bytes are read or not, since each exchange has its own
            # window.
            h2.increment_flow_control_window(self._received)
            self._received = 0
        self.say()

    def _judged(self, frame: Frame) -> bytes:
        """Return a frame's bytes for h2, modified if h2 would close the connection because of a single response."""
        stream = self._streams.get(frame.stream_id)
        if frame.kind == HEADERS and stream is not None and stream.status and not frame.flags & END_STREAM:
            stream.fail(PeerError("the response has two heads"))
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

    # --- writing

    def say(self) -> None:
        """Wake the writer."""
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
        """Write whatever is pending, until the connection ends."""
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
    """Ignore the length."""


def _new_connection() -> H2Connection:
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.settings import SettingCodes, Settings

    connection = H2Connection(
        # Vendors' responses need not be valid; only their size must be limited.
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
