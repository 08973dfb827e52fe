"""The messages of a request as Gemini's `contents`: https://ai.google.dev/api/caching#Content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
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
    VideoPart,
)
from bifrost.providers.arguments import as_object, unreadable
from bifrost.providers.gemini.answer import METADATA
from bifrost.providers.gemini.media import media, sound
from bifrost.providers.sources import spare_sources

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.operations.chat.messages import Message
    from bifrost.providers.base import Target
    from bifrost.providers.fields import FieldTable
    from bifrost.providers.gemini.families import Family

_ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "model",
    "tool": "user",
}

UNSIGNED = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
"""Sent with a call that another model made, in place of the signature that Gemini 3 demands:
https://ai.google.dev/gemini-api/docs/thought-signatures#faqs.
"""

_SOURCES = ("file_id", "data", "url")
_FILE_SOURCES = ("file_id", "data", "url", "text")
_RESOLUTIONS: Mapping[str, str] = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


@attrs.frozen
class Context:
    """What is needed to convert a message."""

    target: Target
    table: FieldTable
    family: Family
    warnings: list[str]
    names: dict[str, str]
    """The names of the tools that were called, by the ids of the calls."""

    def note(self, path: str, place: str = "", value: object = "") -> None:
        """Record that a field is omitted here, or sent in another form."""
        self.warnings.append(self.table.warning(path, self.target, place=place, value=value))


def conversation(messages: Sequence[Message], context: Context) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Return the system instruction and the contents.

    Raises `InvalidRequestError` for an invalid message, and `UnsupportedError` for what Gemini does not take.
    """
    system: list[dict[str, Any]] = []
    contents: list[dict[str, Any]] = []
    answers = False
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        role = _ROLES.get(message.role)
        if role is None:
            raise InvalidRequestError(f"{where}: role {message.role!r} is none of {', '.join(_ROLES)}")
        if message.role == "tool":
            parts = _result(message, where, context)
            if answers:  # results of the calls of one turn stand together
                contents[-1]["parts"] += parts
            else:
                contents.append({"role": role, "parts": parts})
            answers = True
            continue
        answers = False
        _note_spare(message, where, context)
        if role == "system":
            system += _system(message, where, context)
            if contents:
                context.note("messages.role=system", where)
        elif parts := _content(message, where, context):
            contents.append({"role": role, "parts": parts})
    if not messages:
        raise InvalidRequestError("the request has no messages; give at least one")
    if not contents:
        raise _unsupported("needs a user message beside the system prompt", context)
    return ({"role": "user", "parts": system} if system else None), contents


def _note_spare(message: Message, where: str, context: Context) -> None:
    """Record options that only the results of tools have, and a name."""
    if message.tool_call_id is not None:
        context.note("messages.tool_call_id", where)
    if message.is_error:
        context.note("messages.is_error", where)
    if message.name is not None:
        context.note("messages.name", where)


def _system(message: Message, where: str, context: Context) -> list[dict[str, Any]]:
    if not all(isinstance(part, TextPart | OpaquePart) for part in message.parts):
        raise _unsupported(f"takes text only in a system message ({where})", context)
    return _content(message, where, context)


def _content(message: Message, where: str, context: Context) -> list[dict[str, Any]]:
    if isinstance(message.content, str) and (message.content or message.role == "user"):
        return [{"text": message.content}]
    parts: list[dict[str, Any]] = []
    for place, part in enumerate(message.parts):
        parts += _part(part, f"{where}.content[{place}]", context)
    if message.role == "assistant":
        _sign_calls(parts, context)
        if not parts:
            context.warnings.append(f"{where}: an assistant message without content was left out")
    elif not parts and message.role == "user":
        raise InvalidRequestError(f"{where}: the {message.role} message has no content")
    return parts


def _sign_calls(parts: list[dict[str, Any]], context: Context) -> None:
    """Mark the calls of a message as another model's if none has a signature. The first of them needs one."""
    calls = [part for part in parts if "functionCall" in part]
    if context.family.signs_calls and calls and not any("thoughtSignature" in part for part in parts):
        calls[0]["thoughtSignature"] = UNSIGNED


# --- results of tools


def _result(message: Message, where: str, context: Context) -> list[dict[str, Any]]:
    if not message.tool_call_id:
        raise InvalidRequestError(f"{where}: the tool's result does not say which call it answers; set tool_call_id")
    name = context.names.get(message.tool_call_id) or message.name
    if name is None:
        name = message.tool_call_id
        context.warnings.append(f"{where}: no earlier message calls this tool, so its name was sent as {name[:200]!r}")
    if message.name is not None and message.name != name:
        context.note("messages.name", where)
    texts: list[str] = []
    pieces: list[dict[str, Any]] = []
    for place, part in enumerate(message.parts):
        for piece in _part(part, f"{where}.content[{place}]", context):
            if "text" in piece:
                texts.append(piece["text"])
            else:
                pieces.append(piece)
    answer: dict[str, Any] = {"id": message.tool_call_id, "name": name, "response": _response(message, texts)}
    if pieces and context.family.media_in_results:
        answer["parts"] = pieces
    elif pieces:
        context.warnings.append(
            f"{where}: media of a tool's result was sent beside it, since this model takes none in it"
        )
        return [{"functionResponse": answer}, *pieces]
    return [{"functionResponse": answer}]


def _response(message: Message, texts: Sequence[str]) -> Any:
    """Return the result as an object: the tool's own if it returned one, else one with its text."""
    text = "".join(texts)
    if message.is_error:
        return {"error": text}
    if text[:1] == "{":
        try:
            _OBJECT.decode(text.encode())
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            pass
        else:
            return msgspec.Raw(text.encode())
    return {"output": text}


# --- parts


def _part(part: Part, where: str, context: Context) -> list[dict[str, Any]]:
    """Return the wire form of a part: empty, with a warning, for one that is omitted."""
    match part:
        case TextPart():
            return _text(part, where, context)
        case ImagePart():
            return [_image(part, where, context)]
        case AudioPart():
            return [_audio(part, where, context)]
        case VideoPart():
            context.warnings.extend(spare_sources(part, _SOURCES, where))
            return [media(part, where, "video")]
        case FilePart():
            return _document(part, where, context)
        case ToolCall():
            return [_call(part, where, context)]
        case ReasoningPart():
            return _thought(part, where, context)
        case RefusalPart():
            return [{"text": part.refusal}] if part.refusal else []
        case OpaquePart():
            return _opaque(part, where, context)


def _text(part: TextPart, where: str, context: Context) -> list[dict[str, Any]]:
    signature = _signature(part, "messages.content.text.signature", where, context)
    return [{"text": part.text, **signature}] if part.text or signature else []


def _signature(part: TextPart | ImagePart | ToolCall, path: str, where: str, context: Context) -> dict[str, str]:
    if part.signature is None:
        return {}
    owned = part.provider == context.target.provider if part.issuer is None else context.target.issued(part.issuer)
    if not owned:
        context.note(path, where)
        return {}
    return {"thoughtSignature": part.signature}


def _image(part: ImagePart, where: str, context: Context) -> dict[str, Any]:
    context.warnings.extend(spare_sources(part, _SOURCES, where))
    wire = media(part, where, "image")
    resolution = _RESOLUTIONS.get(part.detail or "")
    if resolution is not None and context.family.resolution_of_parts:
        wire["mediaResolution"] = {"level": resolution}
    elif part.detail not in {None, "auto"}:
        context.note("messages.content.image.detail", where)
    return {**wire, **_signature(part, "messages.content.image.signature", where, context)}


def _audio(part: AudioPart, where: str, context: Context) -> dict[str, Any]:
    if part.data is None and part.transcript:
        context.note("messages.content.audio.transcript", where)
        return {"text": part.transcript}
    if part.data is None and part.id is not None:
        raise context.table.refusal("messages.content.audio.id", context.target, place=f"({where})")
    return sound(part, where)


def _document(part: FilePart, where: str, context: Context) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if part.context is not None:
        context.note("messages.content.file.context", where)
        parts.append({"text": part.context})
    context.warnings.extend(spare_sources(part, _FILE_SOURCES, where))
    if part.text is not None and part.file_id is None and part.data is None and part.url is None:
        context.note("messages.content.file.text", where)
        return [*parts, {"text": part.text}]
    return [*parts, media(part, where, "file")]


def _call(call: ToolCall, where: str, context: Context) -> dict[str, Any]:
    if not call.id:
        raise InvalidRequestError(f"{where}: the call of tool {call.name!r} has no id for its result to name")
    context.names[call.id] = call.name
    arguments = as_object(call.arguments)
    if arguments is not call.arguments and call.arguments.strip():
        context.warnings.append(unreadable(call.name, where))
    # The model's text, neither parsed nor encoded again.
    wire = {"id": call.id, "name": call.name, "args": msgspec.Raw(arguments.encode())}
    return {"functionCall": wire, **_signature(call, "messages.content.tool_call.signature", where, context)}


def _thought(part: ReasoningPart, where: str, context: Context) -> list[dict[str, Any]]:
    if not context.target.owns(part) or part.redacted is not None:
        context.note("messages.content.reasoning.text", where)
        return []
    signature = {} if part.signature is None else {"thoughtSignature": part.signature}
    return [{"text": part.text, "thought": True, **signature}] if part.text or signature else []


def _opaque(part: OpaquePart, where: str, context: Context) -> list[dict[str, Any]]:
    if not context.target.owns(part):
        context.warnings.append(f"{where}: {part.provider}'s own block {part.kind!r} was left out")
        return []
    return [] if part.kind in METADATA else [part.data]


def _unsupported(reason: str, context: Context) -> UnsupportedError:
    target = context.target
    return UnsupportedError(f"{target.provider} {reason}", provider=target.provider, model=target.model)
