"""An open response, which its caller reads and the worker that opened it supervises.

Bytes are read, framed and decoded in the caller's task, in batches as they arrive. There is no channel, and the socket
provides back-pressure. The worker that opened the response waits meanwhile, ends it when a time limit is reached, and
closes it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from bifrost.errors import (
    BifrostError,
    CallTimeoutError,
    MalformedResponseError,
    ResponseTooLargeError,
    ShuttingDownError,
    TransportError,
    UsageError,
)
from bifrost.event_loop import is_stray
from bifrost.providers.base import ClosingDecoder, ReportedError
from bifrost.routing.classify import ACCEPTED, mark_accepted
from bifrost.routing.retry import LONG_SILENCE
from bifrost.wire.body import Inflater

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bifrost.engine.attempt import Attempt
    from bifrost.engine.pool.connections import PooledConnection
    from bifrost.transport import BodyStream
    from bifrost.wire.framing.base import Event

_SLICE = 16 * 1024
"""How many bytes are decoded at once. Other tasks run in between, so that no response blocks the event loop."""

_TAIL_LIMIT = 0.1
"""How long to wait for the end of a body after the final marker, in seconds, so that the connection can be reused."""


class ResponseStream:
    """An open response that is lent to its caller.

    The worker waits in `watch`; the caller always ends with `release`.
    """

    __slots__ = (
        "_asked",
        "_attempt",
        "_committed",
        "_decoder",
        "_failure",
        "_framer",
        "_gone",
        "_has_tail",
        "_inflater",
        "_last_event",
        "_last_pull",
        "_last_seen",
        "_now",
        "_on_release",
        "_pieces",
        "_pooled",
        "_reader",
        "_reading",
        "_reason",
        "_released",
        "_size",
        "held",
        "warnings",
    )

    def __init__(
        self,
        attempt: Attempt,
        pooled: PooledConnection,
        reader: BodyStream,
        *,
        on_release: Callable[[], None] | None = None,
    ) -> None:
        limits = attempt.upstream.config.size_limits
        self._attempt = attempt
        self._pooled = pooled
        self._reader = reader
        self._decoder = attempt.decoder()
        self._framer = attempt.framer()
        coding = attempt.content_encoding
        self._inflater = None if coding is None else Inflater(coding, limit=limits.stream)
        self._pieces: Iterator[bytes] | None = None
        """The rest of the bytes that were read last, which are decompressed and decoded piece by piece on demand."""
        self._has_tail = False
        """Whether events followed the final marker."""
        self._released = anyio.Event()
        self._on_release = on_release
        """Called when the caller no longer needs the response, so that its place in the pool is free."""
        self._gone = anyio.Event()
        self._reason: BifrostError | None = None
        """Why it was ended on this side. It is checked before and after each read, because a cut can look like an
        end.
        """
        self._failure: BifrostError | None = None
        """An error after chunks that are returned first."""
        self._reading = False
        self._committed = False
        self._size = 0
        self.held = 0
        self._now = attempt.upstream.now
        self._last_event = self._last_pull = self._last_seen = self._asked = self._now()
        # The worker watches for silence, because a timer for each read would cost more than everything else.
        pooled.connection.limit_reads(None)
        self.warnings: Sequence[str] = ()

    # --- for the caller

    async def next(self) -> Sequence[Any] | None:
        """Read until there are chunks.

        Returns `None` after the final marker, or at a regular end after a finish reason.

        Otherwise raises the error that ended the stream: the provider's error event, a broken connection, a timeout, a
        limit.
        """
        while self._failure is None:
            if self._decoder.done:
                return None
            chunks: list[Any] = []
            try:
                piece = await self._next_piece()
                if piece:
                    self._decode(piece, chunks)
                else:
                    self._end(chunks)
            except BifrostError as error:
                if isinstance(error, TransportError):
                    longest = min(LONG_SILENCE, self._attempt.upstream.config.timeouts.idle_bytes / 3)
                    error.after_silence = self._last_pull - self._asked >= longest
                self._failure = self._attempt.locate(error)
            except BaseException as error:
                if not isinstance(error, Exception) and not is_stray(error):
                    raise
                self._failure = self._attempt.locate(self._attempt.defect(error))
            if chunks:
                self._last_event = self._last_pull
                return chunks
        raise self._failure

    def committed(self) -> None:
        """Apply the time limits for silence from now on. Before, `first_token` limits how long a model may think."""
        self._committed = True
        self._last_event = self._last_pull

    def seen(self) -> None:
        """Record that the reader is active although it needs no bytes at the moment."""
        self._last_seen = self._now()

    def release(self) -> None:
        """Return the response to its worker, which closes it, or keeps the connection if it was read to its end."""
        self._released.set()
        upstream = self._attempt.upstream
        if self in upstream.open_streams:
            upstream.open_streams.discard(self)
            upstream.ending.add(self)
        on_release, self._on_release = self._on_release, None
        if on_release is not None:
            on_release()

    async def close(self) -> None:
        """Release it."""
        self.release()

    async def gone(self) -> None:
        """Wait until its worker has released the connection."""
        await self._gone.wait()

    async def _next_piece(self) -> bytes:
        """Return the next bytes to decode, empty at the regular end."""
        while True:
            if self._pieces is not None:
                await anyio.lowlevel.checkpoint()
                if self._reason is not None:
                    raise self._reason
                piece = next(self._pieces, None)
                if piece is not None:
                    return piece
                self._pieces = None
            data = await self._read()
            if not data or (self._inflater is None and len(data) <= _SLICE):
                return data
            self._pieces = self._cut(data)

    def _cut(self, data: bytes) -> Iterator[bytes]:
        """Decompress what was read, and divide it into pieces."""
        for unpacked in (data,) if self._inflater is None else self._inflater.feed(data):
            for start in range(0, len(unpacked), _SLICE):
                yield unpacked[start : start + _SLICE]

    async def _read(self) -> bytes:
        if self._reason is not None:
            raise self._reason
        now = self._asked = self._now()
        # The time that the reader was inactive is not silence of the provider.
        self._last_event += now - self._last_pull
        self._reading = True
        data = b""
        failure: BifrostError | None = None
        try:
            data = await self._reader.read()
        except BifrostError as error:
            failure = error
        finally:
            self._reading = False
            self._last_pull = self._last_seen = self._now()
        # If it was ended on this side, the result of the read follows from that: an error, or what looks like an end.
        if self._reason is not None:
            raise self._reason
        if failure is not None:
            raise failure
        return data

    def _decode(self, piece: bytes, chunks: list[Any]) -> None:
        self._size += len(piece)
        if self._size > self._attempt.upstream.config.size_limits.stream:
            raise ResponseTooLargeError(f"the stream passed {self._size:,} bytes, more than size_limits.stream allows")
        self._take(self._framer.feed(piece), chunks)

    def _take(self, events: Sequence[Event], chunks: list[Any]) -> None:
        """Decode events up to the final marker. Raises the error that an event reports."""
        decoder = self._decoder
        reported: ReportedError
        try:
            for number, event in enumerate(events, 1):
                made = decoder.feed(event)
                if made:
                    chunks += made
                    if not self._committed:
                        self.held += len(event.data)
                if decoder.done:
                    # A peer that continues after the final marker may also continue after the next response.
                    self._has_tail = number < len(events)
                    break
            return
        except ReportedError as error:
            reported = error
        chunks += reported.chunks
        raise self._attempt.reported(reported)

    def _end(self, chunks: list[Any]) -> None:
        """Check the end of the bytes: the last line, and whether the stream was complete."""
        for event in self._framer.finish():
            # The last event has no end: it may be complete or cut, and the decoder judges what is missing.
            with suppress(MalformedResponseError):
                self._take((event,), chunks)
        match self._decoder.finish():
            case "complete":
                pass
            case "unmarked":
                self.warnings = ("no_final_marker",)
                if isinstance(self._decoder, ClosingDecoder):
                    chunks += self._decoder.close()
            case "cut" if self._attempt.status == ACCEPTED and not self._committed:
                accepted = MalformedResponseError("the stream ended without content")
                mark_accepted(accepted)
                raise accepted
            case "cut":
                raise TransportError("the stream was cut off before its end")
        self._decoder.done = True

    # --- for the worker

    async def watch(self) -> None:
        """Wait until the caller releases the response or a time limit is reached.

        Then close it, or keep its connection.
        """
        open_streams = self._attempt.upstream.open_streams
        open_streams.add(self)
        try:
            try:
                await self._wait()
            except BaseException:
                self._end_for(ShuttingDownError("the client was closed while the stream was open"))
                raise
            finally:
                open_streams.discard(self)
            await self._let_go()
        finally:
            self._attempt.upstream.ending.discard(self)
            self._gone.set()

    async def _let_go(self) -> None:
        connections = self._attempt.upstream.connections
        if await self._at_end():
            await connections.give_back(self._pooled, self._now())
        else:
            self._reason = self._reason or UsageError("this stream was closed; what it held is gone")
            await connections.drop(self._pooled)

    def in_use(self, now: float, unread_limit: float) -> bool:
        """Return whether the stream is being read, or was within the last `unread_limit` seconds."""
        return not self._released.is_set() and (self._reading or now - self._last_seen < unread_limit)

    async def _wait(self) -> None:
        while not self._released.is_set():
            now = self._now()
            reason = self._overdue(now)
            if reason is not None:
                self._end_for(reason)
                if self._reading:
                    with anyio.move_on_after(1):
                        await self._released.wait()
                return
            with anyio.CancelScope(deadline=self._next_look(now)):
                await self._released.wait()

    def _end_for(self, reason: BifrostError) -> None:
        # The reason is set first: otherwise the cut would look like a regular end to a reader that wakes up.
        self._reason = self._reason or reason
        if self._reading:
            self._pooled.connection.cut()

    def _overdue(self, now: float) -> BifrostError | None:
        """Return the error with which the stream must end now; `None` if there is none."""
        timeouts = self._attempt.upstream.config.timeouts
        if now >= self._attempt.deadline:
            late = CallTimeoutError("the call's time ended while its stream was open", phase="stream")
            late.category = "limit"
            return late
        if self._committed and self._reading:
            if now >= self._asked + timeouts.idle_bytes:
                origin = self._attempt.upstream.address_of(self._attempt.key).origin
                return CallTimeoutError(f"{origin} sent nothing for too long", phase="body")
            if now >= self._last_event + timeouts.idle_events:
                return CallTimeoutError(f"no event for idle_events={timeouts.idle_events:g} s", phase="stream")
        if not self._reading and now >= self._last_seen + timeouts.consumer_idle:
            unread = CallTimeoutError(f"nobody read on for consumer_idle={timeouts.consumer_idle:g} s", phase="stream")
            # No retry waits for another one either.
            unread.retryable = unread.fallback = False
            unread.category = "limit"
            return unread
        return None

    def _next_look(self, now: float) -> float:
        """Return when a time limit may be reached at the earliest, whether the reader stays, leaves or returns."""
        timeouts = self._attempt.upstream.config.timeouts
        away, last_seen = (0.0, now) if self._reading else (now - self._last_pull, self._last_seen)
        last_event = self._last_event + away if self._committed else now
        asked = self._asked if self._committed and self._reading else now
        return min(
            self._attempt.deadline,
            last_event + timeouts.idle_events,
            asked + timeouts.idle_bytes,
            last_seen + timeouts.consumer_idle,
        )

    async def _at_end(self) -> bool:
        """Return whether the body ended with its final marker. If the end has not arrived yet, wait briefly for it."""
        if not self._decoder.done or self._has_tail:
            return False
        with anyio.move_on_after(_TAIL_LIMIT), suppress(BifrostError):
            return not await self._reader.read()
        return False
