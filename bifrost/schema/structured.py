"""Structured output: how a type is asked for in the ways that providers have, and how the answer is read. Pure."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, cast

import msgspec

from bifrost.errors import InvalidRequestError, OutputValidationError, UnsupportedError
from bifrost.schema.chat import ChatRequest, ChatResponse, Choice, FinishReason, ResponseFormat
from bifrost.schema.chunks import Chunk, ChunkChoice, Delta, ToolCallDelta
from bifrost.schema.content import TextPart, ToolCall
from bifrost.schema.messages import Message
from bifrost.schema.tools import Tool, ToolChoice
from bifrost.schema.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from bifrost.schema.content import Part
    from bifrost.schema.output_type import OutputType

T = TypeVar("T")


class ParsedResponse(ChatResponse, Generic[T], frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a call with `output=Type`: a `ChatResponse` whose `parsed` is a `Type`.

    While the model wants tools run first (`tool_calls`), there is nothing to parse yet, and `parsed` is `None`.
    """

    parsed: T = cast("T", None)


StructuredMode: TypeAlias = Literal["native", "native_closed", "tool", "json_object", "prompt"]
"""A way to ask for a type.

- `native`: a response format with a JSON schema, strict where the type allows it
- `native_closed`: the same, for a provider that takes no schema with free keys, and none that contains itself
- `tool`: a forced call of a tool whose arguments are the answer
- `json_object`: the schema in the system message, and the provider's mode for "any JSON object"
- `prompt`: the schema in the system message alone
"""

ANSWER_TOOL = "final_answer"
"""The tool whose arguments are the answer."""

_FENCED = re.compile(r"^[ \t]*```\w*(.*?)```[ \t]*$", re.DOTALL | re.MULTILINE)
"""A fenced block. A fence inside of JSON ends no line: behind it comes at least the quote that ends its string."""

_CUT: Mapping[FinishReason | None, str] = {
    "length": "it was cut off at its token limit; raise max_tokens",
    "content_filter": "the provider's content filter cut it off",
}


# --- asking


def choose_mode(
    output: OutputType[Any], request: ChatRequest, modes: Sequence[StructuredMode], *, provider: str
) -> StructuredMode:
    """Choose the first of a provider's modes that can carry this type with this request.

    A tool is not forced on a model that is to think first, since Anthropic refuses that:
    https://platform.claude.com/docs/en/build-with-claude/extended-thinking#extended-thinking-with-tool-use.
    Raises `UnsupportedError` if there is none.
    """
    for mode in modes:
        match mode:
            case "native_closed" if not output.strict.closed:
                continue
            case "tool" if _thinks(request):
                continue
            case _:
                return mode
    raise UnsupportedError(
        f"{provider} has no way to answer in the form of {output.name}; leave out output=, or the option reasoning",
        provider=provider,
    )


def lower(request: ChatRequest, output: OutputType[Any], mode: StructuredMode) -> ChatRequest:
    """Put the type into a request, in the way that the provider has.

    Raises `InvalidRequestError` if the request has a tool of the name that the answer's tool needs.
    """
    match mode:
        case "native" | "native_closed":
            return msgspec.structs.replace(
                request,
                response_format=ResponseFormat(
                    type="json_schema",
                    name=output.name,
                    schema=output.strict.schema,
                    strict=True if output.strict.strict else None,
                ),
            )
        case "tool":
            return msgspec.structs.replace(
                request,
                response_format=None,
                tools=[*_other_tools(request), _answer_tool(output)],
                tool_choice=_tool_choice(request),
            )
        case _:
            return msgspec.structs.replace(
                request,
                response_format=ResponseFormat(type="json_object") if mode == "json_object" else None,
                messages=_instructed(request.messages, output),
            )


def _thinks(request: ChatRequest) -> bool:
    reasoning = request.reasoning
    return reasoning is not None and reasoning.effort != "none" and reasoning.enabled is not False


def _other_tools(request: ChatRequest) -> Sequence[Any]:
    tools = request.tools or ()
    if any(isinstance(tool, Tool) and tool.name == ANSWER_TOOL for tool in tools):
        raise InvalidRequestError(f"tools: {ANSWER_TOOL!r} is the name of the tool that output= needs; take another")
    return tools


def _answer_tool(output: OutputType[Any]) -> Tool:
    return Tool(
        name=ANSWER_TOOL,
        description=f"Give your answer ({output.name}). It is read by a program, so give it by this tool only.",
        parameters=output.schema,
    )


def _tool_choice(request: ChatRequest) -> ToolChoice:
    """Force the answer; if there are other tools the model may call these first."""
    given = request.tool_choice or ToolChoice()
    if not request.tools or given.mode == "none":
        return ToolChoice(mode="tool", name=ANSWER_TOOL)
    if given.mode == "tool":
        return given
    allowed = None if given.allowed is None else [*given.allowed, ANSWER_TOOL]
    return ToolChoice(mode="required", allowed=allowed)


def _instructed(messages: list[Message], output: OutputType[Any]) -> list[Message]:
    schema = msgspec.json.encode(output.schema).decode()
    text = (
        "Answer with one JSON object that fits this JSON schema, and with nothing else: no explanation, no code fence."
        f"\n\n{schema}"
    )
    if not messages or messages[0].role not in ("system", "developer"):
        return [Message(role="system", content=text), *messages]
    first = messages[0]
    content = f"{first.content}\n\n{text}" if isinstance(first.content, str) else [*first.parts, TextPart(text=text)]
    return [msgspec.structs.replace(first, content=content), *messages[1:]]


# --- making an answer plain: the call of the answer's tool becomes text


def lift(response: ChatResponse, mode: StructuredMode) -> ChatResponse:
    """Make the answer what it would be without detours: text that is JSON."""
    if mode != "tool":
        return response
    return msgspec.structs.replace(response, choices=[_lifted(choice) for choice in response.choices])


def _lifted(choice: Choice) -> Choice:
    parts = [_as_text(part) for part in choice.message.parts]
    if parts == choice.message.parts:
        return choice
    return msgspec.structs.replace(
        choice,
        message=msgspec.structs.replace(choice.message, parts=parts),
        finish_reason=_without_call(choice.finish_reason, any(isinstance(part, ToolCall) for part in parts)),
    )


def _as_text(part: Part) -> Part:
    return TextPart(text=part.arguments) if isinstance(part, ToolCall) and part.name == ANSWER_TOOL else part


def _without_call(reason: FinishReason | None, calls_others: bool) -> FinishReason | None:
    return "stop" if reason == "tool_calls" and not calls_others else reason


class ChunkLift:
    """Does for a stream's chunks what `lift` does for an answer. Made anew for each stream of mode `tool`."""

    __slots__ = ("_answers", "_others")

    def __init__(self) -> None:
        self._answers: set[tuple[int, int]] = set()
        """The calls that are the answer, by the indexes of choice and call."""
        self._others: set[int] = set()
        """The choices that call other tools."""

    def __call__(self, chunk: Chunk) -> Chunk:
        """Give the chunk with pieces of the answer's call turned into text."""
        choices = [self._choice(choice) for choice in chunk.choices]
        return msgspec.structs.replace(chunk, choices=choices) if choices != chunk.choices else chunk

    def _choice(self, choice: ChunkChoice) -> ChunkChoice:
        mine: list[ToolCallDelta] = []
        others: list[ToolCallDelta] = []
        for call in choice.delta.tool_calls or ():
            (mine if self._is_answer(choice.index, call) else others).append(call)
        if others:
            self._others.add(choice.index)
        delta = _lifted_delta(choice.delta, mine, others) if mine else choice.delta
        reason = choice.finish_reason
        if any(index == choice.index for index, _ in self._answers):
            reason = _without_call(reason, choice.index in self._others)
        return msgspec.structs.replace(choice, delta=delta, finish_reason=reason)

    def _is_answer(self, choice: int, call: ToolCallDelta) -> bool:
        if call.name == ANSWER_TOOL:
            self._answers.add((choice, call.index))
        return (choice, call.index) in self._answers


def _lifted_delta(delta: Delta, mine: list[ToolCallDelta], others: list[ToolCallDelta]) -> Delta:
    text = (delta.content or "") + "".join([call.arguments for call in mine])
    return msgspec.structs.replace(
        delta,
        content=text or None,
        tool_calls=others or None,
        # A part of its own, beside other text of the answer. No provider counts below zero.
        block=-1 - mine[0].index,
    )


# --- reading the answer


def fitted(response: ChatResponse, output: OutputType[T], mode: StructuredMode) -> ParsedResponse[T]:
    """Read the first answer, lifted, as the type. What the provider did not enforce is told in the warnings.

    Raises `OutputValidationError`.
    """
    parsed = cast("T", None) if response.tool_calls else _parse(response, output, mode)
    fields: dict[str, Any] = {name: getattr(response, name) for name in response.__struct_fields__}
    fields["warnings"] = list(dict.fromkeys([*response.warnings, *_shortfalls(output, mode)]))
    fields["parsed"] = parsed
    return ParsedResponse(**fields)


def _parse(response: ChatResponse, output: OutputType[T], mode: StructuredMode) -> T:
    *others, last = _texts(response, mode)
    for text in others:
        with suppress(OutputValidationError):
            return output.decode(text)
    try:
        return output.decode(last)
    except OutputValidationError as error:
        failure = error
    failure.message = _reason(response, output) or failure.message
    failure.output, failure.response = response.text, response
    failure.provider, failure.model = response.provider or None, response.model or None
    failure.request_id = response.request_id
    raise failure


def is_correctable(response: ChatResponse) -> bool:
    """Say whether an answer that does not fit may be asked for again: it was neither cut off nor declined."""
    return not (response.finish_reason in _CUT or response.message.refusal)


def _reason(response: ChatResponse, output: OutputType[Any]) -> str:
    if response.message.refusal:
        return f"the model declined to give {output.name}: {response.message.refusal}"
    if response.finish_reason in _CUT:
        return f"the answer is no whole {output.name}: {_CUT[response.finish_reason]}"
    return ""


def _texts(response: ChatResponse, mode: StructuredMode) -> list[str]:
    """Give what may be the JSON: the whole text, its last piece (words may stand before it), fenced blocks in it."""
    pieces = [part.text for part in response.message.parts if isinstance(part, TextPart)]
    texts = [response.text] if len(pieces) < 2 else [response.text, pieces[-1]]
    if mode in ("json_object", "prompt") and not response.text.lstrip().startswith("{"):
        texts += _FENCED.findall(response.text)
    return texts


def _shortfalls(output: OutputType[Any], mode: StructuredMode) -> list[str]:
    """Tell what of the type the provider does not enforce in this mode."""
    if mode not in ("native", "native_closed"):
        way = "through a tool" if mode == "tool" else "in the prompt"
        return [f"output: {output.name} was asked for {way}; that the answer fits was checked here only"]
    told = list(output.strict.notes)
    if mode == "native" and output.strict.optional:
        told.append(f"strict mode is off, since {', '.join(output.strict.optional)} may be left out")
    return [f"output: checked here only: {'; '.join(told)}"] if told else []


# --- asking again


def reask(request: ChatRequest, response: ChatResponse, error: OutputValidationError) -> ChatRequest:
    """Add the answer and what is wrong with it to the request, which is the one that was not lowered yet."""
    correction = Message(
        role="user",
        content=f"That cannot be used: {error.message}. Give the whole answer again, corrected, in the form asked for.",
    )
    # Providers refuse a message that says nothing.
    answer = [response.message.to_message()] if response.text.strip() else []
    return msgspec.structs.replace(request, messages=[*request.messages, *answer, correction])


def merged(earlier: ChatResponse, later: ChatResponse) -> ChatResponse:
    """Give the later answer with what both cost: usage and cost added up, attempts and warnings in a row."""
    return msgspec.structs.replace(
        later,
        usage=_usage(earlier.usage, later.usage),
        cost=_cost(earlier.cost, later.cost),
        attempts=[*earlier.attempts, *later.attempts],
        warnings=list(dict.fromkeys([*earlier.warnings, *later.warnings])),
    )


def _usage(earlier: Usage | None, later: Usage | None) -> Usage | None:
    """Add up what was told: a provider that tells nothing once does not make the rest unknown."""
    if earlier is None or later is None:
        return earlier or later
    return earlier + later


def _cost(earlier: Decimal | None, later: Decimal | None) -> Decimal | None:
    """Add up money, which is unknown as soon as a part of it is."""
    return None if earlier is None or later is None else earlier + later
