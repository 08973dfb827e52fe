"""Parses Gemini's complete response: candidates, parts and finish reasons. The stream decoder uses the same functions.

Parts without an equivalent (code execution, server tools and their results, ...) are kept as `OpaquePart`. Format:
https://ai.google.dev/api/generate-content#generatecontentresponse
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.content import (
    AudioPart,
    FilePart,
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    VideoPart,
    hashed_call_id,
    new_call_id,
)
from bifrost.operations.chat.messages import AssistantMessage
from bifrost.operations.chat.response import (
    ChatResponse,
    Choice,
    FinishReason,
    Logprobs,
    TokenLogprob,
    TopLogprob,
    raw_of,
)
from bifrost.operations.usage import NO_USAGE
from bifrost.providers.gemini.citations import citations_of
from bifrost.providers.gemini.errors import reported_error
from bifrost.providers.gemini.usage import read_usage, tier_of, usage_of
from bifrost.providers.openai.fit import decode_fitting
from bifrost.providers.sizes import CHOICES_LIMIT, PARTS_LIMIT, SPARSE, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse

_FINISH_REASONS: Mapping[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "JAILBREAK", "ESCALATION"),
        ),
        "content_filter",
    ),
    **dict.fromkeys(
        (
            *("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE"),
            *("MISSING_THOUGHT_SIGNATURE", "NO_IMAGE", "IMAGE_OTHER", "LANGUAGE"),
        ),
        "error",
    ),
    "CONTINUATION": "pause",
}
"""https://ai.google.dev/api/generate-content#FinishReason, and the reasons why a prompt was blocked."""

GROUNDING, URL_CONTEXT = "groundingMetadata", "urlContextMetadata"
METADATA = (GROUNDING, URL_CONTEXT)
"""The kinds of opaque parts that are no parts on the wire: what Gemini reports beside the content. They are never sent
back.
"""

_NONE = msgspec.Raw(b"")
_EMPTY = (b"", b"null", b"{}")

_NEEDED = frozenset(
    ["candidates", "content", "parts", "text", "functionCall", "name", "willContinue", "index", "inlineData"]
)
"""Members whose loss would change the text or a call."""

# Numbers may be written as 3.0, and optional fields may be null, because gateways encode responses again.


class Blob(msgspec.Struct, rename="camel"):
    """Media as base64."""

    mime_type: str | None = None
    data: str | None = None


class FunctionCall(msgspec.Struct, rename="camel"):
    """A call of a caller's tool, or a piece of one. `args` keeps the model's own bytes."""

    id: str | None = None
    name: str | None = None
    args: msgspec.Raw = _NONE
    partial_args: msgspec.Raw = _NONE
    will_continue: bool | None = None


class WirePart(msgspec.Struct, rename="camel"):
    """A part with an equivalent."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: Blob | None = None


class Content(msgspec.Struct):
    """The parts of a candidate."""

    parts: list[msgspec.Raw] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    """A candidate, or what a chunk adds to one."""

    content: Content | None = None
    finish_reason: str | None = None
    index: int | None = None
    grounding_metadata: msgspec.Raw = _NONE
    url_context_metadata: msgspec.Raw = _NONE
    citation_metadata: msgspec.Raw = _NONE
    logprobs_result: msgspec.Raw = _NONE


class PromptFeedback(msgspec.Struct, rename="camel"):
    """Why the prompt was blocked."""

    block_reason: str | None = None
    block_reason_message: str | None = None


class WireResponse(msgspec.Struct, rename="camel"):
    """A response, or a chunk of a stream."""

    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: msgspec.Raw = _NONE
    model_version: str | None = None
    response_id: str | None = None
    create_time: str | None = None
    error: msgspec.Raw = _NONE


class _Logprob(msgspec.Struct, rename="camel"):
    token: str | None = None
    log_probability: float | None = None


class _TopLogprobs(msgspec.Struct):
    candidates: list[_Logprob] | None = None


class _LogprobsResult(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_Logprob] | None = None
    top_candidates: list[_TopLogprobs] | None = None


RESPONSE = msgspec.json.Decoder(WireResponse, strict=False)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_PART: msgspec.json.Decoder[WirePart | None] = msgspec.json.Decoder(WirePart | None, strict=False)
_WHOLE = msgspec.json.Decoder(dict[str, Any])
_LOGPROBS = msgspec.json.Decoder(_LogprobsResult | None, strict=False)
_TEXT = msgspec.json.Decoder(str)


def parse_response(response: HttpResponse, target: Target) -> ChatResponse:
    """Return the response that a body contains.

    Raises `ReportedError` for an error object with a success status, and `MalformedResponseError` for other content.
    """
    wire = read_response(response.body, what="the response")
    choices = [
        choice_of(each, place if each.index is None else each.index, target, response_id=wire.response_id or "")
        for place, each in enumerate(wire.candidates or ())
    ]
    if not choices and wire.prompt_feedback is not None and native_reason_of(wire.prompt_feedback.block_reason):
        choices = [blocked(wire.prompt_feedback)]
    if not any(choice.finish_reason or choice.message.parts for choice in choices):
        raise MalformedResponseError("the response is JSON, but it has neither content nor a finish reason")
    usage = read_usage(wire.usage_metadata)
    return ChatResponse(
        id=wire.response_id or "",
        model=wire.model_version or target.model,
        created=created_of(wire.create_time),
        provider=target.provider,
        choices=choices,
        usage=usage_of(usage) or NO_USAGE,
        service_tier=tier_of(usage),
        raw=raw_of(response.body, choices),
    )


def read_response(data: bytes, *, what: str) -> WireResponse:
    """Return a response or chunk. One that is the only element of a list is read as well.

    Raises `ReportedError` for an error, and `MalformedResponseError` for data that is not JSON or has another shape.
    """
    found: bytes | msgspec.Raw = data
    if data[:1] == b"[":
        elements = json.decode(data, _LIST, what=what, sparse=SPARSE)
        found = elements[0] if len(elements) == 1 else data
    wire = decode_fitting(found, RESPONSE, WireResponse, needed=_NEEDED, what=what)
    if wire.error and bytes(wire.error) not in _EMPTY:
        raise reported_error(data)
    check_count(len(wire.candidates or ()), CHOICES_LIMIT, what="choices")
    return wire


def created_of(moment: str | None) -> int:
    """Return a time in seconds since 1970; 0 if it is missing or malformed."""
    try:
        return int(datetime.fromisoformat(moment).timestamp()) if moment else 0
    except (ValueError, OverflowError):
        return 0


def choice_of(candidate: Candidate, place: int, target: Target, *, response_id: str) -> Choice:
    """Return a complete candidate."""
    raws = (candidate.content and candidate.content.parts) or ()
    check_count(len(raws), PARTS_LIMIT, what="parts")
    parts: list[Part] = []
    calls = 0
    reason = native_reason_of(candidate.finish_reason)
    for raw in raws:
        wire = decode_part(raw)
        part: Part | None = None
        if wire is not None and wire.function_call is not None:
            part = call_of(
                wire.function_call, wire.thought_signature, target, place=place_of(response_id, place, calls)
            )
            calls += 1
        elif wire is not None:
            part = part_of(wire, raw, target)
        if part is not None:
            parts.append(part)
    _cite(parts, candidate, target)
    parts += metadata_of(candidate, target)
    return Choice(
        index=place,
        message=AssistantMessage(parts=parts),
        finish_reason=finish_reason_of(reason, calls=calls > 0),
        native_finish_reason=reason,
        logprobs=logprobs_of(candidate.logprobs_result),
    )


def blocked(feedback: PromptFeedback) -> Choice:
    """Return the choice of a response without candidates, whose prompt was blocked."""
    parts: list[Part] = []
    if feedback.block_reason_message:
        parts.append(RefusalPart(refusal=feedback.block_reason_message))
    return Choice(
        message=AssistantMessage(parts=parts),
        finish_reason="content_filter",
        native_finish_reason=feedback.block_reason,
    )


def native_reason_of(reason: str | None) -> str | None:
    """Return Gemini's word for a reason; `None` for an empty one and the default of the enumeration."""
    return None if not reason or reason.endswith("_REASON_UNSPECIFIED") else reason


def finish_reason_of(reason: str | None, *, calls: bool) -> FinishReason | None:
    """Return the finish reason; `unknown` for new ones. Gemini also says STOP if the model calls tools."""
    if reason is None:
        return None
    return "tool_calls" if reason == "STOP" and calls else _FINISH_REASONS.get(reason, "unknown")


# --- parts


def decode_part(raw: msgspec.Raw) -> WirePart | None:
    """Return the fields of a part that have an equivalent; `None` for a null."""
    return decode_fitting(raw, _PART, WirePart, needed=_NEEDED, what="a part of the response")


def part_of(wire: WirePart, raw: msgspec.Raw, target: Target) -> Part | None:
    """Return a complete part that is no call; `None` if it is empty."""
    if wire.inline_data is not None:
        return media_of(wire, raw, target)
    if wire.thought and (wire.text or wire.thought_signature):
        return ReasoningPart(
            text=wire.text or "", signature=wire.thought_signature, provider=target.provider, issuer=target.issuer
        )
    if wire.text or (wire.thought_signature and (wire.text is not None or is_bare(raw))):
        return text_of(wire.text or "", wire.thought_signature, target)
    return None if wire.text is not None or wire.thought else opaque_of(raw, target)


def is_bare(raw: msgspec.Raw) -> bool:
    """Return whether a part consists of its signature only."""
    return json.decode(raw, _WHOLE, what="a part of the response").keys() <= {"thoughtSignature", "thought"}


def text_of(text: str, signature: str | None, target: Target) -> TextPart:
    """Return a text, with its origin if it has a signature."""
    if signature is None:
        return TextPart(text=text)
    return TextPart(text=text, signature=signature, provider=target.provider, issuer=target.issuer)


def call_of(call: FunctionCall, signature: str | None, target: Target, *, place: str) -> ToolCall:
    """Return a complete call. Most models give no id, so one is made; `place` identifies the call."""
    arguments = arguments_of(call.args)
    return ToolCall(
        id=call.id or made_id(f"{place}\0{call.name}\0{arguments}"),
        name=call.name or "",
        arguments=arguments,
        signature=signature,
        provider=None if signature is None else target.provider,
        issuer=target.issuer,
    )


def place_of(response_id: str, choice: int, call: int) -> str:
    """Return what identifies a call; empty if the response has no id."""
    return f"{response_id}\0{choice}\0{call}" if response_id else ""


def made_id(place: str) -> str:
    """Return the id of a call without one: always the same for the same call of the same response."""
    return new_call_id() if place[:1] in {"", "\0"} else hashed_call_id(place)


def arguments_of(args: msgspec.Raw) -> str:
    """Return the arguments as the model wrote them; a gateway may have put them into a string."""
    data = bytes(args)
    if data in _EMPTY:
        return "{}"
    try:
        return _TEXT.decode(data) if data[:1] == b'"' else data.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedResponseError("a tool's arguments are not UTF-8") from error


def media_of(wire: WirePart, raw: msgspec.Raw, target: Target) -> Part:
    """Return media that the model made. An image among its thoughts stays opaque."""
    blob = wire.inline_data or Blob()
    kind, _, form = (blob.mime_type or "").partition("/")
    if wire.thought or blob.data is None:
        return opaque_of(raw, target)
    match kind:
        case "image":
            return ImagePart(
                data=blob.data,
                media_type=blob.mime_type,
                signature=wire.thought_signature,
                provider=None if wire.thought_signature is None else target.provider,
                issuer=None if wire.thought_signature is None else target.issuer,
            )
        case "audio":
            return AudioPart(data=blob.data, format=form)
        case "video":
            return VideoPart(data=blob.data, media_type=blob.mime_type)
        case _:
            return FilePart(data=blob.data, media_type=blob.mime_type)


def opaque_of(raw: msgspec.Raw, target: Target) -> OpaquePart:
    """Return a part as an opaque part. Its kind is the name of its first field that is not about thinking."""
    data = json.decode(raw, _WHOLE, what="a part of the response")
    kind = next((name for name in data if name not in {"thought", "thoughtSignature"}), "")
    return OpaquePart(provider=target.provider, kind=kind, data=data, issuer=target.issuer)


# --- what is reported beside the content


def metadata_of(candidate: Candidate, target: Target) -> list[OpaquePart]:
    """Return the searches and addresses that the response is based on, as opaque parts."""
    found = ((GROUNDING, candidate.grounding_metadata), (URL_CONTEXT, candidate.url_context_metadata))
    return [
        OpaquePart(
            provider=target.provider,
            kind=kind,
            data=json.decode(raw, _WHOLE, what=f"the {kind} of the response"),
            issuer=target.issuer,
        )
        for kind, raw in found
        if bytes(raw)[:1] == b"{" and bytes(raw) not in _EMPTY
    ]


def _cite(parts: list[Part], candidate: Candidate, target: Target) -> None:
    """Add the citations to the last text."""
    if not (candidate.grounding_metadata or candidate.citation_metadata):
        return
    texts = [place for place, part in enumerate(parts) if isinstance(part, TextPart) and part.text]
    whole = "".join([part.text for part in parts if isinstance(part, TextPart)])
    cited = citations_of(candidate.grounding_metadata, candidate.citation_metadata, whole, target.provider)
    if texts and cited:
        parts[texts[-1]] = msgspec.structs.replace(parts[texts[-1]], citations=cited)


def logprobs_of(raw: msgspec.Raw) -> Logprobs | None:
    """Return the log probabilities; `None` if there are none that can be read."""
    try:
        read = _LOGPROBS.decode(raw) if raw else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if read is None or not read.chosen_candidates:
        return None
    tops: Sequence[_TopLogprobs] = read.top_candidates or ()
    return Logprobs(
        content=[
            TokenLogprob(
                token=chosen.token or "",
                logprob=_finite(chosen.log_probability),
                top_logprobs=[
                    TopLogprob(token=top.token or "", logprob=_finite(top.log_probability))
                    for top in (tops[place].candidates if place < len(tops) else None) or ()
                ],
            )
            for place, chosen in enumerate(read.chosen_candidates)
        ]
    )


def _finite(value: float | None) -> float:
    # A probability of 1 has the logarithm 0, which protobuf omits.
    return min(0.0, max(-1e300, value or 0.0))
