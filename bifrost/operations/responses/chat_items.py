"""Converts messages of a chat to items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.operations.chat.content import (
    AudioPart,
    CacheMark,
    Citation,
    FilePart,
    ImagePart,
    Issuer,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    VideoPart,
)
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
    FunctionCallOutputItem,
    Item,
    MessageItem,
    OpaqueItem,
    ReasoningItem,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bifrost.operations.chat.messages import Message

CHAT_PART = "chat."
"""The beginning of the kind of an opaque item that contains a part of a chat."""


def items_of_message(message: Message) -> list[Item]:
    """Return the items of one message of a prompt."""
    items = _items_of(message if message.cache is None else _marked(message, message.cache))
    if message.name is None:
        return items
    return [
        item if isinstance(item, ReasoningItem | OpaqueItem) else msgspec.structs.replace(item, author=message.name)
        for item in items
    ]


def _items_of(message: Message) -> list[Item]:
    if message.role == "assistant":
        if isinstance(message.content, str):
            return [MessageItem(role="assistant", content=message.content, is_short=True)]
        return items_of_parts(message.parts)
    content = message.content
    inputs = content if isinstance(content, str) else [_input(part) for part in message.parts]
    if message.role == "tool":
        call_id = message.tool_call_id or ""
        return [FunctionCallOutputItem(call_id=call_id, output=inputs, is_error=message.is_error)]
    return [MessageItem(role=message.role, content=inputs, is_short=True)]


def _marked(message: Message, mark: CacheMark) -> Message:
    """Return a message whose own cache mark stands at the last of its parts that can have one."""
    parts = list(message.parts)
    for place in reversed(range(len(parts))):
        part = parts[place]
        if "cache" in part.__struct_fields__:
            parts[place] = msgspec.structs.replace(part, cache=mark)
            break
    return msgspec.structs.replace(message, content=parts, cache=None)


def items_of_parts(parts: Sequence[Part], *, status: str | None = None) -> list[Item]:
    """Return the items of a model's message. Adjacent texts and refusals are one message."""
    items: list[Item] = []
    for part in parts:
        if isinstance(part, TextPart | RefusalPart):
            last = items[-1] if items else None
            if isinstance(last, MessageItem) and isinstance(last.content, list):
                items[-1] = msgspec.structs.replace(last, content=[*last.content, _output(part)])
            else:
                items.append(MessageItem(role="assistant", content=[_output(part)], status=status))
        else:
            items.append(_item(part))
    return items


def _output(part: TextPart | RefusalPart) -> Content:
    if isinstance(part, RefusalPart):
        return OutputRefusal(refusal=part.refusal)
    notes = [annotation(cited) for cited in part.citations or ()]
    is_plain = part.citations is None and part.signature is None and part.cache is None
    return OutputText(text=part.text, annotations=notes, part=None if is_plain else part)


def annotation(cited: Citation) -> dict[str, Any]:
    """Return a citation as an annotation in OpenAI's form."""
    if cited.url is None and cited.file_id is not None:
        members = {"type": "file_citation", "file_id": cited.file_id, "index": cited.document_index}
        return {**members, "filename": cited.title}
    place = {"url": cited.url, "title": cited.title, "start_index": cited.start, "end_index": cited.end}
    return {"type": "url_citation", **{name: value for name, value in place.items() if value is not None}}


def _item(part: Part) -> Item:
    match part:
        case ReasoningPart():
            return ReasoningItem(
                content=[part.text] if part.text else None,
                signature=part.signature,
                encrypted_content=part.redacted,
                issuer=part.issuer or _known(part.provider),
            )
        case ToolCall(kind="custom"):
            return CustomToolCallItem(
                call_id=part.id,
                name=part.name,
                input=part.arguments,
                signature=part.signature,
                issuer=part.issuer or _known(part.provider),
                cache=part.cache,
            )
        case ToolCall():
            return FunctionCallItem(
                call_id=part.id,
                name=part.name,
                arguments=part.arguments,
                signature=part.signature,
                issuer=part.issuer or _known(part.provider),
                cache=part.cache,
            )
        case OpaquePart():
            return OpaqueItem(kind=part.kind, data=part.data, issuer=part.issuer or _known(part.provider))
        case _:
            return OpaqueItem(kind=f"{CHAT_PART}{part.__struct_config__.tag}", data=msgspec.to_builtins(part))


def _known(provider: str | None) -> Issuer | None:
    return None if provider is None else Issuer(provider=provider)


def _input(part: Part) -> Content:
    match part:
        case TextPart():
            said = part if has_ttl(part.cache) else None
            return InputText(text=part.text, prompt_cache_breakpoint=_mark(part.cache), part=said)
        case ImagePart():
            url = part.url if part.data is None else f"data:{part.media_type};base64,{part.data}"
            return InputImage(
                image_url=url,
                file_id=part.file_id,
                detail=part.detail,
                prompt_cache_breakpoint=_mark(part.cache),
                part=part if has_ttl(part.cache) else None,
            )
        case FilePart(text=str(text)):
            return InputText(text=text, prompt_cache_breakpoint=_mark(part.cache), part=part)
        case FilePart():
            is_more = part.context is not None or part.citations is not None or has_ttl(part.cache)
            return InputFile(
                file_url=part.url,
                file_data=None if part.data is None else f"data:{part.media_type};base64,{part.data}",
                file_id=part.file_id,
                filename=part.filename,
                prompt_cache_breakpoint=_mark(part.cache),
                part=part if is_more else None,
            )
        case AudioPart():
            sound = {"data": part.data, "format": part.format}
            return OpaqueContent(data={"type": "input_audio", "input_audio": sound}, part=part)
        case VideoPart():
            return OpaqueContent(data={"type": f"{CHAT_PART}video"}, part=part)
        case OpaquePart():
            return OpaqueContent(data=part.data, part=part)
        case _:
            return OpaqueContent(data=msgspec.to_builtins(part))


def has_ttl(cache: CacheMark | None) -> bool:
    """Return whether a cache mark says how long the prompt is cached."""
    return cache is not None and cache.ttl is not None


def _mark(cache: CacheMark | None) -> dict[str, Any] | None:
    return None if cache is None else {"mode": "explicit"}


def original_of(content: Content) -> Part | None:
    """Return the part of a chat that a content was made from, if nothing was changed since."""
    if isinstance(content, OutputRefusal) or content.part is None:
        return None
    if isinstance(content, OutputText):
        return content.part if content.part.text == content.text else None
    return content.part if _input(content.part) == content else None
