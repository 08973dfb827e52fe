"""An open answer: its caller reads it, and the worker that opened it watches over it.

Bytes are read, framed and decoded in the caller's task, in batches as they arrive: no channel, and back-pressure is
the socket's own. The worker that opened the answer waits beside it, ends it when a timer fires, and closes it.
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
from bifrost.providers.base import ReportedError
from bifrost.routing.retry import LONG_SILENCE
from bifrost.wire.body import Inflater

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bifrost.engine.attempt import Attempt
    from bifrost.engine.connections import Kept
    from bifrost.transport import Reader
    from bifrost.wire.framing.sse import SseEvent

_SLICE = 16 * 1024
"""How many bytes are decoded at once. Other tasks run in between, so that no answer holds the event loop for long."""

_TAIL_LIMIT = 0.1
"""How long the end of a body is waited for after the final marker, in seconds: the price of keeping the connection."""


class Lease:
    """An open answer on loan to its caller. The worker waits in `watch`; every exit of the caller is `release`."""

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
        "_kept",
        "_last_event",
        "_last_pull",
        "_last_seen",
        "_now",
        "_on_release",
        "_pieces",
        "_reader",
        "_reading",
        "_reason",
        "_released",
        "_size",
        "held",
        "warnings",
    )

    def __init__(
        self, attempt: Attempt, kept: Kept, reader: Reader, *, on_release: Callable[[], None] | None = None
    ) -> None:
        limits = attempt.upstream.config.size_limits
        self._attempt = attempt
        self._kept = kept
        self._reader = reader
        self._decoder = attempt.decoder()
        self._framer = attempt.framer()
        coding = attempt.content_encoding
        self._inflater = None if coding is None else Inflater(coding, limit=limits.stream)
        self._pieces: Iterator[bytes] | None = None
        """What is left of the bytes that were read last: unpacked and decoded piece by piece, as they are asked for."""
        self._has_tail = False
        """Events came behind the final marker."""
        self._released = anyio.Event()
        self._on_release = on_release
        """Called when the caller needs the answer no longer: its place in the pool is free then."""
        self._gone = anyio.Event()
        self._reason: BifrostError | None = None
        """Why it was ended from this side. Looked at before and after each read: a cut can look like an end."""
        self._failure: BifrostError | None = None
        """What went wrong behind chunks that are given first."""
        self._reading = False
        self._committed = False
        self._size = 0
        self.held = 0
        self._now = attempt.upstream.now
        self._last_event = self._last_pull = self._last_seen = self._asked = self._now()
        # The worker watches over silence here: a timer for each read would cost more than the rest of it.
        kept.connection.limit_reads(None)
        self.warnings: Sequence[str] = ()

    # --- the caller's side

    async def next(self) -> Sequence[Any] | None:
        """Read on until there are chunks. `None` after the final marker, or at a clean end that gave a finish reason.

        Raises what ended the stream otherwise: the provider's error event, a cut, a timer, a limit.
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
        """Let the limits on silence hold. Before, a model may think as long as `first_token` allows it."""
        self._committed = True
        self._last_event = self._last_pull

    def seen(self) -> None:
        """Note that there is a reader, though it does not need more bytes yet."""
        self._last_seen = self._now()

    def release(self) -> None:
        """Give the answer back to its worker, which closes it (or keeps the connection, if it was read to its end)."""
        self._released.set()
        upstream = self._attempt.upstream
        if self in upstream.leases:
            upstream.leases.discard(self)
            upstream.ending.add(self)
        on_release, self._on_release = self._on_release, None
        if on_release is not None:
            on_release()

    async def close(self) -> None:
        """Release it."""
        self.release()

    async def gone(self) -> None:
        """Wait until its worker has let go of the connection."""
        await self._gone.wait()

    async def _next_piece(self) -> bytes:
        """Return the next bytes to decode, empty at the clean end."""
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
        """Unpack what was read, and cut it into pieces."""
        for unpacked in (data,) if self._inflater is None else self._inflater.feed(data):
            for start in range(0, len(unpacked), _SLICE):
                yield unpacked[start : start + _SLICE]

    async def _read(self) -> bytes:
        if self._reason is not None:
            raise self._reason
        now = self._asked = self._now()
        # The time that the reader was away is not the provider's silence.
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
        # If it was ended from this side, whatever came of the read came of that: an error, or what looks like an end.
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

    def _take(self, events: Sequence[SseEvent], chunks: list[Any]) -> None:
        """Decode events, up to the final marker. Raises what the provider reports in one."""
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
                    # A peer that goes on after the final marker may go on after the next answer too.
                    self._has_tail = number < len(events)
                    break
            return
        except ReportedError as error:
            reported = error
        chunks += reported.chunks
        raise self._attempt.reported(reported)

    def _end(self, chunks: list[Any]) -> None:
        """Judge the end of the bytes: what the last line held, and whether the stream was complete."""
        for event in self._framer.finish():
            # The last event has no end: it may be whole or cut, and what is missing is judged by the decoder.
            with suppress(MalformedResponseError):
                self._take((event,), chunks)
        match self._decoder.finish():
            case "complete":
                pass
            case "unmarked":
                self.warnings = ("no_final_marker",)
            case "cut":
                raise TransportError("the stream was cut off before its end")
        self._decoder.done = True

    # --- the worker's side

    async def watch(self) -> None:
        """Wait until the caller releases the answer, or a timer fires. Then close it, or keep its connection."""
        leases = self._attempt.upstream.leases
        leases.add(self)
        try:
            try:
                await self._wait()
            except BaseException:
                self._end_for(ShuttingDownError("the client was closed while the stream was open"))
                raise
            finally:
                leases.discard(self)
            await self._let_go()
        finally:
            self._attempt.upstream.ending.discard(self)
            self._gone.set()

    async def _let_go(self) -> None:
        connections = self._attempt.upstream.connections
        if await self._at_end():
            await connections.give_back(self._kept, self._now())
        else:
            self._reason = self._reason or UsageError("this stream was closed; what it held is gone")
            await connections.drop(self._kept)

    def in_use(self, now: float, unread_limit: float) -> bool:
        """Say whether somebody is reading, or was a moment ago and may go on."""
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
        # The reason stands first: a reader that wakes must see it, or the cut would look like a clean end.
        self._reason = self._reason or reason
        if self._reading:
            self._kept.connection.cut()

    def _overdue(self, now: float) -> BifrostError | None:
        """Give the reason to end the stream now, if there is one."""
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
            # Nobody waits for another one either.
            unread.retryable = unread.fallback = False
            unread.category = "limit"
            return unread
        return None

    def _next_look(self, now: float) -> float:
        """Say when a timer can fire at the earliest, whether the reader stays where it is, leaves or comes back."""
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
        """Say whether the body ended with its final marker. If its end has not come yet, it is waited for briefly."""
        if not self._decoder.done or self._has_tail:
            return False
        with anyio.move_on_after(_TAIL_LIMIT), suppress(BifrostError):
            return not await self._reader.read()
        return False
