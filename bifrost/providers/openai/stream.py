"""Decodes OpenAI's chat stream: https://platform.openai.com/docs/api-reference/chat-streaming.

Events other than a piece of a response, usage or an error are ignored. Tool calls are numbered from 0 in the order in
which they appear, whatever indexes and ids a server sends or omits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta, ToolCallDelta
from bifrost.providers.openai.answer import (
    PLAIN,
    WireChoice,
    WireMessage,
    WireToolCall,
    audio_of,
    called,
    citations_of,
    finish_reason_of,
    fitted_of,
    id_of,
    images_of,
    inner_usage_of,
    is_custom,
    native_reason_of,
    plain_text_of,
    says_something,
    seconds_of,
    size_of,
    sources_of,
    stop_sequence_of,
    text_of,
    thought_of,
    usage_of,
    words_of,
)
from bifrost.providers.openai.calls import StreamedCalls
from bifrost.providers.openai.details import Details
from bifrost.providers.openai.errors import reported_error
from bifrost.providers.openai.logprobs import logprobs_of
from bifrost.providers.sizes import CHOICES_LIMIT, PARTS_LIMIT, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bifrost.operations.chat.content import Citation
    from bifrost.providers.base import Ending, Target
    from bifrost.providers.openai.quirks import Quirks
    from bifrost.wire.framing.sse import SseEvent

_NOTHING = msgspec.Raw(b"")
_NULL = len(b"null")
_NO_DELTA = WireMessage()
_LONGEST_PAUSE = 64
"""The most events after which the fast path is tried again."""


class _Choice(WireChoice, gc=False):
    delta: WireMessage | None = None


class _Event(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    id: Any = None
    model: Any = None
    created: Any = None
    object: Any = None
    usage: msgspec.Raw = _NOTHING
    service_tier: Any = None
    system_fingerprint: Any = None
    citations: msgspec.Raw = _NOTHING
    search_results: msgspec.Raw = _NOTHING
    x_groq: msgspec.Raw = _NOTHING
    error: Any = None


class _Usual(_Event, gc=False):
    """An event as nearly all servers send it, which needs no second look."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


class _PlainDelta(msgspec.Struct, gc=False):
    content: str
    role: str | None = None
    refusal: None = None
    reasoning_content: None = None
    reasoning: None = None
    reasoning_text: None = None
    thinking: None = None
    reasoning_details: None = None
    images: None = None
    tool_calls: None = None
    function_call: None = None
    audio: None = None
    annotations: None = None


class _PlainChoice(msgspec.Struct, gc=False):
    delta: _PlainDelta
    index: int | None = None
    finish_reason: None = None
    logprobs: None = None


class _Plain(msgspec.Struct, gc=False):
    """An event that adds only text, as nearly all events of a stream do. It has no other content."""

    choices: list[_PlainChoice]
    id: str | None = None
    model: str | None = None
    created: int | None = None
    object: Literal["chat.completion.chunk"] | None = None
    usage: None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    citations: None = None
    search_results: None = None
    x_groq: None = None
    error: None = None


_PLAIN = msgspec.json.Decoder(_Plain)
_EVENT = msgspec.json.Decoder(_Event, strict=False)
_USUAL = msgspec.json.Decoder(_Usual, strict=False)


class ChatDecoder:
    """Decodes the stream of one choice, or of `n`."""

    def __init__(self, target: Target, *, quirks: Quirks = PLAIN) -> None:
        self.done = False
        self._model = target.model
        self._provider = target.provider
        self._issuer = target.issuer
        self._quirks = quirks
        self._keeps_details = quirks.reasoning_field == "reasoning_details"
        self._spoke = False
        """Whether a part of the response was returned."""
        self._finished: dict[int, bool] = {}
        self._calls: dict[int, StreamedCalls] = {}
        self._details: dict[int, Details] = {}
        self._cited: set[str | None] = set()
        self._parts = 0
        """The number of tool calls and images in all choices together."""
        self._skip = 0
        """The number of events for which the fast path is not tried."""
        self._pause = 0
        """The last such number. Each failed try costs time, and a stream may never succeed."""

    def feed(self, event: SseEvent) -> Sequence[Chunk]:
        """Return the chunks of an event.

        Raises `ReportedError` for an error event, and `MalformedResponseError` for data that is not JSON or has an
        unknown shape.
        """
        if self.done:
            return ()
        if len(event.data) > json.SMALL:
            json.check_density(event.data, what="an event of the stream")
        if self._skip:
            self._skip -= 1
        elif event.event != "error":
            try:
                plain = _PLAIN.decode(event.data)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                self._pause = self._skip = min(2 * self._pause + 1, _LONGEST_PAUSE)
            else:
                self._pause = 0
                return self._plain(plain)
        return self._feed(event)

    def _plain(self, wire: _Plain) -> Sequence[Chunk]:
        choices: list[ChunkChoice] = []
        if len(wire.choices) > 1:
            check_count(len(wire.choices), CHOICES_LIMIT, what="choices in one event")
        # Not a comprehension, which would cost another call: there is nearly always one choice.
        for choice in wire.choices:
            index, delta = choice.index or 0, choice.delta
            if index not in self._finished:
                self._begin(index)
            if delta.content:
                self._spoke = True
            choices.append(ChunkChoice(delta=Delta(content=delta.content, role=delta.role or None), index=index))
        if not choices:
            return ()
        return (
            Chunk(
                choices=choices,
                id=wire.id or "",
                model=wire.model or self._model,
                created=wire.created or 0,
                service_tier=wire.service_tier or None,
                system_fingerprint=wire.system_fingerprint or None,
            ),
        )

    def _feed(self, event: SseEvent) -> Sequence[Chunk]:
        """Handle an event of any kind."""
        data = event.data
        if data.startswith(b"[DONE]"):
            self.done = True
            return ()
        try:
            wire = _USUAL.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            found = self._decode_unusual(event)
            if found is None:
                return ()
            wire = found
        if wire.error or wire.object == "error" or event.event == "error":
            error = reported_error(data, always=event.event == "error")
            if error is not None:
                if self._spoke:
                    # Its content before the error would commit the stream, which can still be retried.
                    error.chunks = [chunk for chunk in self._chunks(wire) if chunk.has_content]
                raise error
        return self._chunks(wire)

    def _chunks(self, wire: _Usual) -> Sequence[Chunk]:
        check_count(len(wire.choices or ()), CHOICES_LIMIT, what="choices in one event")
        choices = [self._choice(choice) for choice in wire.choices or ()]
        usage = usage_of(wire.usage, self._quirks) if len(wire.usage) > _NULL else None
        if usage is None and wire.x_groq is not _NOTHING:
            usage = inner_usage_of(wire.x_groq)
        if choices and (wire.search_results is not _NOTHING or wire.citations is not _NOTHING):
            choices[0] = self._with_sources(choices[0], sources_of(wire.search_results, wire.citations) or ())
        if not choices and usage is None:
            return ()
        head = Chunk(
            choices=choices,
            id=wire.id or "",
            model=wire.model or self._model,
            created=wire.created or 0,
            usage=usage,
            service_tier=wire.service_tier or None,
            system_fingerprint=wire.system_fingerprint or None,
        )
        pictures = [
            msgspec.structs.replace(head, usage=None, choices=[ChunkChoice(index=choice.index or 0, delta=delta)])
            for choice in wire.choices or ()
            for delta in self._pictures(choice)
        ]
        return [*pictures, head]

    def _pictures(self, choice: _Choice) -> Iterator[Delta]:
        """Yield the images of an event, one per chunk."""
        message = choice.delta
        if message is not None and (message.images is not _NOTHING or isinstance(message.content, list)):
            for image in images_of(message):
                self._parts += 1
                check_count(self._parts, PARTS_LIMIT, what="tool calls and pictures")
                yield Delta(part=image)

    def finish(self) -> Ending:
        """Return how the stream ended."""
        if self.done:
            return "complete"
        return "unmarked" if self._finished and all(self._finished.values()) else "cut"

    def _decode_unusual(self, event: SseEvent) -> _Usual | None:
        """Decode an event whose names and numbers have other types, as far as possible."""
        try:
            wire = _EVENT.decode(event.data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            found = self._decode_foreign(event)
            if found is None:
                return None
            wire = found
        fields: dict[str, Any] = msgspec.structs.asdict(wire) | {
            "id": text_of(wire.id),
            "model": text_of(wire.model),
            "created": seconds_of(wire.created),
            "service_tier": text_of(wire.service_tier),
            "system_fingerprint": text_of(wire.system_fingerprint),
        }
        return _Usual(**fields)

    def _decode_foreign(self, event: SseEvent) -> _Event | None:
        """Handle data that is not JSON, or uses known names with other types: an error only if it should be known."""
        data = event.data
        if not data.strip():
            return None
        error = reported_error(data, always=event.event == "error")
        if error is not None:
            raise error
        fitted = fitted_of(data, _Event)
        if fitted is None and event.event in {None, "message"}:
            return json.decode(data, _EVENT, what="an event of the stream")
        return fitted

    def _begin(self, index: int) -> None:
        """Record a new choice. Raises `ResponseTooLargeError` if there are too many."""
        check_count(len(self._finished) + 1, CHOICES_LIMIT, what="choices")
        self._finished[index] = False

    def _choice(self, choice: _Choice) -> ChunkChoice:
        index = choice.index or 0
        delta = self._delta(choice.delta or _NO_DELTA, index)
        if not (self._spoke or delta.empty):
            self._spoke = True
        native = choice.finish_reason
        logprobs = logprobs_of(choice.logprobs) if len(choice.logprobs) > _NULL else None
        if index not in self._finished:
            self._begin(index)
        if not native:
            return ChunkChoice(delta=delta, index=index, logprobs=logprobs)
        self._finished[index] = True
        if self._details:
            delta = self._with_details(delta, index)
        return ChunkChoice(
            delta=delta,
            index=index,
            finish_reason=finish_reason_of(native),
            native_finish_reason=native_reason_of(choice),
            stop_sequence=stop_sequence_of(choice),
            logprobs=logprobs,
        )

    def _delta(self, wire: WireMessage, index: int) -> Delta:
        text = plain_text_of(wire)
        if text is not None:
            return Delta(content=text)
        check_count(size_of(wire), PARTS_LIMIT, what="parts and tool calls in one event")
        content, refusal = words_of(wire)
        thought = thought_of(wire)
        if self._keeps_details and wire.reasoning_details is not _NOTHING:
            self._details.setdefault(index, Details()).add(wire.reasoning_details)
        calls = self._tool_calls(wire, index)
        return Delta(
            role=text_of(wire.role) or None,
            content=content,
            reasoning=thought,
            provider=self._provider if thought else None,
            issuer=self._issuer if thought or calls else None,
            refusal=refusal,
            tool_calls=calls,
            citations=citations_of(wire.annotations),
            audio=audio_of(wire.audio) if wire.audio is not None and says_something(wire.audio) else None,
        )

    def _with_details(self, delta: Delta, index: int) -> Delta:
        details = self._details.get(index)
        kept = details.taken() if details is not None else None
        return (
            delta
            if kept is None
            else msgspec.structs.replace(delta, signature=kept, provider=self._provider, issuer=self._issuer)
        )

    def _with_sources(self, choice: ChunkChoice, sources: Sequence[Citation]) -> ChunkChoice:
        """Add the sources that were not returned yet: Perplexity lists all of them with every event."""
        new = [source for source in sources if source.url not in self._cited]
        if not new:
            return choice
        self._cited.update(source.url for source in new)
        delta = msgspec.structs.replace(choice.delta, citations=[*(choice.delta.citations or ()), *new])
        return msgspec.structs.replace(choice, delta=delta)

    def _tool_calls(self, wire: WireMessage, index: int) -> list[ToolCallDelta] | None:
        pieces = wire.tool_calls
        if not pieces:
            if wire.function_call is None:
                return None
            pieces = [WireToolCall(index=0, function=wire.function_call)]
        calls = self._calls.get(index)
        if calls is None:
            calls = self._calls[index] = StreamedCalls()
        before = len(calls)
        made = [delta for piece in pieces if (delta := _piece(piece, calls)) is not None]
        self._parts += len(calls) - before
        check_count(self._parts, PARTS_LIMIT, what="tool calls and pictures")
        return made or None


def _piece(wire: WireToolCall, calls: StreamedCalls) -> ToolCallDelta | None:
    name, arguments = called(wire)
    placed = calls.place(wire.index, id_of(wire.id), name, arguments)
    if placed is None:
        return None
    number, call_id, new_name, arguments = placed
    kind: Literal["function", "custom"] | None = "custom" if is_custom(wire) else "function" if wire.type else None
    return ToolCallDelta(index=number, id=call_id, name=new_name, arguments=arguments, kind=kind)
