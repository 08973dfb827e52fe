"""A streamed answer as its caller pulls it: opened, begun anew where that is wanted, and ended once."""

from __future__ import annotations

from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, cast

import anyio

from bifrost.errors import (
    BifrostError,
    CallCancelledError,
    CallTimeoutError,
    InternalError,
    MalformedResponseError,
    StreamInterruptedError,
    UsageError,
)
from bifrost.notebook import Display
from bifrost.uncopyable import Uncopyable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextvars import Context
    from types import TracebackType

    from typing_extensions import TypeVar

    from bifrost.engine.sources import Source
    from bifrost.operations.base import Accumulator, ChunkLift, Streaming

    ChunkT_co = TypeVar("ChunkT_co", covariant=True, default=Any)
    ResponseT_co = TypeVar("ResponseT_co", covariant=True, default=Any)
else:
    # Python has their defaults from 3.13 on.
    from typing import TypeVar

    ChunkT_co = TypeVar("ChunkT_co", covariant=True)
    ResponseT_co = TypeVar("ResponseT_co", covariant=True)

Restart: TypeAlias = "Callable[[ChunkStream, StreamInterruptedError], Awaitable[Any] | None]"
"""Says what follows when a stream breaks: `None` if nothing does, or what gives a `StreamReset` or the outcome."""


class ChunkStream(Uncopyable, Generic[ChunkT_co, ResponseT_co]):
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
        streaming: Streaming[Any, Any],
        on_lost: Callable[[Source, Any, Any, Context | None], None],
        restarts: bool = False,
    ) -> None:
        self._opening: Callable[[ChunkStream], Awaitable[None]] | None = opening
        self._streaming = streaming
        self.reset: Any = () if streaming.reset is None else streaming.reset
        """The class of the chunks that take back those before them, `()` if there is none."""
        self._on_lost = on_lost
        self._restarts = restarts
        self._source: Source | None = None
        self._dropped: Source | None = None
        self.provider = self.model = ""
        """Where its chunks come from; empty until it is opened."""
        self._buffer: deque[Any] = deque()
        self.lift: ChunkLift | None = None
        """What makes the text of its chunks plain, if the answer is wanted as a type."""
        self._pass: Callable[[Any], Any] | None = None
        self._read: Callable[[Any], Any] | None = None
        self._settle: Callable[[Any], Awaitable[Any]] | None = None
        self._restart: Restart | None = None
        self._restarting: anyio.CancelScope | None = None
        """Where the reader waits for a new beginning."""
        self._context: Context | None = None
        """That of whoever opened it, for the hooks at its end."""
        self._accumulator: Accumulator[Any, Any] = streaming.accumulator(provider="", model="")
        self._received = 0
        self._final: Any = None
        self._failure: BifrostError | None = None
        self._ended = False
        self._busy = False
        self._committed = False

    # --- opening, and opening again (used by dispatch)

    def attach(self, source: Source, *, provider: str, model: str, lift: ChunkLift | None = None) -> None:
        """Take a new source; what an earlier one gave is forgotten. Only before the stream is committed.

        `lift` makes its chunks plain (`schema.structured.ChunkLift`).
        """
        self._source = source
        self.provider, self.model = provider, model
        self.lift = lift
        self._buffer.clear()
        self._accumulator = self._streaming.accumulator(provider=provider, model=model)
        self._received = 0

    async def commit(self, *, first_token: float, held: int) -> None:
        """Read until the first chunk with content is in the buffer. Raises what ended the stream before it.

        `first_token` is the point in time by which it must have come; `held` how many bytes of events may be kept
        before it. Comments and events without chunks are signs of life and are not counted.
        """
        has_content = self._streaming.has_content
        with anyio.CancelScope(deadline=first_token) as scope:
            while True:
                source = self._source
                chunks = None if source is None else await source.next()
                if source is None or chunks is None:
                    return
                self._buffer += self._lifted(chunks)
                # What the model writes around its JSON counts: the answer has begun.
                if any(map(has_content, chunks)):
                    source.committed()
                    return
                if source.held > held:
                    raise MalformedResponseError(f"more than {held:,} bytes of the stream came without any content")
        if scope.cancelled_caught:
            raise CallTimeoutError("no token came within first_token", phase="first_token")

    def begin(
        self,
        *,
        on_chunk: Callable[[Any], Any] | None,
        settle: Callable[[Any], Awaitable[Any]],
        read: Callable[[Any], Any] | None = None,
        restart: Restart | None = None,
    ) -> None:
        """Make the stream ready for its caller. `settle` gets its outcome once: the response, or the error.

        `read` gives what a whole answer is as the type that is wanted: a response, or the error that it does not fit.
        `restart` is asked what follows a break; if something does, it settles in `settle`'s place when that fails.
        """
        self._committed = True
        self._context = copy_context()
        self._read = read
        self._pass = on_chunk
        self._settle = settle
        # Without a chunk that takes back others, no reader could tell that the stream began anew.
        self._restart = restart if self._restarts else None

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

    def __aiter__(self) -> Self:
        self.check_unread()
        return self

    async def __anext__(self) -> ChunkT_co:
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
                try:
                    self._accumulator.add(chunk)
                except Exception as error:  # noqa: BLE001 - a plugin's chunk whose fields hold what they may not
                    await self._spoil(error)
                return cast("ChunkT_co", chunk)
            if self._ended:
                self._raise_again()
                raise StopAsyncIteration
            reset, pulled = await self._advance(), True
            if reset is not None:
                await self._hooked(reset)
                self._raise_again()
                return cast("ChunkT_co", reset)

    @property
    def text_stream(self) -> TextStream:
        """The stream's text alone, as it comes.

        Raises `UsageError` for a stream that may restart: text cannot say that the text before it does not count.
        """
        self.check_text()
        return TextStream(self)

    async def final(self) -> ResponseT_co:
        """Read what is left and give the whole answer, the same that a plain call gives."""
        while self._final is None:
            try:
                await self.__anext__()
            except StopAsyncIteration:
                break
        if self._final is None:
            raise UsageError("the stream ended without an answer")
        return cast("ResponseT_co", self._final)

    async def display(self) -> ResponseT_co:
        """Show the answer as it comes and give it whole: in a notebook in the cell's output, elsewhere on stdout.

        A stream that is not open is opened for it and closed: `await client.stream_chat(model, prompt).display()`.
        """
        text = self.text_of
        if self._opening is not None:
            async with self:
                return await self.display()
        with Display() as display:
            async for chunk in self:
                if isinstance(chunk, self.reset):
                    display.begin_again()
                display.add(text(chunk))
            reply = await self.final()
            display.replace(reply)
        return reply

    @property
    def partial(self) -> ResponseT_co:
        """The answer as far as it was read."""
        return cast("ResponseT_co", self._accumulator.response())

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
        await self._finish(whole_of(self._accumulator, ["closed_early"]))

    # --- inside

    def _lifted(self, chunks: Sequence[Any]) -> Sequence[Any]:
        return chunks if self.lift is None else [self.lift(chunk) for chunk in chunks]

    async def _advance(self) -> Any:
        """Read on: into the buffer, to the end, or over a break to a new beginning, whose reset is given."""
        if self._busy:
            raise UsageError("another task is reading this stream; give each task a stream of its own")
        if self._settle is None:
            raise UsageError("open the stream before reading it, with `async with` (`with` for SyncBifrost)")
        self._busy = True
        try:
            failure = await self._pull()
            return None if failure is None else await self._break(failure)
        except BaseException:
            self._failure = UsageError("the task that was reading this stream was cancelled, which ended the stream")
            with anyio.CancelScope(shield=True):
                # The hooks have their limits (`Ending`).
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

    async def _break(self, failure: BifrostError) -> Any:
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
        if isinstance(outcome, self.reset):
            if not closed:
                return outcome
            outcome = whole_of(self._accumulator, ["closed_early"])
        self._accumulator, self._received = before
        await self._finish(outcome or CallCancelledError("the stream was closed"))
        return None

    async def _hooked(self, chunk: Any) -> Any:
        try:
            return chunk if self._pass is None else self._pass(chunk)
        except BifrostError as error:
            failure = error
        self._buffer.clear()
        await self._finish(self._interruption(failure))
        self._raise_again()
        return None

    async def _spoil(self, error: Exception) -> None:
        """End a stream with a chunk that cannot be added up."""
        self._buffer.clear()
        await self._finish(_unfit(error))
        self._raise_again()

    def _interruption(self, error: BifrostError) -> StreamInterruptedError:
        partial = whole_of(self._accumulator)
        broken = StreamInterruptedError(
            f"the stream broke after {self._received} events: {error.message}",
            partial=None if isinstance(partial, BifrostError) else partial,
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
            outcome = whole_of(self._accumulator, warnings)
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

    @property
    def text_of(self) -> Callable[[Any], str]:
        """What returns the text that a chunk adds. Raises `UsageError` for a stream whose chunks are no text."""
        text = self._streaming.text
        if text is None:
            raise UsageError(f"this stream has no text: its chunks are {self._streaming.chunk.__name__}; iterate it")
        return text

    def check_unread(self) -> None:
        """Refuse to be read once more. Raises `UsageError`."""
        if self._ended and self._failure is None:
            raise UsageError("this stream has been read to its end; its final() gives the whole answer")

    def _raise_again(self) -> None:
        if self._failure is not None:
            raise self._failure

    def __del__(self) -> None:
        if not self._ended and self._source is not None:
            # Finalisers run anywhere, also in another thread; the loop does the rest.
            self._on_lost(self._source, self._settle, self._accumulator, self._context)

    def __repr__(self) -> str:
        state = "ended" if self._ended else "open" if self._committed else "not opened"
        return f"ChunkStream({state}, {self._received} chunks read)"


def whole_of(accumulator: Accumulator[Any, Any], warnings: list[str] | None = None) -> Any:
    """Give what was read of a stream as an answer, or the error that it makes none."""
    try:
        return accumulator.response(warnings=warnings)
    except Exception as error:  # noqa: BLE001 - as where chunks are added
        return _unfit(error)


def _unfit(error: Exception) -> BifrostError:
    failure = InternalError(
        f"the chunks of a stream make no answer ({type(error).__name__}): a plugin has put in one whose fields hold "
        "what they may not"
    )
    failure.__cause__ = error
    return failure


class TextStream:
    """The text of a stream. A class and no generator, so that breaking off leaves nothing half-read."""

    __slots__ = ("_stream", "_text_of")

    def __init__(self, stream: ChunkStream) -> None:
        self._stream = stream
        self._text_of = stream.text_of

    def __aiter__(self) -> TextStream:
        self._stream.check_unread()
        return self

    async def __anext__(self) -> str:
        while True:
            text = self._text_of(await self._stream.__anext__())
            if text:
                return text
