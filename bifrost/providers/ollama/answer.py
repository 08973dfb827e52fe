"""Parses Ollama's responses and the lines of its streams: https://docs.ollama.com/api/chat.

A server behind Ollama's address may respond in OpenAI's form; a response with `choices` is read in that form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta, ToolCallDelta
from bifrost.operations.chat.content import ImagePart, Part, ReasoningPart, TextPart, ToolCall, new_call_id
from bifrost.operations.chat.messages import AssistantMessage
from bifrost.operations.chat.response import ChatResponse, Choice, FinishReason, Logprobs, raw_of
from bifrost.operations.usage import NO_USAGE, Usage
from bifrost.providers.ollama.errors import reported_error
from bifrost.providers.ollama.moments import seconds_of
from bifrost.providers.openai.answer import (
    WireFunction,
    WireToolCall,
    called,
    decode_answer,
    fitted_of,
    id_of,
    text_of,
    whole_of,
)
from bifrost.providers.openai.answer import parse_chat as parse_openai_chat
from bifrost.providers.openai.logprobs import logprobs_of
from bifrost.providers.openai.stream import ChatDecoder as OpenAIDecoder
from bifrost.providers.sizes import PARTS_LIMIT, check_count
from bifrost.wire import json
from bifrost.wire.framing.sse import SseEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.providers.base import Ending, Target
    from bifrost.wire.framing.jsonl import JsonLine
    from bifrost.wire.http import HttpResponse

_NOTHING = msgspec.Raw(b"")
_NULL = len(b"null")
_SSE = b"data:"
"""The beginning of a line of a stream in OpenAI's form."""
_NEEDED = frozenset(["message", "content", "response", "tool_calls", "function"])

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "load": "stop",
    "unload": "stop",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}


class WireCall(msgspec.Struct):
    """A tool call. It is always complete, and most versions give it no id."""

    id: Any = None
    function: WireFunction | None = None


class WireMessage(msgspec.Struct):
    """A message, or what a line adds to it."""

    role: Any = None
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[WireCall] | None = None
    images: list[str] | None = None


class WireAnswer(msgspec.Struct):
    """A response of a chat or a completion, or a line of its stream."""

    message: WireMessage | None = None
    response: str | None = None
    thinking: str | None = None
    model: Any = None
    created_at: Any = None
    done: Any = None
    done_reason: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    logprobs: msgspec.Raw = _NOTHING
    choices: msgspec.Raw = _NOTHING
    error: Any = None


_ANSWER = msgspec.json.Decoder(WireAnswer, strict=False)


def decode_whole(response: HttpResponse) -> WireAnswer:
    """Decode the body of a response.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    wire = decode_answer(response.body, _ANSWER, WireAnswer)
    if wire.error:
        raise reported_error(response.body)
    return wire


def decode_line(data: bytes) -> WireAnswer:
    """Decode a line of a stream.

    Raises `ReportedError` for an error, and `MalformedResponseError` for other content.
    """
    try:
        wire = json.decode(data, _ANSWER, what="a line of the stream")
    except MalformedResponseError:
        fitted = fitted_of(data, WireAnswer, needed=_NEEDED)
        if fitted is None:
            raise
        wire = fitted
    if wire.error:
        raise reported_error(data)
    return wire


def parse_chat(response: HttpResponse, target: Target) -> ChatResponse:
    """Return the response that a body contains. Raises the errors of `decode_whole`."""
    wire = decode_whole(response)
    if len(wire.choices) > _NULL:
        return parse_openai_chat(response, target)
    if wire.message is None:
        raise MalformedResponseError(f"the response has no message; {json.excerpt(response.body)}")
    check_count(len(wire.message.tool_calls or ()) + len(wire.message.images or ()), PARTS_LIMIT, what="parts")
    parts = _parts(wire.message, target)
    calls = any(isinstance(part, ToolCall) for part in parts)
    choice = Choice(
        message=AssistantMessage(parts=parts),
        finish_reason=finish_reason_of(wire, calls=calls),
        native_finish_reason=text_of(wire.done_reason) or None,
        logprobs=logprobs_in(wire),
    )
    return ChatResponse(
        model=text_of(wire.model) or target.model,
        created=created_of(wire),
        provider=target.provider,
        choices=[choice],
        usage=usage_in(wire) or NO_USAGE,
        raw=raw_of(response.body, [choice]),
    )


class ChatDecoder:
    """Decodes the lines of a streamed chat."""

    def __init__(self, target: Target) -> None:
        self.done = False
        self._target = target
        self._calls = 0
        self._parts = 0
        self._other: OpenAIDecoder | None = None
        """The decoder of a stream in OpenAI's form."""

    def feed(self, line: JsonLine) -> Sequence[Chunk]:
        """Return the chunks of a line. Raises the errors of `decode_line`."""
        if self.done:
            return ()
        if line.data.startswith(_SSE):
            return self._feed_other(line.data[len(_SSE) :].strip())
        wire = decode_line(line.data)
        self.done = wire.done is True
        message = wire.message or WireMessage()
        delta = self._delta(message)
        choice = ChunkChoice(
            delta=delta,
            finish_reason=finish_reason_of(wire, calls=bool(self._calls)) if self.done else None,
            native_finish_reason=text_of(wire.done_reason) or None,
            logprobs=logprobs_in(wire),
        )
        head = Chunk(choices=[choice], model=text_of(wire.model) or self._target.model, created=created_of(wire))
        pictures = [
            msgspec.structs.replace(head, choices=[ChunkChoice(delta=Delta(part=ImagePart(data=image)))])
            for image in message.images or ()
        ]
        self._parts += len(pictures)
        check_count(self._parts + self._calls, PARTS_LIMIT, what="tool calls and pictures")
        return [*pictures, msgspec.structs.replace(head, usage=usage_in(wire)) if self.done else head]

    def finish(self) -> Ending:
        """Return how the stream ended."""
        if self._other is not None:
            return self._other.finish()
        return "complete" if self.done else "cut"

    def _feed_other(self, data: bytes) -> Sequence[Chunk]:
        if self._other is None:
            self._other = OpenAIDecoder(self._target)
        chunks = self._other.feed(SseEvent(None, data))
        self.done = self._other.done
        return chunks

    def _delta(self, message: WireMessage) -> Delta:
        calls = [self._call(call) for call in message.tool_calls or ()]
        return Delta(
            role=text_of(message.role) or None,
            content=message.content,
            reasoning=message.thinking or None,
            provider=self._target.provider if message.thinking else None,
            issuer=self._target.issuer if message.thinking or calls else None,
            tool_calls=calls or None,
        )

    def _call(self, wire: WireCall) -> ToolCallDelta:
        number, self._calls = self._calls, self._calls + 1
        name, arguments = _called(wire)
        return ToolCallDelta(
            index=number, id=id_of(wire.id) or new_call_id(), name=name, arguments=arguments, kind="function"
        )


def _parts(message: WireMessage, target: Target) -> list[Part]:
    parts: list[Part] = []
    if message.thinking:
        parts.append(ReasoningPart(text=message.thinking, provider=target.provider, issuer=target.issuer))
    if message.content:
        parts.append(TextPart(text=message.content))
    seen: set[str] = set()
    for wire in message.tool_calls or ():
        name, arguments = _called(wire)
        call_id = id_of(wire.id)
        if call_id is None or call_id in seen:
            call_id = new_call_id()
        seen.add(call_id)
        parts.append(ToolCall(id=call_id, name=name, arguments=arguments, issuer=target.issuer))
    return [*parts, *(ImagePart(data=image) for image in message.images or ())]


def _called(wire: WireCall) -> tuple[str, str]:
    return called(WireToolCall(function=wire.function))


def finish_reason_of(wire: WireAnswer, *, calls: bool = False) -> FinishReason | None:
    """Return why a response ended; `None` if it did not. Older versions send no reason."""
    if wire.done is False:
        return None
    reason = text_of(wire.done_reason)
    found = _FINISH_REASONS.get(reason, "unknown") if reason else "stop"
    return "tool_calls" if calls and found == "stop" else found


def usage_in(wire: WireAnswer) -> Usage | None:
    """Return the usage; `None` if there is none. The count of a prompt is missing if all of it was cached."""
    taken, made = whole_of(wire.prompt_eval_count), whole_of(wire.eval_count)
    if taken is None and made is None:
        return None
    return Usage(input_tokens=taken or 0, output_tokens=made or 0)


def logprobs_in(wire: WireAnswer) -> Logprobs | None:
    """Return the log probabilities, a list as in OpenAI's `content`; `None` if there are none."""
    raw = bytes(wire.logprobs)
    return logprobs_of(msgspec.Raw(b'{"content":' + raw + b"}")) if len(raw) > _NULL else None


def created_of(wire: WireAnswer) -> int:
    """Return when a response was made, in seconds since 1970; 0 if it does not say."""
    return seconds_of(text_of(wire.created_at)) or 0
