"""Parses the response of Converse: blocks, usage and stop reasons. The stream decoder uses the same functions.

Blocks without an equivalent (the tools that Bedrock runs, and what they return) are kept as `OpaquePart`. Format:
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.content import (
    AudioPart,
    Citation,
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    new_call_id,
)
from bifrost.operations.chat.messages import AssistantMessage
from bifrost.operations.chat.response import ChatResponse, Choice, FinishReason, raw_of
from bifrost.operations.usage import NO_USAGE, Usage
from bifrost.providers.bedrock.errors import reported_error
from bifrost.providers.openai.fit import decode_fitting
from bifrost.providers.sizes import PARTS_LIMIT, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse

SERVER_TOOL = "server_tool_use"
"""The type of a call of a tool that Bedrock runs itself."""

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "refusal": "content_filter",
    "pause_turn": "pause",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}

_MEDIA_TYPES: Mapping[str, str] = {"png": "image/png", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}


# The fields have their names on the wire; SDKs and gateways may write numbers as 3.0, and null for what is missing.


class ReasoningText(msgspec.Struct):
    """Visible reasoning."""

    text: str | None = None
    signature: str | None = None


class Reasoning(msgspec.Struct):
    """Reasoning, visible or readable for the provider only (base64)."""

    reasoningText: ReasoningText | None = None  # noqa: N815
    redactedContent: str | None = None  # noqa: N815


class ToolUse(msgspec.Struct):
    """A call of a tool. `input` keeps the model's own bytes."""

    toolUseId: str | None = None  # noqa: N815
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")
    type: str | None = None


class Source(msgspec.Struct):
    """The source of a picture or of sound."""

    bytes: str | None = None


class Media(msgspec.Struct):
    """A picture or sound that the model made."""

    format: str | None = None
    source: Source | None = None


class _Cited(msgspec.Struct):
    content: list[dict[str, Any]] | None = None
    citations: list[dict[str, Any]] | None = None


class _Block(msgspec.Struct):
    """A block of content: one of these, or an unknown one."""

    text: str | None = None
    reasoningContent: Reasoning | None = None  # noqa: N815
    toolUse: ToolUse | None = None  # noqa: N815
    citationsContent: _Cited | None = None  # noqa: N815
    image: Media | None = None
    audio: Media | None = None


class _CacheDetail(msgspec.Struct):
    ttl: str | None = None
    inputTokens: int | None = None  # noqa: N815


class WireUsage(msgspec.Struct):
    """Bedrock's usage. `inputTokens` does not include tokens read from or written to the cache."""

    inputTokens: int | None = None  # noqa: N815
    outputTokens: int | None = None  # noqa: N815
    cacheReadInputTokens: int | None = None  # noqa: N815
    cacheWriteInputTokens: int | None = None  # noqa: N815
    cacheDetails: list[_CacheDetail] | None = None  # noqa: N815
    serverToolUsage: dict[str, Any] | None = None  # noqa: N815


class _Router(msgspec.Struct):
    invokedModelId: str | None = None  # noqa: N815


class Trace(msgspec.Struct):
    """What a prompt router and guardrails did."""

    promptRouter: _Router | None = None  # noqa: N815


class ServiceTier(msgspec.Struct):
    """The tier that processed the request."""

    type: str | None = None


class _Location(msgspec.Struct):
    url: str | None = None
    documentIndex: int | None = None  # noqa: N815


class _SourceText(msgspec.Struct):
    text: str | None = None


class _CitedPlace(msgspec.Struct):
    title: str | None = None
    source: str | None = None
    sourceContent: list[_SourceText] | None = None  # noqa: N815
    location: dict[str, _Location | None] | None = None


class _Message(msgspec.Struct):
    content: list[msgspec.Raw] | None = None


class _Output(msgspec.Struct):
    message: _Message | None = None


class _Answer(msgspec.Struct):
    output: _Output | None = None
    stopReason: str | None = None  # noqa: N815
    usage: WireUsage | None = None
    trace: msgspec.Raw = msgspec.Raw(b"null")
    serviceTier: ServiceTier | None = None  # noqa: N815
    additionalModelResponseFields: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815


class _OtherFields(msgspec.Struct):
    stop_sequence: str | None = None


NEEDED = frozenset(["output", "message", "content", "text", "toolUse", "name", "input", "delta", "start"])
"""Members whose loss would change the text or a call."""

_EMPTY: tuple[object, ...] = (None, "", [], {})

_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
_BLOCK = msgspec.json.Decoder(_Block, strict=False)
_WHOLE = msgspec.json.Decoder(dict[str, Any])
_TRACE = msgspec.json.Decoder(Trace | None, strict=False)
_TEXT = msgspec.json.Decoder(str)
_OTHER_FIELDS = msgspec.json.Decoder(_OtherFields, strict=False)


def parse_converse(response: HttpResponse, target: Target) -> ChatResponse:
    """Return the response that a body contains.

    Raises `ReportedError` for an exception with a success status, and `MalformedResponseError` for other content.
    """
    answer = decode_fitting(response.body, _ANSWER, _Answer, needed=NEEDED, what="the answer")
    message = answer.output.message if answer.output is not None else None
    if message is None:
        error = reported_error(response.body)
        raise error or MalformedResponseError("the answer is JSON, but no message: it has no output")
    content = message.content or []
    if not content and answer.stopReason is None:
        raise MalformedResponseError("the answer is not a complete message: it has neither content nor a stop reason")
    check_count(len(content), PARTS_LIMIT, what="blocks")
    choices = [
        Choice(
            message=AssistantMessage(parts=_parts(content, target)),
            finish_reason=finish_reason_of(answer.stopReason),
            native_finish_reason=answer.stopReason,
            stop_sequence=stop_sequence_of(answer.additionalModelResponseFields),
        )
    ]
    return ChatResponse(
        model=routed_model(answer.trace) or target.model,
        provider=target.provider,
        choices=choices,
        usage=usage_of(answer.usage) or NO_USAGE,
        service_tier=answer.serviceTier.type if answer.serviceTier is not None else None,
        raw=raw_of(response.body, choices),
    )


def finish_reason_of(stop_reason: str | None) -> FinishReason | None:
    """Return the finish reason for a stop reason; `unknown` for new ones."""
    return None if stop_reason is None else _FINISH_REASONS.get(stop_reason, "unknown")


def stop_sequence_of(fields: msgspec.Raw) -> str | None:
    """Return the stop sequence that Claude reports, if `additionalModelResponseFieldPaths` requests it."""
    try:
        return _OTHER_FIELDS.decode(fields).stop_sequence
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None  # fields of another model


def routed_model(trace: msgspec.Raw) -> str | None:
    """Return the model that a prompt router chose; `None` if there was no router."""
    try:
        read = _TRACE.decode(trace)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    router = read.promptRouter if read is not None else None
    invoked = router.invokedModelId if router is not None else None
    return invoked.rpartition("/")[2] if invoked else None


def usage_of(wire: WireUsage | None) -> Usage | None:
    """Return the usage by bifrost's convention: input includes the cache."""
    if wire is None:
        return None
    cache_read = wire.cacheReadInputTokens or 0
    cache_write = wire.cacheWriteInputTokens or 0
    hourly = sum(detail.inputTokens or 0 for detail in wire.cacheDetails or () if detail.ttl == "1h")
    return Usage(
        input_tokens=(wire.inputTokens or 0) + cache_read + cache_write,
        output_tokens=wire.outputTokens or 0,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        cache_write_1h_tokens=min(hourly, cache_write),
        server_tool_calls=sum(
            count for count in (wire.serverToolUsage or {}).values() if isinstance(count, int) and count > 0
        ),
    )


def citation_of(native: dict[str, Any], target: Target) -> Citation:
    """Return a citation, with the native object, which is sent back unchanged.

    Bedrock's offsets are positions in the source; ours are positions in the response, so they stay empty.
    """
    try:
        cited = msgspec.convert(native, _CitedPlace, strict=False)
    except msgspec.ValidationError:
        cited = _CitedPlace()  # an unknown kind of citation
    places = [place for place in (cited.location or {}).values() if place is not None]
    place = places[0] if places else _Location()
    text = "".join(piece.text or "" for piece in cited.sourceContent or ())
    source = cited.source if cited.source and cited.source.startswith(("https://", "http://", "s3://")) else None
    return Citation(
        url=place.url or source,
        title=cited.title,
        text=text or None,
        document_index=place.documentIndex,
        provider=target.provider,
        native=native,
    )


def tool_call_of(use: ToolUse, target: Target) -> ToolCall:
    """Return a call of a caller's tool. A call without an id gets one."""
    return ToolCall(
        id=use.toolUseId or new_call_id(),
        name=use.name or "",
        arguments=_arguments(use.input),
        issuer=target.issuer,
    )


def image_of(image: Media) -> ImagePart | None:
    """Return a picture; `None` if it has no data."""
    data = image.source.bytes if image.source is not None else None
    return ImagePart(data=data, media_type=_MEDIA_TYPES.get(image.format or "")) if data else None


def opaque_of(kind: str, block: dict[str, Any], target: Target) -> OpaquePart:
    """Return a block as an opaque part."""
    return OpaquePart(provider=target.provider, kind=kind, data=block, issuer=target.issuer)


def redacted_of(data: str, target: Target) -> ReasoningPart:
    """Return reasoning that only the provider can read."""
    return ReasoningPart(redacted=data, provider=target.provider, issuer=target.issuer)


def _parts(content: list[msgspec.Raw], target: Target) -> list[Part]:
    parts: list[Part] = []
    cited = 0
    for raw in content:
        part = _part(raw, target)
        if part is not None:
            parts.append(part)
        if isinstance(part, TextPart):
            cited += len(part.citations or ())
            check_count(cited, PARTS_LIMIT, what="citations")
    return parts


def _part(raw: msgspec.Raw, target: Target) -> Part | None:
    """Return the part for a block; `None` if it is empty (Bedrock does not accept empty text back)."""
    block = decode_fitting(raw, _BLOCK, _Block, needed=NEEDED, what="a block of the answer")
    if block.text is not None:
        return TextPart(text=block.text) if block.text else None
    if block.toolUse is not None and block.toolUse.type != SERVER_TOOL:
        return tool_call_of(block.toolUse, target)
    if block.reasoningContent is not None:
        return _reasoning(block.reasoningContent, target)
    if block.citationsContent is not None:
        return _cited_text(block.citationsContent, target)
    if block.image is not None:
        return image_of(block.image)
    if block.audio is not None and block.audio.source is not None:
        return AudioPart(data=block.audio.source.bytes, format=block.audio.format)
    whole = json.decode(raw, _WHOLE, what="a block of the answer")
    kind = next((name for name, value in whole.items() if value not in _EMPTY), None)
    return opaque_of(kind, whole, target) if kind is not None else None


def _reasoning(block: Reasoning, target: Target) -> ReasoningPart | None:
    if block.redactedContent is not None:
        return redacted_of(block.redactedContent, target)
    thought = block.reasoningText
    if thought is None or not (thought.text or thought.signature):
        return None
    return ReasoningPart(
        text=thought.text or "",
        signature=thought.signature or None,
        provider=target.provider,
        issuer=target.issuer,
    )


def _cited_text(block: _Cited, target: Target) -> TextPart | None:
    check_count(len(block.citations or ()), PARTS_LIMIT, what="citations in a block")
    texts = [piece.get("text") for piece in block.content or ()]
    text = "".join(piece for piece in texts if isinstance(piece, str))
    citations = [citation_of(native, target) for native in block.citations or ()] or None
    return TextPart(text=text, citations=citations) if text or citations else None


def _arguments(value: msgspec.Raw) -> str:
    """Return a tool's input as the model wrote it."""
    try:
        text = bytes(value).decode()
    except UnicodeDecodeError as error:
        raise MalformedResponseError("a tool's input is not UTF-8") from error
    if text.startswith('"'):
        text = json.decode(value, _TEXT, what="a tool's input").strip()  # a gateway put it into a string
    return "{}" if text in ("", "null") else text
