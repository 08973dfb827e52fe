"""Converts items to messages of a chat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from bifrost.operations.chat.content import (
    AudioPart,
    CacheMark,
    Citation,
    FilePart,
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
)
from bifrost.operations.chat.messages import Message, Role
from bifrost.operations.responses.chat_items import CHAT_PART, original_of
from bifrost.operations.responses.content import (
    Content,
    InputFile,
    InputImage,
    InputText,
    OpaqueContent,
    OutputRefusal,
    OutputText,
)
from bifrost.operations.responses.items import (
    CustomToolCallItem,
    FunctionCallItem,
    Item,
    MessageItem,
    OpaqueItem,
    ReasoningItem,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
}

_FORM: Final = "openai"
"""The provider whose form an item has that a caller wrote."""

_NEEDED: Final = frozenset(
    [
        "",
        "item_reference",
        "compaction",
        "compaction_trigger",
        "mcp_approval_response",
        "computer_call_output",
        "local_shell_call_output",
        "shell_call_output",
        "apply_patch_call_output",
    ]
)
"""The kinds of items without which the conversation has another meaning. The others record what a model did."""


class UnsaidError(Exception):
    """A chat cannot express a part of the input. `path` names the kind of part and `place` where it is."""

    def __init__(self, path: str, place: str, kind: str) -> None:
        super().__init__(path)
        self.path = path
        self.place = place
        self.kind = kind


def messages_of(items: Sequence[Item]) -> list[Message]:
    """Return the messages of items. Adjacent items of a model are one message. Raises `UnsaidError`."""
    messages: list[Message] = []
    answer = _Answer()
    for place, item in enumerate(items):
        where = f"input[{place}]"
        parts = _answer_parts(item, where)
        if parts is None:
            messages += answer.taken()
            messages.append(_message(item, where))
        else:
            author: str | None = getattr(item, "author", None)
            if answer.is_of_another(author):
                messages += answer.taken()
            answer.add(parts, author)
    return messages + answer.taken()


class _Answer:
    """The message of a model, as its items are added."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._author: str | None = None

    def is_of_another(self, author: str | None) -> bool:
        """Return whether it has the name of another author."""
        return None not in (author, self._author) and author != self._author

    def add(self, parts: Sequence[Part], author: str | None) -> None:
        """Add the parts of an item."""
        self._parts += parts
        self._author = self._author or author

    def taken(self) -> list[Message]:
        """Return the message, or nothing if it has no parts, and begin the next one."""
        message = Message(role="assistant", content=self._parts, name=self._author)
        self._parts, self._author = [], None
        return [message] if message.content else []


def _answer_parts(item: Item, where: str) -> list[Part] | None:
    """Return the parts of an item of a model; `None` for another's item."""
    match item:
        case MessageItem(role="assistant", content=str(text)):
            return [TextPart(text=text)] if text else []
        case MessageItem(role="assistant", content=list(parts)):
            return [_output(part, f"{where}.content[{place}]") for place, part in enumerate(parts)]
        case ReasoningItem():
            return [
                ReasoningPart(
                    text=item.text,
                    signature=item.signature,
                    redacted=item.encrypted_content,
                    provider=None if item.issuer is None else item.issuer.provider,
                    issuer=item.issuer,
                )
            ]
        case FunctionCallItem() | CustomToolCallItem():
            call = item.to_tool_call()
            return [
                msgspec.structs.replace(
                    call,
                    signature=item.signature,
                    provider=None if item.issuer is None else item.issuer.provider,
                )
            ]
        case OpaqueItem():
            return [_opaque(item, where)]
        case _:
            return None


def _opaque(item: OpaqueItem, where: str) -> Part:
    if item.kind.startswith(CHAT_PART):
        try:
            part: Part = msgspec.convert(item.data, Part)
        except msgspec.ValidationError:
            raise UnsaidError("input.opaque", where, item.kind) from None
        return part
    if item.kind in _NEEDED:
        raise UnsaidError("input.opaque", where, item.kind)
    provider = _FORM if item.issuer is None else item.issuer.provider
    return OpaquePart(provider=provider, kind=item.kind, data=item.data, issuer=item.issuer)


def _output(part: Content, where: str) -> Part:
    match part:
        case OutputText():
            if (original := original_of(part)) is not None:
                return original
            cited = [_citation(note) for note in part.annotations or ()]
            return TextPart(text=part.text, citations=cited or None)
        case OutputRefusal():
            return RefusalPart(refusal=part.refusal)
        case InputText():
            return TextPart(text=part.text)
        case _:
            raise UnsaidError("input.message.content.opaque", where, _kind(part))


def _citation(note: Mapping[str, Any]) -> Citation:
    texts = {name: note.get(name) for name in ("url", "title", "filename", "file_id")}
    known = {name: value if isinstance(value, str) else None for name, value in texts.items()}
    start, end = note.get("start_index"), note.get("end_index")
    return Citation(
        url=known["url"],
        title=known["title"] or known["filename"],
        file_id=known["file_id"],
        start=start if isinstance(start, int) else None,
        end=end if isinstance(end, int) else None,
    )


def _message(item: Item, where: str) -> Message:
    if isinstance(item, MessageItem):
        role = _ROLES.get(item.role)
        if role is None:
            raise UnsaidError("input.message.role", where, item.role)
        return Message(role=role, content=_inputs(item.content, f"{where}.content"), name=item.author)
    # The other items belong to a model.
    result: Any = item
    return Message(
        role="tool",
        tool_call_id=result.call_id,
        content=_inputs(result.output, f"{where}.output"),
        name=result.author,
        is_error=result.is_error,
    )


def _inputs(content: str | Sequence[Content], where: str) -> str | list[Part]:
    if isinstance(content, str):
        return content
    return [_input(part, f"{where}[{place}]") for place, part in enumerate(content)]


def _input(part: Content, where: str) -> Part:
    if (original := original_of(part)) is not None:
        return original
    match part:
        case InputText():
            return TextPart(text=part.text, cache=_mark(part.prompt_cache_breakpoint))
        case OutputText():
            return TextPart(text=part.text)
        case InputImage():
            media_type, data = _data_url(part.image_url)
            return ImagePart(
                url=part.image_url if data is None else None,
                data=data,
                media_type=media_type,
                file_id=part.file_id,
                detail=part.detail,
                cache=_mark(part.prompt_cache_breakpoint),
            )
        case InputFile():
            media_type, data = _data_url(part.file_data)
            return FilePart(
                url=part.file_url,
                data=part.file_data if data is None else data,
                media_type=media_type,
                file_id=part.file_id,
                filename=part.filename,
                cache=_mark(part.prompt_cache_breakpoint),
            )
        case OpaqueContent(data={"type": "input_audio", "input_audio": {"data": str(data), "format": str(kind)}}):
            return AudioPart(data=data, format=kind)
        case _:
            raise UnsaidError("input.message.content.opaque", where, _kind(part))


def _kind(part: Content) -> str:
    return str(part.data.get("type", "")) if isinstance(part, OpaqueContent) else str(part.__struct_config__.tag)


def _data_url(url: str | None) -> tuple[str | None, str | None]:
    """Return the media type and the base64 of a data URL; `None` for another address."""
    if url is None or not url.startswith("data:"):
        return None, None
    head, _, data = url.partition(",")
    media_type, _, coding = head.removeprefix("data:").partition(";")
    return (media_type, data) if media_type and coding == "base64" else (None, None)


def _mark(mark: Mapping[str, Any] | None) -> CacheMark | None:
    return None if mark is None else CacheMark()
