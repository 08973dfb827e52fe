"""Read recorded bodies of Ollama's own format as the unified requests that should build them."""

from __future__ import annotations

import json
from typing import Any

from bifrost.operations.chat.content import ImagePart, Part, ReasoningPart, TextPart, ToolCall
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest, Reasoning, ResponseFormat
from bifrost.operations.chat.tools import Tool
from bifrost.operations.completions import CompletionRequest
from bifrost.providers.ollama.fields import OPTIONS

_READ = {"model", "messages", "prompt", "suffix", "stream", "tools", "format", "options", "think"}


def read_ollama_chat(body: dict[str, Any]) -> ChatRequest:
    """Say a recorded chat in our words. Calls are numbered, and results belong to them in turn."""
    calls: list[str] = []
    messages = [_message(message, calls) for message in body["messages"]]
    think = body.get("think")
    form = body.get("format") or None
    return ChatRequest(
        model=body["model"],
        messages=messages,
        tools=[_tool(tool) for tool in body.get("tools") or ()] or None,
        response_format=None
        if form is None
        else ResponseFormat(type="json_object")
        if form == "json"
        else ResponseFormat(type="json_schema", schema=form),
        reasoning=None
        if think is None
        else Reasoning(enabled=think)
        if isinstance(think, bool)
        else Reasoning(effort=think),
        **_options(body),
    )


def read_ollama_generate(body: dict[str, Any]) -> CompletionRequest:
    """Say a recorded completion in our words."""
    return CompletionRequest(model=body["model"], prompt=[body["prompt"]], **_options(body))


def _options(body: dict[str, Any]) -> dict[str, Any]:
    """Return options, and in `extra` what we have no words for. An empty member is as good as none."""
    given = dict(body.get("options") or {})
    known = {name: given.pop(wire) for name, wire in OPTIONS.items() if wire in given}
    extra = {name: value for name, value in body.items() if name not in _READ and value}
    if given:
        extra["options"] = given
    return {**known, **({"extra": {"ollama": extra}} if extra else {})}


def _message(message: dict[str, Any], calls: list[str]) -> Message:
    if message["role"] == "tool":
        return Message(role="tool", content=message["content"], tool_call_id=calls.pop(0) if calls else "unknown")
    parts: list[Part] = []
    if message.get("thinking"):
        parts.append(ReasoningPart(text=message["thinking"], provider="ollama"))
    if message.get("content"):
        parts.append(TextPart(text=message["content"]))
    parts += [ImagePart(data=image) for image in message.get("images") or ()]
    for call in message.get("tool_calls") or ():
        calls.append(f"call_{len(calls)}")
        function = call["function"]
        parts.append(ToolCall(id=calls[-1], name=function["name"], arguments=json.dumps(function["arguments"])))
    only_text = len(parts) == 1 and isinstance(parts[0], TextPart)
    return Message(role=message["role"], content=message["content"] if only_text else parts)


def _tool(tool: dict[str, Any]) -> Tool:
    function = tool["function"]
    return Tool(name=function["name"], description=function.get("description"), parameters=function.get("parameters"))
