"""A streamed response for its caller: opened once, restarted if requested, and ended once."""

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

    from bifrost.engine.streaming.sources import Source
    from bifrost.operations.base import Accumulator, ChunkLift, Streaming

    ChunkT_co = TypeVar("ChunkT_co", covariant=True, default=Any)
    ResponseT_co = TypeVar("ResponseT_co", covariant=True, default=Any)
else:
    # Python has their defaults from 3.13 on.
    from typing import TypeVar

    ChunkT_co = TypeVar("ChunkT_co", covariant=True)
    ResponseT_co = TypeVar("ResponseT_co", covariant=True)

Restart: TypeAlias = "Callable[[ChunkStream, StreamInterruptedError], Awaitable[Any] | None]"
"""Returns what follows when a stream breaks: `None` for nothing, or an awaitable of a `StreamReset` or the outcome."""


class ChunkStream(Uncopyable, Generic[ChunkT_co, ResponseT_co]):
    """A streamed response, used with `async with`. Iterate over it for chunks, or over `text_stream` for text.

        async with client.stream_chat("openai/gpt-4o-mini", "Tell me a story") as stream:
            async for text in stream.text_stream:
                print(text, end="")
            reply = await stream.final()

    A failure before the first content is retried, or handled by a fallback, silently. After it,
    `StreamInterruptedError` is raised, with the response so far in `partial`. With `on_interrupt="restart"`, the stream
    yields a `StreamReset` and starts again. One task at a time may read it, once. Leaving the block closes the
    response.
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
        """The classes of chunks that discard those before them; `()` if there are none."""
        self._on_lost = on_lost
        self._restarts = restarts
        self._source: Source | None = None
        self._dropped: Source | None = None
        self.provider = self.model = ""
        """The source of its chunks; `None` until it is opened."""
        self._buffer: deque[Any] = deque()
        self.lift: ChunkLift | None = None
        """Converts the text of its chunks, for a call with `output=`; else `None`."""
        self._pass: Callable[[Any], Any] | None = None
        self._read: Callable[[Any], Any] | None = None
        self._settle: Callable[[Any], Awaitable[Any]] | None = None
        self._restart: Restart | None = None
        self._restarting: anyio.CancelScope | None = None
        """Where the reader waits for a restart."""
        self._context: Context | None = None
        """The context of the task that opened it, for the hooks at its end."""
        self._accumulator: Accumulator[Any, Any] = streaming.accumulator(provider="", model="")
        self._received = 0
        self._final: Any = None
        self._failure: BifrostError | None = None
        self._ended = False
        self._busy = False
        self._committed = False

    # --- opening and reopening, for the engine

    def attach(self, source: Source, *, provider: str, model: str, lift: ChunkLift | None = None) -> None:
        """Use a new source, and discard the chunks of an earlier one. Only before the stream is committed.

        `lift` converts its chunks for a call with `output=`.
        """
        self._source = source
        self.provider, self.model = provider, model
        self.lift = lift
        self._buffer.clear()
        self._accumulator = self._streaming.accumulator(provider=provider, model=model)
        self._received = 0

    async def commit(self, *, first_token: float, held: int) -> None:
        """Read until the first chunk with content is in the buffer. Raises the error that ended the stream before it.

        `first_token` is the deadline for it, and `held` the most bytes of events before it. Comments and events without
        chunks show activity and are not counted.
        """
        has_content = self._streaming.has_content
        with anyio.CancelScope(deadline=first_token) as scope:
            while True:
                source = self._source
                chunks = None if source is None else await source.next()
                if source is None or chunks is None:
                    return
                self._buffer += self._lifted(chunks)
                # Text around the model's JSON counts, because the response has begun.
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
        """Prepare the stream for its caller. `settle` receives its outcome once: the response, or the error.

        `read` converts a complete response for a call with `output=`, or returns the error that it does not match.
        `restart` is called after a break; if it returns something and that fails, it settles the call instead of
        `settle`.
        """
        self._committed = True
        self._context = copy_context()
        self._read = read
        self._pass = on_chunk
        self._settle = settle
        # Without a chunk that takes back others, no reader could tell that the stream began anew.
        self._restart = restart if self._restarts else None

    def drop_source(self) -> None:
        """Release a source that failed."""
        if self._source is not None:
            self._source.release()
            self._dropped, self._source = self._source, None

    async def source_gone(self) -> None:
        """Wait until the place of a released source is free, because the next attempt may need it."""
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
        """Return the next chunk. Raises `StreamInterruptedError` if the stream broke, also when called again."""
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
        """The text of the stream as it arrives.

        Raises `UsageError` for a stream that may restart, because text cannot express that the text before it is
        discarded.
        """
        self.check_text()
        return TextStream(self)

    async def final(self) -> ResponseT_co:
        """Read the rest, and return the complete response, which equals that of a call without streaming."""
        while self._final is None:
            try:
                await self.__anext__()
            except StopAsyncIteration:
                break
        if self._final is None:
            raise UsageError("the stream ended without a response")
        return cast("ResponseT_co", self._final)

    async def display(self) -> ResponseT_co:
        """Show the response as it arrives, and return the complete one.

        It is shown in the output of a notebook cell, elsewhere on stdout. A stream that is not open is opened and
        closed: `await client.stream_chat(model, prompt).display()`.
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
        """The response so far."""
        return cast("ResponseT_co", self._accumulator.response())

    async def close(self) -> None:
        """Stop reading and release the connection. It may be called repeatedly, and has no effect after the end."""
        if self._ended or (self._settle is None and self._restarting is None):
            return
        self._buffer.clear()
        # Also for another task that is reading, which must not mistake it for the end of the response.
        self._failure = UsageError("the stream was closed before its end; there is no complete response")
        if self._restarting is not None:
            self._restarting.cancel()
            return
        await self._finish(whole_of(self._accumulator, ["closed_early"]))

    # --- private

    def _lifted(self, chunks: Sequence[Any]) -> Sequence[Any]:
        return chunks if self.lift is None else [self.lift(chunk) for chunk in chunks]

    async def _advance(self) -> Any:
        """Read into the buffer, to the end, or, after a break, to a restart. Returns the reset of a restart."""
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
                # The hooks have their own time limits (`Ending`).
                await self._finish(CallCancelledError("the caller left while reading the stream"))
            raise
        finally:
            self._busy = False

    async def _pull(self) -> BifrostError | None:
        """Read the next chunks, or end the stream. Returns the error that broke it."""
        try:
            chunks = None if self._source is None else await self._source.next()
        except BifrostError as error:
            # The frames below refer to the provider's bytes, which may repeat the key.
            return error.with_traceback(None)
        if chunks is None:
            await self._finish(None)
        else:
            self._buffer += self._lifted(chunks)
        return None

    async def _break(self, failure: BifrostError) -> Any:
        """Restart after a break, if that is configured and possible; otherwise end."""
        broken = self._interruption(failure)
        again = None if self._restart is None else self._restart(self, broken)
        if again is None:
            await self._finish(broken)
            return None
        # What restarts the stream also settles the call, until the stream has begun again.
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
        """End a stream because of a chunk that cannot be added."""
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
        """End the stream once: release the source, run the hooks, and store their result."""
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
        """Raise `UsageError` if the stream must not be read as text."""
        if self._restarts:
            raise UsageError(
                'a stream with on_interrupt="restart" may begin anew, which text alone cannot tell: read its chunks '
                'and heed StreamReset, or ask for it with on_interrupt="raise"'
            )

    @property
    def text_of(self) -> Callable[[Any], str]:
        """The function that returns the text of a chunk. Raises `UsageError` for a stream whose chunks have no text."""
        text = self._streaming.text
        if text is None:
            raise UsageError(f"this stream has no text: its chunks are {self._streaming.chunk.__name__}; iterate it")
        return text

    def check_unread(self) -> None:
        """Raise `UsageError` if the stream was read before."""
        if self._ended and self._failure is None:
            raise UsageError("this stream has been read to its end; its final() gives the whole response")

    def _raise_again(self) -> None:
        if self._failure is not None:
            raise self._failure

    def __del__(self) -> None:
        if not self._ended and self._source is not None:
            # Finalizers run anywhere, also in another thread; the event loop does the rest.
            self._on_lost(self._source, self._settle, self._accumulator, self._context)

    def __repr__(self) -> str:
        state = "ended" if self._ended else "open" if self._committed else "not opened"
        return f"ChunkStream({state}, {self._received} chunks read)"


def whole_of(accumulator: Accumulator[Any, Any], warnings: list[str] | None = None) -> Any:
    """Return the response so far of a stream, or the error that its chunks do not form one."""
    try:
        return accumulator.response(warnings=warnings)
    except Exception as error:  # noqa: BLE001 - as where chunks are added
        return _unfit(error)


def _unfit(error: Exception) -> BifrostError:
    failure = InternalError(
        f"the chunks of a stream make no response ({type(error).__name__}): a plugin has put in one whose fields hold "
        "what they may not"
    )
    failure.__cause__ = error
    return failure


class TextStream:
    """The text of a stream. It is not a generator, so that leaving a loop leaves none suspended."""

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
