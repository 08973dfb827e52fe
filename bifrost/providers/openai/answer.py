"""Parses OpenAI's complete chat response. The stream decoder uses the same shapes for its pieces.

What servers of this dialect vary in, or may omit, is read leniently: counts, log probabilities and annotations of an
unknown shape are ignored, and `raw` has the bytes. A member that a server adds under a name that no other server uses
differently is read from every server; what only a quirk can distinguish has a field in `Quirks`. Format:
https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

import re
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

import msgspec

from bifrost.errors import InvalidRequestError, MalformedResponseError
from bifrost.operations.chat.content import (
    AudioPart,
    Citation,
    ImagePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    new_call_id,
)
from bifrost.operations.chat.messages import AssistantMessage
from bifrost.operations.chat.response import ChatResponse, Choice, FinishReason, raw_of
from bifrost.operations.usage import NO_USAGE, Usage, balanced
from bifrost.providers.events import lone_event
from bifrost.providers.openai.details import details_text, kept_details
from bifrost.providers.openai.errors import reported_error
from bifrost.providers.openai.fit import NEEDED, UnfitError, fit
from bifrost.providers.openai.logprobs import logprobs_of
from bifrost.providers.openai.quirks import Quirks
from bifrost.providers.sizes import CHOICES_LIMIT, PARTS_LIMIT, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse

_T = TypeVar("_T")

_StructT = TypeVar("_StructT", bound=msgspec.Struct)

_NOTHING = msgspec.Raw(b"")
_NULL = len(b"null")
_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)

PLAIN = Quirks()
"""The quirks of a server without quirks."""

# In addition to OpenAI's: Together, text-generation-inference (behind Hugging Face's router), Mistral (spec:
# ChatCompletionChoice), DeepSeek (api-docs.deepseek.com/api/create-chat-completion), vLLM and SGLang.
_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "model_length": "length",
    "insufficient_system_resource": "error",
    "abort": "error",
}


# --- shapes on the wire, in which everything is optional


class WireFunction(msgspec.Struct):
    """A call of a function. `arguments` is text; some servers send the object itself."""

    name: str | None = None
    arguments: Any = None


class WireCustom(msgspec.Struct):
    """A call of a tool with free text."""

    name: str | None = None
    input: str | None = None


class WireToolCall(msgspec.Struct):
    """A tool call, or a piece of one."""

    index: int | None = None
    id: Any = None
    type: Any = None
    function: WireFunction | None = None
    custom: WireCustom | None = None


class _ContentPart(msgspec.Struct):
    """A part of the content. A `thinking` part (Mistral) contains parts itself."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    thinking: msgspec.Raw = _NOTHING
    image_url: Any = None


class _Thought(msgspec.Struct):
    text: Any = None


class WireAudio(msgspec.Struct):
    """Spoken output, or a piece of it."""

    id: str | None = None
    data: str | None = None
    transcript: str | None = None
    expires_at: int | None = None


class WireMessage(msgspec.Struct, gc=False):
    """A message, or a delta. Reasoning has several names: `reasoning`, `reasoning_content`, ..."""

    content: str | list[_ContentPart] | None = None
    role: Any = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_text: Any = None
    thinking: Any = None
    reasoning_details: msgspec.Raw = _NOTHING
    images: msgspec.Raw = _NOTHING
    tool_calls: list[WireToolCall] | None = None
    function_call: WireFunction | None = None
    audio: WireAudio | None = None
    annotations: msgspec.Raw = _NOTHING


class WireChoice(msgspec.Struct, gc=False):
    """One of the choices.

    OpenRouter adds its upstream's `native_finish_reason`; vLLM and SGLang report the stop sequence.
    """

    index: int | None = None
    finish_reason: str | None = None
    native_finish_reason: Any = None
    stop_reason: Any = None
    matched_stop: Any = None
    logprobs: msgspec.Raw = _NOTHING


class _Choice(WireChoice):
    message: WireMessage | None = None
    error: Any = None


class _Answer(msgspec.Struct):
    id: Any = None
    model: Any = None
    created: Any = None
    object: Any = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NOTHING
    service_tier: Any = None
    system_fingerprint: Any = None
    citations: msgspec.Raw = _NOTHING
    search_results: msgspec.Raw = _NOTHING
    error: Any = None


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A number of tokens. A negative one, or one that is too large for other JSON libraries, is ignored."""


class _InputDetails(msgspec.Struct):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    cache_creation_tokens: _Count | None = None
    """LiteLLM."""
    audio_tokens: _Count | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: _Count | None = None
    audio_tokens: _Count | None = None
    accepted_prediction_tokens: _Count | None = None
    rejected_prediction_tokens: _Count | None = None


class _ServerTools(msgspec.Struct):
    web_search_requests: _Count | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    total_tokens: _Count | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    """Anthropic's names, and those of OpenAI's other endpoints, which some gateways use here as well."""
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None
    prompt_token_details: _InputDetails | None = None
    """Mistral, in addition to OpenAI's name."""
    cached_tokens: _Count | None = None
    """Together and Moonshot, outside of the details."""
    num_cached_tokens: _Count | None = None
    """Mistral."""
    prompt_cache_hit_tokens: _Count | None = None
    prompt_cache_miss_tokens: _Count | None = None
    """DeepSeek."""
    cache_read_input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    """Anthropic, passed on by gateways."""
    prompt_audio_seconds: float | None = None
    """Mistral: `prompt_tokens` does not include audio; only the total does."""
    reasoning_tokens: _Count | None = None
    """Perplexity and SGLang."""
    num_search_queries: _Count | None = None
    """Perplexity."""
    server_tool_use_details: _ServerTools | None = None
    """OpenRouter."""


class _Inside(msgspec.Struct):
    usage: msgspec.Raw = _NOTHING


class _Outline(msgspec.Struct):
    """The members that distinguish a complete response from a piece of one."""

    message: msgspec.Raw = _NOTHING
    delta: msgspec.Raw = _NOTHING


class _Outlines(msgspec.Struct):
    choices: list[_Outline] | None = None


class _Source(msgspec.Struct):
    url: str | None = None
    title: str | None = None
    content: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class _SearchResult(msgspec.Struct):
    url: str | None = None
    title: str | None = None
    snippet: str | None = None


class _Annotation(msgspec.Struct):
    type: str = ""
    url_citation: _Source | None = None


class _Image(msgspec.Struct):
    image_url: Any = None


_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
_USAGE = msgspec.json.Decoder(_Usage | None, strict=False)
_OUTLINES = msgspec.json.Decoder(_Outlines)
_INSIDE = msgspec.json.Decoder(_Inside | None)
_ANNOTATIONS = msgspec.json.Decoder(list[_Annotation] | None, strict=False)
_THINKING = msgspec.json.Decoder(list[_Thought] | str | None)
_IMAGES = msgspec.json.Decoder(list[_Image] | None)
_URLS = msgspec.json.Decoder(list[str] | None)
_RESULTS = msgspec.json.Decoder(list[_SearchResult] | None)


# --- the complete response


def parse_chat(response: HttpResponse, target: Target, *, quirks: Quirks = PLAIN) -> ChatResponse:
    """Return the response that a body contains.

    Raises `ReportedError` for an error object with a success status, and `MalformedResponseError` for other content.
    """
    wire = decode_answer(response.body, _ANSWER, _Answer)
    if wire.error or wire.object == "error":
        raise reported_error(response.body) or _shapeless(response.body, "neither choices nor an error")
    if not wire.choices:
        raise reported_error(response.body) or _shapeless(response.body, "no choices")
    if len(response.body) > CHOICES_LIMIT:
        # A smaller response cannot contain as many.
        check_count(len(wire.choices), CHOICES_LIMIT, what="choices")
        check_count(sum(map(_size, wire.choices)), PARTS_LIMIT, what="parts and tool calls")
    sources = sources_of(wire.search_results, wire.citations)
    choices = [
        _choice(choice, place, response.body, target, quirks=quirks, sources=sources)
        for place, choice in enumerate(wire.choices)
    ]
    return ChatResponse(
        id=wire.id if isinstance(wire.id, str) else "",
        model=(wire.model if isinstance(wire.model, str) else "") or target.model,
        created=seconds_of(wire.created),
        provider=target.provider,
        choices=choices,
        usage=usage_of(wire.usage, quirks) or NO_USAGE,
        service_tier=(wire.service_tier and text_of(wire.service_tier)) or None,
        system_fingerprint=(wire.system_fingerprint and text_of(wire.system_fingerprint)) or None,
        raw=raw_of(response.body, choices),
    )


def _size(choice: _Choice) -> int:
    return 0 if choice.message is None else size_of(choice.message)


def is_whole(data: bytes) -> bool:
    """Return whether an event contains a complete response and not a piece of one."""
    if b'"message"' not in data:
        return False
    try:
        choices = _OUTLINES.decode(data).choices
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return bool(choices) and all(len(choice.message) > _NULL and len(choice.delta) <= _NULL for choice in choices or ())


def decode_answer(
    body: bytes, decoder: msgspec.json.Decoder[_T], shape: type[msgspec.Struct], *, sparse: int = 16
) -> _T:
    """Decode a body with a success status. If it does not match, unexpected members are ignored as `shape` allows.

    Raises `ReportedError` if it is an error in another shape, and `MalformedResponseError` for other content.
    """
    try:
        return json.decode(body, decoder, what="the response", sparse=sparse)
    except MalformedResponseError as error:
        malformed = error
    reported = reported_error(body)
    if reported is not None:
        raise reported
    lone = lone_event(body)
    if lone is not None:
        return decode_answer(lone, decoder, shape, sparse=sparse)
    fitted = fitted_of(body, shape)
    if fitted is None:
        raise malformed
    return cast("_T", fitted)


def fitted_of(data: bytes | msgspec.Raw, shape: type[_StructT], *, needed: frozenset[str] = NEEDED) -> _StructT | None:
    """Return a JSON object without unexpected members; `None` if it is not an object, or lacks a required member."""
    try:
        return fit(data if isinstance(data, msgspec.Raw) else json.mended(data), shape, needed=needed)
    except UnfitError:
        return None


def _choice(
    choice: _Choice, place: int, body: bytes, target: Target, *, quirks: Quirks, sources: list[Citation] | None
) -> Choice:
    message = choice.message
    if (
        choice.error
    ):  # OpenRouter's upstream failed within the response: https://openrouter.ai/docs/api-reference/errors
        error = reported_error(msgspec.json.encode({"error": choice.error}), always=True)
        raise error or _shapeless(body, f"an error in choices[{place}]")
    if message is None and choice.finish_reason is None:
        raise _shapeless(body, f"no message in choices[{place}]")
    return Choice(
        message=AssistantMessage(parts=[] if message is None else _parts(message, target, quirks, sources)),
        index=place if choice.index is None else choice.index,
        finish_reason=finish_reason_of(choice.finish_reason),
        native_finish_reason=native_reason_of(choice),
        stop_sequence=stop_sequence_of(choice),
        logprobs=logprobs_of(choice.logprobs) if len(choice.logprobs) > _NULL else None,
    )


def _parts(message: WireMessage, target: Target, quirks: Quirks, sources: list[Citation] | None) -> list[Part]:
    text, refusal = words_of(message)
    thought = thought_of(message)
    kept = kept_details(message.reasoning_details) if quirks.reasoning_field == "reasoning_details" else None
    parts: list[Part] = []
    if thought or kept:
        parts.append(ReasoningPart(text=thought or "", signature=kept, provider=target.provider, issuer=target.issuer))
    cited = sources
    if message.annotations is not _NOTHING:
        cited = citations_of(message.annotations) or sources
    if text or cited:
        parts.append(TextPart(text=text or "", citations=cited))
    if refusal:
        parts.append(RefusalPart(refusal=refusal))
    if message.tool_calls or message.function_call is not None:
        parts += _tool_calls(message, target)
    if message.audio is not None and says_something(message.audio):
        parts.append(audio_of(message.audio))
    if message.images is not _NOTHING or isinstance(message.content, list):
        parts += images_of(message)
    return parts


def _tool_calls(message: WireMessage, target: Target) -> Iterator[ToolCall]:
    seen: set[str] = set()
    for call in message.tool_calls or [WireToolCall(function=message.function_call)]:
        name, arguments = called(call)
        call_id = id_of(call.id)
        if not (call_id or name or arguments):
            continue
        # Without an id (the old function_call, some servers), or with that of another call, the tool's result could not
        # refer to its call.
        if call_id is None or call_id in seen:
            call_id = new_call_id()
        seen.add(call_id)
        kind: Literal["function", "custom"] = "custom" if is_custom(call) else "function"
        yield ToolCall(id=call_id, name=name, arguments=arguments, kind=kind, issuer=target.issuer)


def _shapeless(body: bytes, problem: str) -> MalformedResponseError:
    return MalformedResponseError(f"the response cannot be read: it has {problem}; {json.excerpt(body)}")


# --- pieces of a message


def size_of(message: WireMessage) -> int:
    """Return the number of parts and tool calls of a message or delta."""
    content = message.content
    return len(message.tool_calls or ()) + (len(content) if isinstance(content, list) else 0)


def words_of(message: WireMessage) -> tuple[str | None, str | None]:
    """Return the text and the refusal. Content in parts is joined; parts that are not text are ignored."""
    content, refusal = message.content, message.refusal
    if isinstance(content, list):
        refusal = refusal or "".join([part.refusal for part in content if part.refusal]) or None
        content = "".join([part.text for part in content if part.text and part.type in {"text", "output_text", ""}])
    return content, refusal


def plain_text_of(message: WireMessage) -> str | None:
    """Return the text of a message that has only text, as in nearly all events of a stream; else `None`."""
    if (
        message.role is None
        and message.tool_calls is None
        and message.refusal is None
        and message.reasoning is None
        and message.reasoning_content is None
        and message.reasoning_text is None
        and message.thinking is None
        and message.reasoning_details is _NOTHING
        and message.images is _NOTHING
        and message.function_call is None
        and message.audio is None
        and message.annotations is _NOTHING
        and isinstance(message.content, str)
    ):
        return message.content
    return None


def thought_of(message: WireMessage) -> str | None:
    """Return the reasoning under any of its names, in `reasoning_details` or in parts of the content; else `None`."""
    for thought in (message.reasoning_content, message.reasoning, message.reasoning_text, message.thinking):
        if isinstance(thought, str):
            if thought:
                return thought
        elif thought is not None and (text := _inner_thought(thought)):
            return text
    if message.reasoning_details is not _NOTHING:
        text = details_text(message.reasoning_details)
        if text:
            return text
    if isinstance(message.content, list):
        return "".join([_thinking(part) for part in message.content]) or None
    return None


def _inner_thought(thought: object) -> str:
    match thought:
        case {"content": str(text)} | {"text": str(text)} | {"summary": str(text)}:
            return text
        case _:
            return ""


def _thinking(part: _ContentPart) -> str:
    thoughts = _decode_leniently(part.thinking, _THINKING) or ()
    text = thoughts if isinstance(thoughts, str) else "".join([text_of(thought.text) for thought in thoughts])
    return text or (part.text or "" if part.type in {"reasoning", "thinking"} else "")


def images_of(message: WireMessage) -> list[ImagePart]:
    """Return the images of a response: OpenRouter's `images`, or parts of the content."""
    found: list[_Image | _ContentPart] = []
    if message.images is not _NOTHING:
        images = _decode_leniently(message.images, _IMAGES) or ()
        check_count(len(images), PARTS_LIMIT, what="pictures")
        found += images
    if isinstance(message.content, list):
        found += message.content
    return [image for item in found if (image := _image(item.image_url)) is not None]


def _image(address: object) -> ImagePart | None:
    match address:
        case str(url) | {"url": str(url)} if url:
            inline = _DATA_URL.fullmatch(url)
            return ImagePart(url=url) if inline is None else ImagePart(media_type=inline[1], data=inline[2])
        case _:
            return None


def called(call: WireToolCall) -> tuple[str, str]:
    """Return the name of the tool and its arguments or free text."""
    if is_custom(call):
        custom = call.custom or WireCustom()
        return custom.name or "", custom.input or ""
    if call.function is None:
        return "", ""
    arguments = call.function.arguments
    if arguments is None or isinstance(arguments, str):
        return call.function.name or "", arguments or ""
    return call.function.name or "", _written(arguments)


def _written(arguments: object) -> str:
    try:
        return json.encode(arguments).decode()
    except InvalidRequestError:  # a number that is too long for the encoder
        return dumps(arguments, ensure_ascii=False, separators=(",", ":"))


def is_custom(call: WireToolCall) -> bool:
    """Return whether the tool has free text. Some servers send an empty `custom` with every function."""
    custom, function = call.custom, call.function
    if function is not None and (function.name or function.arguments):
        return False
    return call.type == "custom" or (custom is not None and bool(custom.name or custom.input))


def id_of(value: object) -> str | None:
    """Return the id of a call as text, or `None`. Some servers number their calls from 0."""
    match value:
        case str():
            return value or None
        case int() | float() if not isinstance(value, bool):
            return str(int(value) if float(value).is_integer() else value)
        case _:
            return None


def says_something(audio: WireAudio) -> bool:
    """Return whether spoken output has content. Some servers send an empty field."""
    return bool(audio.id or audio.data or audio.transcript)


def audio_of(audio: WireAudio) -> AudioPart:
    """Return spoken output as a part."""
    return AudioPart(id=audio.id, data=audio.data, transcript=audio.transcript, expires_at=audio.expires_at)


def finish_reason_of(native: str | None) -> FinishReason | None:
    """Return the finish reason; `unknown` for a word that is only available as `native_finish_reason`."""
    return _FINISH_REASONS.get(native, "unknown") if native else None


def native_reason_of(choice: WireChoice) -> str | None:
    """Return the finish reason in the words that are closest to the model's."""
    native = choice.native_finish_reason
    return (choice.finish_reason if native is None else text_of(native) or choice.finish_reason) or None


def stop_sequence_of(choice: WireChoice) -> str | None:
    """Return the stop sequence that ended a choice; `None` for a number, which identifies a token."""
    if choice.stop_reason is None and choice.matched_stop is None:
        return None
    return text_of(choice.stop_reason) or text_of(choice.matched_stop) or None


def usage_of(raw: msgspec.Raw, quirks: Quirks = PLAIN) -> Usage | None:
    """Return the usage; `None` if there is none. Unexpected members are ignored."""
    wire = _decode_leniently(raw, _USAGE)
    if wire is None and len(raw) > _NULL:
        wire = fitted_of(raw, _Usage)
    if wire is None:
        return None
    taken, output, total = wire.prompt_tokens, wire.completion_tokens, wire.total_tokens or 0
    if not taken or not output:
        taken, output = _counted(wire)
        if taken is None or output is None:
            return None
    given = wire.prompt_tokens_details or wire.prompt_token_details or wire.input_tokens_details or _InputDetails()
    made = wire.completion_tokens_details or wire.output_tokens_details or _OutputDetails()
    tools = wire.server_tool_use_details
    read = (
        given.cached_tokens
        or wire.cached_tokens
        or wire.num_cached_tokens
        or wire.prompt_cache_hit_tokens
        or wire.cache_read_input_tokens
        or 0
    )
    heard = given.audio_tokens or 0
    if wire.prompt_audio_seconds and total > taken + output:
        heard = total - taken - output
        taken += heard
    thought = made.reasoning_tokens or wire.reasoning_tokens or 0
    if quirks.reasoning_tokens_apart:
        output = max(output, total - taken)
    usage = Usage(
        input_tokens=taken,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=(
            given.cache_write_tokens or given.cache_creation_tokens or wire.cache_creation_input_tokens or 0
        ),
        input_audio_tokens=heard,
        reasoning_tokens=thought,
        output_audio_tokens=made.audio_tokens or 0,
        accepted_prediction_tokens=made.accepted_prediction_tokens or 0,
        rejected_prediction_tokens=made.rejected_prediction_tokens or 0,
        server_tool_calls=(tools and tools.web_search_requests) or wire.num_search_queries or 0,
    )
    has_details = read or heard or thought or usage.cache_write_tokens or usage.output_audio_tokens
    return balanced(usage, total=total) if has_details else usage


def _counted(wire: _Usage) -> tuple[int | None, int | None]:
    """Return input and output tokens. A missing one follows from the other and the total; a total alone is input."""
    taken = wire.input_tokens if wire.prompt_tokens is None else wire.prompt_tokens
    output = wire.output_tokens if wire.completion_tokens is None else wire.completion_tokens
    if taken is None and wire.prompt_cache_hit_tokens is not None and wire.prompt_cache_miss_tokens is not None:
        taken = wire.prompt_cache_hit_tokens + wire.prompt_cache_miss_tokens
    total = wire.total_tokens
    if total is None:
        return (None, None) if taken is None and output is None else (taken or 0, output or 0)
    if not taken and not output:
        return total, 0
    if taken is None:
        return max(0, total - (output or 0)), output
    return taken, max(0, total - taken) if output is None else output


def inner_usage_of(raw: msgspec.Raw) -> Usage | None:
    """Return the usage in Groq's `x_groq`, in a stream without requested usage."""
    inside = _decode_leniently(raw, _INSIDE)
    return None if inside is None else usage_of(inside.usage)


def citations_of(raw: msgspec.Raw) -> list[Citation] | None:
    """Return the sources of a response; `None` if there are none."""
    notes = _decode_leniently(raw, _ANNOTATIONS) or ()
    check_count(len(notes), PARTS_LIMIT, what="annotations")
    sources = [note.url_citation for note in notes if note.url_citation is not None]
    return [
        Citation(
            url=source.url,
            title=source.title,
            text=source.content,
            start=source.start_index,
            end=source.end_index,
        )
        for source in sources
    ] or None


def sources_of(results: msgspec.Raw, urls: msgspec.Raw) -> list[Citation] | None:
    """Return the sources that Perplexity lists with its responses, whose text refers to them by number."""
    if results is _NOTHING and urls is _NOTHING:
        return None
    listed, named = _decode_leniently(results, _RESULTS) or (), _decode_leniently(urls, _URLS) or ()
    check_count(len(listed) + len(named), PARTS_LIMIT, what="sources")
    found = [
        Citation(url=result.url, title=result.title, text=result.snippet) for result in listed if result.url is not None
    ]
    return found or [Citation(url=url) for url in named] or None


def text_of(value: object) -> str:
    """Return text; an empty string for other types."""
    return value if isinstance(value, str) else ""


def whole_of(value: object) -> int | None:
    """Return a number of tokens; `None` if it is not a positive integer."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def seconds_of(value: object) -> int:
    """Return a time in seconds; 0 if it is not a number."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _decode_leniently(raw: msgspec.Raw, decoder: msgspec.json.Decoder[_T]) -> _T | None:
    if not len(raw):
        return None
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
