"""Reads responses and streams of Cohere's older v1 chat: https://docs.cohere.com/v1/reference/chat.

A response has its text at the top, and calls without ids. A stream is lines of JSON that name their `event_type`; the
last one repeats the whole response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta, ToolCallDelta
from bifrost.operations.chat.content import Citation, Part, TextPart, ToolCall, new_call_id
from bifrost.operations.chat.messages import AssistantMessage
from bifrost.operations.chat.response import ChatResponse, Choice, FinishReason, raw_of
from bifrost.providers.cohere.errors import reported_error
from bifrost.providers.cohere.wire import Meta, decode, finish_reason_of, shapeless, text_of, usage_of, warnings_of
from bifrost.providers.sizes import PARTS_LIMIT, SPARSE, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bifrost.providers.base import Ending, Target
    from bifrost.wire.framing.base import Event
    from bifrost.wire.http import HttpResponse


class _Call(msgspec.Struct):
    name: str | None = None
    parameters: dict[str, Any] | None = None


class _Citation(msgspec.Struct):
    start: int | None = None
    end: int | None = None
    text: str | None = None
    document_ids: list[str] | None = None


class _Document(msgspec.Struct):
    id: str | None = None
    title: Any = None
    url: Any = None


class _Response(msgspec.Struct):
    text: str | msgspec.UnsetType | None = msgspec.UNSET
    response_id: Any = None
    generation_id: Any = None
    citations: list[_Citation] | None = None
    documents: list[_Document] | None = None
    tool_calls: list[_Call] | None = None
    finish_reason: str | None = None
    meta: Meta | None = None


class _CallDelta(msgspec.Struct):
    name: str | None = None
    index: int | None = None
    parameters: str | None = None


class _Event(msgspec.Struct):
    event_type: str | None = None
    generation_id: Any = None
    text: str | None = None
    citations: list[_Citation] | None = None
    documents: list[_Document] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_delta: _CallDelta | None = None
    finish_reason: str | None = None
    response: _Response | None = None
    message: Any = None


_RESPONSE = msgspec.json.Decoder(_Response, strict=False)
_EVENT = msgspec.json.Decoder(_Event, strict=False)
_TOP: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NEEDED = frozenset(["text", "tool_calls", "parameters", "tool_call_delta", "response"])


def is_v1(body: bytes) -> bool:
    """Return whether a body is a response of the v1 API."""
    if b'"text"' not in body or not (b'"generation_id"' in body or b'"response_id"' in body):
        return False
    try:
        return "message" not in (top := _TOP.decode(body)) and "text" in top
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False


def parse_v1(response: HttpResponse, target: Target) -> ChatResponse:
    """Return the response that a body contains. Raises `ReportedError` and `MalformedResponseError`."""
    wire = decode(response.body, _RESPONSE, _Response, needed=_NEEDED)
    if wire.text is msgspec.UNSET:
        raise reported_error(response.body) or shapeless(response.body, "no text")
    check_count(len(wire.tool_calls or ()) + len(wire.citations or ()), PARTS_LIMIT, what="parts and tool calls")
    parts: list[Part] = []
    cited = _citations(wire.citations, wire.documents, target)
    if wire.text or cited:
        parts.append(TextPart(text=wire.text or "", citations=cited))
    parts += [
        ToolCall(id=new_call_id(), name=call.name or "", arguments=_arguments(call), issuer=target.issuer)
        for call in wire.tool_calls or ()
    ]
    choice = Choice(
        message=AssistantMessage(parts=parts),
        finish_reason=_finish_reason(wire.finish_reason, calls=bool(wire.tool_calls)),
        native_finish_reason=wire.finish_reason,
    )
    return ChatResponse(
        id=text_of(wire.generation_id) or text_of(wire.response_id),
        model=target.model,
        provider=target.provider,
        choices=[choice],
        usage=usage_of(wire.meta),
        warnings=warnings_of(wire.meta),
        raw=raw_of(response.body, [choice]),
    )


class V1Decoder:
    """Decodes the events of a v1 stream."""

    def __init__(self, target: Target) -> None:
        self.done = False
        self._target = target
        self._id = ""
        self._documents: list[_Document] = []
        self._calls: dict[int, int] = {}
        """The numbers of calls that arrive in pieces, by their indexes on the wire."""
        self._complete_calls = False
        self._parts = 0
        self._wrote = False

    def feed(self, event: Event) -> Sequence[Chunk]:
        """Return the chunks of an event. Raises `ReportedError` and `MalformedResponseError`."""
        if self.done:
            return ()
        wire = json.decode(event.data, _EVENT, what="an event of the stream", sparse=SPARSE)
        if wire.event_type is None and isinstance(wire.message, str):
            raise reported_error(event.data) or shapeless(event.data, "no event type")
        read = self._EVENTS.get(wire.event_type or "")
        return () if read is None else read(self, wire)

    def finish(self) -> Ending:
        """Return how the stream ended."""
        return "complete" if self.done else "cut"

    def _chunk(self, delta: Delta) -> Sequence[Chunk]:
        return (Chunk(id=self._id, model=self._target.model, choices=[ChunkChoice(delta=delta)]),)

    def _count(self, number: int) -> None:
        self._parts += number
        check_count(self._parts, PARTS_LIMIT, what="parts and tool calls")

    def _start(self, wire: _Event) -> Sequence[Chunk]:
        self._id = text_of(wire.generation_id)
        return self._chunk(Delta(role="assistant"))

    def _text(self, wire: _Event) -> Sequence[Chunk]:
        if not wire.text:
            return ()
        self._wrote = True
        return self._chunk(Delta(content=wire.text))

    def _search_results(self, wire: _Event) -> Sequence[Chunk]:
        self._documents += wire.documents or ()
        check_count(len(self._documents), PARTS_LIMIT, what="documents")
        return ()

    def _cite(self, wire: _Event) -> Sequence[Chunk]:
        self._count(len(wire.citations or ()))
        cited = _citations(wire.citations, self._documents, self._target)
        return self._chunk(Delta(citations=cited)) if cited else ()

    def _call_delta(self, wire: _Event) -> Sequence[Chunk]:
        """Return a piece of a call. Pieces without one contain a plan, which the text of the response repeats."""
        piece = wire.tool_call_delta
        if piece is None:
            return self._text(wire)
        index = piece.index or 0
        if piece.name is None and piece.parameters is None:
            return ()
        first = index not in self._calls
        if first:
            self._count(1)
        number = self._calls.setdefault(index, len(self._calls))
        self._wrote = True
        call = ToolCallDelta(
            index=number,
            id=new_call_id() if first else None,
            name=piece.name,
            arguments=piece.parameters or "",
        )
        return self._chunk(Delta(tool_calls=[call], issuer=self._target.issuer))

    def _call(self, wire: _Event) -> Sequence[Chunk]:
        """Return the complete calls, unless their pieces were returned."""
        calls = wire.tool_calls or []
        self._count(len(calls))
        if self._calls or self._complete_calls or not calls:
            return ()
        self._complete_calls = self._wrote = True
        deltas = [
            ToolCallDelta(index=number, id=new_call_id(), name=call.name or "", arguments=_arguments(call))
            for number, call in enumerate(calls)
        ]
        return self._chunk(Delta(tool_calls=deltas, issuer=self._target.issuer))

    def _end(self, wire: _Event) -> Sequence[Chunk]:
        whole = wire.response or _Response()
        native = wire.finish_reason or whole.finish_reason
        if not self._wrote and native is None:
            raise MalformedResponseError("the stream ended with neither content nor a finish reason")
        chunks: list[Chunk] = []
        if not self._wrote and isinstance(whole.text, str) and whole.text:
            chunks += self._chunk(Delta(content=whole.text))
        if whole.tool_calls and not (self._calls or self._complete_calls):
            chunks += self._call(_Event(tool_calls=whole.tool_calls))
        self.done = True
        calls = bool(self._calls or self._complete_calls)
        ending = ChunkChoice(finish_reason=_finish_reason(native, calls=calls), native_finish_reason=native)
        usage = usage_of(whole.meta) or None
        return [*chunks, Chunk(id=self._id, model=self._target.model, choices=[ending], usage=usage)]

    _EVENTS: ClassVar[dict[str, Callable[[V1Decoder, _Event], Sequence[Chunk]]]] = {
        "stream-start": _start,
        "text-generation": _text,
        "search-results": _search_results,
        "citation-generation": _cite,
        "tool-calls-chunk": _call_delta,
        "tool-calls-generation": _call,
        "stream-end": _end,
    }


def _finish_reason(native: str | None, *, calls: bool) -> FinishReason | None:
    reason = finish_reason_of(native)
    # v1 has no word for it.
    return "tool_calls" if calls and reason == "stop" else reason


def _arguments(call: _Call) -> str:
    return msgspec.json.encode(call.parameters or {}).decode()


def _citations(
    cited: Sequence[_Citation] | None, documents: Sequence[_Document] | None, target: Target
) -> list[Citation] | None:
    known = {document.id: document for document in documents or () if document.id}
    return [_citation(each, known, target) for each in cited or ()] or None


def _citation(cited: _Citation, documents: Mapping[str, _Document], target: Target) -> Citation:
    """Return a citation with the title and URL of its first document that has them."""
    named = [documents[name] for name in cited.document_ids or () if name in documents]
    return Citation(
        url=next((url for each in named if (url := text_of(each.url))), None),
        title=next((title for each in named if (title := text_of(each.title))), None),
        text=cited.text or None,
        start=cited.start,
        end=cited.end,
        provider=target.provider,
        native=msgspec.to_builtins(cited),
    )
