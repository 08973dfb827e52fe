"""The messages and tools of a chat as items of OpenAI's Responses API, for its token counting.

Format: https://platform.openai.com/docs/api-reference/responses/input-tokens
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from bifrost.errors import InvalidRequestError
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
from bifrost.operations.chat.structured.strict_schema import OPENAI_RULES, tool_parameters
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice, check_tools
from bifrost.providers.openai.messages import DIALECT, unsupported
from bifrost.providers.sources import spare_sources
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bifrost.operations.chat.messages import Message
    from bifrost.providers.base import Target
    from bifrost.providers.fields import FieldTable


class ItemWriter:
    """Converts the messages and tools of one request, and records what was omitted."""

    def __init__(self, target: Target, fields: FieldTable) -> None:
        self.warnings: list[str] = []
        self._target = target
        self._fields = fields
        self._kinds: dict[str, str] = {}
        """The kind of each tool call, by its id."""

    def messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Return the items of a conversation.

        Raises `InvalidRequestError` for an invalid message, and `UnsupportedError` for what OpenAI does not support.
        """
        if not messages:
            raise InvalidRequestError("messages: the list is empty; give at least one message")
        return [item for place, message in enumerate(messages) for item in self._message(message, f"messages[{place}]")]

    def tools(self, tools: Sequence[Tool | ProviderTool]) -> list[dict[str, Any]]:
        """Return the tools in the form of the Responses API."""
        check_tools(tools)
        return [self._tool(tool, f"tools[{place}]") for place, tool in enumerate(tools)]

    def tool_choice(self, choice: ToolChoice, tools: Sequence[Tool | ProviderTool]) -> str | dict[str, Any]:
        """Return the choice among the tools in the form of the Responses API."""
        kinds = {tool.name: tool.kind for tool in tools if isinstance(tool, Tool)}
        if choice.mode == "tool" and choice.name is None:
            raise InvalidRequestError("tool_choice is 'tool' but names no tool; set its name")
        if choice.mode != "tool" and choice.name is not None:
            self.leave_out("tool_choice", value="name")
        if choice.mode in {"tool", "none"} and choice.allowed is not None:
            self.leave_out("tool_choice", value="allowed")
        if choice.mode == "tool":
            return _named(choice.name or "", kinds)
        if choice.allowed is None or choice.mode == "none":
            return choice.mode
        allowed = [_named(name, kinds) for name in choice.allowed]
        return {"type": "allowed_tools", "mode": choice.mode, "tools": allowed}

    def leave_out(self, path: str, where: str = "", *, value: object = "") -> None:
        """Record that a field is omitted here, or sent in another form."""
        self.warnings.append(self._fields.warning(path, self._target, place=where, value=value))

    # --- messages

    def _message(self, message: Message, where: str) -> Iterator[dict[str, Any]]:
        if message.role == "tool":
            yield self._result(message, where)
            return
        if message.tool_call_id is not None:
            self.leave_out("messages.tool_call_id", where)
        if message.role == "assistant":
            yield from self._response(message, where)
            return
        content = message.content if isinstance(message.content, str) else self._content(message, where)
        if not content:
            raise InvalidRequestError(f"{where}: the {message.role} message has no content")
        yield {"role": message.role, "content": content}

    def _result(self, message: Message, where: str) -> dict[str, Any]:
        if not message.tool_call_id:
            raise InvalidRequestError(
                f"{where}: the tool's result does not say which call it answers; set tool_call_id"
            )
        kind = (
            "custom_tool_call_output" if self._kinds.get(message.tool_call_id) == "custom" else "function_call_output"
        )
        content = message.content if isinstance(message.content, str) else self._content(message, where)
        return {"type": kind, "call_id": message.tool_call_id, "output": content or ""}

    def _response(self, message: Message, where: str) -> Iterator[dict[str, Any]]:
        texts: list[str] = []
        for place, part in enumerate(message.parts):
            at = f"{where}.content[{place}]"
            match part:
                case TextPart():
                    texts.append(part.text)
                case RefusalPart():
                    texts.append(part.refusal)
                    self.leave_out("messages.content.refusal.refusal", where)
                case AudioPart() if part.transcript:
                    texts.append(part.transcript)
                    self.leave_out("messages.content.audio.transcript", where)
                case ToolCall():
                    yield from _text_item(texts)
                    texts = []
                    yield self._call(part, at)
                case ReasoningPart() | OpaquePart():
                    self._skip(part, where)
                case ImagePart():
                    self.warnings.append(f"{where}: a picture was left out: OpenAI takes none from a model")
                case _:
                    kind = type(part).__struct_config__.tag
                    raise unsupported(
                        self._target, f"takes no {kind} part in an assistant message ({where})", "take it out"
                    )
        yield from _text_item(texts)

    def _call(self, call: ToolCall, where: str) -> dict[str, Any]:
        if not call.id:
            raise InvalidRequestError(f"{where}: the call of tool {call.name!r} has no id for its result to name")
        self._kinds[call.id] = call.kind
        if call.kind == "custom":
            return {"type": "custom_tool_call", "call_id": call.id, "name": call.name, "input": call.arguments}
        return {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}

    def _content(self, message: Message, where: str) -> list[dict[str, Any]]:
        parts = enumerate(message.parts)
        return [item for place, part in parts for item in self._part(part, f"{where}.content[{place}]", message.role)]

    # --- parts

    def _part(self, part: Part, where: str, role: str) -> Iterator[dict[str, Any]]:
        match part:
            case TextPart():
                yield {"type": "input_text", "text": part.text}
            case ImagePart():
                yield self._image(part, where)
            case FilePart():
                yield from self._file(part, where)
            case AudioPart() if part.transcript:
                self.leave_out("messages.content.audio.transcript", where)
                yield {"type": "input_text", "text": part.transcript}
            case AudioPart():
                raise self._fields.refusal("messages.content.audio.data", self._target, place=f"({where})")
            case ReasoningPart() | OpaquePart():
                self._skip(part, where)
            case _:
                kind = type(part).__struct_config__.tag
                raise unsupported(self._target, f"takes no {kind} part in a {role} message ({where})", "take it out")

    def _image(self, part: ImagePart, where: str) -> dict[str, Any]:
        image: dict[str, Any] = {"type": "input_image", "detail": part.detail or "auto"}
        self.warnings += spare_sources(part, ("url", "data", "file_id"), where)
        if part.url is not None:
            image["image_url"] = json.long_text(part.url)
        elif part.data is not None:
            if part.media_type is None:
                raise InvalidRequestError(f"{where}: the image has data but no media_type (image/png, say)")
            image["image_url"] = json.long_text(f"data:{part.media_type};base64,", part.data)
        elif part.file_id is not None:
            image["file_id"] = part.file_id
        else:
            raise InvalidRequestError(f"{where}: the image has no source; give url, or data with media_type")
        return image

    def _file(self, part: FilePart, where: str) -> Iterator[dict[str, Any]]:
        if part.context is not None:
            self.leave_out("messages.content.file.context", where)
            yield {"type": "input_text", "text": part.context}
        self.warnings += spare_sources(part, ("file_id", "data", "text", "url"), where)
        file: dict[str, Any] = {"type": "input_file"}
        if part.filename is not None:
            file["filename"] = part.filename
        if part.file_id is not None:
            yield {**file, "file_id": part.file_id}
        elif part.data is not None:
            yield {"filename": _default_name(part), **file, "file_data": _data_url(part.data, part.media_type)}
        elif part.text is not None:
            self.leave_out("messages.content.file.text", where)
            yield {"type": "input_text", "text": part.text}
        elif part.url is not None:
            yield {**file, "file_url": part.url}
        else:
            raise InvalidRequestError(
                f"{where}: the file has no source; give url, data with media_type, text, or file_id"
            )

    def _skip(self, part: ReasoningPart | OpaquePart, where: str) -> None:
        if isinstance(part, OpaquePart):
            self.warnings.append(f"{where}: {part.provider}'s own block {part.kind!r} was left out")
        elif part.provider != self._target.provider:
            self.warnings.append(f"{where}: reasoning of another provider was left out")
        else:
            for name in ("signature", "redacted"):
                if getattr(part, name) is not None:
                    self.leave_out(f"messages.content.reasoning.{name}", where)

    # --- tools

    def _tool(self, tool: Tool | ProviderTool, where: str) -> dict[str, Any]:
        if isinstance(tool, ProviderTool):
            if tool.provider not in {None, DIALECT, self._target.provider}:
                kind = tool.definition.get("type", "")
                raise unsupported(self._target, f"cannot run {tool.provider}'s tool {kind!r}", "leave it out")
            return tool.definition
        wire: dict[str, Any] = {"type": tool.kind, "name": tool.name}
        if tool.description is not None:
            wire["description"] = tool.description
        if tool.kind == "custom":
            for name in ("parameters", "strict"):
                if getattr(tool, name) is not None:
                    self.leave_out(f"tools.tool.{name}", where)
            return wire if tool.format is None else {**wire, "format": _flat(tool.format)}
        if tool.format is not None:
            self.leave_out("tools.tool.format", where)
        parameters, strict, changed = tool_parameters(
            tool.name, tool.parameters, strict=tool.strict, rules=OPENAI_RULES
        )
        self.warnings += changed
        # Unlike in a chat, a tool is strict there unless `strict` is false.
        return {**wire, "parameters": parameters, "strict": bool(strict)}


def _text_item(texts: list[str]) -> Iterator[dict[str, Any]]:
    if text := "".join(texts):
        yield {"role": "assistant", "content": text}


def _named(name: str, kinds: dict[str, Any]) -> dict[str, Any]:
    return {"type": kinds.get(name, "function"), "name": name}


def _flat(form: dict[str, Any]) -> dict[str, Any]:
    """Return the form of a free text without the inner object that it has in a chat."""
    grammar = form.get("grammar")
    return {"type": form.get("type"), **cast("dict[str, Any]", grammar)} if isinstance(grammar, dict) else form


def _data_url(data: str, media_type: str | None) -> str | json.LongText:
    return json.long_text(data) if media_type is None else json.long_text(f"data:{media_type};base64,", data)


def _default_name(part: FilePart) -> str:
    ending = (part.media_type or "").rpartition("/")[2]
    return f"document.{ending}" if ending.isalnum() else "document"
