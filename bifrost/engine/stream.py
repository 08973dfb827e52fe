"""Streams: the open answer as its worker watches it, and as its caller pulls it.

Bytes are read, framed and decoded in the caller's task, in batches as they arrive: no channel, and back-pressure is
the socket's own. The worker that opened the answer waits beside it, ends it when a timer fires, and closes it.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeAlias, TypeVar, cast

import anyio

from bifrost.errors import (
    BifrostError,
    CallCancelledError,
    CallTimeoutError,
    MalformedResponseError,
    PluginError,
    ResponseTooLargeError,
    ShuttingDownError,
    StreamInterruptedError,
    TransportError,
    UsageError,
)
from bifrost.providers.base import ReportedError
from bifrost.schema.chunks import ChatAccumulator, Chunk, StreamReset
from bifrost.wire.body import Inflater

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from types import TracebackType

    from bifrost.engine.connections import Kept
    from bifrost.engine.exchange import Exchange
    from bifrost.engine.transport import Reader
    from bifrost.schema.chat import ChatResponse
    from bifrost.schema.output_type import OutputType
    from bifrost.schema.structured import ParsedResponse

T = TypeVar("T")

_HOOKS_LIMIT = 5.0
"""How long the hooks at the end of a stream may take when its reader is leaving, in seconds."""

_TAIL_LIMIT = 0.1
"""How long the end of a body is waited for after the final marker, in seconds: the price of keeping the connection."""


Restart: TypeAlias = "Callable[[ChunkStream, StreamInterruptedError], Awaitable[Any] | None]"
"""Says what follows when a stream breaks: `None` if nothing does, or what gives a `StreamReset` or the outcome."""


class Source(Protocol):
    """Where a stream's chunks come from."""

    warnings: Sequence[str]
    """What was noticed on the way; ends on the answer."""
    size: int
    """The bytes that were read."""

    async def next(self) -> Sequence[Chunk] | None:
        """Give the next chunks, `None` at the end. Raises `BifrostError`."""
        ...

    def committed(self) -> None:
        """Hear that the first content has come: from here on silence has limits of its own."""
        ...

    def seen(self) -> None:
        """Hear that the reader took a chunk that had been given before: it is still there."""
        ...

    def release(self) -> None:
        """Let everything behind it go. Synchronous, from any task, any number of times."""
        ...

    async def close(self) -> None:
        """Release it, in the task that read it."""
        ...

    async def gone(self) -> None:
        """Wait until nothing of it is held any more; after `release`."""
        ...


class ReadyChunks:
    """Chunks that are there already: an answer given whole, or by a plugin."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self._chunks: Sequence[Chunk] | None = list(chunks)
        self.warnings: Sequence[str] = ()
        self.size = 0

    async def next(self) -> Sequence[Chunk] | None:
        """Give all chunks at once."""
        chunks, self._chunks = self._chunks, None
        return chunks

    def committed(self) -> None:
        """Nothing is waited for."""

    def seen(self) -> None:
        """Nobody is waited for."""

    def release(self) -> None:
        """Nothing is held."""

    async def close(self) -> None:
        """Nothing is held."""

    async def gone(self) -> None:
        """Nothing is held."""


class ForeignChunks:
    """Chunks from a plugin's asynchronous iterator, bounded by the call's deadline."""

    def __init__(self, iterator: AsyncIterator[Chunk], deadline: float) -> None:
        self._iterator = iterator
        self._deadline = deadline
        self.warnings: Sequence[str] = ()
        self.size = 0

    async def next(self) -> Sequence[Chunk] | None:
        """Give the plugin's next chunk."""
        with anyio.CancelScope(deadline=self._deadline):
            try:
                chunk = cast("object", await self._iterator.__anext__())
                if not isinstance(chunk, Chunk):
                    raise PluginError(f"a plugin's stream gave {type(chunk).__name__}, where it may give Chunk values")
                return (chunk,)
            except StopAsyncIteration:
                return None
            except BifrostError:
                raise
            except Exception as error:
                raise PluginError(f"a plugin's stream failed: {type(error).__name__}") from error
        raise CallTimeoutError("the call's time ended inside a plugin's stream", phase="stream")

    def committed(self) -> None:
        """Do nothing: the call's deadline is the only limit."""

    def seen(self) -> None:
        """Do nothing: the call's deadline is the only limit."""

    def release(self) -> None:
        """Do nothing: a generator can only be ended by the task that reads it."""

    async def close(self) -> None:
        """End the iterator, if it is a generator."""
        ending = getattr(self._iterator, "aclose", None)
        if ending is not None:
            with suppress(Exception):  # a plugin's code, whose stream nobody reads any more
                await ending()

    async def gone(self) -> None:
        """Hold nobody up: a plugin's stream has no place in a pool."""


class Lease:
    """An open answer on loan to its caller. The worker waits in `watch`; every exit of the caller is `release`."""

    __slots__ = (
        "_committed",
        "_decoder",
        "_exchange",
        "_failure",
        "_framer",
        "_gone",
        "_inflater",
        "_kept",
        "_last_event",
        "_last_pull",
        "_last_seen",
        "_now",
        "_reader",
        "_reading",
        "_reason",
        "_released",
        "size",
        "warnings",
    )

    def __init__(self, exchange: Exchange, kept: Kept, reader: Reader) -> None:
        limits = exchange.upstream.config.limits
        self._exchange = exchange
        self._kept = kept
        self._reader = reader
        self._decoder = exchange.decoder()
        self._framer = exchange.framer()
        coding = exchange.content_encoding
        self._inflater = None if coding is None else Inflater(coding, limit=limits.stream)
        self._released = anyio.Event()
        self._gone = anyio.Event()
        self._reason: BifrostError | None = None
        """Why it was ended from this side. Looked at before and after each read: a cut can look like an end."""
        self._failure: BifrostError | None = None
        """What went wrong behind chunks that are given first."""
        self._reading = False
        self._committed = False
        self.size = 0
        self._now = exchange.upstream.now
        self._last_event = self._last_pull = self._last_seen = self._now()
        self.warnings: Sequence[str] = ()

    # --- the caller's side

    async def next(self) -> Sequence[Chunk] | None:
        """Read on until there are chunks. `None` after the final marker, or at a clean end that gave a finish reason.

        Raises what ended the stream otherwise: the provider's error event, a cut, a timer, a limit.
        """
        while self._failure is None:
            if self._decoder.done:
                return None
            chunks: list[Chunk] = []
            try:
                data = await self._read()
                if data:
                    self._decode(data, chunks)
                else:
                    self._end(chunks)
            except BifrostError as error:
                self._failure = self._exchange.sign(error)
            if chunks:
                self._last_event = self._last_pull
                return chunks
        raise self._failure

    def committed(self) -> None:
        """Let the limits on silence hold. Before, a model may think as long as `first_token` allows it."""
        self._committed = True
        self._last_event = self._last_pull
        self._kept.connection.limit_reads(self._exchange.upstream.config.timeouts.idle_bytes)

    def seen(self) -> None:
        """Note that there is a reader, though it does not need more bytes yet."""
        self._last_seen = self._now()

    def release(self) -> None:
        """Give the answer back to its worker, which closes it (or keeps the connection, if it was read to its end)."""
        self._released.set()

    async def close(self) -> None:
        """Release it."""
        self._released.set()

    async def gone(self) -> None:
        """Wait until its worker has let go of the connection."""
        await self._gone.wait()

    async def _read(self) -> bytes:
        if self._reason is not None:
            raise self._reason
        now = self._now()
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

    def _decode(self, data: bytes, chunks: list[Chunk]) -> None:
        for piece in (data,) if self._inflater is None else self._inflater.feed(data):
            self.size += len(piece)
            if self.size > self._exchange.upstream.config.limits.stream:
                raise ResponseTooLargeError(f"the stream passed {self.size:,} bytes, more than limits.stream allows")
            for event in self._framer.feed(piece):
                chunks += self._feed(event)
                if self._decoder.done:
                    return

    def _feed(self, event: Any) -> Sequence[Chunk]:
        reported: ReportedError
        try:
            return self._decoder.feed(event)
        except ReportedError as error:
            reported = error
        raise self._exchange.reported(reported)

    def _end(self, chunks: list[Chunk]) -> None:
        """Judge the end of the bytes: what the last line held, and whether the stream was complete."""
        for event in self._framer.finish():
            # The last event has no end: it may be whole or cut, and what is missing is judged by the decoder.
            with suppress(MalformedResponseError):
                chunks += self._feed(event)
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
        leases = self._exchange.upstream.leases
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
            self._gone.set()

    async def _let_go(self) -> None:
        connections = self._exchange.upstream.connections
        if await self._at_end():
            await connections.give_back(self._kept, self._now())
        else:
            self._reason = self._reason or UsageError("this stream was closed; what it held is gone")
            await connections.drop(self._kept)

    def in_use(self, now: float, unread_limit: float) -> bool:
        """Say whether somebody is reading, or was a moment ago."""
        return self._reading or now - self._last_seen < unread_limit

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
        timeouts = self._exchange.upstream.config.timeouts
        if now >= self._exchange.deadline:
            return CallTimeoutError("the call's time ended while its stream was open", phase="stream")
        if self._committed and self._reading and now >= self._last_event + timeouts.idle_events:
            return CallTimeoutError(f"no event for idle_events={timeouts.idle_events:g} s", phase="stream")
        if not self._reading and now >= self._last_seen + timeouts.consumer_idle:
            unread = CallTimeoutError(f"nobody read on for consumer_idle={timeouts.consumer_idle:g} s", phase="stream")
            # Nobody waits for another one either.
            unread.retryable = unread.fallback = False
            return unread
        return None

    def _next_look(self, now: float) -> float:
        """Say when a timer can fire at the earliest, whether the reader stays where it is, leaves or comes back."""
        timeouts = self._exchange.upstream.config.timeouts
        away, last_seen = (0.0, now) if self._reading else (now - self._last_pull, self._last_seen)
        last_event = self._last_event + away if self._committed else now
        return min(self._exchange.deadline, last_event + timeouts.idle_events, last_seen + timeouts.consumer_idle)

    async def _at_end(self) -> bool:
        """Say whether the body ended with its final marker. If its end has not come yet, it is waited for briefly."""
        if not self._decoder.done:
            return False
        with anyio.move_on_after(_TAIL_LIMIT), suppress(BifrostError):
            return not await self._reader.read()
        return False


class ChunkStream:
    """A streamed answer, used with `async with`. Iterate it for chunks, or `text_stream` for text.

        async with client.stream_chat("openai/gpt-4o-mini", "Tell me a story") as stream:
            async for text in stream.text_stream:
                print(text, end="")
            reply = await stream.final()

    A failure before the first content is retried and falls back unseen. After it, `StreamInterruptedError` is raised
    with what came so far in `partial`; asked for with `on_interrupt="restart"`, the stream gives a `StreamReset` and
    begins anew. One task at a time may read, and once; leaving the block closes the answer.
    """

    def __init__(
        self,
        opening: Callable[[ChunkStream], Awaitable[None]],
        *,
        on_lost: Callable[[Source, Any, Any], None],
        restarts: bool = False,
    ) -> None:
        self._opening: Callable[[ChunkStream], Awaitable[None]] | None = opening
        self._on_lost = on_lost
        self._restarts = restarts
        self._source: Source | None = None
        self._dropped: Source | None = None
        self._buffer: deque[Chunk] = deque()
        self._lift: Callable[[Chunk], Chunk] | None = None
        self._pass: Callable[[Chunk], Chunk | None] | None = None
        self._read: Callable[[ChatResponse], Any] | None = None
        self._settle: Callable[[Any], Awaitable[Any]] | None = None
        self._restart: Restart | None = None
        self._restarting: anyio.CancelScope | None = None
        """Where the reader waits for a new beginning."""
        self._accumulator = ChatAccumulator()
        self._received = 0
        self._final: ChatResponse | None = None
        self._failure: BifrostError | None = None
        self._ended = False
        self._busy = False
        self._committed = False

    # --- opening, and opening again (used by dispatch)

    def attach(
        self, source: Source, *, provider: str, model: str, lift: Callable[[Chunk], Chunk] | None = None
    ) -> None:
        """Take a new source; what an earlier one gave is forgotten. Only before the stream is committed.

        `lift` makes its chunks plain (`schema.structured.ChunkLift`).
        """
        self._source = source
        self._lift = lift
        self._buffer.clear()
        self._accumulator = ChatAccumulator(provider=provider, model=model)
        self._received = 0

    async def commit(self, *, first_token: float, held: int) -> None:
        """Read until the first chunk with content is in the buffer. Raises what ended the stream before it.

        `first_token` is the point in time by which it must have come; `held` how many bytes may be read before it.
        """
        with anyio.CancelScope(deadline=first_token) as scope:
            while True:
                source = self._source
                chunks = None if source is None else await source.next()
                if source is None or chunks is None:
                    return
                chunks = self._lifted(chunks)
                self._buffer += chunks
                if any(chunk.has_content for chunk in chunks):
                    source.committed()
                    return
                if source.size > held:
                    raise MalformedResponseError(f"more than {held:,} bytes of the stream came without any content")
        if scope.cancelled_caught:
            raise CallTimeoutError("no token came within first_token", phase="first_token")

    def begin(
        self,
        *,
        on_chunk: Callable[[Chunk], Chunk | None] | None,
        settle: Callable[[Any], Awaitable[Any]],
        read: Callable[[ChatResponse], Any] | None = None,
        restart: Restart | None = None,
    ) -> None:
        """Make the stream ready for its caller. `settle` gets its outcome once: the response, or the error.

        `read` gives what a whole answer is as the type that is wanted: a response, or the error that it does not fit.
        `restart` is asked what follows a break; if something does, it settles in `settle`'s place when that fails.
        """
        self._committed = True
        self._read = read
        self._pass = on_chunk
        self._settle = settle
        self._restart = restart

    def drop_source(self) -> None:
        """Let go of a source that failed."""
        if self._source is not None:
            self._source.release()
            self._dropped, self._source = self._source, None

    async def source_gone(self) -> None:
        """Wait until a dropped source's place is free: the next attempt may need it."""
        dropped, self._dropped = self._dropped, None
        if dropped is not None:
            await dropped.gone()

    # --- use

    async def __aenter__(self) -> Self:
        opening, self._opening = self._opening, None
        if opening is None:
            raise UsageError("a stream is entered once; ask the client for a new one")
        await opening(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> ChunkStream:
        self.check_unread()
        return self

    async def __anext__(self) -> Chunk:
        """Give the next chunk. Raises `StreamInterruptedError` where the stream broke, each time again."""
        pulled = False
        while True:
            if self._buffer:
                if not pulled and self._source is not None:
                    self._source.seen()
                chunk = self._buffer.popleft()
                self._received += 1
                if self._pass is not None:
                    passed = await self._hooked(chunk)
                    if passed is None:
                        continue
                    chunk = passed
                self._accumulator.add(chunk)
                return chunk
            if self._ended:
                self._raise_again()
                raise StopAsyncIteration
            reset, pulled = await self._advance(), True
            if reset is not None:
                await self._hooked(reset)
                self._raise_again()
                return reset

    @property
    def text_stream(self) -> TextStream:
        """The stream's text alone, as it comes.

        Raises `UsageError` for a stream that may restart: text cannot say that the text before it does not count.
        """
        self.check_text()
        return TextStream(self)

    async def final(self) -> ChatResponse:
        """Read what is left and give the whole answer, the same that a plain call gives."""
        while self._final is None:
            try:
                await self.__anext__()
            except StopAsyncIteration:
                break
        if self._final is None:
            raise UsageError("the stream ended without an answer")
        return self._final

    @property
    def partial(self) -> ChatResponse:
        """The answer as far as it was read."""
        return self._accumulator.response()

    async def close(self) -> None:
        """Stop reading and let the connection go. Any number of times; a no-op after the end."""
        if self._ended or (self._settle is None and self._restarting is None):
            return
        self._buffer.clear()
        # Also for another task that is reading: for it, this is no end of the answer.
        self._failure = UsageError("the stream was closed before its end; there is no whole answer")
        if self._restarting is not None:
            self._restarting.cancel()
            return
        await self._finish(self._accumulator.response(warnings=["closed_early"]))

    # --- inside

    def _lifted(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        return chunks if self._lift is None else [self._lift(chunk) for chunk in chunks]

    async def _advance(self) -> StreamReset | None:
        """Read on: into the buffer, to the end, or over a break to a new beginning, whose reset is given."""
        if self._busy:
            raise UsageError("another task is reading this stream; give each task a stream of its own")
        if self._settle is None:
            raise UsageError("open the stream with `async with` before reading it")
        self._busy = True
        try:
            failure = await self._pull()
            return None if failure is None else await self._break(failure)
        except BaseException:
            self._failure = UsageError("the task that was reading this stream was cancelled, which ended the stream")
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _HOOKS_LIMIT):
                await self._finish(CallCancelledError("the caller left while reading the stream"))
            raise
        finally:
            self._busy = False

    async def _pull(self) -> BifrostError | None:
        """Take the next chunks, or end the stream. Gives what broke it."""
        try:
            chunks = None if self._source is None else await self._source.next()
        except BifrostError as error:
            # The frames below hold the provider's bytes, in which it may have repeated the key.
            return error.with_traceback(None)
        if chunks is None:
            await self._finish(None)
        else:
            self._buffer += self._lifted(chunks)
        return None

    async def _break(self, failure: BifrostError) -> StreamReset | None:
        """Begin anew after a break, if that is wanted and possible; otherwise end."""
        broken = self._interruption(failure)
        again = None if self._restart is None else self._restart(self, broken)
        if again is None:
            await self._finish(broken)
            return None
        # Who begins anew also settles, until the stream has begun.
        self._settle = None
        self.drop_source()
        before = self._accumulator, self._received
        outcome: Any = None
        try:
            with anyio.CancelScope() as self._restarting:
                outcome = await again
            closed = self._restarting.cancel_called
        finally:
            self._restarting = None
        if isinstance(outcome, StreamReset):
            if not closed:
                return outcome
            outcome = self._accumulator.response(warnings=["closed_early"])
        self._accumulator, self._received = before
        await self._finish(outcome or CallCancelledError("the stream was closed"))
        return None

    async def _hooked(self, chunk: Chunk) -> Chunk | None:
        try:
            return chunk if self._pass is None else self._pass(chunk)
        except BifrostError as error:
            failure = error
        self._buffer.clear()
        await self._finish(self._interruption(failure))
        self._raise_again()
        return None

    def _interruption(self, error: BifrostError) -> StreamInterruptedError:
        partial = self._accumulator.response()
        broken = StreamInterruptedError(
            f"the stream broke after {self._received} events: {error.message}",
            partial=partial,
            received_events=self._received,
            provider=error.provider,
            model=error.model,
            key=error.key,
            status=error.status,
            code=error.code,
            type=error.type,
            request_id=error.request_id,
        )
        broken.__cause__ = error
        return broken

    async def _finish(self, outcome: Any) -> None:
        """End the stream once: let the source go, tell the hooks, keep what they made of it."""
        if self._ended:
            return
        self._ended = True
        if outcome is None:
            warnings = [] if self._source is None else list(self._source.warnings)
            outcome = self._accumulator.response(warnings=warnings)
            if self._read is not None:
                outcome = self._read(outcome)
        source, settle = self._source, self._settle
        self._settle = self._restart = None
        if source is not None:
            source.release()
        try:
            if settle is not None:
                outcome = await settle(outcome)
        finally:
            if source is not None:
                await source.close()
        if self._failure is not None:
            return
        if isinstance(outcome, BifrostError):
            self._failure = outcome
        else:
            self._final = outcome

    def check_text(self) -> None:
        """Refuse to be read as text alone where that would not do. Raises `UsageError`."""
        if self._restarts:
            raise UsageError(
                'a stream with on_interrupt="restart" may begin anew, which text alone cannot tell: read its chunks '
                'and heed StreamReset, or ask for it with on_interrupt="raise"'
            )

    def check_unread(self) -> None:
        """Refuse to be read once more. Raises `UsageError`."""
        if self._ended and self._failure is None:
            raise UsageError("this stream has been read to its end; `await stream.final()` gives the whole answer")

    def _raise_again(self) -> None:
        if self._failure is not None:
            raise self._failure

    def __del__(self) -> None:
        if not self._ended and self._source is not None:
            # Finalisers run anywhere, also in another thread; the loop does the rest.
            self._on_lost(self._source, self._settle, self._accumulator)

    def __repr__(self) -> str:
        state = "ended" if self._ended else "open" if self._committed else "not opened"
        return f"ChunkStream({state}, {self._received} chunks read)"


class TextStream:
    """The text of a stream. A class and no generator, so that breaking off leaves nothing half-read."""

    __slots__ = ("_stream",)

    def __init__(self, stream: ChunkStream) -> None:
        self._stream = stream

    def __aiter__(self) -> TextStream:
        self._stream.check_unread()
        return self

    async def __anext__(self) -> str:
        while True:
            text = (await self._stream.__anext__()).text
            if text:
                return text


class ParsedStream(ChunkStream, Generic[T]):
    """A streamed answer that was asked for with `output=Type`: a `ChunkStream` that knows what is coming.

        async with client.stream_chat("openai/gpt-4o-mini", "Plan my week", output=Plan) as stream:
            async for plan in stream.partial_stream:
                print(plan.get("days", []))
            plan = (await stream.final()).parsed

    If the whole answer does not fit, reading on from its end raises `OutputValidationError`. It is not asked for again:
    its reader has seen it.
    """

    def __init__(
        self,
        opening: Callable[[ChunkStream], Awaitable[None]],
        *,
        on_lost: Callable[[Source, Any, Any], None],
        restarts: bool = False,
        output: OutputType[T],
    ) -> None:
        super().__init__(opening, on_lost=on_lost, restarts=restarts)
        self._output = output

    @property
    def partial_stream(self) -> PartialStream:
        """The answer's JSON as far as it has come, each time that there is more: dicts, lists, text, numbers.

        Each is part of the next, and none changes later; parts that are whole are shared, so leave them unchanged. Only
        a stream that restarts begins anew, with a value that owes nothing to those before.
        """
        return PartialStream(self, self._output)

    @property
    def output(self) -> OutputType[T]:
        """The type that was asked for."""
        return self._output

    async def final(self) -> ParsedResponse[T]:
        """Read what is left and give the whole answer, with `parsed`. Raises `OutputValidationError`."""
        return cast("ParsedResponse[T]", await super().final())


class PartialStream:
    """The JSON of a stream's answer, as far as it has come."""

    __slots__ = ("_partial", "_stream")

    def __init__(self, stream: ChunkStream, output: OutputType[Any]) -> None:
        self._stream = stream
        self._partial = PartialOutput(output)

    def __aiter__(self) -> PartialStream:
        self._stream.check_unread()
        return self

    async def __anext__(self) -> Any:
        while True:
            value = self._partial.take(await self._stream.__anext__())
            if value is not None:
                return value


class PartialOutput:
    """Makes partial values of a type's JSON as it comes."""

    __slots__ = ("_begun", "_output", "_reader")

    def __init__(self, output: OutputType[Any]) -> None:
        self._output = output
        self._begin()

    def _begin(self) -> None:
        # Imported on first use: most streams are read as text.
        from bifrost.wire.partial_json import PartialJson

        self._reader = PartialJson()
        self._begun = False

    def take(self, chunk: Chunk) -> Any:
        """Take a chunk. Gives the value as far as it has come, `None` if there is nothing new."""
        if isinstance(chunk, StreamReset):
            self._begin()
        text = chunk.text
        if not self._begun:
            # A model that was asked in words may say some before it begins.
            text = text[text.find("{") :] if "{" in text else ""
            self._begun = bool(text)
        return self._output.unwrap(self._reader.value) if self._reader.feed(text) else None
