"""Structured output of the Responses API. This module implements the `StructuredOutput` protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from bifrost.errors import InvalidRequestError, OutputValidationError, UnsupportedError
from bifrost.operations.base import StructuredMode
from bifrost.operations.chat.structured import output_retries
from bifrost.operations.chat.structured.fitting import CUT, leniency, shortfalls
from bifrost.operations.chat.structured.json_text import json_in
from bifrost.operations.chat.structured.lifting import is_answer
from bifrost.operations.chat.structured.lowering import ANSWER_TOOL, answer_tool, instruction
from bifrost.operations.chat.structured.strict_schema import COMMON_RULES, SchemaRules
from bifrost.operations.responses.chunks import ARGUMENTS_DELTA, TEXT_DELTA, ResponsesChunk
from bifrost.operations.responses.content import Content, OutputText
from bifrost.operations.responses.items import FunctionCallItem, Item, MessageItem
from bifrost.operations.responses.options import tool_form
from bifrost.operations.responses.parsed_response import ParsedResponsesResponse
from bifrost.operations.responses.request import ResponsesRequest
from bifrost.operations.responses.response import ResponsesResponse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bifrost.operations.chat.structured.output_type import OutputType

__all__ = [
    "choose_mode",
    "chunk_lift",
    "default_mode",
    "default_rules",
    "fitted",
    "is_correctable",
    "lift",
    "lower",
    "merged",
    "reask",
    "reask_refused",
    "refused",
    "shortfalls",
    "tool_names",
    "was_cut",
]

T = TypeVar("T")

default_mode: Final[StructuredMode] = "prompt"
default_rules: Final = COMMON_RULES
merged: Final = output_retries.merged
refused: Final = output_retries.refused
was_cut: Final = output_retries.was_cut


# --- the request


def choose_mode(
    output: OutputType[Any],
    request: ResponsesRequest,
    modes: Sequence[StructuredMode],
    *,
    provider: str,
    rules: SchemaRules = COMMON_RULES,
) -> StructuredMode:
    """Choose the first of a provider's modes that supports this type with this request.

    A tool is not forced if the model is to reason first. Raises `UnsupportedError` if there is no mode.
    """
    thinks = request.reasoning is not None and request.reasoning.get("effort") != "none"
    for mode in modes:
        fits = output.strict_for(rules).closed if mode == "native_closed" else not (mode == "tool" and thinks)
        if fits:
            return mode
    raise UnsupportedError(
        f"{provider} has no way to answer in the form of {output.name}; leave out output=, or the option reasoning",
        provider=provider,
    )


def lower(
    request: ResponsesRequest, output: OutputType[Any], mode: StructuredMode, rules: SchemaRules = COMMON_RULES
) -> ResponsesRequest:
    """Return the request with the type added as the mode requires.

    Raises `InvalidRequestError` if the request has a tool of the same name as the output's tool.
    """
    text = {name: value for name, value in (request.text or {}).items() if name != "format"}
    match mode:
        case "native" | "native_closed":
            strict = output.strict_for(rules)
            wanted: dict[str, Any] = {"type": "json_schema", "name": output.name, "schema": strict.schema}
            if strict.strict:
                wanted["strict"] = True
            return msgspec.structs.replace(request, text={**text, "format": wanted})
        case "tool":
            return msgspec.structs.replace(
                request,
                text=text or None,
                tools=[*_other_tools(request), tool_form(answer_tool(output))],
                tool_choice=_tool_choice(request),
            )
        case _:
            bare = {"format": {"type": "json_object"}} if mode == "json_object" else {}
            asked = instruction(output)
            return msgspec.structs.replace(
                request,
                text={**text, **bare} or None,
                instructions=f"{request.instructions}\n\n{asked}" if request.instructions else asked,
            )


def _other_tools(request: ResponsesRequest) -> Sequence[dict[str, Any]]:
    tools = request.tools or ()
    if any(tool.get("name") == ANSWER_TOOL for tool in tools):
        raise InvalidRequestError(f"tools: {ANSWER_TOOL!r} is the name of the tool that output= needs; take another")
    return tools


def _tool_choice(request: ResponsesRequest) -> str | dict[str, Any]:
    """Force the output. If there are other tools, the model may call them first."""
    choice = request.tool_choice
    if not request.tools or choice == "none":
        return {"type": "function", "name": ANSWER_TOOL}
    return choice if isinstance(choice, dict) else "required"


def tool_names(request: ResponsesRequest) -> frozenset[str]:
    """Return the names of a request's own tools, without the output's tool."""
    names = {tool.get("name") for tool in request.tools or () if tool.get("type") in ("function", "custom")}
    return frozenset(name for name in names if isinstance(name, str)) - {ANSWER_TOOL}


# --- the response


def lift(response: ResponsesResponse, mode: StructuredMode, *, others: Collection[str] = ()) -> ResponsesResponse:
    """Return the response as if the output had been requested directly: calls of the output's tool become messages."""
    if mode != "tool":
        return response
    return msgspec.structs.replace(response, output=[_as_message(item, others) for item in response.output])


def _as_message(item: Item, others: Collection[str]) -> Item:
    if not (isinstance(item, FunctionCallItem) and is_answer(item.name, others)):
        return item
    content: list[Content] = [OutputText(text=item.arguments)] if item.arguments else []
    return MessageItem(role="assistant", content=content, id=item.id, status=item.status, issuer=item.issuer)


class _ChunkLift:
    """Converts the events of one stream: those of a call of the output's tool become those of a message."""

    def __init__(self, mode: StructuredMode, others: Collection[str]) -> None:
        self._mode: StructuredMode = mode
        self._others = others
        self._answers: set[int] = set()

    def __call__(self, chunk: ResponsesChunk) -> ResponsesChunk:
        """Return the event with its text converted."""
        if self._mode != "tool":
            return chunk
        item, response = chunk.item, chunk.response
        if response is not None:
            return chunk.replace(response=lift(response, self._mode, others=self._others))
        if isinstance(item, FunctionCallItem) and is_answer(item.name, self._others):
            self._answers.add(chunk.output_index)
            return chunk.replace(item=_as_message(item, self._others))
        if chunk.output_index not in self._answers:
            return chunk
        if chunk.type == ARGUMENTS_DELTA:
            return chunk.replace(type=TEXT_DELTA)
        if chunk.data is not None and "arguments" in chunk.data:
            return chunk.replace(type="response.output_text.done", data={"text": chunk.data["arguments"]})
        return chunk

    def restored(self, response: ResponsesResponse) -> ResponsesResponse | None:
        """Return `None`: the text of the response is what the model wrote."""
        return None


def chunk_lift(output: OutputType[Any], mode: StructuredMode, *, others: Collection[str] = ()) -> _ChunkLift:  # noqa: ARG001 - of the protocol
    """Return an object that does the same for the events of a new stream."""
    return _ChunkLift(mode, others)


def fitted(
    response: ResponsesResponse, output: OutputType[T], mode: StructuredMode, rules: SchemaRules = COMMON_RULES
) -> ParsedResponsesResponse[T]:
    """Return a converted response as the type. Its text becomes the JSON only. Raises `OutputValidationError`."""
    parsed = cast("T", None)
    if not response.tool_calls:
        response, parsed = _parse(response, output, mode)
    fields: dict[str, Any] = {name: getattr(response, name) for name in response.__struct_fields__}
    fields["warnings"] = list(dict.fromkeys([*response.warnings, *shortfalls(output, mode, rules)]))
    fields["parsed"] = parsed
    return ParsedResponsesResponse(**fields)


def _parse(response: ResponsesResponse, output: OutputType[T], mode: StructuredMode) -> tuple[ResponsesResponse, T]:
    by_instruction = mode in ("json_object", "prompt")
    failure = OutputValidationError("the response has no text", output=response.text)
    for text in _texts(response, output, mode):
        try:
            return _with_json(response, text), output.decode(text, bare=by_instruction)
        except OutputValidationError as error:
            failure = error
    failure.message = _reason(response, output) or failure.message
    failure.output, failure.response = response.text, cast("Any", response)
    failure.provider, failure.model = response.provider or None, response.model or None
    failure.request_id = response.request_id
    raise failure


def _texts(response: ResponsesResponse, output: OutputType[Any], mode: StructuredMode) -> Iterator[str]:
    """Yield what may be the JSON: the whole text, each message, and JSON within them."""
    pieces = [message.text for message in response.messages]
    yield response.text
    if len(pieces) > 1:
        yield from reversed(pieces)
    words, lists = leniency(output, mode)
    for text in pieces:
        found, _ = json_in(text, words=words, lists=lists)
        yield from (each for each in found if each != text)


def _with_json(response: ResponsesResponse, text: str) -> ResponsesResponse:
    """Make JSON the text of a response: that of its last message."""
    if response.text == text:
        return response
    last = response.messages[-1]
    changed = last.replace(content=[OutputText(text=text)])
    items = [item for item in response.output if not isinstance(item, MessageItem) or item is last]
    return response.replace(output=[changed if item is last else item for item in items])


def _reason(response: ResponsesResponse, output: OutputType[Any]) -> str:
    if response.refusal:
        return f"the model declined to give {output.name}: {response.refusal}"
    if response.finish_reason in CUT:
        words = CUT[response.finish_reason].replace("max_tokens", "max_output_tokens")
        return f"the response is not a complete {output.name}: {words}"
    return ""


# --- another try


def is_correctable(response: ResponsesResponse) -> bool:
    """Return whether a response that does not match may be requested again: it was neither cut off nor refused."""
    return not (response.finish_reason in CUT or response.refusal)


def reask(request: ResponsesRequest, response: ResponsesResponse, error: OutputValidationError) -> ResponsesRequest:
    """Return the request with the response and what is wrong with it. The request must not be lowered yet."""
    text = f"That cannot be used: {error.message}. Give the whole answer again, corrected, in the form asked for."
    return _asked_again(request, response.text, text)


def reask_refused(request: ResponsesRequest, error: OutputValidationError) -> ResponsesRequest:
    """Return the request with the text that the model wrote, if known, and the remark that it cannot be read."""
    text = "That could not be read. Give the whole answer again, in exactly the form asked for."
    return _asked_again(request, error.output, text)


def _asked_again(request: ResponsesRequest, answer: str, correction: str) -> ResponsesRequest:
    items = [_message("user", request.input)] if isinstance(request.input, str) else request.input
    answers = [_message("assistant", answer)] if answer.strip() else []
    return msgspec.structs.replace(request, input=[*items, *answers, _message("user", correction)])


def _message(role: str, text: str) -> MessageItem:
    return MessageItem(role=role, content=text, is_short=True)
