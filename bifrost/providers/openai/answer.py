"""OpenAI's complete chat answer, read into our words. The stream decoder reads its pieces by the same shapes.

What servers of this dialect are known to vary in (or may leave out) is read with patience: counts, log probabilities
and annotations of an unknown shape are passed over, `raw` has the bytes.
Format: https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.providers.openai.errors import reported_error
from bifrost.schema.chat import ChatResponse, Choice, FinishReason, Logprobs
from bifrost.schema.content import AudioPart, Citation, Part, ReasoningPart, RefusalPart, TextPart, ToolCall
from bifrost.schema.messages import AssistantMessage
from bifrost.schema.usage import Usage
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse

_T = TypeVar("_T")

_NOTHING = msgspec.Raw(b"")

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
}


# --- the wire's shapes: everything may be missing


class WireFunction(msgspec.Struct):
    """A call of a function. `arguments` is text; some servers send the object itself."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class WireCustom(msgspec.Struct):
    """A call of a tool that takes free text."""

    name: str | None = None
    input: str | None = None


class WireToolCall(msgspec.Struct):
    """A tool call, or a piece of one."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: WireFunction | None = None
    custom: WireCustom | None = None


class _ContentPart(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class WireAudio(msgspec.Struct):
    """A spoken answer, or a piece of one."""

    id: str | None = None
    data: str | None = None
    transcript: str | None = None
    expires_at: int | None = None


class WireMessage(msgspec.Struct):
    """A message, or the delta of one. `reasoning_content` and `reasoning` are two names for what models think."""

    content: str | list[_ContentPart] | None = None
    role: Any = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: list[WireToolCall] | None = None
    function_call: WireFunction | None = None
    audio: WireAudio | None = None
    annotations: msgspec.Raw = _NOTHING


class _Choice(msgspec.Struct):
    index: int | None = None
    message: WireMessage | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = _NOTHING


class _Answer(msgspec.Struct):
    id: Any = None
    model: Any = None
    created: Any = None
    object: Any = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NOTHING
    service_tier: Any = None
    system_fingerprint: Any = None
    error: Any = None


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Source(msgspec.Struct):
    url: str | None = None
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class _Annotation(msgspec.Struct):
    type: str = ""
    url_citation: _Source | None = None


_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
_USAGE = msgspec.json.Decoder(_Usage | None, strict=False)
_LOGPROBS = msgspec.json.Decoder(Logprobs | None, strict=False)
_ANNOTATIONS = msgspec.json.Decoder(list[_Annotation] | None, strict=False)


# --- the complete answer


def parse_chat(response: HttpResponse, target: Target) -> ChatResponse:
    """Read a complete answer.

    Raises `ReportedError` for an error object under a good status, `MalformedResponseError` for what holds no answer.
    """
    wire = decode_answer(response.body, _ANSWER)
    if wire.error or wire.object == "error":
        raise reported_error(response.body) or _shapeless(response.body, "neither choices nor an error")
    if not wire.choices:
        raise _shapeless(response.body, "no choices")
    return ChatResponse(
        id=text_of(wire.id),
        model=text_of(wire.model) or target.model,
        created=seconds_of(wire.created),
        provider=target.provider,
        choices=[_choice(choice, place, response.body, target) for place, choice in enumerate(wire.choices)],
        usage=usage_of(wire.usage),
        service_tier=text_of(wire.service_tier) or None,
        system_fingerprint=text_of(wire.system_fingerprint) or None,
        raw=response.body,
    )


def decode_answer(body: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    """Decode a body that came with a good status. Raises `ReportedError` if it is an error in another shape."""
    try:
        return json.decode(body, decoder, what="the answer")
    except MalformedResponseError as error:
        malformed = error
    raise reported_error(body) or malformed


def _choice(choice: _Choice, place: int, body: bytes, target: Target) -> Choice:
    message = choice.message
    if message is None and choice.finish_reason is None:
        raise _shapeless(body, f"no message in choices[{place}]")
    return Choice(
        message=AssistantMessage(parts=[] if message is None else _parts(message, target)),
        index=place if choice.index is None else choice.index,
        finish_reason=finish_reason_of(choice.finish_reason),
        native_finish_reason=choice.finish_reason or None,
        logprobs=logprobs_of(choice.logprobs),
    )


def _parts(message: WireMessage, target: Target) -> list[Part]:
    text, refusal = words_of(message)
    thought = thought_of(message)
    parts: list[Part] = []
    if thought:
        parts.append(ReasoningPart(text=thought, provider=target.provider))
    cited = citations_of(message.annotations)
    if text or cited:
        parts.append(TextPart(text=text or "", citations=cited))
    if refusal:
        parts.append(RefusalPart(refusal=refusal))
    calls = message.tool_calls or ()
    parts += [_tool_call(call, place) for place, call in enumerate(calls)]
    if message.function_call is not None and not calls:
        parts.append(_tool_call(WireToolCall(function=message.function_call), 0))
    if message.audio is not None:
        parts.append(audio_of(message.audio))
    return parts


def _tool_call(call: WireToolCall, place: int) -> ToolCall:
    name, arguments = called(call)
    # Without an id (the old function_call, some servers) the tool's result could not name its call.
    call_id = call.id or f"call_{place}"
    return ToolCall(id=call_id, name=name or "", arguments=arguments, kind="custom" if is_custom(call) else "function")


def _shapeless(body: bytes, problem: str) -> MalformedResponseError:
    return MalformedResponseError(f"the answer cannot be read: it has {problem}; {json.excerpt(body)}")


# --- reading pieces


def words_of(message: WireMessage) -> tuple[str | None, str | None]:
    """Give the text and the refusal; content in parts is joined, parts that are not text are passed over."""
    content, refusal = message.content, message.refusal
    if isinstance(content, list):
        refusal = refusal or "".join([part.refusal for part in content if part.refusal]) or None
        content = "".join([part.text for part in content if part.text and part.type in {"text", "output_text", ""}])
    return content, refusal


def plain_text_of(message: WireMessage) -> str | None:
    """Give the text of a message that is text alone, as nearly every event of a stream is."""
    if (
        message.role is None
        and message.tool_calls is None
        and message.refusal is None
        and message.reasoning is None
        and message.reasoning_content is None
        and message.function_call is None
        and message.audio is None
        and message.annotations is _NOTHING
        and isinstance(message.content, str)
    ):
        return message.content
    return None


def thought_of(message: WireMessage) -> str | None:
    """Give what the model thought, under either name."""
    for thought in (message.reasoning_content, message.reasoning):
        if isinstance(thought, str) and thought:
            return thought
    return None


def called(call: WireToolCall) -> tuple[str | None, str]:
    """Give the name of the tool and its arguments or free text."""
    if call.custom is not None:
        return call.custom.name, call.custom.input or ""
    if call.function is None:
        return None, ""
    arguments = call.function.arguments
    return call.function.name, json.encode(arguments).decode() if isinstance(arguments, dict) else arguments or ""


def is_custom(call: WireToolCall) -> bool:
    """Say whether the tool takes free text."""
    return call.type == "custom" or call.custom is not None


def audio_of(audio: WireAudio) -> AudioPart:
    """Read a spoken answer."""
    return AudioPart(id=audio.id, data=audio.data, transcript=audio.transcript, expires_at=audio.expires_at)


def finish_reason_of(native: str | None) -> FinishReason | None:
    """Translate a finish reason; one that is not known stays readable as `native_finish_reason`."""
    return _FINISH_REASONS.get(native, "unknown") if native else None


def usage_of(raw: msgspec.Raw) -> Usage | None:
    """Read a count of tokens, `None` if there is none that can be read."""
    wire = _patiently(raw, _USAGE)
    if wire is None or (wire.prompt_tokens is None and wire.completion_tokens is None):
        return None
    given = wire.prompt_tokens_details or _InputDetails()
    made = wire.completion_tokens_details or _OutputDetails()
    return Usage(
        input_tokens=wire.prompt_tokens or 0,
        output_tokens=wire.completion_tokens or 0,
        cache_read_tokens=given.cached_tokens or 0,
        cache_write_tokens=given.cache_write_tokens or 0,
        input_audio_tokens=given.audio_tokens or 0,
        reasoning_tokens=made.reasoning_tokens or 0,
        output_audio_tokens=made.audio_tokens or 0,
        accepted_prediction_tokens=made.accepted_prediction_tokens or 0,
        rejected_prediction_tokens=made.rejected_prediction_tokens or 0,
    )


def logprobs_of(raw: msgspec.Raw) -> Logprobs | None:
    """Read log probabilities, `None` if there are none that can be read."""
    found = _patiently(raw, _LOGPROBS)
    return found if found is not None and (found.content or found.refusal) else None


def citations_of(raw: msgspec.Raw) -> list[Citation] | None:
    """Read the sources of an answer, `None` if it names none."""
    sources = [note.url_citation for note in _patiently(raw, _ANNOTATIONS) or () if note.url_citation is not None]
    return [
        Citation(url=source.url, title=source.title, start=source.start_index, end=source.end_index)
        for source in sources
    ] or None


def text_of(value: object) -> str:
    """Give text, or nothing for what is none."""
    return value if isinstance(value, str) else ""


def seconds_of(value: object) -> int:
    """Give a time in seconds, 0 for what is no number."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _patiently(raw: msgspec.Raw, decoder: msgspec.json.Decoder[_T]) -> _T | None:
    if len(raw) <= len(b"null"):
        return None
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
