"""Tools and the choice among them: https://ai.google.dev/gemini-api/docs/function-calling."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice, check_tools
from bifrost.providers.gemini.schemas import schema_field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.operations.chat.request import ChatRequest
    from bifrost.providers.gemini.messages import Context

DIALECT = "gemini"

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_MODES: Mapping[str, str] = {"auto": "AUTO", "none": "NONE", "required": "ANY", "tool": "ANY"}


def tools_of(request: ChatRequest, context: Context) -> dict[str, Any]:
    """Return the fields `tools` and `toolConfig`."""
    check_tools(request.tools or ())
    tools: list[dict[str, Any]] = []
    declared: list[dict[str, Any]] = []
    for tool in request.tools or ():
        if isinstance(tool, ProviderTool):
            tools.append(_provider_tool(tool, context))
            continue
        if not declared:
            tools.append({"functionDeclarations": declared})
        declared.append(_declaration(tool, context))
    if request.web_search is not None:
        blocked = request.web_search.blocked_domains
        tools.append({"googleSearch": {} if blocked is None else {"excludeDomains": blocked}})
    config = _config(request, {tool["name"] for tool in declared}, context)
    body: dict[str, Any] = {"tools": tools} if tools else {}
    if config:
        body["toolConfig"] = {"functionCallingConfig": config}
    return body


def _provider_tool(tool: ProviderTool, context: Context) -> dict[str, Any]:
    if tool.provider not in {None, DIALECT, context.target.provider}:
        raise UnsupportedError(
            f"{context.target.provider} cannot run {tool.provider}'s tool {tool.definition.get('type', '')!r}",
            provider=context.target.provider,
            model=context.target.model,
        )
    return tool.definition


def _declaration(tool: Tool, context: Context) -> dict[str, Any]:
    if not _NAME.fullmatch(tool.name):
        raise UnsupportedError(
            f"{context.target.provider} takes only tools whose name begins with a letter or '_', not {tool.name!r}; "
            "rename it",
            provider=context.target.provider,
            model=context.target.model,
        )
    wire: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        wire["description"] = tool.description
    if tool.parameters is not None:
        wire |= schema_field(tool.parameters, plain="parametersJsonSchema", openapi="parameters")
    return wire


def _config(request: ChatRequest, names: set[str], context: Context) -> dict[str, Any]:
    choice = request.tool_choice or ToolChoice()
    if choice.mode not in _MODES:
        raise InvalidRequestError(f"tool_choice: mode {choice.mode!r} is none of {', '.join(_MODES)}")
    if not names:
        return _of_nothing(choice, context)
    if choice.name is not None and choice.mode != "tool":
        context.note("tool_choice.name")
    mode = _MODES[choice.mode]
    allowed = _allowed(choice, names, context)
    if _wants_valid_calls(request, mode, context) or (mode == "AUTO" and allowed is not None):
        # AUTO takes no names: https://ai.google.dev/api/caching#FunctionCallingConfig
        mode = "VALIDATED"
    if request.tool_choice is None and mode == "AUTO":
        return {}
    return {"mode": mode} if allowed is None else {"mode": mode, "allowedFunctionNames": allowed}


def _of_nothing(choice: ToolChoice, context: Context) -> dict[str, Any]:
    """Check a choice without tools of the caller to choose among."""
    if choice.mode in {"required", "tool"}:
        raise InvalidRequestError(f"tool_choice is {choice.mode!r}, but the request has no tools of the caller")
    if choice.mode == "none":
        context.note("tool_choice.mode")
    if choice.name is not None:
        context.note("tool_choice.name")
    if choice.allowed is not None:
        context.note("tool_choice.allowed", value="there are no tools to choose among")
    return {}


def _allowed(choice: ToolChoice, names: set[str], context: Context) -> list[str] | None:
    if choice.allowed is not None and choice.mode in {"none", "tool"}:
        context.note("tool_choice.allowed", value=f"the mode {choice.mode} takes none")
    elif choice.allowed is not None:
        unknown = sorted(set(choice.allowed) - names)
        if unknown:
            raise InvalidRequestError(f"tool_choice allows {unknown}, which are not among the request's tools")
        return list(choice.allowed)
    if choice.mode != "tool":
        return None
    if choice.name is None:
        raise InvalidRequestError("tool_choice is 'tool' but names no tool; set its name")
    return [choice.name]


def _wants_valid_calls(request: ChatRequest, mode: str, context: Context) -> bool:
    """Return whether the calls must be made to match the schemas. The mode applies to all tools."""
    if not any(isinstance(tool, Tool) and tool.strict for tool in request.tools or ()):
        return False
    if not context.family.validates_calls:
        context.note("tools.tool.strict", value="this model cannot be made to match a schema")
    elif mode == "NONE":
        context.note("tools.tool.strict", value="no tool may be called")
    elif mode == "ANY":
        context.note("tools.tool.strict", value="calls that are forced always match")
    else:
        return True
    return False
