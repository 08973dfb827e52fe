"""Decodes Cohere's chat stream: https://docs.cohere.com/docs/streaming.

A block of content has a number, and so has a tool call. Events of unknown types are ignored. Streams of the older v1
API are lines of JSON; they are recognised and read as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta, ToolCallDelta
from bifrost.operations.chat.content import OpaquePart, new_call_id
from bifrost.providers.base import ErrorBody, ReportedError
from bifrost.providers.cohere.answer import (
    ERROR,
    NEEDED,
    PLAN,
    WireCall,
    WireContent,
    WireFunction,
    WireLogprob,
    arguments_of,
    citation_of,
    content_index_of,
    is_of_text,
    logprobs_of,
    opaque_citation,
)
from bifrost.providers.cohere.errors import meaning_of, reported_error
from bifrost.providers.cohere.v1 import V1Decoder
from bifrost.providers.cohere.wire import Meta, decode, finish_reason_of, text_of, usage_of
from bifrost.providers.sizes import PARTS_LIMIT, check_count
from bifrost.wire.framing.base import EVENT_LIMIT, STREAM_LIMIT
from bifrost.wire.framing.jsonl import JsonLinesParser
from bifrost.wire.framing.sse import SseEvent, SseParser

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bifrost.providers.base import Ending, Target
    from bifrost.wire.framing.base import Event

_DONE = b"[DONE]"
_BLANKS = b" \t\r\n"


class _Message(msgspec.Struct, gc=False):
    content: WireContent | list[WireContent] | str | None = None
    tool_plan: str | None = None
    tool_calls: WireCall | list[WireCall] | None = None
    citations: dict[str, Any] | list[dict[str, Any]] | None = None


class _Delta(msgspec.Struct, gc=False):
    message: _Message | None = None
    finish_reason: str | None = None
    usage: Meta | None = None
    error: Any = None
    error_type: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    index: int | None = None
    id: Any = None
    delta: _Delta | None = None
    logprobs: WireLogprob | list[WireLogprob] | None = None


_EVENT = msgspec.json.Decoder(_Event, strict=False)
_NO_DELTA = _Delta()
_NO_MESSAGE = _Message()


class StreamFramer(SseParser):
    """Divides a stream into server-sent events, or into lines if it begins like JSON."""

    __slots__ = ("_begun", "_limits", "_lines")

    def __init__(self, *, event_limit: int = EVENT_LIMIT, stream_limit: int = STREAM_LIMIT) -> None:
        super().__init__(event_limit=event_limit, stream_limit=stream_limit)
        self._limits = event_limit, stream_limit
        self._begun = False
        self._lines: JsonLinesParser | None = None

    def feed(self, data: bytes) -> list[SseEvent]:
        """Add bytes. Returns the events that are complete. Raises `ResponseTooLargeError`."""
        if not self._begun:
            data = data.lstrip(_BLANKS)
            if not data:
                return []
            self._begun = True
            if data.startswith(b"{"):
                event_limit, stream_limit = self._limits
                self._lines = JsonLinesParser(event_limit=event_limit, stream_limit=stream_limit)
        return super().feed(data) if self._lines is None else _events(self._lines.feed(data))

    def finish(self) -> list[SseEvent]:
        """Return the events that are complete at the end of the input."""
        return super().finish() if self._lines is None else _events(self._lines.finish())


def _events(lines: Sequence[Event]) -> list[SseEvent]:
    return [SseEvent(event=None, data=line.data) for line in lines]


class ChatDecoder:
    """Decodes a stream of either version, which its first event shows."""

    def __init__(self, target: Target) -> None:
        self.done = False
        self._target = target
        self._decoder: V1Decoder | V2Decoder | None = None

    def feed(self, event: Event) -> Sequence[Chunk]:
        """Return the chunks of an event. Raises `ReportedError` and `MalformedResponseError`."""
        decoder = self._decoder
        if decoder is None:
            is_v1 = b'"event_type"' in event.data
            decoder = self._decoder = V1Decoder(self._target) if is_v1 else V2Decoder(self._target)
        chunks = decoder.feed(event)
        self.done = decoder.done
        return chunks

    def finish(self) -> Ending:
        """Return how the stream ended."""
        return "cut" if self._decoder is None else self._decoder.finish()


class V2Decoder:
    """Decodes the events of a v2 stream."""

    def __init__(self, target: Target) -> None:
        self.done = False
        self._target = target
        self._id = ""
        self._plans = False
        self._text = 0
        """The number of the first block of text, which citations without a number are for."""
        self._has_text = False
        self._wrote = False
        self._ended = False
        self._parts = 0
        self._calls: dict[int, int] = {}
        """The numbers of the calls, by their indexes on the wire."""
        self._ids: set[str] = set()

    def feed(self, event: Event) -> Sequence[Chunk]:
        """Return the chunks of an event. Raises `ReportedError` and `MalformedResponseError`."""
        data = event.data
        if self.done:
            return ()
        if data.startswith(_DONE):
            self.done = self._ended
            if not self._ended:
                raise MalformedResponseError("the stream ended before the message did")
            return ()
        wire = decode(data, _EVENT, _Event, needed=NEEDED, what="an event of the stream")
        read = self._EVENTS.get(wire.type or "")
        if read is None:
            reported = None if wire.type or wire.delta else reported_error(data)
            if reported is not None:
                raise reported
            return ()
        return read(self, wire)

    def finish(self) -> Ending:
        """Return how the stream ended."""
        if self.done:
            return "complete"
        return "unmarked" if self._ended else "cut"

    def _chunk(self, delta: Delta, logprobs: WireLogprob | list[WireLogprob] | None = None) -> Sequence[Chunk]:
        items = [logprobs] if isinstance(logprobs, WireLogprob) else logprobs
        choice = ChunkChoice(delta=delta, logprobs=logprobs_of(items) if items else None)
        return (Chunk(id=self._id, model=self._target.model, choices=[choice]),)

    def _count(self, number: int = 1) -> None:
        self._parts += number
        check_count(self._parts, PARTS_LIMIT, what="parts and tool calls")

    def _start(self, wire: _Event) -> Sequence[Chunk]:
        self._id = text_of(wire.id)
        return self._chunk(Delta(role="assistant"))

    def _start_content(self, wire: _Event) -> Sequence[Chunk]:
        self._count()
        return self._content(wire)

    def _content(self, wire: _Event) -> Sequence[Chunk]:
        index, content = wire.index or 0, _message_of(wire).content
        blocks = content if isinstance(content, list) else [content]
        chunks: list[Chunk] = []
        for block in blocks:
            if isinstance(block, str):
                chunks += self._piece(WireContent(text=block), index, wire)
            elif block is not None:
                chunks += self._piece(block, index, wire)
        return chunks

    def _piece(self, block: WireContent, index: int, wire: _Event) -> Sequence[Chunk]:
        if block.text:
            if not self._has_text:
                self._text, self._has_text = index, True
            self._wrote = True
            return self._chunk(Delta(content=block.text, block=index), wire.logprobs)
        if block.thinking:
            self._wrote = True
            target = self._target
            thought = Delta(reasoning=block.thinking, provider=target.provider, issuer=target.issuer, block=index)
            return self._chunk(thought, wire.logprobs)
        return ()

    def _plan(self, wire: _Event) -> Sequence[Chunk]:
        text = _message_of(wire).tool_plan
        if not text:
            return ()
        mark = None if self._plans else PLAN
        self._plans = self._wrote = True
        target = self._target
        return self._chunk(Delta(reasoning=text, signature=mark, provider=target.provider, issuer=target.issuer))

    def _call(self, wire: _Event) -> Sequence[Chunk]:
        calls = _message_of(wire).tool_calls
        chunks: list[Chunk] = []
        for offset, call in enumerate(calls if isinstance(calls, list) else [calls]):
            if call is not None:
                chunks += self._call_piece(call, (wire.index or 0) + offset)
        return chunks

    def _call_piece(self, call: WireCall, index: int) -> Sequence[Chunk]:
        function = call.function or WireFunction()
        first = index not in self._calls
        if first:
            self._count()
        number = self._calls.setdefault(index, len(self._calls))
        self._wrote = True
        piece = ToolCallDelta(
            index=number,
            id=self._new_id(call.id) if first else None,
            name=function.name if first else None,
            arguments=arguments_of(function),
        )
        return self._chunk(Delta(tool_calls=[piece], issuer=self._target.issuer))

    def _new_id(self, given: str | None) -> str:
        # Without an id, or with that of another call, the tool's result could not refer to its call.
        call_id = given if given and given not in self._ids else new_call_id()
        self._ids.add(call_id)
        return call_id

    def _cite(self, wire: _Event) -> Sequence[Chunk]:
        given = _message_of(wire).citations
        cited = given if isinstance(given, list) else [given] if given is not None else []
        self._count(len(cited))
        chunks: list[Chunk] = []
        for each in cited:
            if is_of_text(each):
                place = content_index_of(each, self._text)
                chunks += self._chunk(Delta(citations=[citation_of(each, self._target)], block=place))
            else:
                chunks += self._chunk(Delta(part=opaque_citation(each, self._target)))
        return chunks

    def _end(self, wire: _Event) -> Sequence[Chunk]:
        delta = wire.delta or _NO_DELTA
        error = text_of(delta.error)
        if not self._wrote and error:
            raise ReportedError(
                ErrorBody(message=error, code=text_of(delta.error_type) or None, meaning=meaning_of(error))
            )
        if not self._wrote and delta.finish_reason is None:
            raise MalformedResponseError("the stream ended with neither content nor a finish reason")
        self._ended = True
        chunks = [*self._chunk(Delta(part=self._failure(delta)))] if error else []
        ending = ChunkChoice(
            finish_reason=finish_reason_of(delta.finish_reason), native_finish_reason=delta.finish_reason
        )
        usage = usage_of(delta.usage) or None
        return [*chunks, Chunk(id=self._id, model=self._target.model, choices=[ending], usage=usage)]

    def _failure(self, delta: _Delta) -> OpaquePart:
        data = {"error": text_of(delta.error), "error_type": text_of(delta.error_type) or None}
        return OpaquePart(provider=self._target.provider, kind=ERROR, data=data, issuer=self._target.issuer)

    _EVENTS: ClassVar[dict[str, Callable[[V2Decoder, _Event], Sequence[Chunk]]]] = {
        "content-delta": _content,
        "content-start": _start_content,
        "tool-plan-delta": _plan,
        "tool-call-start": _call,
        "tool-call-delta": _call,
        "citation-start": _cite,
        "message-start": _start,
        "message-end": _end,
    }


def _message_of(wire: _Event) -> _Message:
    return (wire.delta or _NO_DELTA).message or _NO_MESSAGE
