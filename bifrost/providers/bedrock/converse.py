"""The request of Converse and ConverseStream.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html. What Bedrock does not support raises
`UnsupportedError` if omitting it would change the meaning. An option that only tunes the output is omitted with a
warning that names it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.operations.chat.structured.strict_schema import ANTHROPIC_RULES, tool_parameters
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice, check_tools
from bifrost.providers.base import Built
from bifrost.providers.bedrock.families import claude_family, family_of
from bifrost.providers.bedrock.fields import CHAT, SPEAKER, warning_of
from bifrost.providers.bedrock.messages import Context, cache_point, conversation, has_tool_blocks
from bifrost.providers.bedrock.reasoning import reasoning_fields
from bifrost.providers.bedrock.settings import model_path
from bifrost.providers.call_ids import CallIds
from bifrost.providers.extra import merge_extra
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.operations.chat.request import ChatRequest, ResponseFormat
    from bifrost.providers.base import Target

_SERVICE_TIERS = ("default", "flex", "priority", "reserved")
_MODES = ("auto", "none", "required", "tool")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def build_converse(request: ChatRequest, target: Target) -> Built:
    """Return the HTTP request for a chat.

    Raises `InvalidRequestError` for an invalid request (an image without a source), and `UnsupportedError` for what
    Bedrock does not support.
    """
    warnings = CHAT.check(request, target)
    body = {**converse_input(request, target, warnings), **_options(request, target, warnings)}
    merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path=model_path(target, "converse-stream" if target.stream else "converse"),
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=list(dict.fromkeys(warnings)),
    )


def converse_input(request: ChatRequest, target: Target, warnings: list[str]) -> dict[str, Any]:
    """Return the part of a request that the model reads, and whose tokens are counted."""
    ids = CallIds(request.messages, target, family_of(target.model).call_ids)
    system, turns = conversation(request.messages, Context(target, warnings, ids))
    body: dict[str, Any] = {"messages": turns}
    if system:
        body["system"] = system
    tools = _tool_config(request, target, turns, warnings)
    if tools:
        body["toolConfig"] = tools
    fields = _model_fields(request, target, warnings)
    if fields:
        body["additionalModelRequestFields"] = fields
    return body


# --- options


def _options(request: ChatRequest, target: Target, warnings: list[str]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    inference = _inference(request, target, warnings)
    if inference:
        body["inferenceConfig"] = inference
    output = _output(request, target, warnings)
    if output:
        body["outputConfig"] = output
    if request.metadata:
        body["requestMetadata"] = request.metadata
    if request.service_tier in _SERVICE_TIERS:
        body["serviceTier"] = {"type": request.service_tier}
    elif request.service_tier is not None:
        warnings.append(warning_of("service_tier", value=repr(request.service_tier)))
    return body


def _inference(request: ChatRequest, target: Target, warnings: list[str]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if request.max_tokens is not None:
        config["maxTokens"] = request.max_tokens
    for name, wire in (("temperature", "temperature"), ("top_p", "topP")):
        value = getattr(request, name)
        if value is None:
            continue
        refused = _refused_sampling(name, request, target)
        if refused is None:
            config[wire] = value
        else:
            warnings.append(f"{name} was left out: {refused}")
    if config.get("temperature", 0) > 1:
        warnings.append(warning_of("temperature", value=f"{request.temperature:g}"))
        config["temperature"] = 1.0
    if request.stop:
        config["stopSequences"] = request.stop
    return config


def _refused_sampling(name: str, request: ChatRequest, target: Target) -> str | None:
    """Return why a model of Claude never accepts an option of sampling; `None` if it is accepted."""
    claude = claude_family(target.model)
    if claude is None:
        return None
    if not claude.sampling:
        return "this model has no sampling options"
    if name == "top_p" and request.temperature is not None and not claude.both_samplings:
        return "this model takes temperature or top_p, not both"
    return None


def _output(request: ChatRequest, target: Target, warnings: list[str]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    wanted = request.response_format
    if wanted is not None and wanted.type == "json_schema":
        config["textFormat"] = _text_format(wanted)
    elif wanted is not None:
        spare = [name for name in ("name", "schema", "description") if getattr(wanted, name) is not None]
        warnings += [warning_of(f"response_format.{name}") for name in spare]
    effort = request.reasoning.effort if request.reasoning is not None else None
    if effort not in (None, "none") and claude_family(target.model) is not None:
        config["effort"] = "low" if effort == "minimal" else effort
    return config


def _text_format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.schema is None:
        raise InvalidRequestError("response_format is of type json_schema but has no schema")
    # The schema is text, which models may read: it is written with spaces.
    schema: dict[str, Any] = {"schema": msgspec.json.format(json.encode(wanted.schema), indent=0).decode()}
    if wanted.name is not None:
        schema["name"] = wanted.name
    if wanted.description is not None:
        schema["description"] = wanted.description
    return {"type": "json_schema", "structure": {"jsonSchema": schema}}


def _model_fields(request: ChatRequest, target: Target, warnings: list[str]) -> dict[str, Any]:
    """Return the fields of the model's own format that Converse has no word for."""
    fields: dict[str, Any] = {}
    if request.top_k is not None:
        fields |= _top_k(request.top_k, target, warnings)
    if request.reasoning is not None:
        fields |= reasoning_fields(request.reasoning, target, warnings)
    return fields


def _top_k(value: int, target: Target, warnings: list[str]) -> dict[str, Any]:
    claude, path = claude_family(target.model), family_of(target.model).top_k
    if not path or (claude is not None and not claude.sampling):
        known = (
            "this model has no sampling options" if path else "its name for this model is not known; give it as extra"
        )
        warnings.append(warning_of("top_k", value=known))
        return {}
    *above, last = path
    field: dict[str, Any] = {last: value}
    for name in reversed(above):
        field = {name: field}
    return field


# --- tools


def _tool_config(
    request: ChatRequest, target: Target, turns: Sequence[Mapping[str, Any]], warnings: list[str]
) -> dict[str, Any]:
    check_tools(request.tools or ())
    choice = request.tool_choice or ToolChoice()
    if choice.mode not in _MODES:
        raise InvalidRequestError(f"tool_choice: mode {choice.mode!r} is none of {', '.join(_MODES)}")
    tools = _allowed(request.tools or (), choice.allowed, warnings)
    if choice.name is not None and choice.mode != "tool":
        warnings.append(warning_of("tool_choice.name"))
    if not tools:
        if choice.mode in {"required", "tool"}:
            raise InvalidRequestError(f"tool_choice is {choice.mode!r}, but the request has no tools")
        return {}
    if choice.mode == "none":
        if has_tool_blocks(turns):
            # Bedrock demands the tools of a conversation that has calls, and cannot forbid further ones.
            raise UnsupportedError(
                f"{SPEAKER} cannot be kept from calling tools in a conversation with calls; leave out tool_choice"
            )
        warnings.append(warning_of("tool_choice.mode=none"))
        return {}
    config: dict[str, Any] = {"tools": [each for tool in tools for each in _tool(tool, target, warnings)]}
    if request.tool_choice is not None:
        config["toolChoice"] = _choice(choice)
    return config


def _choice(choice: ToolChoice) -> dict[str, Any]:
    if choice.mode != "tool":
        return {"any": {}} if choice.mode == "required" else {"auto": {}}
    if choice.name is None:
        raise InvalidRequestError("tool_choice is 'tool' but names no tool; set its name")
    return {"tool": {"name": choice.name}}


def _allowed(
    tools: Sequence[Tool | ProviderTool], allowed: Sequence[str] | None, warnings: list[str]
) -> Sequence[Tool | ProviderTool]:
    if allowed is None:
        return tools
    unknown = sorted(set(allowed) - {_name_of(tool) for tool in tools})
    if unknown:
        raise InvalidRequestError(f"tool_choice allows {unknown}, which are not among the request's tools")
    kept = [tool for tool in tools if _name_of(tool) in allowed]
    if len(kept) < len(tools):
        warnings.append(warning_of("tool_choice.allowed"))
    return kept


def _name_of(tool: Tool | ProviderTool) -> str:
    if isinstance(tool, Tool):
        return tool.name
    try:
        return msgspec.convert(tool.definition, _SystemTool).systemTool.name
    except msgspec.ValidationError:
        return ""


class _ToolName(msgspec.Struct):
    name: str


class _SystemTool(msgspec.Struct):
    systemTool: _ToolName  # noqa: N815 - the name on the wire


def _tool(tool: Tool | ProviderTool, target: Target, warnings: list[str]) -> list[dict[str, Any]]:
    if isinstance(tool, ProviderTool):
        if tool.provider not in {None, target.provider}:
            raise UnsupportedError(f"{SPEAKER} cannot run {tool.provider}'s tool {tool.definition.get('type', '')!r}")
        return [tool.definition]
    if not _TOOL_NAME.fullmatch(tool.name):
        raise UnsupportedError(
            f"{SPEAKER} takes 64 of a-z, A-Z, 0-9, '_' and '-' in a tool's name, not {tool.name!r}; rename it"
        )
    spec: dict[str, Any] = {"name": tool.name}
    if tool.description:
        spec["description"] = tool.description
    schema, strict, changed = tool_parameters(tool.name, tool.parameters, strict=tool.strict, rules=ANTHROPIC_RULES)
    warnings += changed
    spec["inputSchema"] = {"json": schema}
    if strict is not None:
        spec["strict"] = strict
    return [{"toolSpec": spec}] if tool.cache is None else [{"toolSpec": spec}, cache_point(tool.cache)]
