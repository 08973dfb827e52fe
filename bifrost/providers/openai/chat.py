"""OpenAI's chat request: https://platform.openai.com/docs/api-reference/chat/create.

What OpenAI cannot say raises `UnsupportedError` where leaving it out would change the meaning; an option that only
tunes is left out with a warning that names it. Reasoning that this provider showed is not sent back, as OpenAI's
history has no place for it. Cache marks are sent only if `extra` has `prompt_cache_options`, since models before
gpt-5.6 refuse them and cache by themselves: https://platform.openai.com/docs/guides/prompt-caching.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.providers.base import Built
from bifrost.providers.openai.extra import merge_extra
from bifrost.schema.chat import ChatRequest, Prediction, Reasoning, ResponseFormat, StreamOptions, WebSearch
from bifrost.schema.content import (
    AudioPart,
    CacheMark,
    FilePart,
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
)
from bifrost.schema.tools import ProviderTool, Tool, ToolChoice
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bifrost.providers.base import Target
    from bifrost.providers.openai.quirks import Quirks
    from bifrost.schema.messages import Message

DIALECT = "openai"
"""Whose words a `ProviderTool` or `OpaquePart` of this dialect may be marked with, beside the provider's own name."""

_SAME = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "stop",
    "seed",
    "n",
    "logprobs",
    "top_logprobs",
    "user",
    "safety_identifier",
    "metadata",
    "store",
    "service_tier",
    "verbosity",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "modalities",
)
"""Options with the same name and shape in both languages."""


def build_chat(request: ChatRequest, target: Target, *, quirks: Quirks) -> Built:
    """Make the HTTP request of a chat.

    Raises `InvalidRequestError` for what is wrong in itself, `UnsupportedError` for what OpenAI has no words for.
    """
    extra = (request.extra or {}).get(target.provider) or {}
    if "stream" in extra:
        raise InvalidRequestError('extra: "stream" is not set there; stream_chat() streams, chat() does not')
    writer = _Messages(target, marks="prompt_cache_options" in extra)
    body: dict[str, Any] = {"model": target.model, "messages": writer.write(request.messages)}
    for name in _SAME:
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    if request.max_tokens is not None:
        body[quirks.max_tokens_field] = request.max_tokens
    if request.tools is not None:
        body["tools"] = [_tool(tool, target) for tool in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice, request.tools or ())
    if target.stream:
        body |= _streaming(request.stream_options)
    warnings = [*writer.warnings, *_add_rare(body, request, target)]
    merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path="/chat/completions",
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=list(dict.fromkeys(warnings)),
    )


# --- options


def _streaming(options: StreamOptions | None) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if options is None or options.include_usage:
        asked["include_usage"] = True
    if options is not None and options.include_obfuscation is not None:
        asked["include_obfuscation"] = options.include_obfuscation
    return {"stream": True, "stream_options": asked} if asked else {"stream": True}


def _add_rare(body: dict[str, Any], request: ChatRequest, target: Target) -> list[str]:
    """Add the options that need words of their own, and tell which were left out."""
    warnings: list[str] = []
    if request.top_k is not None:
        warnings.append(f"top_k was left out: {target.provider} has no such option")
    if request.response_format is not None:
        body["response_format"] = _response_format(request.response_format)
    if request.logit_bias is not None:
        body["logit_bias"] = {token: _whole(bias) for token, bias in request.logit_bias.items()}
    if request.reasoning is not None:
        _add_reasoning(body, request.reasoning, target, warnings)
    if request.prediction is not None:
        body["prediction"] = _prediction(request.prediction)
    if request.audio is not None:
        body["audio"] = {"voice": request.audio.voice, "format": request.audio.format}
    if request.web_search is not None:
        body["web_search_options"] = _web_search(request.web_search, target, warnings)
    return warnings


def _response_format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.type != "json_schema":
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


def _whole(bias: float) -> float:
    # OpenAI's type is a whole number; ours is wider, and writes 5 as 5.0.
    return int(bias) if float(bias).is_integer() else bias


def _add_reasoning(body: dict[str, Any], reasoning: Reasoning, target: Target, warnings: list[str]) -> None:
    effort = reasoning.effort
    if effort is None and reasoning.enabled is False:
        effort = "none"
    if effort is not None:
        body["reasoning_effort"] = effort
    if reasoning.max_tokens is not None:
        warnings.append(f"reasoning.max_tokens was left out: {target.provider} takes an effort, not a budget")
    if reasoning.display is not None:
        warnings.append(f"reasoning.display was left out: {target.provider} has no such option")


def _prediction(prediction: Prediction) -> dict[str, Any]:
    content = prediction.content
    if not isinstance(content, str):
        return {"type": "content", "content": [{"type": "text", "text": part.text} for part in content]}
    return {"type": "content", "content": content}


def _web_search(search: WebSearch, target: Target, warnings: list[str]) -> dict[str, Any]:
    if search.allowed_domains is not None or search.blocked_domains is not None:
        raise _unsupported(target, "cannot keep a web search to some domains", "leave out web_search's domains")
    if search.max_uses is not None:
        warnings.append(f"web_search.max_uses was left out: {target.provider} has no such option")
    options: dict[str, Any] = {}
    if search.context_size is not None:
        options["search_context_size"] = search.context_size
    if search.user_location is not None:
        place = msgspec.to_builtins(search.user_location)
        options["user_location"] = {"type": "approximate", "approximate": place}
    return options


# --- tools


def _tool(tool: Tool | ProviderTool, target: Target) -> dict[str, Any]:
    if isinstance(tool, ProviderTool):
        if tool.provider not in {None, DIALECT, target.provider}:
            kind = tool.definition.get("type", "")
            raise _unsupported(target, f"cannot run {tool.provider}'s tool {kind!r}", "leave it out")
        return tool.definition
    wire: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        wire["description"] = tool.description
    if tool.kind == "custom":
        if tool.format is not None:
            wire["format"] = tool.format
        return {"type": "custom", "custom": wire}
    if tool.parameters is not None:
        wire["parameters"] = tool.parameters
    if tool.strict is not None:
        wire["strict"] = tool.strict
    return {"type": "function", "function": wire}


def _tool_choice(choice: ToolChoice, tools: Sequence[Tool | ProviderTool]) -> str | dict[str, Any]:
    kinds = {tool.name: tool.kind for tool in tools if isinstance(tool, Tool)}
    if choice.mode == "tool":
        if choice.name is None:
            raise InvalidRequestError("tool_choice is 'tool' but names no tool; set its name")
        return _named(choice.name, kinds)
    if choice.allowed is None or choice.mode == "none":
        return choice.mode
    allowed = [_named(name, kinds) for name in choice.allowed]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": allowed}}


def _named(name: str, kinds: dict[str, Any]) -> dict[str, Any]:
    kind = kinds.get(name, "function")
    return {"type": kind, kind: {"name": name}}


# --- messages


class _Messages:
    """Writes the messages of one request, and notes what was left out."""

    def __init__(self, target: Target, *, marks: bool) -> None:
        self.warnings: list[str] = []
        self._target = target
        self._marks = marks

    def write(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        if not messages:
            raise InvalidRequestError("messages: the list is empty; give at least one message")
        return [self._message(message, place) for place, message in enumerate(messages)]

    def _message(self, message: Message, place: int) -> dict[str, Any]:
        wire: dict[str, Any] = {"role": message.role}
        if message.name is not None:
            wire["name"] = message.name
        where = f"messages[{place}]"
        if message.role == "tool":
            self._add_result(wire, message, where)
        if isinstance(message.content, str):
            wire["content"] = message.content
        elif message.role == "assistant":
            self._add_answer(wire, message.parts, where)
        else:
            wire["content"] = self._content(message, where)
        if message.cache is not None:
            self._mark_end(wire, message.cache)
        return wire

    def _add_result(self, wire: dict[str, Any], message: Message, where: str) -> None:
        if not message.tool_call_id:
            raise InvalidRequestError(
                f"{where}: the tool's result does not say which call it answers; set tool_call_id"
            )
        wire["tool_call_id"] = message.tool_call_id
        if message.is_error:
            self.warnings.append(
                f"is_error was left out: {self._target.provider} learns of it by the result's text only"
            )

    def _content(self, message: Message, where: str) -> str | list[dict[str, Any]]:
        allowed = _USER_PARTS if message.role == "user" else _TEXT_PARTS
        content: list[dict[str, Any]] = []
        for place, part in enumerate(message.parts):
            if not isinstance(part, allowed):
                kind = type(part).__struct_config__.tag
                what = f"takes no {kind} part in a {message.role} message ({where}.content[{place}])"
                hint = "put it into a user message" if isinstance(part, _USER_PARTS) else "take it out"
                raise _unsupported(self._target, what, hint)
            content += self._part(part, f"{where}.content[{place}]")
        if content:
            return content
        if message.role == "tool":
            return ""  # the tool gave nothing, and content must be there
        raise InvalidRequestError(f"{where}: the {message.role} message has no content")

    def _add_answer(self, wire: dict[str, Any], parts: Sequence[Part], where: str) -> None:
        """Write what a model answered: its parts go to the fields that the answer had them in."""
        texts: list[str] = []
        refusals: list[str] = []
        calls: list[dict[str, Any]] = []
        for place, part in enumerate(parts):
            match part:
                case TextPart():
                    texts.append(part.text)
                case RefusalPart():
                    refusals.append(part.refusal)
                case ToolCall():
                    calls.append(_tool_call(part, f"{where}.content[{place}]"))
                case AudioPart() if part.id is not None:
                    wire["audio"] = {"id": part.id}
                case AudioPart() if part.transcript:
                    texts.append(part.transcript)
                    self.warnings.append(f"{where}: sound without an id was left out, its transcript sent")
                case ReasoningPart() | OpaquePart():
                    self._leave_out(part, where)
                case _:
                    kind = type(part).__struct_config__.tag
                    raise _unsupported(
                        self._target, f"takes no {kind} part in an assistant message ({where})", "take it out"
                    )
        if texts or not (calls or refusals or "audio" in wire):
            wire["content"] = "".join(texts)
        if refusals:
            wire["refusal"] = "".join(refusals)
        if calls:
            wire["tool_calls"] = calls

    def _part(self, part: Part, where: str) -> list[dict[str, Any]]:
        match part:
            case TextPart():
                return [self._marked({"type": "text", "text": part.text}, part.cache)]
            case ImagePart():
                return [self._marked({"type": "image_url", "image_url": _image(part, self._target, where)}, part.cache)]
            case AudioPart():
                return [self._marked({"type": "input_audio", "input_audio": _audio(part, where)}, part.cache)]
            case FilePart():
                return self._file(part, where)
            case OpaquePart() if part.provider in {DIALECT, self._target.provider}:
                return [part.data]
            case _:
                self._leave_out(part, where)
                return []

    def _file(self, part: FilePart, where: str) -> list[dict[str, Any]]:
        if part.citations:
            self.warnings.append(f"{where}: citations of a file were not asked for: {self._target.provider} has none")
        content: list[dict[str, Any]] = []
        if part.context is not None:
            content.append({"type": "text", "text": part.context})
            self.warnings.append(f"{where}: a file's context was sent as a text before it")
        if part.text is not None and part.data is None and part.file_id is None:
            self.warnings.append(f"{where}: a document given as text was sent as a text part")
            content.append(self._marked({"type": "text", "text": part.text}, part.cache))
        else:
            content.append(self._marked({"type": "file", "file": _file(part, self._target, where)}, part.cache))
        return content

    def _leave_out(self, part: Part, where: str) -> None:
        match part:
            case ReasoningPart() if part.provider != self._target.provider:
                self.warnings.append(f"{where}: reasoning of another provider was left out")
            case OpaquePart():
                self.warnings.append(f"{where}: {part.provider}'s own block {part.kind!r} was left out")
            case _:
                pass

    def _mark_end(self, wire: dict[str, Any], mark: CacheMark) -> None:
        content = wire.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not parts:
            return
        marked = self._marked(parts[-1], mark)
        if self._marks:
            wire["content"] = [*parts[:-1], marked]

    def _marked(self, wire: dict[str, Any], mark: CacheMark | None) -> dict[str, Any]:
        if mark is None:
            return wire
        if self._marks:
            return {**wire, "prompt_cache_breakpoint": {"mode": "explicit"}}
        self.warnings.append(
            f"cache marks were left out: {self._target.provider} caches by itself; those of its models that take marks "
            "get them if extra has prompt_cache_options"
        )
        return wire


_TEXT_PARTS = (TextPart, OpaquePart)
_USER_PARTS = (TextPart, ImagePart, AudioPart, FilePart, OpaquePart)


# --- parts


def _tool_call(call: ToolCall, where: str) -> dict[str, Any]:
    if not call.id:
        raise InvalidRequestError(f"{where}: the call of tool {call.name!r} has no id for its result to name")
    if call.kind == "custom":
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _image(part: ImagePart, target: Target, where: str) -> dict[str, Any]:
    if part.url is not None:
        url = part.url
    elif part.data is not None:
        if part.media_type is None:
            raise InvalidRequestError(f"{where}: the image has data but no media_type (image/png, say)")
        url = f"data:{part.media_type};base64,{part.data}"
    elif part.file_id is not None:
        raise _unsupported(target, f"takes no image by file_id in a chat ({where})", "give its url or data")
    else:
        raise InvalidRequestError(f"{where}: the image has no source; give url, or data with media_type")
    return {"url": url} if part.detail is None else {"url": url, "detail": part.detail}


def _audio(part: AudioPart, where: str) -> dict[str, Any]:
    if part.data is None or part.format is None:
        raise InvalidRequestError(f"{where}: sound in a message needs data and format (wav or mp3)")
    return {"data": part.data, "format": part.format}


def _file(part: FilePart, target: Target, where: str) -> dict[str, Any]:
    file: dict[str, Any] = {}
    if part.filename is not None:
        file["filename"] = part.filename
    if part.file_id is not None:
        return {"file_id": part.file_id, **file}
    if part.data is not None:
        known = part.media_type is not None
        file["file_data"] = f"data:{part.media_type};base64,{part.data}" if known else part.data
        # Refused without a name.
        return file if "filename" in file else {"filename": _default_name(part.media_type), **file}
    if part.url is not None:
        raise _unsupported(
            target, f"takes no file by url in a chat ({where})", "give its data, or upload it and give file_id"
        )
    raise InvalidRequestError(f"{where}: the file has no source; give data with media_type, text, or file_id")


def _default_name(media_type: str | None) -> str:
    ending = (media_type or "").rpartition("/")[2]
    return f"document.{ending}" if ending.isalnum() else "document"


def _unsupported(target: Target, what: str, hint: str) -> UnsupportedError:
    return UnsupportedError(f"{target.provider} {what}; {hint}", provider=target.provider, model=target.model)
