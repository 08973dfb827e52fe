"""Decodes the event stream of ConverseStream.

`delta.block` of a chunk is the number of Bedrock's content block; tool calls are numbered separately, as in OpenAI's
format. Blocks without an equivalent are returned as a complete part when they end. Format:
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta, ToolCallDelta
from bifrost.operations.chat.content import new_call_id
from bifrost.providers.bedrock.answer import (
    NEEDED,
    SERVER_TOOL,
    Media,
    ServiceTier,
    Source,
    ToolUse,
    WireUsage,
    citation_of,
    finish_reason_of,
    image_of,
    opaque_of,
    redacted_of,
    routed_model,
    stop_sequence_of,
    usage_of,
)
from bifrost.providers.bedrock.errors import stream_error
from bifrost.providers.openai.fit import decode_fitting
from bifrost.providers.sizes import PARTS_LIMIT, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bifrost.operations.chat.content import Part
    from bifrost.providers.base import Ending, Target
    from bifrost.wire.framing.aws_event_stream import EventStreamMessage

_WHAT = "an event of the stream"
_NEEDED = NEEDED | {"contentBlockIndex"}


class _Reasoning(msgspec.Struct):
    text: str | None = None
    signature: str | None = None
    redactedContent: str | None = None  # noqa: N815


class _Input(msgspec.Struct):
    input: str | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    toolUse: _Input | None = None  # noqa: N815
    reasoningContent: _Reasoning | None = None  # noqa: N815
    citation: dict[str, Any] | None = None
    toolResult: list[dict[str, Any]] | None = None  # noqa: N815
    image: Media | None = None


class _DeltaEvent(msgspec.Struct):
    contentBlockIndex: int | None = None  # noqa: N815
    delta: _Delta | None = None


class _Start(msgspec.Struct):
    toolUse: ToolUse | None = None  # noqa: N815
    toolResult: dict[str, Any] | None = None  # noqa: N815
    image: Media | None = None


class _StartEvent(msgspec.Struct):
    contentBlockIndex: int | None = None  # noqa: N815
    start: _Start | None = None


class _StopEvent(msgspec.Struct):
    contentBlockIndex: int | None = None  # noqa: N815


class _EndEvent(msgspec.Struct):
    stopReason: str | None = None  # noqa: N815
    additionalModelResponseFields: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815


class _Metadata(msgspec.Struct):
    usage: WireUsage | None = None
    trace: msgspec.Raw = msgspec.Raw(b"null")
    serviceTier: ServiceTier | None = None  # noqa: N815


_DELTA_EVENT = msgspec.json.Decoder(_DeltaEvent, strict=False)
_START_EVENT = msgspec.json.Decoder(_StartEvent, strict=False)
_STOP_EVENT = msgspec.json.Decoder(_StopEvent, strict=False)
_END_EVENT = msgspec.json.Decoder(_EndEvent, strict=False)
_METADATA = msgspec.json.Decoder(_Metadata, strict=False)
_INPUT = msgspec.json.Decoder(dict[str, Any])


class _Call:
    """A call of a caller's tool as it arrives."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_written = False


class _Redacted:
    """Reasoning that only the provider can read, as it arrives."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.pieces: list[str] = []

    def finished(self) -> Part:
        return redacted_of("".join(self.pieces), self._target)


class _ServerCall:
    """A call of a tool that Bedrock runs, as it arrives."""

    def __init__(self, use: ToolUse, target: Target) -> None:
        self._use = use
        self._target = target
        self.pieces: list[str] = []

    def finished(self) -> Part:
        use: dict[str, Any] = {"toolUseId": self._use.toolUseId, "name": self._use.name, "input": {}}
        # A response may be cut off within the input (max_tokens); the block still says what was called.
        with suppress(MalformedResponseError):
            use["input"] = json.decode("".join(self.pieces).encode(), _INPUT, what="a server tool's input")
        return opaque_of("toolUse", {"toolUse": {**use, "type": self._use.type}}, self._target)


class _ServerResult:
    """What a tool that Bedrock runs returned, as it arrives."""

    def __init__(self, result: dict[str, Any], target: Target) -> None:
        self._result = result
        self._target = target
        self.content: list[dict[str, Any]] = []

    def add(self, pieces: list[dict[str, Any]]) -> None:
        for piece in pieces:
            text, last = piece.get("text"), self.content[-1].get("text") if self.content else None
            if isinstance(text, str) and isinstance(last, str):
                self.content[-1]["text"] = last + text
            else:
                self.content.append(piece)
        check_count(len(self.content), PARTS_LIMIT, what="pieces of a tool's result")

    def finished(self) -> Part:
        return opaque_of("toolResult", {"toolResult": {**self._result, "content": self.content}}, self._target)


class _Image:
    """A picture as it arrives."""

    def __init__(self, image: Media) -> None:
        self._format = image.format
        self.pieces: list[str] = []

    def finished(self) -> Part | None:
        return image_of(Media(format=self._format, source=Source(bytes="".join(self.pieces))))


class ConverseDecoder:
    """Decodes the stream of one message."""

    def __init__(self, target: Target) -> None:
        self.done = False
        self._target = target
        self._model = target.model
        self._provider = target.provider
        self._issuer = target.issuer
        self._open: dict[int, _Call | _Redacted | _ServerCall | _ServerResult | _Image] = {}
        self._calls = 0
        self._blocks = 0
        """The number of blocks, whatever their indexes."""
        self._is_finished = False

    def feed(self, event: EventStreamMessage) -> Sequence[Chunk]:
        """Return the chunks of an event; unknown kinds of events and deltas have none.

        Raises `ReportedError` for an exception, and `MalformedResponseError` for data that is not JSON or has an
        unknown shape.
        """
        if self.done:
            return ()
        headers = event.headers
        read = self._EVENTS.get(headers.get(":event-type"))
        if read is not None:
            return read(self, event.data)
        if headers.get(":message-type") in ("exception", "error"):
            raise stream_error(event)
        return ()

    def finish(self) -> Ending:
        """Return how the stream ended."""
        if self.done:
            return "complete"
        return "unmarked" if self._is_finished else "cut"

    def _chunk(self, delta: Delta) -> list[Chunk]:
        return [Chunk(model=self._model, choices=[ChunkChoice(delta=delta)])]

    def _start_message(self, _data: bytes) -> Sequence[Chunk]:
        return self._chunk(Delta(role="assistant"))

    def _start_block(self, data: bytes) -> Sequence[Chunk]:
        event = decode_fitting(data, _START_EVENT, _StartEvent, needed=_NEEDED, what=_WHAT)
        index, start = event.contentBlockIndex or 0, event.start
        self._blocks += 1
        check_count(self._blocks, PARTS_LIMIT, what="blocks")
        if start is None:
            return ()
        if start.toolUse is not None:
            return self._start_call(index, start.toolUse)
        if start.toolResult is not None:
            self._open[index] = _ServerResult(start.toolResult, self._target)
        elif start.image is not None:
            self._open[index] = _Image(start.image)
        return ()

    def _start_call(self, index: int, use: ToolUse) -> Sequence[Chunk]:
        if use.type == SERVER_TOOL:
            self._open[index] = _ServerCall(use, self._target)
            return ()
        self._open[index] = _Call(self._calls)
        piece = ToolCallDelta(index=self._calls, id=use.toolUseId or new_call_id(), name=use.name or "")
        self._calls += 1
        return self._chunk(Delta(tool_calls=[piece], issuer=self._issuer, block=index))

    def _feed_delta(self, data: bytes) -> Sequence[Chunk]:
        event = decode_fitting(data, _DELTA_EVENT, _DeltaEvent, needed=_NEEDED, what=_WHAT)
        index, delta = event.contentBlockIndex or 0, event.delta
        if delta is None:
            return ()
        if delta.text is not None:
            return self._chunk(Delta(content=delta.text, block=index)) if delta.text else ()
        if delta.toolUse is not None:
            return self._feed_input(index, delta.toolUse.input or "")
        if delta.reasoningContent is not None:
            return self._feed_reasoning(index, delta.reasoningContent)
        if delta.citation is not None:
            return self._chunk(Delta(citations=[citation_of(delta.citation, self._target)], block=index))
        self._feed_block(index, delta)
        return ()

    def _feed_input(self, index: int, piece: str) -> Sequence[Chunk]:
        match self._open.get(index):
            case _Call() as call:
                if not piece:
                    return ()
                call.is_written = True
                delta = ToolCallDelta(index=call.number, arguments=piece)
                return self._chunk(Delta(tool_calls=[delta], block=index))
            case _ServerCall() as call:
                call.pieces.append(piece)
                return ()
            case _:
                raise MalformedResponseError(f"the stream has input for block {index}, which is no tool's")

    def _feed_reasoning(self, index: int, reasoning: _Reasoning) -> Sequence[Chunk]:
        if reasoning.redactedContent is not None:
            block = self._open.setdefault(index, _Redacted(self._target))
            if isinstance(block, _Redacted):
                block.pieces.append(reasoning.redactedContent)
            return ()
        if not (reasoning.text or reasoning.signature):
            return ()
        thought = Delta(
            reasoning=reasoning.text,
            signature=reasoning.signature,
            provider=self._provider,
            issuer=self._issuer,
            block=index,
        )
        return self._chunk(thought)

    def _feed_block(self, index: int, delta: _Delta) -> None:
        match self._open.get(index):
            case _ServerResult() as result:
                result.add(delta.toolResult or [])
            case _Image() as image if delta.image is not None and delta.image.source is not None:
                image.pieces.append(delta.image.source.bytes or "")
            case _:
                pass  # an unknown kind

    def _stop_block(self, data: bytes) -> Sequence[Chunk]:
        event = decode_fitting(data, _STOP_EVENT, _StopEvent, needed=_NEEDED, what=_WHAT)
        return self._finish_block(event.contentBlockIndex or 0)

    def _finish_block(self, index: int) -> list[Chunk]:
        match self._open.pop(index, None):
            case None:
                return []
            case _Call() as call:
                piece = ToolCallDelta(index=call.number, arguments="{}")
                return [] if call.is_written else self._chunk(Delta(tool_calls=[piece], block=index))
            case block:
                part = block.finished()
                return [] if part is None else self._chunk(Delta(part=part, block=index))

    def _end_message(self, data: bytes) -> Sequence[Chunk]:
        event = decode_fitting(data, _END_EVENT, _EndEvent, needed=_NEEDED, what=_WHAT)
        chunks = [chunk for index in sorted(self._open) for chunk in self._finish_block(index)]
        self._is_finished = True
        choice = ChunkChoice(
            finish_reason=finish_reason_of(event.stopReason),
            native_finish_reason=event.stopReason,
            stop_sequence=stop_sequence_of(event.additionalModelResponseFields),
        )
        return [*chunks, Chunk(model=self._model, choices=[choice])]

    def _end_stream(self, data: bytes) -> Sequence[Chunk]:
        event = decode_fitting(data, _METADATA, _Metadata, needed=_NEEDED, what=_WHAT)
        self.done = self._is_finished
        tier = event.serviceTier.type if event.serviceTier is not None else None
        model = routed_model(event.trace) or self._model
        return [Chunk(model=model, usage=usage_of(event.usage), service_tier=tier)]

    _EVENTS: ClassVar[dict[Any, Callable[[ConverseDecoder, bytes], Sequence[Chunk]]]] = {
        "contentBlockDelta": _feed_delta,
        "contentBlockStart": _start_block,
        "contentBlockStop": _stop_block,
        "messageStart": _start_message,
        "messageStop": _end_message,
        "metadata": _end_stream,
    }
