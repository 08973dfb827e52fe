"""OpenAI's chat request: https://platform.openai.com/docs/api-reference/chat/create.

What OpenAI, or a server with quirks, does not support raises `UnsupportedError` if omitting it would change the
meaning. An option that only tunes the output is omitted with a warning that names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import InvalidRequestError
from bifrost.operations.chat.request import ChatRequest, Prediction, Reasoning, ResponseFormat, StreamOptions
from bifrost.operations.chat.structured.strict_schema import tool_parameters
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice, check_tools
from bifrost.providers.base import Built
from bifrost.providers.extra import merge_extra
from bifrost.providers.openai.families import refused_options
from bifrost.providers.openai.fields import LACKS
from bifrost.providers.openai.messages import DIALECT, MessageWriter, unsupported
from bifrost.providers.openai.search import add_search
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bifrost.providers.base import Target
    from bifrost.providers.openai.quirks import Quirks

_TUNED = frozenset(["temperature", "top_p", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty"])


def build_chat(request: ChatRequest, target: Target, *, quirks: Quirks) -> Built:
    """Return the HTTP request for a chat.

    Raises `InvalidRequestError` for an invalid request, and `UnsupportedError` for what the server does not support.
    """
    extra = (request.extra or {}).get(target.provider) or {}
    if "stream" in extra:
        raise InvalidRequestError('extra: "stream" is not set there; stream_chat() streams, chat() does not')
    left_out = quirks.chat.check(request, target)
    writer = MessageWriter(target, quirks, breakpoints="prompt_cache_options" in extra)
    body: dict[str, Any] = {"model": target.model, "messages": writer.write(request.messages)}
    for name, wire in quirks.chat.plain:
        value = getattr(request, name)
        if value is not None:
            body[wire] = value
    tuned = quirks.families and (request.logit_bias or _TUNED.intersection(body))
    if tuned and (refused := refused_options(request, target.model, quirks.families)):
        request = _without(request, refused, body, writer, target)
    options = _Options(body, request, target, quirks, writer)
    if request.tools or request.tool_choice is not None:
        options.add_tools()
    if target.stream:
        options.add_streaming(request.stream_options)
    options.add_rare()
    if extra:
        merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path="/chat/completions",
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=list(dict.fromkeys([*left_out, *writer.warnings, *options.warnings])),
    )


def _without(
    request: ChatRequest, refused: Sequence[str], body: dict[str, Any], writer: MessageWriter, target: Target
) -> ChatRequest:
    """Return the request without options that the model never accepts.

    Raises `UnsupportedError` if that changes the meaning.
    """
    for name in refused:
        lacking = LACKS[name][name]
        if lacking.is_refused:
            raise lacking.refusal(name, target, place=f"with {target.model}")
        body.pop(name, None)
        writer.warnings.append(f"{name} was left out: {target.model} takes no such option while it reasons")
    return msgspec.structs.replace(request, **dict.fromkeys(refused))


class _Options:
    """Adds the options that need a conversion to a body, and records what was omitted."""

    def __init__(
        self, body: dict[str, Any], request: ChatRequest, target: Target, quirks: Quirks, writer: MessageWriter
    ) -> None:
        self.warnings: list[str] = []
        self._body = body
        self._request = request
        self._target = target
        self._quirks = quirks
        self._writer = writer

    def leave_out(self, path: str, *, place: str = "", value: object = "") -> None:
        """Record that a field is omitted here, although it may be sent elsewhere."""
        self.warnings.append(self._quirks.chat.warning(path, self._target, place=place, value=value))

    def add_rare(self) -> None:
        """Add the options that few requests have."""
        body, request, quirks = self._body, self._request, self._quirks
        if quirks.logprobs_are_counted:
            self._count_logprobs(request.logprobs, request.top_logprobs)
        if request.response_format is not None:
            body["response_format"] = self._response_format(request.response_format)
        if request.logit_bias is not None and self._has("logit_bias"):
            body["logit_bias"] = {token: _whole(bias) for token, bias in request.logit_bias.items()}
        if request.reasoning is not None and self._has("reasoning"):
            self._add_reasoning(request.reasoning)
        if request.prediction is not None and self._has("prediction"):
            body["prediction"] = _prediction(request.prediction, as_text=quirks.prediction_is_text)
        if request.audio is not None:
            body["audio"] = {"voice": request.audio.voice, "format": request.audio.format}
        if request.web_search is not None:
            add_search(body, request.web_search, quirks.web_search)

    def add_streaming(self, options: StreamOptions | None) -> None:
        """Request a stream, with its usage unless the caller does not want it."""
        self._body["stream"] = True
        asked: dict[str, Any] = {}
        if not self._quirks.usage_comes_unasked and (options is None or options.include_usage):
            asked["include_usage"] = True
        if options is not None and options.include_obfuscation is not None and self._has("include_obfuscation"):
            asked["include_obfuscation"] = options.include_obfuscation
        if asked:
            self._body["stream_options"] = asked

    # --- tools

    def add_tools(self) -> None:
        """Add the tools and the choice among them."""
        request, lacks = self._request, self._quirks.lacks
        tools: Sequence[Tool | ProviderTool] = request.tools or ()
        check_tools(tools)
        choice = request.tool_choice
        if choice is not None:
            self._check_choice(choice)
            if choice.allowed is not None and choice.mode != "none" and "allowed_tools" in lacks:
                tools, choice = self._only(tools, choice.allowed), ToolChoice(mode=choice.mode, name=choice.name)
            if choice.mode == "tool" and "named_tool" in lacks:
                tools, choice = self._only(tools, [choice.name or ""]), ToolChoice(mode="required")
            if "tool_choice" in lacks:
                tools, choice = self._without_choice(tools, choice), None
        if tools:
            self._body["tools"] = [self._tool(tool, f"tools[{place}]") for place, tool in enumerate(tools)]
        if choice is not None:
            self._body["tool_choice"] = _tool_choice(choice, tools)

    def _check_choice(self, choice: ToolChoice) -> None:
        if choice.mode == "tool" and choice.name is None:
            raise InvalidRequestError("tool_choice is 'tool' but names no tool; set its name")
        named = choice.allowed is not None
        if choice.mode != "tool" and choice.name is not None:
            self.leave_out("tool_choice", value="name")
        if named and (choice.mode == "none" or (choice.mode == "tool" and "allowed_tools" not in self._quirks.lacks)):
            self.leave_out("tool_choice", value="allowed")

    def _only(self, tools: Sequence[Tool | ProviderTool], names: Sequence[str]) -> list[Tool | ProviderTool]:
        kept: list[Tool | ProviderTool] = [tool for tool in tools if isinstance(tool, Tool) and tool.name in names]
        if not kept:
            raise InvalidRequestError(f"tool_choice names {', '.join(names)}, which tools does not have")
        if len(kept) < len(tools):
            path = "tool_choice.allowed" if "allowed_tools" in self._quirks.lacks else "tool_choice.name"
            self.leave_out(path)
        return kept

    def _without_choice(
        self, tools: Sequence[Tool | ProviderTool], choice: ToolChoice
    ) -> Sequence[Tool | ProviderTool]:
        if choice.mode == "none" and tools:
            self.leave_out("tool_choice.mode=none")
            return ()
        return tools

    def _tool(self, tool: Tool | ProviderTool, where: str) -> dict[str, Any]:
        if isinstance(tool, ProviderTool):
            if tool.provider not in {None, DIALECT, self._target.provider}:
                kind = tool.definition.get("type", "")
                raise unsupported(self._target, f"cannot run {tool.provider}'s tool {kind!r}", "leave it out")
            return tool.definition
        wire: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            wire["description"] = tool.description
        if tool.kind == "custom":
            if tool.format is not None:
                wire["format"] = tool.format
            for name in ("parameters", "strict"):
                if getattr(tool, name) is not None:
                    self.leave_out(f"tools.tool.{name}", place=where)
            return self._writer.mark({"type": "custom", "custom": wire}, tool.cache)
        if tool.format is not None:
            self.leave_out("tools.tool.format", place=where)
        strict = tool.strict
        if tool.parameters is not None or strict or self._quirks.parameters_are_needed:
            wire["parameters"], strict, changed = tool_parameters(
                tool.name, tool.parameters, strict=strict, rules=self._quirks.schema_rules
            )
            self.warnings += changed
        if strict is not None:
            wire["strict"] = strict
        return self._writer.mark({"type": "function", "function": wire}, tool.cache)

    # --- other options

    def _response_format(self, wanted: ResponseFormat) -> dict[str, Any]:
        if wanted.type != "json_schema":
            for name in ("name", "schema", "description", "strict"):
                if getattr(wanted, name) is not None:
                    self.leave_out(f"response_format.{name}")
            return {"type": wanted.type}
        if wanted.schema is None:
            raise InvalidRequestError('response_format has type "json_schema" but no schema')
        schema: dict[str, Any] = {"name": wanted.name or "answer"}
        if wanted.description is not None:
            schema["description"] = wanted.description
        schema["schema"] = wanted.schema
        if wanted.strict is not None:
            schema["strict"] = wanted.strict
        return {"type": "json_schema", "json_schema": schema}

    def _add_reasoning(self, reasoning: Reasoning) -> None:
        style = self._quirks.reasoning
        if style == "object":
            self._body.update(_reasoning_object(reasoning))
            return
        self._body.update(_effort(reasoning, style))
        overruled = _overruled(reasoning, style)
        if overruled is not None:
            self.leave_out(f"reasoning.{overruled}")

    def _count_logprobs(self, wanted: bool | None, count: int | None) -> None:
        if wanted or (wanted is None and count):
            self._body["logprobs"] = count or 1
        elif count:
            self.leave_out("top_logprobs")

    def _has(self, name: str) -> bool:
        return name not in self._quirks.lacks


def _overruled(reasoning: Reasoning, style: str) -> str | None:
    """Return which of the two switches of reasoning is not sent to the server."""
    effort, enabled = reasoning.effort, reasoning.enabled
    if effort is None:
        return "enabled" if enabled and style == "effort" else None
    if enabled is None or enabled == (effort != "none"):
        return None
    return "effort" if enabled is False and style != "effort" else "enabled"


def _effort(reasoning: Reasoning, style: str) -> dict[str, Any]:
    effort, enabled = reasoning.effort, reasoning.enabled
    if style == "effort":
        effort = "none" if effort is None and enabled is False else effort
        return {} if effort is None else {"reasoning_effort": effort}
    # The other servers have a switch in addition to the effort.
    off = effort == "none" or enabled is False
    said: dict[str, Any] = {} if off or effort is None else {"reasoning_effort": effort}
    if not off and enabled is None:
        return said
    if style == "thinking":
        return {**said, "thinking": {"type": "disabled" if off else "enabled"}}
    return {**said, "reasoning": {"enabled": not off}}


def _reasoning_object(reasoning: Reasoning) -> dict[str, Any]:
    fields = {"effort": reasoning.effort, "max_tokens": reasoning.max_tokens, "enabled": reasoning.enabled}
    said: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    if reasoning.display == "omitted":
        said["exclude"] = True
    return {"reasoning": said} if said else {}


def _whole(bias: float) -> float:
    # OpenAI's type is an integer; ours also allows 5.0.
    return int(bias) if float(bias).is_integer() else bias


def _prediction(prediction: Prediction, *, as_text: bool) -> dict[str, Any]:
    content = prediction.content
    if isinstance(content, str):
        return {"type": "content", "content": content}
    if as_text:
        return {"type": "content", "content": "".join([part.text for part in content])}
    return {"type": "content", "content": [{"type": "text", "text": part.text} for part in content]}


def _tool_choice(choice: ToolChoice, tools: Sequence[Tool | ProviderTool]) -> str | dict[str, Any]:
    kinds = {tool.name: tool.kind for tool in tools if isinstance(tool, Tool)}
    if choice.mode == "tool":
        return _named(choice.name or "", kinds)
    if choice.allowed is None or choice.mode == "none":
        return choice.mode
    allowed = [_named(name, kinds) for name in choice.allowed]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": allowed}}


def _named(name: str, kinds: dict[str, Any]) -> dict[str, Any]:
    kind = kinds.get(name, "function")
    return {"type": kind, kind: {"name": name}}
