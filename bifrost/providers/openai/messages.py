"""The messages of a chat in OpenAI's form, or in that of a server with quirks.

Reasoning of this provider is sent back if `Quirks.reasoning_field` names a field for it; OpenAI's history has none.
Cache marks are sent to OpenAI only if `extra` has `prompt_cache_options`, because models before gpt-5.6 refuse them and
cache by themselves: https://platform.openai.com/docs/guides/prompt-caching.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.operations.chat.content import (
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
    VideoPart,
)
from bifrost.providers.arguments import as_object, unreadable
from bifrost.providers.call_ids import CallIds
from bifrost.providers.openai.details import read_details
from bifrost.providers.sources import spare_sources
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.operations.chat.messages import Message
    from bifrost.providers.base import Target
    from bifrost.providers.openai.quirks import FileStyle, Quirks

DIALECT = "openai"
"""The name of this dialect as the provider of a `ProviderTool` or `OpaquePart`, in addition to the provider's own
name.
"""


class MessageWriter:
    """Converts the messages of one request, and records what was omitted."""

    def __init__(self, target: Target, quirks: Quirks, *, breakpoints: bool) -> None:
        self.warnings: list[str] = []
        self._target = target
        self._quirks = quirks
        self._breakpoints = breakpoints
        self._messages: Sequence[Message] = ()
        self._made_ids: CallIds | None = None

    def write(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Return the messages in the server's form.

        Raises `InvalidRequestError` for an invalid message, and `UnsupportedError` for what the server does not
        support.
        """
        if not messages:
            raise InvalidRequestError("messages: the list is empty; give at least one message")
        self._messages = messages
        written = [self._message(message, place) for place, message in enumerate(messages)]
        if self._quirks.prefix and written[-1]["role"] == "assistant" and "tool_calls" not in written[-1]:
            written[-1]["prefix"] = True
        return written

    @property
    def _ids(self) -> CallIds:
        if self._made_ids is None:
            self._made_ids = CallIds(self._messages, self._target, self._quirks.call_ids)
        return self._made_ids

    def mark(self, wire: dict[str, Any], mark: CacheMark | None) -> dict[str, Any]:
        """Return a part or a tool with a cache mark, if it has one and the server accepts it."""
        if mark is None:
            return wire
        if self._quirks.cache_marks == "cache_control":
            control = {"type": "ephemeral"} if mark.ttl is None else {"type": "ephemeral", "ttl": mark.ttl}
            return {**wire, "cache_control": control}
        if self._quirks.cache_marks == "breakpoint" and self._breakpoints:
            if mark.ttl is not None:
                self.leave_out("messages.cache.ttl")
            return {**wire, "prompt_cache_breakpoint": {"mode": "explicit"}}
        if self._quirks.cache_marks == "breakpoint":
            self.leave_out("messages.content.text.cache")
        return wire

    def leave_out(self, path: str, where: str = "") -> None:
        """Record that a field is omitted here, or sent in another form."""
        self.warnings.append(self._quirks.chat.warning(path, self._target, place=where))

    def _message(self, message: Message, place: int) -> dict[str, Any]:
        role = message.role
        wire: dict[str, Any] = {"role": self._quirks.developer_role if role == "developer" else role}
        if message.name is not None and "names" not in self._quirks.lacks:
            wire["name"] = message.name
        where = f"messages[{place}]"
        if role == "tool":
            self._add_result(wire, message, where)
        elif message.tool_call_id is not None:
            self.leave_out("messages.tool_call_id", where)
        if isinstance(message.content, str):
            wire["content"] = message.content
        elif role == "assistant":
            self._add_answer(wire, message.parts, where)
        else:
            wire["content"] = self._content(message, where)
        if message.cache is not None:
            self._mark_end(wire, message.cache, where)
        return wire

    def _add_result(self, wire: dict[str, Any], message: Message, where: str) -> None:
        if not message.tool_call_id:
            raise InvalidRequestError(
                f"{where}: the tool's result does not say which call it answers; set tool_call_id"
            )
        wire["tool_call_id"] = self._ids.of_result(message.tool_call_id)

    def _content(self, message: Message, where: str) -> str | list[dict[str, Any]]:
        allowed: tuple[type[Part], ...] = _USER_PARTS if message.role == "user" else _TEXT_PARTS
        if message.role == "tool" and self._quirks.images_in_results:
            allowed = _RESULT_PARTS
        content: list[dict[str, Any]] = []
        for place, part in enumerate(message.parts):
            if not isinstance(part, allowed):
                kind = type(part).__struct_config__.tag
                what = f"takes no {kind} part in a {message.role} message ({where}.content[{place}])"
                hint = "put it into a user message" if isinstance(part, _USER_PARTS) else "take it out"
                raise self._unsupported(what, hint)
            content += self._part(part, f"{where}.content[{place}]")
        if content:
            return content
        if message.role == "tool":
            return ""  # the tool returned nothing, but content is required
        raise InvalidRequestError(f"{where}: the {message.role} message has no content")

    # --- messages of a model

    def _add_answer(self, wire: dict[str, Any], parts: Sequence[Part], where: str) -> None:
        """Convert a message of a model: its parts are put into the fields that a response has them in."""
        self._ids.begin()
        texts: list[str] = []
        refusals: list[str] = []
        calls: list[dict[str, Any]] = []
        thoughts: list[ReasoningPart] = []
        for place, part in enumerate(parts):
            match part:
                case TextPart():
                    texts.append(part.text)
                    self._lose_mark(part, f"{where}.content[{place}]")
                case RefusalPart():
                    (texts if self._says_refusals_as_text(where) else refusals).append(part.refusal)
                case ToolCall():
                    calls.append(self._tool_call(part, f"{where}.content[{place}]"))
                case AudioPart():
                    self._add_spoken(wire, texts, part, where)
                case ReasoningPart() if self._is_ours(part):
                    thoughts.append(part)
                    self._lose_state(part, where)
                case ReasoningPart() | OpaquePart():
                    self._leave_out(part, where)
                case ImagePart():
                    self._add_picture(wire, part, where)
                case _:
                    kind = type(part).__struct_config__.tag
                    raise self._unsupported(f"takes no {kind} part in an assistant message ({where})", "take it out")
        needed = bool(calls) and self._quirks.calls_need_content
        if texts or needed or not (calls or refusals or "audio" in wire):
            wire["content"] = "".join(texts)
        if refusals:
            wire["refusal"] = "".join(refusals)
        self._add_thoughts(wire, thoughts, calls=bool(calls))
        if calls:
            wire["tool_calls"] = calls

    def _says_refusals_as_text(self, where: str) -> bool:
        lacking = "refusals" in self._quirks.lacks
        if lacking:
            self.leave_out("messages.content.refusal.refusal", where)
        return lacking

    def _add_spoken(self, wire: dict[str, Any], texts: list[str], part: AudioPart, where: str) -> None:
        if part.id is not None and "modalities" not in self._quirks.lacks:
            wire["audio"] = {"id": part.id}
        elif part.transcript:
            texts.append(part.transcript)
            self.leave_out(f"messages.content.audio.{'data' if part.id is None else 'transcript'}", where)
        else:
            raise self._unsupported(f"takes no audio part in an assistant message ({where})", "take it out")

    def _add_picture(self, wire: dict[str, Any], part: ImagePart, where: str) -> None:
        """Add an image of a model, which only its own provider may accept."""
        if self._quirks.answers_have_images:
            image = {"type": "image_url", "image_url": self._image(part, where)}
            wire["images"] = [*wire.get("images", ()), image]
        else:
            self.warnings.append(f"{where}: a picture was left out: {self._target.provider} takes none from a model")

    def _lose_mark(self, part: TextPart, where: str) -> None:
        """Record a mark on a piece of a response, whose text is sent in one piece."""
        if part.cache is not None and self._quirks.cache_marks is not None:
            self.leave_out("messages.content.text.cache", where)

    def _lose_state(self, part: ReasoningPart, where: str) -> None:
        if part.signature is not None and self._quirks.reasoning_field != "reasoning_details":
            self.leave_out("messages.content.reasoning.signature", where)
        if part.redacted is not None:
            self.leave_out("messages.content.reasoning.redacted", where)

    def _is_ours(self, part: ReasoningPart) -> bool:
        if self._quirks.reasoning_field is None:
            return False
        if part.signature is None and part.redacted is None:
            return part.provider in {None, self._target.provider}  # mere text
        return self._target.owns(part)

    def _add_thoughts(self, wire: dict[str, Any], thoughts: list[ReasoningPart], *, calls: bool) -> None:
        field = self._quirks.reasoning_field
        if field is None or not (thoughts or (calls and self._quirks.calls_need_reasoning)):
            return
        match field:
            case "thinking":
                pieces = [{"type": "text", "text": thought.text} for thought in thoughts]
                content = [{"type": "thinking", "thinking": pieces}]
                text = wire.get("content")
                wire["content"] = [*content, {"type": "text", "text": text}] if text else content
            case "reasoning_details":
                details = [detail for thought in thoughts for detail in read_details(thought.signature)]
                if details:
                    wire["reasoning_details"] = details
                else:
                    wire["reasoning"] = "".join([thought.text for thought in thoughts])
            case "reasoning" | "reasoning_content":
                wire[field] = "".join([thought.text for thought in thoughts])

    def _tool_call(self, call: ToolCall, where: str) -> dict[str, Any]:
        if not call.id:
            raise InvalidRequestError(f"{where}: the call of tool {call.name!r} has no id for its result to name")
        call_id = self._ids.of_call(call)
        if call.kind == "function":
            arguments = call.arguments if self._quirks.raw_arguments else self._arguments(call, where)
            return {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
        self._need("tool_call.kind=custom", where)
        return {"id": call_id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}

    def _arguments(self, call: ToolCall, where: str) -> str:
        arguments = as_object(call.arguments)
        if arguments is not call.arguments and call.arguments.strip():
            self.warnings.append(unreadable(call.name, where))
        return arguments

    # --- parts

    def _part(self, part: Part, where: str) -> list[dict[str, Any]]:
        match part:
            case TextPart():
                return [self.mark({"type": "text", "text": part.text}, part.cache)]
            case ImagePart():
                self._need("image", where)
                return [self.mark({"type": "image_url", "image_url": self._image(part, where)}, part.cache)]
            case AudioPart():
                self._need("audio", where)
                return [self.mark({"type": "input_audio", "input_audio": self._sound(part, where)}, part.cache)]
            case VideoPart():
                self._need("video", where)
                return [self.mark({"type": "video_url", "video_url": self._video(part, where)}, part.cache)]
            case FilePart():
                return self._file(part, where)
            case OpaquePart() if part.provider in {DIALECT, self._target.provider}:
                return [part.data]
            case _:
                self._leave_out(part, where)
                return []

    def _image(self, part: ImagePart, where: str) -> dict[str, Any]:
        url: str | json.LongText
        self.warnings += spare_sources(part, _IMAGE_SOURCES, where)
        if part.url is not None:
            url = json.long_text(part.url)
        elif part.data is not None:
            if part.media_type is None:
                raise InvalidRequestError(f"{where}: the image has data but no media_type (image/png, say)")
            url = _data_url(part.data, part.media_type)
        elif part.file_id is not None:
            raise self._refusal("image.file_id", where)
        else:
            raise InvalidRequestError(f"{where}: the image has no source; give url, or data with media_type")
        return {"url": url} if part.detail is None else {"url": url, "detail": part.detail}

    def _video(self, part: VideoPart, where: str) -> dict[str, Any]:
        self.warnings += spare_sources(part, _IMAGE_SOURCES, where)
        if part.url is not None:
            if part.media_type is not None:
                self.leave_out("messages.content.video.media_type", where)
            return {"url": json.long_text(part.url)}
        if part.data is not None:
            if part.media_type is None:
                raise InvalidRequestError(f"{where}: the video has data but no media_type (video/mp4, say)")
            return {"url": _data_url(part.data, part.media_type)}
        if part.file_id is not None:
            raise self._refusal("video.file_id", where)
        raise InvalidRequestError(f"{where}: the video has no source; give url, or data with media_type")

    def _sound(self, part: AudioPart, where: str) -> str | json.LongText | dict[str, Any]:
        if part.data is None or part.format is None:
            raise InvalidRequestError(f"{where}: sound in a message needs data and format (wav or mp3)")
        data = json.long_text(part.data)
        return data if self._quirks.sound_is_bare else {"data": data, "format": part.format}

    def _file(self, part: FilePart, where: str) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = []
        if part.context is not None:
            content.append({"type": "text", "text": part.context})
            self.leave_out("messages.content.file.context", where)
        order = _FILE_SOURCES[self._quirks.files]
        self.warnings += spare_sources(part, order, where)
        if part.text is not None and all(getattr(part, name) is None for name in order[: order.index("text")]):
            self.leave_out("messages.content.file.text", where)
            content.append(self.mark({"type": "text", "text": part.text}, part.cache))
            return content
        self._need("file", where)
        match self._quirks.files:
            case "file":
                wire: dict[str, Any] = {"type": "file", "file": self._plain_file(part, where)}
            case "document_url":
                wire = self._document(part, where)
            case "file_url":
                wire = self._attachment(part, where)
        content.append(self.mark(wire, part.cache))
        return content

    def _plain_file(self, part: FilePart, where: str) -> dict[str, Any]:
        file: dict[str, Any] = {}
        if part.filename is not None:
            file["filename"] = part.filename
        if part.file_id is not None:
            return {"file_id": part.file_id, **file}
        if part.data is not None:
            file["file_data"] = _data_url(part.data, part.media_type)
            # It is refused without a name.
            return file if "filename" in file else {"filename": _default_name(part.media_type), **file}
        if part.url is not None and self._quirks.files_by_url:
            return {"filename": _default_name(part.media_type), **file, "file_data": part.url}
        if part.url is not None:
            raise self._refusal("file.url", where)
        raise InvalidRequestError(f"{where}: the file has no source; give data with media_type, text, or file_id")

    def _document(self, part: FilePart, where: str) -> dict[str, Any]:
        if part.file_id is not None:
            if part.filename is not None:
                self.leave_out("messages.content.file.filename", where)
            return {"type": "file", "file_id": part.file_id}
        document: dict[str, Any] = {"type": "document_url", "document_url": self._address(part, where)}
        if part.filename is not None:
            document["document_name"] = part.filename
        return document

    def _attachment(self, part: FilePart, where: str) -> dict[str, Any]:
        # Base64 is sent without the beginning of a data URL.
        attachment: dict[str, Any] = {"type": "file_url", "file_url": {"url": part.data or self._address(part, where)}}
        if part.filename is not None:
            attachment["file_name"] = part.filename
        return attachment

    def _address(self, part: FilePart, where: str) -> str | json.LongText:
        if part.url is not None:
            return part.url
        if part.data is not None:
            return _data_url(part.data, part.media_type)
        if part.file_id is not None:
            raise self._refusal("file.file_id", where)
        raise InvalidRequestError(f"{where}: the file has no source; give url, text, or data with media_type")

    # --- what is not supported

    def _leave_out(self, part: Part, where: str) -> None:
        match part:
            case ReasoningPart() if not self._is_own_text(part):
                self.warnings.append(f"{where}: reasoning of another provider was left out")
            case OpaquePart():
                self.warnings.append(f"{where}: {part.provider}'s own block {part.kind!r} was left out")
            case _:
                pass

    def _is_own_text(self, part: ReasoningPart) -> bool:
        return part.signature is None and part.redacted is None and part.provider == self._target.provider

    def _mark_end(self, wire: dict[str, Any], mark: CacheMark, where: str) -> None:
        if self._quirks.cache_marks is None:
            return
        content = wire.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not parts and (self._breakpoints or self._quirks.cache_marks == "cache_control"):
            self.leave_out("messages.cache", where)
            return
        if not parts:
            self.mark({}, mark)
            return
        marked = self.mark(parts[-1], mark)
        if marked is not parts[-1]:
            wire["content"] = [*parts[:-1], marked]

    def _need(self, kind: str, where: str) -> None:
        if f"messages.content.{kind}" in self._quirks.chat.lacking:
            raise self._refusal(kind, where)

    def _refusal(self, path: str, where: str) -> UnsupportedError:
        return self._quirks.chat.refusal(f"messages.content.{path}", self._target, place=f"({where})")

    def _unsupported(self, what: str, hint: str) -> UnsupportedError:
        return unsupported(self._target, what, hint)


_IMAGE_SOURCES = ("url", "data", "file_id")
_FILE_SOURCES: Mapping[FileStyle, Sequence[str]] = {
    "file": ("file_id", "data", "text", "url"),
    "document_url": ("file_id", "url", "data", "text"),
    "file_url": ("data", "url", "text", "file_id"),
}
"""Which source of a file each style sends, if a file has several."""

_TEXT_PARTS = (TextPart, OpaquePart)
_RESULT_PARTS = (TextPart, ImagePart, OpaquePart)
_USER_PARTS = (TextPart, ImagePart, AudioPart, VideoPart, FilePart, OpaquePart)


def unsupported(target: Target, what: str, hint: str) -> UnsupportedError:
    """Return the error for what a provider does not support, with a hint what to do instead."""
    return UnsupportedError(f"{target.provider} {what}; {hint}", provider=target.provider, model=target.model)


def _data_url(data: str, media_type: str | None) -> str | json.LongText:
    return json.long_text(data) if media_type is None else json.long_text(f"data:{media_type};base64,", data)


def _default_name(media_type: str | None) -> str:
    ending = (media_type or "").rpartition("/")[2]
    return f"document.{ending}" if ending.isalnum() else "document"
