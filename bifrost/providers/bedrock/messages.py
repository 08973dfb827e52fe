"""The conversation of a request to Converse: the system prompt, and turns of the user and the assistant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
import msgspec

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
from bifrost.providers.bedrock.families import claude_family
from bifrost.providers.bedrock.fields import CHAT, SPEAKER, warning_of
from bifrost.providers.bedrock.media import Documents, audio_block, document_block, image_block, video_block

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.operations.chat.messages import Message
    from bifrost.providers.base import Target
    from bifrost.providers.call_ids import CallIds

_ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "user",
}

Blocks = list[dict[str, Any]]


@attrs.frozen
class Context:
    """What is needed to convert a message."""

    target: Target
    warnings: list[str]
    ids: CallIds
    documents: Documents = attrs.field(factory=Documents)

    def note(self, path: str, place: str) -> None:
        """Record that a field is omitted here, or sent in another form."""
        self.warnings.append(warning_of(path, place=place))


def conversation(messages: Sequence[Message], context: Context) -> tuple[Blocks, list[dict[str, Any]]]:
    """Return the system prompt and the turns.

    Consecutive messages of one role are merged into a turn, because Bedrock demands that the roles alternate.
    """
    system: Blocks = []
    turns: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        if message.role == "assistant":
            context.ids.begin()
        role = _ROLES.get(message.role)
        if role is None:
            raise InvalidRequestError(f"{where}: role {message.role!r} is none of {', '.join(_ROLES)}")
        if message.role != "tool":
            context.warnings.extend(_of_results(message, where))
        if role == "system" and not (turns and _speaks_natively(message, context.target)):
            if turns:
                context.note("messages.role=system", where)
            system += _system(message, context)
            continue
        blocks = _tool_result(message, where, context) if message.role == "tool" else _content(message, where, context)
        if blocks:
            _add(turns, role, blocks)
        elif role == "assistant":
            context.warnings.append(f"{where}: an assistant message without content was left out")
        else:
            raise InvalidRequestError(f"{where}: the {message.role} message has no content")
    if not messages:
        raise InvalidRequestError("the request has no messages; give at least one")
    if not turns:
        raise UnsupportedError(f"{SPEAKER} needs a user message beside the system prompt")
    return system, turns


def has_tool_blocks(turns: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a conversation has calls or results of tools."""
    return any("toolUse" in block or "toolResult" in block for turn in turns for block in turn["content"])


def marked(block: dict[str, Any], mark: CacheMark | None) -> Blocks:
    """Return a block, with the block after it that marks its end for the prompt cache."""
    return [block] if mark is None else [block, cache_point(mark)]


def cache_point(mark: CacheMark) -> dict[str, Any]:
    """Return the block that marks the end of what is before it."""
    return {"cachePoint": {"type": "default"} if mark.ttl is None else {"type": "default", "ttl": mark.ttl}}


def _of_results(message: Message, where: str) -> list[str]:
    """Return warnings for options of tool results on a message that is not one."""
    warnings: list[str] = []
    if message.tool_call_id is not None:
        warnings.append(warning_of("messages.tool_call_id", place=where))
    if message.is_error:
        warnings.append(warning_of("messages.is_error", place=where))
    return warnings


def _speaks_natively(message: Message, target: Target) -> bool:
    # Few models accept system messages within the conversation, and only the caller knows them: an own block
    # (`toolAddition`, or text as an `OpaquePart`) indicates it.
    return any(isinstance(part, OpaquePart) and target.owns(part) for part in message.parts)


def _system(message: Message, context: Context) -> Blocks:
    for part in message.parts:
        if not isinstance(part, TextPart | OpaquePart):
            raise UnsupportedError(f"{SPEAKER} takes text only in a system message")
    return _content(message, "the system prompt", context)


def _add(turns: list[dict[str, Any]], role: str, blocks: Blocks) -> None:
    last = turns[-1] if turns else None
    if last is None or last["role"] != role:
        turns.append({"role": role, "content": blocks})
        return
    content = last["content"]
    at = len(content)
    if any("toolResult" in block for block in blocks):
        # Claude demands that the results are at the beginning of the turn that follows the calls.
        at = next((place for place, block in enumerate(content) if not _is_of_results(block)), at)
    content[at:at] = blocks


def _is_of_results(block: Mapping[str, Any]) -> bool:
    return "toolResult" in block or "cachePoint" in block


def _content(message: Message, where: str, context: Context) -> Blocks:
    blocks = [block for part in message.parts for block in _blocks(part, message.role, where, context)]
    if message.cache is not None and blocks:
        blocks.append(cache_point(message.cache))
    return blocks


def _tool_result(message: Message, where: str, context: Context) -> Blocks:
    if not message.tool_call_id:
        raise InvalidRequestError(f"{where}: the tool's result does not say which call it answers; set tool_call_id")
    found = [block for part in message.parts for block in _blocks(part, "tool", where, context)]
    # A mark within the result belongs after it.
    marks = [block for block in found if "cachePoint" in block]
    result = {
        "toolUseId": context.ids.of_result(message.tool_call_id),
        "content": [block for block in found if "cachePoint" not in block],
        "status": "error" if message.is_error else "success",
    }
    if message.cache is not None:
        marks = [cache_point(message.cache)]
    return [{"toolResult": result}, *marks[-1:]]


def _blocks(part: Part, role: str, where: str, context: Context) -> Blocks:
    """Return the blocks for a part; none, with a warning, for one that is omitted."""
    match part:
        case TextPart():
            return marked(block, part.cache) if (block := _text(part, where, context)) is not None else []
        case ImagePart():
            return marked(image_block(part, where, context.target, context.warnings), part.cache)
        case VideoPart():
            return marked(video_block(part, where, context.target, context.warnings), part.cache)
        case FilePart():
            block = document_block(part, where, context.target, context.documents, context.warnings)
            return marked(block, part.cache)
        case AudioPart():
            return _audio(part, role, where, context)
        case ToolCall():
            return marked(_tool_use(part, where, context), part.cache)
        case ReasoningPart():
            return _reasoning(part, where, context)
        case OpaquePart():
            if context.target.owns(part):
                return [part.data]
            context.warnings.append(f"{where}: {part.provider}'s own block {part.kind!r} was left out")
            return []
        case RefusalPart():
            return [{"text": part.refusal}] if part.refusal.strip() else []


def _text(part: TextPart, where: str, context: Context) -> dict[str, Any] | None:
    if not part.text.strip() and not part.citations:
        return None  # Bedrock refuses blank text, even of its own models
    native = [
        cast("dict[str, Any]", cited.native)
        for cited in part.citations or ()
        if cited.provider == context.target.provider and cited.native is not None
    ]
    if len(native) < len(part.citations or ()):
        context.note("messages.content.text.citations", where)
    if native:
        return {"citationsContent": {"content": [{"text": part.text}], "citations": native}}
    return {"text": part.text} if part.text.strip() else None


def _audio(part: AudioPart, role: str, where: str, context: Context) -> Blocks:
    # Tools and models may only return the text of sound.
    if part.data is not None and (role == "user" or not part.transcript):
        return marked(audio_block(part, where), part.cache)
    if not part.transcript:
        raise CHAT.refusal("messages.content.audio.id", context.target, place=f"({where})")
    context.note("messages.content.audio.transcript", where)
    return marked({"text": part.transcript}, part.cache)


def _reasoning(part: ReasoningPart, where: str, context: Context) -> Blocks:
    if not context.target.owns(part):
        context.note("messages.content.reasoning.text", where)
        return []
    if part.redacted is not None:
        return [{"reasoningContent": {"redactedContent": part.redacted}}]
    if part.signature is None and claude_family(context.target.model) is not None:
        # A thought without its signature (from a stream that was cut) would be refused.
        context.note("messages.content.reasoning.signature", where)
        return []
    signature = {} if part.signature is None else {"signature": part.signature}
    return [{"reasoningContent": {"reasoningText": {"text": part.text, **signature}}}]


def _tool_use(call: ToolCall, where: str, context: Context) -> dict[str, Any]:
    if not call.id:
        raise InvalidRequestError(f"{where}: the call of tool {call.name!r} has no id for its result to name")
    arguments = as_object(call.arguments)
    if arguments is not call.arguments and call.arguments.strip():
        context.warnings.append(unreadable(call.name, where))
    # The model's text, neither parsed nor encoded again.
    given = msgspec.Raw(arguments.encode())
    return {"toolUse": {"toolUseId": context.ids.of_call(call), "name": call.name, "input": given}}
