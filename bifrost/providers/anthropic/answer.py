"""Parses Anthropic's complete response: blocks, usage and stop reasons. The stream decoder uses the same functions.

Blocks without an equivalent (server tools and their results, compaction, ...) are kept as `OpaquePart`. Format:
https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.content import Citation, OpaquePart, Part, ReasoningPart, RefusalPart, TextPart, ToolCall
from bifrost.operations.chat.messages import AssistantMessage
from bifrost.operations.chat.response import ChatResponse, Choice, FinishReason, raw_of
from bifrost.operations.usage import NO_USAGE, Usage
from bifrost.providers.anthropic.errors import reported_error
from bifrost.providers.sizes import PARTS_LIMIT, SPARSE, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse

DIALECT = "anthropic"
"""The name of the dialect, and of its provider."""

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "compaction": "pause",
    "refusal": "content_filter",
}


# Numbers may be written as 3.0, and optional fields may be null, because gateways encode responses again.


class CacheCreation(msgspec.Struct):
    """Tokens written to the prompt cache, by lifetime."""

    ephemeral_1h_input_tokens: int | None = None


class OutputTokensDetails(msgspec.Struct):
    """The kinds of output tokens."""

    thinking_tokens: int | None = None


class Iteration(msgspec.Struct):
    """One round of a server-side loop, or the creation of a summary (`compaction`)."""

    type: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """Anthropic's usage. `input_tokens` does not include tokens read from or written to the cache."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    output_tokens_details: OutputTokensDetails | None = None
    server_tool_use: dict[str, Any] | None = None
    iterations: list[Iteration] | None = None
    service_tier: str | None = None

    def updated(self, later: WireUsage) -> WireUsage:
        """Return the usage updated with that of a later event: its numbers are totals, and missing ones are kept."""
        known = {name: value for name in self.__struct_fields__ if (value := getattr(later, name)) is not None}
        return msgspec.structs.replace(self, **known)


class StopDetails(msgspec.Struct):
    """Why the provider refused."""

    type: str | None = None
    explanation: str | None = None


class Tag(msgspec.Struct):
    """The type of a block or an event."""

    type: str | None = None


class TextBlock(msgspec.Struct):
    """Text, with the sources that it cites."""

    text: str | None = None
    citations: list[dict[str, Any]] | None = None


class ThinkingBlock(msgspec.Struct):
    """Visible thinking. Its text is empty if the request asks to omit it."""

    thinking: str | None = None
    signature: str | None = None


class RedactedBlock(msgspec.Struct):
    """Thinking that only the provider can read."""

    data: str | None = None


class ToolUseBlock(msgspec.Struct):
    """A call of a caller's tool. `input` keeps the model's own bytes."""

    id: str
    name: str
    input: msgspec.Raw = msgspec.Raw(b"{}")
    caller: dict[str, Any] | None = None
    toolset_name: str | None = None

    @property
    def state(self) -> str | None:
        """The JSON that must be sent back with the call in addition to its input: its code sandbox and its toolset."""
        kept: dict[str, Any] = {}
        if self.caller is not None and self.caller.get("type") != "direct":
            kept["caller"] = self.caller
        if self.toolset_name is not None:
            kept["toolset_name"] = self.toolset_name
        return json.encode(kept).decode() if kept else None


class _CitedPlace(msgspec.Struct):
    url: str | None = None
    title: str | None = None
    document_title: str | None = None
    cited_text: str | None = None
    document_index: int | None = None
    file_id: str | None = None


class _Message(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    model: str | None = None
    content: list[msgspec.Raw] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None
    usage: WireUsage | None = None


_MESSAGE = msgspec.json.Decoder(_Message, strict=False)
_TAG = msgspec.json.Decoder(Tag, strict=False)
_TEXT = msgspec.json.Decoder(TextBlock, strict=False)
_THINKING = msgspec.json.Decoder(ThinkingBlock, strict=False)
_REDACTED = msgspec.json.Decoder(RedactedBlock, strict=False)
_TOOL_USE = msgspec.json.Decoder(ToolUseBlock, strict=False)
_WHOLE = msgspec.json.Decoder(dict[str, Any])


def parse_message(response: HttpResponse, target: Target) -> ChatResponse:
    """Return the response that a body contains.

    Raises `ReportedError` for an error object with a success status, and `MalformedResponseError` for other content.
    """
    message = json.decode(response.body, _MESSAGE, what="the response", sparse=SPARSE)
    if message.type == "error":
        raise reported_error(response.body)
    if message.content is None:
        raise MalformedResponseError("the response is JSON, but no message: it has no content")
    if not message.content and message.stop_reason is None:
        raise MalformedResponseError("the response is not a complete message: it has neither content nor a stop reason")
    check_count(len(message.content), PARTS_LIMIT, what="blocks")
    parts: list[Part] = []
    cited = 0
    for block in message.content:
        part = parse_block(block)
        if part is not None:
            parts.append(signed(part, target))
        if isinstance(part, TextPart):
            cited += len(part.citations or ())
            check_count(cited, PARTS_LIMIT, what="citations")
    declined = refusal_of(message.stop_details)
    choices = [
        Choice(
            message=AssistantMessage(parts=[*parts, RefusalPart(refusal=declined)] if declined else parts),
            finish_reason=finish_reason_of(message.stop_reason),
            native_finish_reason=message.stop_reason,
            stop_sequence=message.stop_sequence,
        )
    ]
    return ChatResponse(
        id=message.id or "",
        model=message.model or target.model,
        provider=target.provider,
        choices=choices,
        usage=usage_of(message.usage) or NO_USAGE,
        service_tier=message.usage.service_tier if message.usage is not None else None,
        raw=raw_of(response.body, choices),
    )


def is_whole(data: bytes) -> bool:
    """Return whether an event contains a complete message."""
    with suppress(MalformedResponseError):
        return json.decode(data, _TAG, what="an event of the stream").type == "message"
    return False


def parse_block(block: msgspec.Raw | bytes) -> Part | None:
    """Return the part for a block of content; `None` if it is empty (Anthropic does not accept empty text back)."""
    read = _READERS.get(json.decode(block, _TAG, what="a block of the response").type or "", _read_opaque)
    return read(block)


def signed(part: Part, target: Target) -> Part:
    """Return a part with its origin. Another server of this dialect has its own name."""
    provider, issuer = target.provider, target.issuer
    match part:
        case ReasoningPart() | OpaquePart():
            return msgspec.structs.replace(part, provider=provider, issuer=issuer)
        case ToolCall():
            return msgspec.structs.replace(part, provider=part.provider and provider, issuer=issuer)
        case TextPart() if part.citations:
            return msgspec.structs.replace(part, citations=[cited_at(cited, target) for cited in part.citations])
        case _:
            return part


def cited_at(cited: Citation, target: Target) -> Citation:
    """Return a citation with its origin."""
    return cited if target.provider == DIALECT else msgspec.structs.replace(cited, provider=target.provider)


def finish_reason_of(stop_reason: str | None) -> FinishReason | None:
    """Return the finish reason for a stop reason; `unknown` for new ones."""
    return None if stop_reason is None else _FINISH_REASONS.get(stop_reason, "unknown")


def refusal_of(details: StopDetails | None) -> str | None:
    """Return the provider's explanation of a refusal, or `None`."""
    return details.explanation if details is not None and details.type == "refusal" else None


def usage_of(wire: WireUsage | None) -> Usage | None:
    """Return the usage by bifrost's convention: input includes the cache, output includes thinking.

    The creation of a summary (an iteration of type `compaction`) is billed at the model's price but not part of
    Anthropic's totals; it is part of ours. Iterations of an advisor belong to another model with other prices and are
    not part of either.
    """
    if wire is None:
        return None
    cache_read = wire.cache_read_input_tokens or 0
    cache_write = wire.cache_creation_input_tokens or 0
    uncached = wire.input_tokens or 0
    output = wire.output_tokens or 0
    for summary in wire.iterations or ():
        if summary.type == "compaction":
            cache_read += summary.cache_read_input_tokens or 0
            cache_write += summary.cache_creation_input_tokens or 0
            uncached += summary.input_tokens or 0
            output += summary.output_tokens or 0
    details = wire.output_tokens_details
    hourly = wire.cache_creation
    return Usage(
        input_tokens=uncached + cache_read + cache_write,
        output_tokens=output,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        cache_write_1h_tokens=(hourly and hourly.ephemeral_1h_input_tokens) or 0,
        reasoning_tokens=(details and details.thinking_tokens) or 0,
        server_tool_calls=sum(count for count in (wire.server_tool_use or {}).values() if isinstance(count, int)),
    )


def citation_of(native: dict[str, Any]) -> Citation:
    """Return a citation, with the native object, which is sent back unchanged.

    Anthropic's offsets are positions in the source; ours are positions in the response, so they stay empty.
    """
    try:
        place = msgspec.convert(native, _CitedPlace)
    except msgspec.ValidationError:
        place = _CitedPlace()  # an unknown kind of citation
    return Citation(
        url=place.url,
        title=place.title or place.document_title,
        text=place.cited_text,
        document_index=place.document_index,
        file_id=place.file_id,
        provider=DIALECT,
        native=native,
    )


def opaque_of(block: dict[str, Any]) -> OpaquePart:
    """Return a block as an opaque part."""
    return OpaquePart(provider=DIALECT, kind=str(block.get("type") or ""), data=block)


def _read_text(block: msgspec.Raw | bytes) -> Part | None:
    read = json.decode(block, _TEXT, what="a text block")
    check_count(len(read.citations or ()), PARTS_LIMIT, what="citations in a block")
    citations = [citation_of(native) for native in read.citations or ()] or None
    return TextPart(text=read.text or "", citations=citations) if read.text or citations else None


def _read_thinking(block: msgspec.Raw | bytes) -> Part | None:
    read = json.decode(block, _THINKING, what="a thinking block")
    if not (read.thinking or read.signature):
        return None
    return ReasoningPart(text=read.thinking or "", signature=read.signature or None, provider=DIALECT)


def _read_redacted(block: msgspec.Raw | bytes) -> Part:
    read = json.decode(block, _REDACTED, what="a redacted thinking block")
    return ReasoningPart(redacted=read.data or "", provider=DIALECT)


def _read_tool_use(block: msgspec.Raw | bytes) -> Part:
    read = json.decode(block, _TOOL_USE, what="a tool use block")
    state = read.state
    return ToolCall(
        id=read.id,
        name=read.name,
        arguments=arguments_of(read.input),
        signature=state,
        provider=state and DIALECT,
    )


def _read_opaque(block: msgspec.Raw | bytes) -> Part:
    return opaque_of(json.decode(block, _WHOLE, what="a block of the response"))


def arguments_of(value: msgspec.Raw) -> str:
    """Return a tool's input as the model wrote it."""
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise MalformedResponseError("a tool's input is not UTF-8") from error


_READERS: Mapping[str, Callable[[msgspec.Raw | bytes], Part | None]] = {
    "text": _read_text,
    "thinking": _read_thinking,
    "redacted_thinking": _read_redacted,
    "tool_use": _read_tool_use,
}
