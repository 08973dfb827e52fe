"""The answer without the tool that a type was asked for with: its call becomes text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from bifrost.operations.base import StructuredMode
from bifrost.operations.chat.content import TextPart, ToolCall
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.response import ChatResponse, Choice, FinishReason
from bifrost.operations.chat.structured.lowering import ANSWER_TOOL
from bifrost.operations.chat.tools import Tool

if TYPE_CHECKING:
    from collections.abc import Collection

    from bifrost.operations.chat.content import Part


_ANSWER_NAME = re.compile(rf"(?<![A-Za-z0-9_-]){ANSWER_TOOL}(?![A-Za-z0-9_-])")
"""The name of the tool with the additions of models: `functions.final_answer`, `final_answer<|channel|>json`."""


def lift(response: ChatResponse, mode: StructuredMode, *, others: Collection[str] = ()) -> ChatResponse:
    """Return the response as if the output had been requested directly: calls of the output's tool become text.

    `others` has the names of the caller's own tools.
    """
    if mode != "tool":
        return response
    return msgspec.structs.replace(response, choices=[_lift_choice(choice, others) for choice in response.choices])


def tool_names(request: ChatRequest) -> frozenset[str]:
    """Return the names of a request's own tools, without the output's tool."""
    return frozenset(tool.name for tool in request.tools or () if isinstance(tool, Tool)) - {ANSWER_TOOL}


def _lift_choice(choice: Choice, others: Collection[str]) -> Choice:
    parts = [_as_text(part, others) for part in choice.message.parts]
    if parts == choice.message.parts:
        return choice
    return msgspec.structs.replace(
        choice,
        message=msgspec.structs.replace(choice.message, parts=parts),
        finish_reason=without_call(choice.finish_reason, any(isinstance(part, ToolCall) for part in parts)),
    )


def _as_text(part: Part, others: Collection[str]) -> Part:
    return TextPart(text=part.arguments) if isinstance(part, ToolCall) and is_answer(part.name, others) else part


def is_answer(name: str, others: Collection[str]) -> bool:
    """Return whether a call is the output: by its name, with any additions, or because there is no other tool."""
    return name == ANSWER_TOOL or (name not in others and (not others or _ANSWER_NAME.search(name) is not None))


def without_call(reason: FinishReason | None, calls_others: bool) -> FinishReason | None:
    """Return the finish reason of a response that is no call, unless it calls other tools."""
    return "stop" if reason == "tool_calls" and not calls_others else reason
