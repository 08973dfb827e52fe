"""Cohere's chat request: https://docs.cohere.com/reference/chat.

What Cohere does not support raises `UnsupportedError` if omitting it would change the meaning. An option that only
tunes the output is omitted with a warning that names it.

Documents of a message (`FilePart`) become the `documents` of the request, which the model may cite.
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

import attrs

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
    VideoPart,
)
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice, check_tools
from bifrost.providers.arguments import as_object, unreadable
from bifrost.providers.base import Built
from bifrost.providers.cohere.answer import CITATION, ERROR, PLAN
from bifrost.providers.cohere.fields import CHAT, SPEAKER, warning_of
from bifrost.providers.extra import merge_extra
from bifrost.providers.sources import spare_sources
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.operations.chat.messages import Message
    from bifrost.operations.chat.request import ChatRequest, Reasoning, ResponseFormat
    from bifrost.providers.base import Target

_ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_IMAGE_SOURCES = ("url", "data", "file_id")
_FILE_SOURCES = ("text", "data", "url", "file_id")
_TOP_P = 0.01, 0.99
_TOP_K = 500
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


def build_chat(request: ChatRequest, target: Target) -> Built:
    """Return the HTTP request for a chat.

    Raises `InvalidRequestError` for an invalid request (an image without a source), and `UnsupportedError` for what
    Cohere does not support.
    """
    writer = Writer(target, CHAT.check(request, target))
    body: dict[str, Any] = {"model": target.model, "messages": writer.messages(request.messages)}
    warnings = writer.warnings
    if target.stream:
        body["stream"] = True
    body |= writer.documents()
    for name, wire in CHAT.plain:
        if (value := getattr(request, name)) is not None:
            body[wire] = value
    body |= _sampling(request, warnings)
    body |= _tools(request, target, warnings)
    body |= _format(request.response_format, warnings)
    body |= _thinking(request.reasoning, warnings)
    if "stream" in ((request.extra or {}).get(target.provider) or {}):
        raise InvalidRequestError('extra: "stream" is not set there; stream_chat() streams, chat() does not')
    merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path="/v2/chat",
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=list(dict.fromkeys(warnings)),
    )


# --- options


def _sampling(request: ChatRequest, warnings: list[str]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if request.temperature is not None:
        body["temperature"] = min(request.temperature, 1.0)
        if request.temperature > 1:
            warnings.append(warning_of("temperature", value=f"{request.temperature:g}"))
    if request.top_p is not None:
        least, most = _TOP_P
        body["p"] = min(max(request.top_p, least), most)
        if body["p"] != request.top_p:
            place = f"{body['p']:g}"
            warnings.append(CHAT["top_p"].warning("top_p", SPEAKER, place=place, value=f"{request.top_p:g}"))
    if request.top_k is not None:
        body["k"] = min(request.top_k, _TOP_K)
        if request.top_k > _TOP_K:
            warnings.append(warning_of("top_k", value=request.top_k))
    return body


def _format(wanted: ResponseFormat | None, warnings: list[str]) -> dict[str, Any]:
    if wanted is None:
        return {}
    if wanted.type != "json_schema":
        if wanted.schema is not None:
            warnings.append(warning_of("response_format.schema"))
        return {"response_format": {"type": wanted.type}}
    if wanted.schema is None:
        raise InvalidRequestError("response_format is of type json_schema but has no schema")
    return {"response_format": {"type": "json_object", "json_schema": wanted.schema}}


def _thinking(reasoning: Reasoning | None, warnings: list[str]) -> dict[str, Any]:
    if reasoning is None:
        return {}
    effort, budget = reasoning.effort, reasoning.max_tokens
    if effort == "none" or reasoning.enabled is False:
        if effort == "none" and reasoning.enabled:
            warnings.append(warning_of("reasoning.enabled"))
        if effort not in {None, "none"}:
            warnings.append(f"reasoning.effort {effort!r} was left out: reasoning.enabled is false")
        if budget is not None:
            warnings.append(warning_of("reasoning.max_tokens"))
        return {"thinking": {"type": "disabled"}}
    if effort is not None:
        warnings.append(warning_of("reasoning.effort", value=repr(effort)))
    if effort is None and budget is None and not reasoning.enabled:
        return {}
    return {"thinking": {"type": "enabled"} | ({} if budget is None else {"token_budget": budget})}


# --- tools


def _tools(request: ChatRequest, target: Target, warnings: list[str]) -> dict[str, Any]:
    given = request.tools or []
    check_tools(given)
    choice = request.tool_choice or ToolChoice()
    tools = _ruled(given, choice, warnings)
    if not tools:
        if choice.mode in {"required", "tool"}:
            raise InvalidRequestError(f"tool_choice is {choice.mode!r}, but the request has no tools")
        if request.tool_choice is not None and choice.mode == "none":
            warnings.append(warning_of("tool_choice.mode"))
        return {}
    body: dict[str, Any] = {"tools": [_tool(tool, target) for tool in tools]}
    body |= _strictness(tools, warnings)
    if choice.mode in {"required", "tool"}:
        body["tool_choice"] = "REQUIRED"
    elif choice.mode == "none":
        body["tool_choice"] = "NONE"
    return body


def _ruled(
    tools: Sequence[Tool | ProviderTool], choice: ToolChoice, warnings: list[str]
) -> Sequence[Tool | ProviderTool]:
    """Return the tools that may be called. Cohere cannot choose among tools by name."""
    wanted: list[str] | None = choice.allowed
    if choice.mode == "tool":
        if choice.name is None:
            raise InvalidRequestError("tool_choice is 'tool' but names no tool; set its name")
        wanted = [choice.name]
    elif choice.name is not None:
        warnings.append("tool_choice.name was left out: only the mode tool has one")
    if wanted is None:
        return tools
    unknown = sorted(set(wanted) - {_name_of(tool) for tool in tools})
    if unknown:
        raise InvalidRequestError(f"tool_choice allows {unknown}, which are not among the request's tools")
    kept = [tool for tool in tools if _name_of(tool) in wanted]
    if len(kept) < len(tools):
        warnings.append(warning_of("tool_choice.allowed"))
    return kept


def _name_of(tool: Tool | ProviderTool) -> str:
    if isinstance(tool, Tool):
        return tool.name
    match tool.definition:
        case {"function": {"name": str(name)}}:
            return name
        case _:
            return ""


def _tool(tool: Tool | ProviderTool, target: Target) -> Mapping[str, Any]:
    if isinstance(tool, ProviderTool):
        if tool.provider not in {None, target.provider}:
            raise UnsupportedError(
                f"{target.provider} does not know {tool.provider}'s own tool; leave it out, or use {tool.provider}",
                provider=target.provider,
                model=target.model,
                param="tools",
            )
        return tool.definition
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = _NO_PARAMETERS if tool.parameters is None else tool.parameters
    return {"type": "function", "function": function}


def _strictness(tools: Sequence[Tool | ProviderTool], warnings: list[str]) -> dict[str, Any]:
    """Return the setting for all tools: strict if any tool asks for it and none against it."""
    asked = {tool.strict for tool in tools if isinstance(tool, Tool) and tool.strict is not None}
    if len(asked) > 1:
        warnings.append(warning_of("tools.tool.strict", place="tools"))
    return {"strict_tools": asked == {True}} if asked else {}


# --- messages


@attrs.define
class _Answer:
    """The fields of a model's message, as they are collected."""

    content: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    plans: list[str] = attrs.field(factory=list[str])
    calls: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    cited: list[Any] = attrs.field(factory=list[Any])

    def fields(self) -> dict[str, Any]:
        """Return the fields that are not empty. A message has content or calls."""
        wire: dict[str, Any] = {}
        if self.content or not (self.calls or self.plans):
            wire["content"] = self.content or ""
        if self.calls:
            wire["tool_calls"] = self.calls
        if self.plans:
            wire["tool_plan"] = "".join(self.plans)
        return wire | ({"citations": self.cited} if self.cited else {})


class Writer:
    """Converts the messages of one request, and collects their documents."""

    def __init__(self, target: Target, warnings: list[str]) -> None:
        self.warnings = warnings
        self._target = target
        self._documents: list[dict[str, Any]] = []
        self._cited: list[bool | None] = []
        """Whether each document should be cited."""

    def messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Return the messages. Raises `InvalidRequestError` and `UnsupportedError`."""
        if not messages:
            raise InvalidRequestError("the request has no messages; give at least one")
        return [self._message(message, f"messages[{place}]") for place, message in enumerate(messages)]

    def documents(self) -> dict[str, Any]:
        """Return the documents of the messages, and whether they are cited."""
        if not self._documents:
            return {}
        if False not in self._cited:
            return {"documents": self._documents}
        if self._cited.count(False) < len(self._cited):
            self._note("messages.content.file.citations", "documents")
            return {"documents": self._documents}
        return {"documents": self._documents, "citation_options": {"mode": "OFF"}}

    def _note(self, path: str, where: str) -> None:
        self.warnings.append(warning_of(path, place=where))

    def _message(self, message: Message, where: str) -> dict[str, Any]:
        role = _ROLES.get(message.role)
        if role is None:
            raise InvalidRequestError(f"{where}: role {message.role!r} is none of {', '.join(_ROLES)}")
        if message.tool_call_id is not None and role != "tool":
            self._note("messages.tool_call_id", where)
        match role:
            case "assistant":
                return {"role": role, **self._answer(message, where)}
            case "tool":
                return {"role": role, **self._result(message, where)}
            case _:
                return {"role": role, "content": self._content(message, where)}

    def _content(self, message: Message, where: str) -> str | list[dict[str, Any]]:
        if isinstance(message.content, str):
            return message.content
        content = [block for part in message.parts for block in self._block(part, message.role, where)]
        if any(isinstance(part, FilePart) for part in message.parts):
            match content:
                case [] | [{"type": "text"}]:
                    return "".join([block["text"] for block in content])
                case _:
                    return content
        if not content:
            raise InvalidRequestError(f"{where}: the {message.role} message has no content")
        return content

    def _block(self, part: Part, role: str, where: str) -> list[dict[str, Any]]:
        match part:
            case TextPart():
                if part.citations:
                    self._note("messages.content.text.citations", where)
                return [{"type": "text", "text": part.text}]
            case ImagePart() if role == "user":
                return [{"type": "image_url", "image_url": self._image(part, where)}]
            case FilePart() if role == "user":
                self._add_document(part, where)
                return []
            case FilePart() if role == "tool":
                return [{"type": "document", "document": {"data": self._document(part, where)}}]
            case AudioPart():
                return [{"type": "text", "text": self._spoken(part, where)}]
            case OpaquePart():
                return [part.data] if self._target.owns(part) else self._leave_out(part, where)
            case VideoPart():
                raise CHAT.refusal("messages.content.video", self._target, place=f"({where})")
            case ReasoningPart() | RefusalPart() | ToolCall() | ImagePart() | FilePart():
                kind = type(part).__struct_config__.tag
                raise self._unsupported(f"takes no {kind} part in a {role} message ({where}); take it out")

    def _answer(self, message: Message, where: str) -> dict[str, Any]:
        """Return the fields of a model's message."""
        if isinstance(message.content, str):
            return {"content": message.content}
        answer = _Answer()
        for part in message.parts:
            self._add_to_answer(answer, part, where)
        return answer.fields()

    def _add_to_answer(self, answer: _Answer, part: Part, where: str) -> None:
        match part:
            case TextPart():
                answer.content.append({"type": "text", "text": part.text})
                answer.cited += self._citations(part, where)
            case ReasoningPart() if part.signature == PLAN and self._is_ours(part):
                answer.plans.append(part.text)
            case ReasoningPart():
                answer.content += self._thought(part, where)
            case ToolCall():
                answer.calls.append(self._call(part, where))
            case RefusalPart():
                self._note("messages.content.refusal.refusal", where)
                answer.content.append({"type": "text", "text": part.refusal})
            case OpaquePart(kind=kind, data=data) if kind == CITATION and self._target.owns(part):
                answer.cited.append(data)
            case OpaquePart(kind=kind) if kind == ERROR:
                self._leave_out(part, where)
            case ImagePart():
                self.warnings.append(f"{where}: a picture was left out: {SPEAKER} takes none from a model")
            case _:
                answer.content += self._block(part, "assistant", where)

    def _is_ours(self, part: ReasoningPart) -> bool:
        return part.provider in {None, self._target.provider}

    def _thought(self, part: ReasoningPart, where: str) -> list[dict[str, Any]]:
        if not self._is_ours(part):
            self._note("messages.content.reasoning.text", where)
            return []
        if part.signature is not None:
            self._note("messages.content.reasoning.signature", where)
        if part.redacted is not None:
            self._note("messages.content.reasoning.redacted", where)
        return [{"type": "thinking", "thinking": part.text}] if part.text else []

    def _citations(self, part: TextPart, where: str) -> list[Any]:
        cited = part.citations or []
        native = [each.native for each in cited if each.provider == self._target.provider and each.native is not None]
        if len(native) < len(cited):
            self._note("messages.content.text.citations", where)
        return native

    def _call(self, call: ToolCall, where: str) -> dict[str, Any]:
        if not call.id:
            raise InvalidRequestError(f"{where}: the call of tool {call.name!r} has no id for its result to name")
        arguments = as_object(call.arguments)
        if arguments is not call.arguments and call.arguments.strip():
            self.warnings.append(unreadable(call.name, where))
        return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}

    def _result(self, message: Message, where: str) -> dict[str, Any]:
        if not message.tool_call_id:
            raise InvalidRequestError(
                f"{where}: the tool's result does not say which call it answers; set tool_call_id"
            )
        content: str | list[dict[str, Any]]
        if isinstance(message.content, str):
            content = message.content
        else:
            content = [block for part in message.parts for block in self._block(part, "tool", where)]
        return {"tool_call_id": message.tool_call_id, "content": content or ""}

    def _leave_out(self, part: OpaquePart, where: str) -> list[dict[str, Any]]:
        self.warnings.append(f"{where}: {part.provider}'s own block {part.kind!r} was left out")
        return []

    # --- parts

    def _image(self, part: ImagePart, where: str) -> dict[str, Any]:
        self.warnings += spare_sources(part, _IMAGE_SOURCES, where)
        url: str | json.LongText
        if part.url is not None:
            url = json.long_text(part.url)
        elif part.data is not None:
            if part.media_type is None:
                raise InvalidRequestError(f"{where}: the image has data but no media_type (image/png, say)")
            url = json.long_text(f"data:{part.media_type};base64,", part.data)
        elif part.file_id is not None:
            raise CHAT.refusal("messages.content.image.file_id", self._target, place=f"({where})")
        else:
            raise InvalidRequestError(f"{where}: the image has no source; give url, or data with media_type")
        return {"url": url} if part.detail is None else {"url": url, "detail": part.detail}

    def _spoken(self, part: AudioPart, where: str) -> str:
        if not part.transcript:
            raise CHAT.refusal("messages.content.audio.data", self._target, place=f"({where})")
        self._note("messages.content.audio.transcript", where)
        return part.transcript

    def _add_document(self, part: FilePart, where: str) -> None:
        document_id = f"doc-{len(self._documents)}"
        self._documents.append({"id": document_id, "data": self._document(part, where)})
        self._cited.append(part.citations)

    def _document(self, part: FilePart, where: str) -> dict[str, Any]:
        self.warnings += spare_sources(part, _FILE_SOURCES, where)
        named = {"title": part.filename, "context": part.context, "text": self._text(part, where)}
        return {name: value for name, value in named.items() if value is not None}

    def _text(self, part: FilePart, where: str) -> str:
        """Return the text of a document."""
        if part.text is not None:
            if part.media_type is not None:
                self._note("messages.content.file.media_type", where)
            return part.text
        if part.data is None:
            for source in ("url", "file_id"):
                if getattr(part, source) is not None:
                    raise CHAT.refusal(f"messages.content.file.{source}", self._target, place=f"({where})")
            raise InvalidRequestError(f"{where}: the file has no source; give its text")
        if part.media_type is None or not part.media_type.startswith("text/"):
            raise CHAT.refusal("messages.content.file.data", self._target, place=f"({where})")
        problem = False
        text = ""
        try:
            text = b64decode(part.data, validate=True).decode()
        except ValueError:
            problem = True
        if problem:
            raise InvalidRequestError(f"{where}: the file's data is not base64 of UTF-8 text")
        return text

    def _unsupported(self, reason: str) -> UnsupportedError:
        return UnsupportedError(f"{SPEAKER} {reason}", provider=self._target.provider, model=self._target.model)
