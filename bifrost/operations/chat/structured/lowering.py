"""How a type is put into a request, in each of the ways that providers have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import (
    InvalidRequestError,
    UnsupportedError,
)
from bifrost.operations.base import StructuredMode
from bifrost.operations.chat.content import TextPart
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest, ResponseFormat
from bifrost.operations.chat.structured.strict_schema import COMMON_RULES
from bifrost.operations.chat.tools import Tool, ToolChoice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bifrost.operations.chat.structured.output_type import OutputType
    from bifrost.operations.chat.structured.strict_schema import SchemaRules


ANSWER_TOOL = "final_answer"
"""The tool whose arguments are the output."""


def choose_mode(
    output: OutputType[Any],
    request: ChatRequest,
    modes: Sequence[StructuredMode],
    *,
    provider: str,
    rules: SchemaRules = COMMON_RULES,
) -> StructuredMode:
    """Choose the first of a provider's modes that supports this type with this request.

    A tool is not forced if the model is to reason first, because Anthropic refuses that:
    https://platform.claude.com/docs/en/build-with-claude/extended-thinking#extended-thinking-with-tool-use. Raises
    `UnsupportedError` if there is none.
    """
    for mode in modes:
        match mode:
            case "native_closed" if not output.strict_for(rules).closed:
                continue
            case "tool" if _thinks(request):
                continue
            case _:
                return mode
    raise UnsupportedError(
        f"{provider} has no way to answer in the form of {output.name}; leave out output=, or the option reasoning",
        provider=provider,
    )


def lower(
    request: ChatRequest, output: OutputType[Any], mode: StructuredMode, rules: SchemaRules = COMMON_RULES
) -> ChatRequest:
    """Return the request with the type added as the mode requires. `rules` describe the provider's strict mode.

    Raises `InvalidRequestError` if the request has a tool of the same name as the output's tool.
    """
    match mode:
        case "native" | "native_closed":
            return msgspec.structs.replace(
                request,
                response_format=ResponseFormat(
                    type="json_schema",
                    name=output.name,
                    schema=output.strict_for(rules).schema,
                    strict=True if output.strict_for(rules).strict else None,
                ),
            )
        case "tool":
            return msgspec.structs.replace(
                request,
                response_format=None,
                tools=[*_other_tools(request), answer_tool(output)],
                tool_choice=_tool_choice(request),
            )
        case _:
            return msgspec.structs.replace(
                request,
                response_format=ResponseFormat(type="json_object") if mode == "json_object" else None,
                messages=_with_instruction(request.messages, output),
            )


def _thinks(request: ChatRequest) -> bool:
    reasoning = request.reasoning
    return reasoning is not None and reasoning.effort != "none" and reasoning.enabled is not False


def _other_tools(request: ChatRequest) -> Sequence[Any]:
    tools = request.tools or ()
    if any(isinstance(tool, Tool) and tool.name == ANSWER_TOOL for tool in tools):
        raise InvalidRequestError(f"tools: {ANSWER_TOOL!r} is the name of the tool that output= needs; take another")
    return tools


def answer_tool(output: OutputType[Any]) -> Tool:
    """Return the tool whose arguments are the output."""
    return Tool(
        name=ANSWER_TOOL,
        description=f"Give your answer ({output.name}). It is read by a program, so give it by this tool only.",
        parameters=output.tool_schema,
    )


def _tool_choice(request: ChatRequest) -> ToolChoice:
    """Force the output. If there are other tools, the model may call them first."""
    given = request.tool_choice or ToolChoice()
    if not request.tools or given.mode == "none":
        return ToolChoice(mode="tool", name=ANSWER_TOOL)
    if given.mode == "tool":
        return given
    allowed = None if given.allowed is None else [*given.allowed, ANSWER_TOOL]
    return ToolChoice(mode="required", allowed=allowed)


def _with_instruction(messages: list[Message], output: OutputType[Any]) -> list[Message]:
    text = instruction(output)
    if not messages or messages[0].role not in ("system", "developer"):
        return [Message(role="system", content=text), *messages]
    first = messages[0]
    content = f"{first.content}\n\n{text}" if isinstance(first.content, str) else [*first.parts, TextPart(text=text)]
    return [msgspec.structs.replace(first, content=content), *messages[1:]]


def instruction(output: OutputType[Any]) -> str:
    """Return the instruction to answer with JSON of the type."""
    schema = msgspec.json.encode(output.schema).decode()
    return (
        "Answer with one JSON object that fits this JSON schema, and with nothing else: no explanation, no code fence."
        f"\n\n{schema}"
    )
