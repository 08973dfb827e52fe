"""Decodes Anthropic's event stream: https://platform.claude.com/docs/en/build-with-claude/streaming.

`delta.block` of a chunk is the number of Anthropic's content block; tool calls are numbered separately, as in OpenAI's
format. Blocks without an equivalent are returned as a complete part when they end.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta, ToolCallDelta
from bifrost.operations.chat.content import OpaquePart, ReasoningPart, TextPart, ToolCall
from bifrost.providers.anthropic.answer import (
    StopDetails,
    Tag,
    WireUsage,
    citation_of,
    cited_at,
    finish_reason_of,
    parse_block,
    refusal_of,
    signed,
    usage_of,
)
from bifrost.providers.anthropic.errors import reported_error
from bifrost.providers.sizes import PARTS_LIMIT, SPARSE, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bifrost.operations.usage import Usage
    from bifrost.providers.base import Ending, Target
    from bifrost.wire.framing.sse import SseEvent


class _Delta(msgspec.Struct, frozen=True):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    citation: dict[str, Any] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None


class _Start(msgspec.Struct, frozen=True):
    id: str | None = None
    model: str | None = None
    usage: WireUsage | None = None


class _Event(msgspec.Struct):
    type: str | None = None
    index: int | None = None
    delta: _Delta | None = None
    message: _Start | None = None
    content_block: msgspec.Raw = msgspec.Raw(b"null")
    usage: WireUsage | None = None


class _Tagged(msgspec.Struct):
    delta: Tag


class _ForeignDelta(msgspec.Struct):
    delta: dict[str, Any]
    index: int | None = None


_NO_DELTA = _Delta()
_NO_START = _Start()

_EVENT = msgspec.json.Decoder(_Event, strict=False)
_TAG = msgspec.json.Decoder(Tag, strict=False)
_TAGGED = msgspec.json.Decoder(_Tagged, strict=False)
_FOREIGN_DELTA = msgspec.json.Decoder(_ForeignDelta, strict=False)
_INPUT = msgspec.json.Decoder(dict[str, Any])


class _Call:
    """A call of a caller's tool as it arrives."""

    def __init__(self, number: int, given: str) -> None:
        self.number = number
        self.given = given
        """The input at the beginning of the block, which is all of it if no piece follows."""
        self.written = False


class _Opaque:
    """A block of the provider's own as it arrives."""

    def __init__(self, part: OpaquePart) -> None:
        self._part = part
        self.block = part.data
        self.input: list[str] = []

    def finished(self) -> OpaquePart:
        written = "".join(self.input)
        if written:
            # A response may be cut off within the input (max_tokens); the block still says what was called.
            with suppress(MalformedResponseError):
                self.block["input"] = json.decode(written.encode(), _INPUT, what="a server tool's input", sparse=SPARSE)
        return msgspec.structs.replace(self._part, data=self.block)


class MessagesDecoder:
    """Decodes the stream of one message."""

    def __init__(self, target: Target) -> None:
        self.done = False
        self._id = ""
        self._model = target.model
        self._target = target
        self._provider = target.provider
        self._issuer = target.issuer
        self._usage: WireUsage | None = None
        self._held: Usage | None = None
        self._open: dict[int, _Call | _Opaque] = {}
        self._calls = 0
        self._blocks = 0
        self._begun = 0
        """The number of blocks, whatever their indexes."""
        self._finished = False
        self._has_content = False

    def feed(self, event: SseEvent) -> Sequence[Chunk]:
        """Return the chunks of an event; unknown kinds of events and deltas have none.

        Raises `ReportedError` for an error event, and `MalformedResponseError` for data that is not JSON or has an
        unknown shape.
        """
        if self.done:
            return ()
        try:
            wire = json.decode(event.data, _EVENT, what="an event of the stream", sparse=SPARSE)
        except MalformedResponseError:
            chunks = self._feed_foreign(event)
            if chunks is None:
                raise
            return chunks
        read = self._EVENTS.get(wire.type or event.event or "")
        return read(self, wire, event.data) if read is not None else ()

    def finish(self) -> Ending:
        """Return how the stream ended."""
        if self.done:
            return "complete"
        return "unmarked" if self._finished else "cut"

    def _feed_foreign(self, event: SseEvent) -> Sequence[Chunk] | None:
        """Handle an event that uses known field names differently. `None`: it is not JSON, or of a known kind."""
        if not event.data:
            return ()
        kind = json.decode(event.data, _TAG, what="an event of the stream").type or event.event
        if kind not in self._EVENTS:
            return ()
        if kind != "content_block_delta":
            return None
        known = json.decode(event.data, _TAGGED, what="a content_block_delta event").delta.type in self._DELTAS
        return None if known else self._extend(event.data)

    def _chunk(self, delta: Delta) -> list[Chunk]:
        # Usage commits a stream, so that of message_start waits for the first content.
        usage, self._held = self._held, None
        self._has_content = True
        return [Chunk(id=self._id, model=self._model, choices=[ChunkChoice(delta=delta)], usage=usage)]

    def _start_message(self, wire: _Event, _data: bytes) -> Sequence[Chunk]:
        message = wire.message or _NO_START
        self._id = message.id or ""
        self._model = message.model or self._model
        self._usage = message.usage
        self._held = usage_of(self._usage)
        tier = self._usage.service_tier if self._usage is not None else None
        choice = ChunkChoice(delta=Delta(role="assistant"))
        return [Chunk(id=self._id, model=self._model, choices=[choice], service_tier=tier)]

    def _start_block(self, wire: _Event, _data: bytes) -> Sequence[Chunk]:
        index = wire.index or 0
        self._blocks = index + 1
        self._begun += 1
        check_count(self._begun, PARTS_LIMIT, what="blocks")
        part = parse_block(wire.content_block)
        match None if part is None else signed(part, self._target):
            case TextPart() as part:
                return self._chunk(Delta(content=part.text, citations=part.citations, block=index))
            case ReasoningPart(redacted=str()) as part:
                return self._chunk(Delta(part=part, block=index))
            case ReasoningPart() as part:
                thought = Delta(
                    reasoning=part.text,
                    signature=part.signature,
                    provider=self._provider,
                    issuer=self._issuer,
                    block=index,
                )
                return self._chunk(thought)
            case ToolCall() as call:
                return self._start_call(index, call)
            case OpaquePart() as part:
                self._open[index] = _Opaque(part)
            case _:
                pass  # text or thinking that begins empty, as usual
        return ()

    def _start_call(self, index: int, call: ToolCall) -> Sequence[Chunk]:
        self._open[index] = _Call(self._calls, call.arguments)
        piece = ToolCallDelta(index=self._calls, id=call.id, name=call.name, signature=call.signature)
        self._calls += 1
        return self._chunk(Delta(tool_calls=[piece], provider=call.provider, issuer=call.issuer, block=index))

    def _feed_delta(self, wire: _Event, data: bytes) -> Sequence[Chunk]:
        delta = wire.delta or _NO_DELTA
        read = self._DELTAS.get(delta.type or "")
        if read is None:
            return self._extend(data)
        return read(self, wire.index or 0, delta)

    def _feed_text(self, index: int, delta: _Delta) -> Sequence[Chunk]:
        return self._chunk(Delta(content=delta.text, block=index)) if delta.text else ()

    def _feed_thinking(self, index: int, delta: _Delta) -> Sequence[Chunk]:
        if not delta.thinking:
            return ()
        thought = Delta(reasoning=delta.thinking, provider=self._provider, issuer=self._issuer, block=index)
        return self._chunk(thought)

    def _feed_signature(self, index: int, delta: _Delta) -> Sequence[Chunk]:
        if not delta.signature:
            return ()
        vouched = Delta(signature=delta.signature, provider=self._provider, issuer=self._issuer, block=index)
        return self._chunk(vouched)

    def _feed_citation(self, index: int, delta: _Delta) -> Sequence[Chunk]:
        if delta.citation is None:
            return ()
        return self._chunk(Delta(citations=[cited_at(citation_of(delta.citation), self._target)], block=index))

    def _feed_input(self, index: int, delta: _Delta) -> Sequence[Chunk]:
        match self._open.get(index):
            case _Opaque() as opaque:
                opaque.input.append(delta.partial_json or "")
            case _Call() as call if delta.partial_json:
                call.written = True
                piece = ToolCallDelta(index=call.number, arguments=delta.partial_json)
                return self._chunk(Delta(tool_calls=[piece], block=index))
            case _Call():
                pass
            case None:
                raise MalformedResponseError(f"the stream has input for block {index}, which is no tool's")
        return ()

    def _extend(self, data: bytes) -> Sequence[Chunk]:
        """Add the fields of an unknown delta to the block, if it is one that is kept as a whole.

        The only documented one of this kind is `compaction_delta`, whose fields are complete.
        """
        foreign = json.decode(data, _FOREIGN_DELTA, what="a content_block_delta event")
        opaque = self._open.get(foreign.index or 0)
        if isinstance(opaque, _Opaque):
            opaque.block |= {name: value for name, value in foreign.delta.items() if name != "type"}
        return ()

    def _stop_block(self, wire: _Event, _data: bytes) -> Sequence[Chunk]:
        index = wire.index or 0
        match self._open.pop(index, None):
            case _Opaque() as opaque:
                return self._chunk(Delta(part=opaque.finished(), block=index))
            case _Call(written=False) as call:
                piece = ToolCallDelta(index=call.number, arguments=call.given)
                return self._chunk(Delta(tool_calls=[piece], block=index))
            case _:
                return ()

    def _end_message(self, wire: _Event, _data: bytes) -> Sequence[Chunk]:
        if wire.usage is not None:
            self._usage = self._usage.updated(wire.usage) if self._usage is not None else wire.usage
        self._held = None
        ending = wire.delta or _NO_DELTA
        self._finished = self._finished or ending.stop_reason is not None
        declined = refusal_of(ending.stop_details)
        choice = ChunkChoice(
            delta=Delta(refusal=declined, block=None if declined is None else self._blocks),
            finish_reason=finish_reason_of(ending.stop_reason),
            native_finish_reason=ending.stop_reason,
            stop_sequence=ending.stop_sequence,
        )
        return [Chunk(id=self._id, model=self._model, choices=[choice], usage=usage_of(self._usage))]

    def _stop_message(self, _wire: _Event, _data: bytes) -> Sequence[Chunk]:
        if not (self._has_content or self._finished):
            raise MalformedResponseError("the stream ended with neither content nor a stop reason")
        self.done = True
        return ()

    def _fail(self, _wire: _Event, data: bytes) -> Sequence[Chunk]:
        raise reported_error(data)

    _EVENTS: ClassVar[dict[str, Callable[[MessagesDecoder, _Event, bytes], Sequence[Chunk]]]] = {
        "content_block_delta": _feed_delta,
        "content_block_start": _start_block,
        "content_block_stop": _stop_block,
        "message_start": _start_message,
        "message_delta": _end_message,
        "message_stop": _stop_message,
        "error": _fail,
    }

    _DELTAS: ClassVar[dict[str, Callable[[MessagesDecoder, int, _Delta], Sequence[Chunk]]]] = {
        "text_delta": _feed_text,
        "input_json_delta": _feed_input,
        "thinking_delta": _feed_thinking,
        "signature_delta": _feed_signature,
        "citations_delta": _feed_citation,
    }
