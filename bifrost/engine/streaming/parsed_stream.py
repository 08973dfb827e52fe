"""A stream with `output=`: the partial values of its JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bifrost.engine.streaming.chunk_stream import ChunkStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context

    from bifrost.engine.streaming.sources import Source
    from bifrost.operations.base import Streaming
    from bifrost.operations.chat.chunks import Chunk
    from bifrost.operations.chat.structured.output_type import OutputType
    from bifrost.operations.chat.structured.parsed_response import ParsedResponse

T = TypeVar("T")


class ParsedStream(ChunkStream["Chunk", "ParsedResponse[T]"], Generic[T]):
    """A streamed response with `output=Type`: a `ChunkStream` with partial values.

        async with client.stream_chat("openai/gpt-4o-mini", "Plan my week", output=Plan) as stream:
            async for plan in stream.partial_stream:
                print(plan.get("days", []))
            plan = (await stream.final()).parsed

    If the complete response does not match the type, reading beyond its end raises `OutputValidationError`. It is not
    requested again, because its reader has seen it.
    """

    def __init__(
        self,
        opening: Callable[[ChunkStream], Awaitable[None]],
        *,
        streaming: Streaming[Any, Any],
        on_lost: Callable[[Source, Any, Any, Context | None], None],
        restarts: bool = False,
        output: OutputType[T],
    ) -> None:
        super().__init__(opening, streaming=streaming, on_lost=on_lost, restarts=restarts)
        self._output = output

    @property
    def partial_stream(self) -> PartialStream:
        """The JSON of the response so far, whenever there is more: dicts, lists, text, numbers.

        Each value is a part of the next one, and values do not change later; complete parts are shared, so do not
        modify them. A list of more than about 4,000 entries, or a text of more than 130,000 characters, is not returned
        for each chunk but whenever it has grown by a part of its size, and at the end. Only a stream that restarts
        begins again with a new value.
        """
        return PartialStream(self, self._output)

    @property
    def output(self) -> OutputType[T]:
        """The requested type."""
        return self._output

    async def final(self) -> ParsedResponse[T]:
        """Read the rest, and return the complete response with `parsed`. Raises `OutputValidationError`."""
        return await super().final()


class PartialStream:
    """The JSON of a streamed response so far."""

    __slots__ = ("_partial", "_stream")

    def __init__(self, stream: ChunkStream, output: OutputType[Any]) -> None:
        self._stream = stream
        self._partial = PartialOutput(output, reset=stream.reset)

    def __aiter__(self) -> PartialStream:
        self._stream.check_unread()
        return self

    async def __anext__(self) -> Any:
        while True:
            try:
                chunk = await self._stream.__anext__()
            except StopAsyncIteration:
                value = self._partial.finish()
                if value is None:
                    raise
                return value
            value = self._partial.take(chunk)
            if value is not None:
                return value


class PartialOutput:
    """Makes partial values of a type from its JSON as it arrives."""

    __slots__ = ("_begun", "_output", "_reader", "_reset")

    def __init__(self, output: OutputType[Any], *, reset: Any = ()) -> None:
        self._output = output
        self._reset = reset
        self._begin()

    def _begin(self) -> None:
        # Imported on first use, because most streams are read as text.
        from bifrost.wire.partial_json import PartialJson

        self._reader = PartialJson()
        self._begun = False

    def take(self, chunk: Chunk) -> Any:
        """Add a chunk. Returns the value so far; `None` if there is nothing new."""
        if isinstance(chunk, self._reset):
            self._begin()
        text = chunk.text
        if not self._begun:
            # White space may precede it.
            text = text.lstrip()
            self._begun = bool(text)
        return self._output.unwrap(self._reader.value) if self._reader.feed(text) else None

    def finish(self) -> Any:
        """Return the value at the end of the stream; `None` if it was returned before."""
        return self._output.unwrap(self._reader.value) if self._reader.settle() else None
