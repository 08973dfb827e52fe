"""Ollama's chat request: https://docs.ollama.com/api/chat."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.operations.chat.content import (
    AudioPart,
    FilePart,
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
)
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice, check_tools
from bifrost.providers.arguments import as_object, unreadable
from bifrost.providers.base import Built
from bifrost.providers.extra import merge_extra
from bifrost.providers.ollama.fields import CHAT, options_of
from bifrost.providers.sources import spare_sources
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bifrost.operations.chat.messages import Message
    from bifrost.operations.chat.request import ChatRequest, Reasoning, ResponseFormat
    from bifrost.operations.completions import CompletionRequest
    from bifrost.providers.base import Target

DIALECT = "ollama"
"""The name of this dialect as the provider of a `ProviderTool`."""

_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


def build_chat(request: ChatRequest, target: Target) -> Built:
    """Return the HTTP request for a chat.

    Raises `InvalidRequestError` for an invalid request, and `UnsupportedError` for what Ollama does not support.
    """
    if not request.messages:
        raise InvalidRequestError("messages: the list is empty; give at least one message")
    warnings = CHAT.check(request, target)
    writer = _Writer(target, warnings)
    body: dict[str, Any] = {"model": target.model, "messages": writer.messages(request.messages)}
    tools = writer.tools(request.tools or (), request.tool_choice)
    if tools:
        body["tools"] = tools
    if request.response_format is not None and (form := writer.format(request.response_format)) is not None:
        body["format"] = form
    if request.reasoning is not None and (think := writer.think(request.reasoning)) is not None:
        body["think"] = think
    writer.add_logprobs(body, request)
    return finished(body, request, target, path="/api/chat", options=options_of(request), warnings=warnings)


def finished(
    body: dict[str, Any],
    request: ChatRequest | CompletionRequest,
    target: Target,
    *,
    path: str,
    options: dict[str, Any],
    warnings: list[str],
) -> Built:
    """Return the HTTP request of a body. `stream` is always sent, because Ollama streams by default."""
    if "stream" in ((request.extra or {}).get(target.provider) or {}):
        raise InvalidRequestError('extra: "stream" is not set there; the method that is called decides it')
    if options:
        body["options"] = options
    body["stream"] = target.stream
    merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path=path,
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=list(dict.fromkeys(warnings)),
    )


class _Writer:
    """Converts the messages and tools of one request, and records what was omitted."""

    def __init__(self, target: Target, warnings: list[str]) -> None:
        self._target = target
        self._warnings = warnings
        self._names: dict[str, str] = {}
        """The names of the called tools, by the ids of the calls."""

    def messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Return the messages in Ollama's form."""
        wires = [self._message(message, f"messages[{place}]") for place, message in enumerate(messages)]
        ordered: list[tuple[Message, dict[str, Any]]] = []
        for is_result, run in groupby(zip(messages, wires, strict=True), key=lambda pair: pair[0].role == "tool"):
            pairs = list(run)
            ordered += self._as_called(pairs) if is_result else pairs
        return [wire for _, wire in ordered]

    def _as_called(self, results: Iterable[tuple[Message, dict[str, Any]]]) -> list[tuple[Message, dict[str, Any]]]:
        """Return consecutive results in the order of their calls, which tells apart calls of the same tool."""
        places = {call_id: place for place, call_id in enumerate(self._names)}
        return sorted(results, key=lambda pair: places.get(pair[0].tool_call_id or "", len(places)))

    def tools(self, tools: Sequence[Tool | ProviderTool], choice: ToolChoice | None) -> list[dict[str, Any]]:
        """Return the tools that may be called."""
        check_tools(tools)
        if choice is not None:
            if choice.name is not None and choice.mode != "tool":
                self._leave_out("tool_choice.name")
            if choice.allowed is not None:
                tools = self._allowed(tools, choice.allowed)
            if choice.mode == "none" and tools:
                self._leave_out("tool_choice.mode=none")
                tools = ()
        return [self._tool(tool) for tool in tools]

    def format(self, wanted: ResponseFormat) -> str | dict[str, Any] | None:
        """Return the form of the response; `None` for text."""
        if wanted.type == "json_schema":
            if wanted.schema is None:
                raise InvalidRequestError('response_format has type "json_schema" but no schema')
            return wanted.schema
        if wanted.schema is not None:
            self._leave_out("response_format.schema")
        return "json" if wanted.type == "json_object" else None

    def think(self, reasoning: Reasoning) -> bool | str | None:
        """Return whether the model thinks, or how much; `None` for the default."""
        effort, enabled = reasoning.effort, reasoning.enabled
        if enabled is False:
            if effort not in {None, "none"}:
                self._leave_out("reasoning.effort")
            return False
        if effort == "none":
            if enabled:
                self._leave_out("reasoning.enabled")
            return False
        if effort is not None and effort in _LEVELS:
            self._leave_out(f"reasoning.effort={effort}")
            return _LEVELS[effort]
        return enabled if effort is None else effort

    def add_logprobs(self, body: dict[str, Any], request: ChatRequest) -> None:
        """Add the options of log probabilities. A number of them requests them."""
        count = request.top_logprobs
        if request.logprobs is not None or count:
            body["logprobs"] = count is not None if request.logprobs is None else request.logprobs
        if count is not None and request.logprobs is False:
            self._leave_out("top_logprobs")
        elif count is not None:
            body["top_logprobs"] = count

    # --- messages

    def _message(self, message: Message, where: str) -> dict[str, Any]:
        role = "system" if message.role == "developer" else message.role
        wire: dict[str, Any] = {"role": role, "content": ""}
        if message.role == "tool":
            self._add_call(wire, message, where)
        elif message.tool_call_id is not None:
            self._warnings.append(f"{where}: tool_call_id was left out: only the result of a tool has one")
        if isinstance(message.content, str):
            wire["content"] = message.content
        else:
            texts = [self._part(wire, part, f"{where}.content[{at}]") for at, part in enumerate(message.parts)]
            wire["content"] = "".join(texts)
        if role in {"system", "user"} and not (wire["content"] or "images" in wire):
            raise InvalidRequestError(f"{where}: the {message.role} message has no content")
        return wire

    def _add_call(self, wire: dict[str, Any], message: Message, where: str) -> None:
        """Add the name of the tool, which is all that says to which call a result belongs."""
        if not message.tool_call_id:
            raise InvalidRequestError(
                f"{where}: the tool's result does not say which call it answers; set tool_call_id"
            )
        name = self._names.get(message.tool_call_id)
        if name is None:
            self._warnings.append(f"{where}: tool_call_id was left out: no call before it has this id")
        else:
            wire["tool_name"] = name

    def _part(self, wire: dict[str, Any], part: Part, where: str) -> str:
        """Add a part to a message. Returns its text, which is joined to that of the others."""
        match part:
            case TextPart():
                return part.text
            case RefusalPart():
                self._leave_out("messages.content.refusal.refusal", where)
                return part.refusal
            case ImagePart():
                wire.setdefault("images", []).append(self._image(part, where))
            case ToolCall():
                wire.setdefault("tool_calls", []).append(self._call(part, where))
            case ReasoningPart():
                self._add_thought(wire, part, where)
            case FilePart():
                return self._file(part, where)
            case AudioPart() if part.transcript:
                self._leave_out("messages.content.audio.transcript", where)
                return part.transcript
            case AudioPart():
                raise self._refusal("messages.content.audio.data", where)
            case OpaquePart():
                self._warnings.append(f"{where}: {part.provider}'s own block {part.kind!r} was left out")
            case _:
                raise self._refusal("messages.content.video.data", where)
        return ""

    def _image(self, part: ImagePart, where: str) -> str | json.LongText:
        self._warnings += spare_sources(part, ("data", "url", "file_id"), where)
        if part.data is not None:
            return json.long_text(part.data)
        if part.url is not None:
            inline = _DATA_URL.fullmatch(part.url)
            if inline is None:
                raise self._refusal("messages.content.image.url", where)
            return json.long_text(inline[2])
        if part.file_id is not None:
            raise self._refusal("messages.content.image.file_id", where)
        raise InvalidRequestError(f"{where}: the image has no source; give data with media_type")

    def _call(self, call: ToolCall, where: str) -> dict[str, Any]:
        if call.kind == "custom":
            raise self._refusal("messages.content.tool_call.kind=custom", where)
        if not call.id:
            raise InvalidRequestError(f"{where}: the call of tool {call.name!r} has no id for its result to name")
        self._names[call.id] = call.name
        arguments = as_object(call.arguments)
        if arguments is not call.arguments and call.arguments.strip():
            self._warnings.append(unreadable(call.name, where))
        # The model's text, neither parsed nor encoded again.
        return {"function": {"name": call.name, "arguments": msgspec.Raw(arguments.encode())}}

    def _add_thought(self, wire: dict[str, Any], part: ReasoningPart, where: str) -> None:
        if part.provider not in {None, self._target.provider}:
            self._leave_out("messages.content.reasoning.text", where)
            return
        for name in ("signature", "redacted"):
            if getattr(part, name) is not None:
                self._leave_out(f"messages.content.reasoning.{name}", where)
        wire["thinking"] = wire.get("thinking", "") + part.text

    def _file(self, part: FilePart, where: str) -> str:
        self._warnings += spare_sources(part, ("text", "data", "url", "file_id"), where)
        for name in ("data", "url", "file_id"):
            if part.text is None and getattr(part, name) is not None:
                raise self._refusal(f"messages.content.file.{name}", where)
        if part.text is None:
            raise InvalidRequestError(f"{where}: the file has no source; give its text")
        self._leave_out("messages.content.file.text", where)
        if part.filename is not None:
            self._leave_out("messages.content.file.filename", where)
        if part.context is None:
            return part.text
        self._leave_out("messages.content.file.context", where)
        return f"{part.context}\n{part.text}"

    # --- tools

    def _allowed(self, tools: Sequence[Tool | ProviderTool], names: Sequence[str]) -> Sequence[Tool | ProviderTool]:
        kept = [tool for tool in tools if isinstance(tool, Tool) and tool.name in names]
        if not kept:
            raise InvalidRequestError(f"tool_choice names {', '.join(names)}, which tools does not have")
        if len(kept) < len(tools):
            self._leave_out("tool_choice.allowed")
        return kept

    def _tool(self, tool: Tool | ProviderTool) -> dict[str, Any]:
        if isinstance(tool, ProviderTool):
            if tool.provider not in {None, DIALECT, self._target.provider}:
                kind = tool.definition.get("type", "")
                raise UnsupportedError(
                    f"{self._target.provider} cannot run {tool.provider}'s tool {kind!r}; leave it out",
                    provider=self._target.provider,
                    model=self._target.model,
                )
            return tool.definition
        function: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        function["parameters"] = _NO_PARAMETERS if tool.parameters is None else tool.parameters
        return {"type": "function", "function": function}

    # --- what is not supported

    def _leave_out(self, path: str, where: str = "") -> None:
        self._warnings.append(CHAT.warning(path, self._target, place=where))

    def _refusal(self, path: str, where: str) -> UnsupportedError:
        return CHAT.refusal(path, self._target, place=f"({where})")


_LEVELS: Mapping[str, str] = {"minimal": "low", "xhigh": "high"}
"""Efforts that Ollama does not have, with the nearest one."""
