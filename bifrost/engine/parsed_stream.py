"""A stream of an answer that was asked for as a type: the values that its JSON makes, as far as it has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bifrost.engine.stream import ChunkStream
from bifrost.operations.chat.chunks import StreamReset

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context

    from bifrost.engine.sources import Source
    from bifrost.operations.base import Streaming
    from bifrost.operations.chat.chunks import Chunk
    from bifrost.operations.chat.structured.lowering import ParsedResponse
    from bifrost.operations.chat.structured.output_type import OutputType

T = TypeVar("T")


class ParsedStream(ChunkStream["Chunk", "ParsedResponse[T]"], Generic[T]):
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
        streaming: Streaming[Any, Any],
        on_lost: Callable[[Source, Any, Any, Context | None], None],
        restarts: bool = False,
        output: OutputType[T],
    ) -> None:
        super().__init__(opening, streaming=streaming, on_lost=on_lost, restarts=restarts)
        self._output = output

    @property
    def partial_stream(self) -> PartialStream:
        """The answer's JSON as far as it has come, each time that there is more: dicts, lists, text, numbers.

        Each is part of the next, and none changes later; parts that are whole are shared, so leave them unchanged. A
        list of more than some 4,000 entries, or a text of more than 130,000 characters, is not given with each chunk
        but each time that it has grown by a part of its size, and at the end. Only
        a stream that restarts begins anew, with a value that owes nothing to those before.
        """
        return PartialStream(self, self._output)

    @property
    def output(self) -> OutputType[T]:
        """The type that was asked for."""
        return self._output

    async def final(self) -> ParsedResponse[T]:
        """Read what is left and give the whole answer, with `parsed`. Raises `OutputValidationError`."""
        return await super().final()


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
            # White space may come before it begins.
            text = text.lstrip()
            self._begun = bool(text)
        return self._output.unwrap(self._reader.value) if self._reader.feed(text) else None

    def finish(self) -> Any:
        """Give the value at the end of the stream, `None` if it was given before."""
        return self._output.unwrap(self._reader.value) if self._reader.settle() else None
