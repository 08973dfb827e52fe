"""Parses Cohere's complete chat response. The stream decoder uses the same shapes: https://docs.cohere.com/reference/chat.

What servers of this dialect vary in is read leniently: members of an unexpected type are ignored, and `raw` has the
bytes. A response of the older v1 API is recognised and read as well.
"""

from __future__ import annotations

from math import fsum, isfinite
from typing import TYPE_CHECKING, Any, cast

import msgspec

from bifrost.operations.chat.content import (
    Citation,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    new_call_id,
)
from bifrost.operations.chat.messages import AssistantMessage
from bifrost.operations.chat.response import ChatResponse, Choice, Logprobs, TokenLogprob, raw_of
from bifrost.providers.cohere.errors import reported_error
from bifrost.providers.cohere.v1 import is_v1, parse_v1
from bifrost.providers.cohere.wire import Meta, decode, finish_reason_of, shapeless, text_of, usage_of
from bifrost.providers.sizes import PARTS_LIMIT, check_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse

PLAN = "tool_plan"
"""The signature of reasoning that is a plan of tool calls, which is sent back in a field of its own."""

CITATION = "citation"
"""The kind of a part that contains a citation for reasoning, where a `Citation` has no place."""


ERROR = "error"
"""The kind of a part that contains the reason why the provider ended a response with an error."""


class WireContent(msgspec.Struct, gc=False):
    """A block of text or thinking, or a piece of one."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class WireFunction(msgspec.Struct, gc=False):
    """The function of a tool call. `arguments` is text; some servers send the object itself."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class WireCall(msgspec.Struct, gc=False):
    """A tool call, or a piece of one."""

    id: str | None = None
    function: WireFunction | None = None


class _Message(msgspec.Struct):
    content: str | list[WireContent] | None = None
    tool_plan: str | None = None
    tool_calls: list[WireCall] | None = None
    citations: list[dict[str, Any]] | None = None


class WireLogprob(msgspec.Struct, gc=False):
    """The log probabilities of the tokens that make up a piece of the text."""

    text: str | None = None
    logprobs: list[float] | None = None


class _Answer(msgspec.Struct):
    id: Any = None
    message: _Message | None = None
    finish_reason: str | None = None
    usage: Meta | None = None
    logprobs: list[WireLogprob] | None = None


_ANSWER = msgspec.json.Decoder(_Answer, strict=False)
NEEDED = frozenset(["content", "delta", "function", "message", "text", "tool_calls"])
"""Members whose loss would change the response."""


def parse_chat(response: HttpResponse, target: Target) -> ChatResponse:
    """Return the response that a body contains.

    Raises `ReportedError` for an error object with a success status, and `MalformedResponseError` for other content.
    """
    if is_v1(response.body):
        return parse_v1(response, target)
    wire = decode(response.body, _ANSWER, _Answer, needed=NEEDED)
    message = wire.message
    if message is None:
        raise reported_error(response.body) or shapeless(response.body, "no message")
    parts = list(_parts(message, target))
    if not parts and wire.finish_reason is None:
        raise shapeless(response.body, "neither content nor a finish reason")
    choice = Choice(
        message=AssistantMessage(parts=parts),
        finish_reason=finish_reason_of(wire.finish_reason),
        native_finish_reason=wire.finish_reason,
        logprobs=logprobs_of(wire.logprobs),
    )
    return ChatResponse(
        id=text_of(wire.id),
        model=target.model,
        provider=target.provider,
        choices=[choice],
        usage=usage_of(wire.usage),
        raw=raw_of(response.body, [choice]),
    )


def _parts(message: _Message, target: Target) -> Iterator[Part]:
    content = [WireContent(text=message.content)] if isinstance(message.content, str) else message.content or []
    calls, cited = message.tool_calls or [], message.citations or []
    check_count(len(content) + len(calls) + len(cited), PARTS_LIMIT, what="parts and tool calls")
    if message.tool_plan:
        yield plan_of(message.tool_plan, target)
    yield from _texts(content, cited, target)
    yield from _calls(calls, target)
    for each in cited:
        if not is_of_text(each):
            yield opaque_citation(each, target)


def _texts(content: Sequence[WireContent], cited: Sequence[dict[str, Any]], target: Target) -> Iterator[Part]:
    first = next((place for place, block in enumerate(content) if block.text), 0)
    citations: dict[int, list[Citation]] = {}
    for each in cited:
        if is_of_text(each):
            citations.setdefault(content_index_of(each, first), []).append(citation_of(each, target))
    for place, block in enumerate(content):
        if block.thinking:
            yield ReasoningPart(text=block.thinking, provider=target.provider, issuer=target.issuer)
        if block.text or place in citations:
            yield TextPart(text=block.text or "", citations=citations.get(place))


def _calls(calls: Sequence[WireCall], target: Target) -> Iterator[ToolCall]:
    seen: set[str] = set()
    for call in calls:
        function = call.function or WireFunction()
        if not (call.id or function.name or function.arguments):
            continue
        # Without an id, or with that of another call, the tool's result could not refer to its call.
        call_id = call.id if call.id and call.id not in seen else new_call_id()
        seen.add(call_id)
        yield ToolCall(id=call_id, name=function.name or "", arguments=arguments_of(function), issuer=target.issuer)


# --- pieces of a message


def plan_of(text: str, target: Target) -> ReasoningPart:
    """Return a plan of tool calls as reasoning."""
    return ReasoningPart(text=text, signature=PLAN, provider=target.provider, issuer=target.issuer)


def arguments_of(function: WireFunction) -> str:
    """Return the arguments of a call as text."""
    arguments = function.arguments
    if isinstance(arguments, dict):
        return msgspec.json.encode(arguments).decode()
    return arguments or ""


def is_of_text(cited: dict[str, Any]) -> bool:
    """Return whether a citation is for text, and not for a plan or thinking."""
    return cited.get("type") not in ("PLAN", "THINKING_CONTENT")


def content_index_of(cited: dict[str, Any], default: int) -> int:
    """Return the number of the block of content that a citation is for."""
    index = cited.get("content_index")
    return index if isinstance(index, int) and not isinstance(index, bool) and index >= 0 else default


def citation_of(cited: dict[str, Any], target: Target) -> Citation:
    """Return a citation. Its sources are in `native`; `url` and `title` are those of the first source that has them."""
    known = _objects(cited.get("sources"))
    documents = _objects([source.get("document") for source in known])
    return Citation(
        url=_first(documents, "url"),
        title=_first(documents, "title"),
        text=text_of(cited.get("text")) or None,
        start=_place(cited.get("start")),
        end=_place(cited.get("end")),
        document_index=next((place for source in known if (place := _number_of(source.get("id"))) is not None), None),
        provider=target.provider,
        native=cited,
    )


def opaque_citation(cited: dict[str, Any], target: Target) -> OpaquePart:
    """Return a citation for a plan or thinking, which is sent back unchanged."""
    return OpaquePart(provider=target.provider, kind=CITATION, data=cited, issuer=target.issuer)


def _objects(values: object) -> list[dict[str, Any]]:
    """Return the objects in a list; empty for another value."""
    if not isinstance(values, list):
        return []
    return [cast("dict[str, Any]", each) for each in cast("list[object]", values) if isinstance(each, dict)]


def _first(documents: Sequence[dict[str, Any]], name: str) -> str | None:
    return next((text for document in documents if (text := text_of(document.get(name)))), None)


def _place(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _number_of(value: object) -> int | None:
    """Return the number of a document in the request, from the id that bifrost or Cohere gave it: `doc-0`, `doc:0`."""
    if not isinstance(value, str) or not value.startswith(("doc-", "doc:")):
        return None
    number = value[4:]
    return int(number) if number.isdecimal() and len(number) <= _DIGITS else None


_DIGITS = 9


def logprobs_of(items: Sequence[WireLogprob] | None) -> Logprobs | None:
    """Return log probabilities. A piece of several tokens has their joint probability."""
    found = [
        TokenLogprob(token=item.text or "", logprob=total)
        for item in items or ()
        if item.logprobs and isfinite(total := fsum(item.logprobs)) and abs(total) <= _LARGEST
    ]
    return Logprobs(content=found) if found else None


_LARGEST = 1e300
