"""Decodes Gemini's event stream: https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent.

Every event has the form of a complete response. No event marks the end: a stream is complete when each candidate has a
finish reason, and more events may follow, with the usage for example. A part with a signature is a block of its own,
because it must be sent back as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta, ToolCallDelta
from bifrost.operations.chat.content import ReasoningPart, TextPart, ToolCall
from bifrost.providers.gemini.answer import (
    Candidate,
    FunctionCall,
    PromptFeedback,
    WirePart,
    blocked,
    call_of,
    created_of,
    decode_part,
    finish_reason_of,
    logprobs_of,
    metadata_of,
    native_reason_of,
    part_of,
    place_of,
    read_response,
)
from bifrost.providers.gemini.citations import citations_of
from bifrost.providers.gemini.partial_arguments import PartialArguments
from bifrost.providers.gemini.usage import read_usage, tier_of, usage_of
from bifrost.providers.sizes import CHOICES_LIMIT, PARTS_LIMIT, SPARSE, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal

    from bifrost.operations.chat.content import Citation, Part
    from bifrost.operations.usage import Usage
    from bifrost.providers.base import Ending, Target
    from bifrost.wire.framing.sse import SseEvent


_MOST_SOURCED = 64
"""After this many events with sources, citations have no offsets: each of them takes a pass over the text."""
_LONGEST_PAUSE = 64
"""The most events after which the fast path is tried again."""
_USAGE_EVERY = 32
"""The usage so far is read from the first of so many events with text only, and from every other event."""

_NO_USAGE = msgspec.Raw(b"")


class _PlainPart(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    text: str
    thought: bool = False


class _PlainContent(msgspec.Struct, gc=False):
    parts: list[_PlainPart]


class _PlainCandidate(msgspec.Struct, gc=False, rename="camel"):
    content: _PlainContent
    index: int = 0
    finish_reason: None = None
    grounding_metadata: None = None
    url_context_metadata: None = None
    citation_metadata: None = None
    logprobs_result: None = None


class _Plain(msgspec.Struct, gc=False, rename="camel"):
    """An event that adds only text, as nearly all events of a stream do."""

    candidates: list[_PlainCandidate]
    usage_metadata: msgspec.Raw = _NO_USAGE
    prompt_feedback: None = None
    error: None = None


_PLAIN = msgspec.json.Decoder(_Plain)


class _Candidate:
    """What has arrived of one candidate."""

    def __init__(self, target: Target, index: int) -> None:
        self.finished = False
        self._target = target
        self._index = index
        self._id = ""
        self._blocks = 0
        self._block = 0
        """The latest block of the content."""
        self._open: Literal["text", "reasoning"] | None = None
        """The kind of the latest block, if the next piece of that kind belongs to it."""
        self._texts: list[str] = []
        self._text_block = 0
        """The latest block with text, which citations belong to."""
        self._sourced = 0
        self._cited: set[tuple[object, ...]] = set()
        self._metadata: dict[str, int] = {}
        """The blocks of what is reported beside the content."""
        self._calls = 0
        self._partial: PartialArguments | None = None
        self._started = False

    def words(self, part: _PlainPart) -> ChunkChoice | None:
        """Return the text that an event adds; `None` if it may be more than that."""
        if not part.text or not self._started or self.finished:
            return None
        return ChunkChoice(delta=self._words(part.text, thought=part.thought), index=self._index)

    def feed(self, wire: Candidate, response_id: str) -> list[ChunkChoice]:
        """Return what an event adds."""
        self._id = response_id
        index = self._index
        deltas = list(self._deltas(wire))
        if wire.grounding_metadata or wire.citation_metadata or wire.url_context_metadata:
            deltas += self._sources(wire)
        ending: dict[str, str | None] = {}
        native = native_reason_of(wire.finish_reason)
        if native is not None:
            deltas += self._end_call()
            self.finished = True
            ending = {"native_finish_reason": native}
        if not self._started:
            self._started = True
            deltas = [*(deltas or [Delta()])]
            deltas[0] = deltas[0].replace(role="assistant")
        choices = [ChunkChoice(delta=delta, index=index) for delta in deltas]
        reason = finish_reason_of(native, calls=self._calls > 0)
        logprobs = logprobs_of(wire.logprobs_result)
        if reason is None and logprobs is None:
            return choices
        last = choices.pop() if choices else ChunkChoice(index=index)
        return [*choices, last.replace(finish_reason=reason, logprobs=logprobs, **ending)]

    def _deltas(self, wire: Candidate) -> Iterator[Delta]:
        for raw in (wire.content and wire.content.parts) or ():
            part = decode_part(raw)
            if part is None:
                continue
            if part.text and part.function_call is None and part.thought_signature is None and part.inline_data is None:
                yield self._words(part.text, thought=part.thought)
            elif part.function_call is not None:
                yield from self._call(part.function_call, part.thought_signature)
            else:
                yield from self._whole(part, raw)

    def _words(self, text: str, *, thought: bool | None) -> Delta:
        kind: Literal["text", "reasoning"] = "reasoning" if thought else "text"
        if self._open != kind:
            self._begin(kind)
        if thought:
            target = self._target
            return Delta(reasoning=text, provider=target.provider, issuer=target.issuer, block=self._block)
        self._texts.append(text)
        self._text_block = self._block
        return Delta(content=text, block=self._block)

    def _begin(self, kind: Literal["text", "reasoning"] | None) -> int:
        """Begin a block of the content, and return its number."""
        self._open = kind
        self._block = self._next()
        return self._block

    def _next(self) -> int:
        self._blocks += 1
        check_count(self._blocks, PARTS_LIMIT, what="parts")
        return self._blocks

    def _whole(self, wire: WirePart, raw: msgspec.Raw) -> Iterator[Delta]:
        """Yield a part that is complete: it has a signature, or is of another kind."""
        part: Part | None = part_of(wire, raw, self._target)
        if part is None:
            return
        block = self._begin(None)
        match part:
            case TextPart():
                if part.text:
                    self._texts.append(part.text)
                    self._text_block = block
                yield Delta(
                    content=part.text,
                    text_signature=part.signature,
                    provider=part.provider,
                    issuer=part.issuer,
                    block=block,
                )
            case ReasoningPart():
                yield Delta(
                    reasoning=part.text,
                    signature=part.signature,
                    provider=part.provider,
                    issuer=part.issuer,
                    block=block,
                )
            case _:
                yield Delta(part=part, block=block)

    # --- tool calls

    def _call(self, wire: FunctionCall, signature: str | None) -> Iterator[Delta]:
        """Yield a call, or a piece of one (`streamFunctionCallArguments`)."""
        if wire.name is None and self._partial is None and not wire.args:
            if wire.partial_args:
                raise MalformedResponseError("the stream has arguments for a call that it has not begun")
            return  # the end of a call that has ended
        if wire.name is not None or self._partial is None:
            yield from self._end_call()
            whole = not (wire.will_continue or wire.partial_args)
            call = call_of(wire, signature, self._target, place=place_of(self._id, self._index, self._calls))
            self._begin(None)
            yield self._delta(call, call.arguments if whole else "")
            self._partial = None if whole else PartialArguments()
        if self._partial is None:
            return
        if wire.partial_args:
            self._partial.add(wire.partial_args)
        if not wire.will_continue:
            yield from self._end_call()

    def _delta(self, call: ToolCall, arguments: str) -> Delta:
        piece = ToolCallDelta(
            index=self._calls, id=call.id, name=call.name, arguments=arguments, signature=call.signature
        )
        self._calls += 1
        check_count(self._calls, PARTS_LIMIT, what="tool calls")
        return Delta(tool_calls=[piece], provider=call.provider, issuer=call.issuer, block=self._block)

    def _end_call(self) -> Iterator[Delta]:
        partial, self._partial = self._partial, None
        if partial is not None:
            piece = ToolCallDelta(index=self._calls - 1, arguments=partial.to_json())
            yield Delta(tool_calls=[piece], block=self._block)

    # --- sources

    def _sources(self, wire: Candidate) -> Iterator[Delta]:
        self._sourced += 1
        text = "".join(self._texts) if self._sourced <= _MOST_SOURCED else None
        found = citations_of(wire.grounding_metadata, wire.citation_metadata, text, self._target.provider)
        cited = [each for each in found if self._is_new(each)]
        if cited and self._texts:
            yield Delta(citations=cited, block=self._text_block)
        for part in metadata_of(wire, self._target):
            if part.kind not in self._metadata:
                self._metadata[part.kind] = self._next()
            yield Delta(part=part, block=self._metadata[part.kind])

    def _is_new(self, cited: Citation) -> bool:
        """Return whether a citation did not come with an earlier event."""
        key = (cited.url, cited.title, cited.start, cited.end, cited.text)
        known = key in self._cited
        self._cited.add(key)
        check_count(len(self._cited), PARTS_LIMIT, what="citations")
        return not known


class GeminiDecoder:
    """Decodes the stream of one response."""

    def __init__(self, target: Target) -> None:
        self.done = False
        self._target = target
        self._id = ""
        self._model = target.model
        self._created = 0
        self._candidates: dict[int, _Candidate] = {}
        self._held: Usage | None = None
        self._blocked = False
        self._has_content = False
        self._counted = _NO_USAGE
        """The latest usage, if it was not read."""
        self._unread = 0
        """The number of events since the usage was read."""
        self._skip = 0
        """The number of events for which the fast path is not tried."""
        self._pause = 0
        """The last such number. Each failed try costs time, and a stream may never succeed."""

    def feed(self, event: SseEvent) -> Sequence[Chunk]:
        """Return the chunks of an event.

        Raises `ReportedError` for an error, and `MalformedResponseError` for data that is not JSON or has an unknown
        shape.
        """
        if event.data.startswith(b"[DONE]"):
            return ()
        if self._skip:
            self._skip -= 1
        elif self._id and self._has_content:
            plain = self._plain(event.data)
            if plain is not None:
                self._pause = 0
                return plain
            self._pause = self._skip = min(2 * self._pause + 1, _LONGEST_PAUSE)
        return self._feed(event)

    def _plain(self, data: bytes) -> Sequence[Chunk] | None:
        """Return the chunk of an event that adds text to a candidate; `None` if it may be another one."""
        if len(data) > json.SMALL:
            json.check_density(data, what="an event of the stream", sparse=SPARSE)
        try:
            wire = _PLAIN.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        if len(wire.candidates) != 1 or len(wire.candidates[0].content.parts) != 1:
            return None
        candidate = self._candidates.get(wire.candidates[0].index)
        choice = None if candidate is None else candidate.words(wire.candidates[0].content.parts[0])
        if choice is None:
            return None
        if self._unread % _USAGE_EVERY == 0:
            return self._chunks([choice], wire.usage_metadata)
        self._unread += 1
        self._counted = wire.usage_metadata or self._counted
        return (Chunk(id=self._id, model=self._model, created=self._created, choices=[choice]),)

    def _feed(self, event: SseEvent) -> Sequence[Chunk]:
        wire = read_response(event.data, what="an event of the stream")
        self._id = self._id or wire.response_id or ""
        self._model = wire.model_version or self._model
        if not self._created and wire.create_time is not None:
            self._created = created_of(wire.create_time)
        choices: list[ChunkChoice] = []
        for place, candidate in enumerate(wire.candidates or ()):
            index = place if candidate.index is None else candidate.index
            choices += self._candidate(index).feed(candidate, self._id)
        feedback = wire.prompt_feedback
        if feedback is not None and native_reason_of(feedback.block_reason) and not wire.candidates:
            choices += self._block(feedback)
        return self._chunks(choices, wire.usage_metadata)

    def finish(self) -> Ending:
        """Return how the stream ended."""
        candidates = self._candidates.values()
        whole = self._blocked or (bool(candidates) and all(candidate.finished for candidate in candidates))
        return "complete" if whole else "cut"

    def _candidate(self, index: int) -> _Candidate:
        found = self._candidates.get(index)
        if found is None:
            check_count(len(self._candidates) + 1, CHOICES_LIMIT, what="choices")
            found = self._candidates[index] = _Candidate(self._target, index)
        return found

    def _block(self, feedback: PromptFeedback) -> list[ChunkChoice]:
        self._blocked = True
        choice = blocked(feedback)
        delta = Delta(role="assistant", refusal=choice.message.refusal)
        return [
            ChunkChoice(
                delta=delta, finish_reason=choice.finish_reason, native_finish_reason=choice.native_finish_reason
            )
        ]

    def _chunks(self, choices: list[ChunkChoice], counted: msgspec.Raw) -> list[Chunk]:
        self._unread = 1
        wire = read_usage(counted or self._counted)
        self._counted = _NO_USAGE
        usage = usage_of(wire)
        if usage is not None:
            self._held = usage
        if not self._has_content:
            # Usage commits a stream, so it waits for the first content.
            self._has_content = any(each.finish_reason is not None or not each.delta.empty for each in choices)
        if self._has_content:
            usage, self._held = self._held, None
        else:
            usage = None
        if not choices and usage is None:
            return []
        tier = tier_of(wire)
        if len(choices) < 2:
            return [self._chunk(choices, usage, tier)]
        # One delta has one block.
        *earlier, last = choices
        return [*(self._chunk([each], None, None) for each in earlier), self._chunk([last], usage, tier)]

    def _chunk(self, choices: list[ChunkChoice], usage: Usage | None, tier: str | None) -> Chunk:
        return Chunk(
            id=self._id,
            model=self._model,
            created=self._created,
            choices=choices,
            usage=usage,
            service_tier=tier,
        )
