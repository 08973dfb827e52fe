"""Read a recorded body of Anthropic's Messages API as the unified request that should build it."""

from __future__ import annotations

import json
from typing import Any, Literal

from bifrost.operations.chat.content import (
    CacheMark,
    Citation,
    FilePart,
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
)
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest, Reasoning, ResponseFormat
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice

_SAME = ("temperature", "top_p", "top_k", "max_tokens", "service_tier")
_READ = {
    *_SAME,
    "model",
    "stream",
    "system",
    "messages",
    "stop_sequences",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "metadata",
}
_MODES: dict[str, Literal["auto", "none", "required", "tool"]] = {
    "auto": "auto",
    "none": "none",
    "any": "required",
    "tool": "tool",
}


def read_request(body: dict[str, Any]) -> ChatRequest:
    """Say a recorded body in our words; what we have no words for goes into `extra`."""
    choice = body.get("tool_choice")
    extra = {name: value for name, value in body.items() if name not in _READ}
    return ChatRequest(
        model=body["model"],
        messages=[*_system(body.get("system")), *[m for turn in body["messages"] for m in _turn(turn)]],
        tools=[_tool(tool) for tool in body["tools"]] if "tools" in body else None,
        tool_choice=choice and ToolChoice(mode=_MODES[choice["type"]], name=choice.get("name")),
        parallel_tool_calls=False if choice and choice.get("disable_parallel_tool_use") else None,
        response_format=_format(body.get("output_config", {}).get("format")),
        reasoning=_reasoning(body.get("thinking"), body.get("output_config", {}).get("effort")),
        stop=body.get("stop_sequences"),
        user=body.get("metadata", {}).get("user_id"),
        extra={"anthropic": extra} if extra else None,
        **{name: body[name] for name in _SAME if name in body},
    )


def _system(system: str | list[dict[str, Any]] | None) -> list[Message]:
    if system is None:
        return []
    return [Message(role="system", content=system if isinstance(system, str) else _parts(system))]


def _turn(turn: dict[str, Any]) -> list[Message]:
    content = turn["content"]
    if isinstance(content, str):
        return [Message(role=turn["role"], content=content)]
    results = [_result(block) for block in content if block["type"] == "tool_result"]
    rest = _parts([block for block in content if block["type"] != "tool_result"])
    return [*results, Message(role=turn["role"], content=rest)] if rest else results


def _result(block: dict[str, Any]) -> Message:
    content = block.get("content")
    return Message(
        role="tool",
        tool_call_id=block["tool_use_id"],
        content=_parts(content) if isinstance(content, list) else content,
        is_error=block.get("is_error", False),
        cache=_cache(block),
    )


def _parts(blocks: list[dict[str, Any]]) -> list[Part]:
    return [_part(block) for block in blocks]


def _part(block: dict[str, Any]) -> Part:
    match block["type"]:
        case "text":
            cited = [Citation(provider="anthropic", native=native) for native in block.get("citations") or ()]
            return TextPart(text=block["text"], citations=cited or None, cache=_cache(block))
        case "image":
            return ImagePart(**_source(block["source"]), cache=_cache(block))
        case "document":
            return FilePart(**_source(block["source"]), filename=block.get("title"), cache=_cache(block))
        case "thinking":
            return ReasoningPart(text=block["thinking"], signature=block["signature"], provider="anthropic")
        case "redacted_thinking":
            return ReasoningPart(redacted=block["data"], provider="anthropic")
        case "tool_use":
            return ToolCall(id=block["id"], name=block["name"], arguments=json.dumps(block["input"]))
        case kind:
            return OpaquePart(provider="anthropic", kind=kind, data=block)


def _source(source: dict[str, Any]) -> dict[str, Any]:
    match source["type"]:
        case "url":
            return {"url": source["url"]}
        case "text":
            return {"text": source["data"]}
        case "file":
            return {"file_id": source["file_id"]}
        case _:
            return {"data": source["data"], "media_type": source["media_type"]}


def _cache(block: dict[str, Any]) -> CacheMark | None:
    mark = block.get("cache_control")
    return mark and CacheMark(ttl=mark.get("ttl"))


def _tool(tool: dict[str, Any]) -> Tool | ProviderTool:
    if not tool.keys() <= {"name", "description", "input_schema", "strict", "cache_control"}:
        return ProviderTool(provider="anthropic", definition=tool)
    return Tool(
        name=tool["name"],
        description=tool.get("description"),
        parameters=tool["input_schema"],
        strict=tool.get("strict"),
        cache=_cache(tool),
    )


def _format(wanted: dict[str, Any] | None) -> ResponseFormat | None:
    return None if wanted is None else ResponseFormat(type="json_schema", schema=wanted["schema"])


def _reasoning(thinking: dict[str, Any] | None, effort: str | None) -> Reasoning | None:
    if thinking is None:
        return Reasoning(effort=effort) if effort else None
    adaptive = {"adaptive": True, "disabled": False}.get(thinking["type"])
    return Reasoning(
        effort=effort, enabled=adaptive, max_tokens=thinking.get("budget_tokens"), display=thinking.get("display")
    )
