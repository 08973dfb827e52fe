"""Anthropic's Messages request: https://platform.claude.com/docs/en/api/messages.

What Anthropic does not support raises `UnsupportedError` if omitting it would change the meaning. An option that only
tunes the output is omitted with a warning that names it.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import TYPE_CHECKING, Any

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
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest, Reasoning, WebSearch
from bifrost.operations.chat.structured.strict_schema import ANTHROPIC_RULES, tool_parameters
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice, check_tools
from bifrost.providers.anthropic.answer import DIALECT
from bifrost.providers.anthropic.families import ANY_FAMILY, Family, family_of
from bifrost.providers.anthropic.fields import CHAT, SPEAKER, warning_of
from bifrost.providers.arguments import as_object, unreadable
from bifrost.providers.base import Built
from bifrost.providers.call_ids import CallIdRule, CallIds
from bifrost.providers.extra import merge_extra
from bifrost.providers.sources import spare_sources
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.providers.base import Target

DEFAULT_MAX_TOKENS = 4096
"""Sent if the caller does not set `max_tokens`, which Anthropic requires: the most that all of its models allow.

A thinking budget is added. A response that it cuts off has the finish reason `length`.
"""

_SERVICE_TIERS: Mapping[str, str] = {"auto": "auto", "standard_only": "standard_only", "default": "standard_only"}
_MODES: Mapping[str, str] = {"auto": "auto", "none": "none", "required": "any", "tool": "tool"}
_ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "user",
}
_UNMARKABLE = ("thinking", "redacted_thinking")

_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)
CALL_IDS = CallIdRule(pattern=re.compile("[a-zA-Z0-9_-]+"), unique=True, prefix="toolu_", length=24)
"""Anthropic refuses other ids, and repeated ones: "`tool_use` ids must be unique"."""

_STATE = msgspec.json.Decoder(dict[str, Any])


def build_messages(request: ChatRequest, target: Target) -> Built:
    """Return the HTTP request for a chat.

    Raises `InvalidRequestError` for an invalid request (an image without a source), and `UnsupportedError` for what
    Anthropic does not support.
    """
    body, headers, warnings = chat_body(request, target)
    return Built(
        request=HttpRequest(
            method="POST", path="/v1/messages", headers=headers, body=json.encode(body), source=request
        ),
        warnings=warnings,
    )


def chat_body(request: ChatRequest, target: Target) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Return the body of a chat, the header fields of the request, and the warnings.

    Raises the errors of `build_messages`.
    """
    warnings = CHAT.check(request, target)
    body = messages_body(request, target, warnings)
    body["max_tokens"] = _max_tokens(request)
    if target.stream:
        body["stream"] = True
    for name, wire in CHAT.plain:
        if getattr(request, name):
            body[wire] = getattr(request, name)
    body |= _sampling(request, family_of(target.model), warnings)
    body |= _account(request, warnings)
    headers = add_extra(body, request.extra, target)
    return body, headers, list(dict.fromkeys(warnings))


def messages_body(request: ChatRequest, target: Target, warnings: list[str]) -> dict[str, Any]:
    """Return the members of a body that the model reads: the conversation, the tools and the form of the response.

    Warnings are appended to `warnings`. Raises the errors of `build_messages`.
    """
    family = family_of(target.model)
    _refuse_of_family(request, family, target)
    context = _Context(target=target, warnings=warnings, ids=CallIds(request.messages, target, CALL_IDS))
    system, messages = _conversation(request.messages, context)
    body: dict[str, Any] = {"model": target.model, "messages": messages}
    if system:
        body["system"] = system
    body |= _output(request, family, warnings)
    body |= _tools(request, target, warnings)
    return body


def add_extra(body: dict[str, Any], extra: Mapping[str, Mapping[str, Any]] | None, target: Target) -> dict[str, str]:
    """Merge the caller's options for this provider into a body, and return the header fields of the request.

    Raises `InvalidRequestError` for an option that is not set there.
    """
    headers = {"content-type": "application/json"}
    options = dict((extra or {}).get(target.provider) or {})
    if "stream" in options:
        raise InvalidRequestError('extra: "stream" is not set there; stream_chat() streams, chat() does not')
    betas = options.pop("betas", None)
    if betas:
        headers["anthropic-beta"] = _betas(betas)
    merge_extra(body, {target.provider: options}, target)
    return headers


# --- options


def _refuse_of_family(request: ChatRequest, family: Family, target: Target) -> None:
    """Refuse what the model never accepts, if omitting it would change the meaning."""
    reasoning, extra = request.reasoning, (request.extra or {}).get(target.provider) or {}
    budget = reasoning.max_tokens if reasoning is not None and _thinks(reasoning) and family.budgets else None
    if budget is not None:
        if request.max_tokens is not None and budget >= request.max_tokens and not _interleaves(extra):
            raise _unsupported(
                f"takes a thinking budget below max_tokens only, and reasoning.max_tokens is {budget}, max_tokens "
                f"{request.max_tokens}; raise max_tokens, which counts the thinking too"
            )
        if request.tool_choice is not None and request.tool_choice.mode in {"required", "tool"}:
            raise _unsupported(
                "cannot be made to call a tool while it thinks with a budget; leave out tool_choice or reasoning"
            )
    last = request.messages[-1] if request.messages else None
    if (
        last is not None
        and last.role == "assistant"
        and not family.beginnings
        and not any(isinstance(part, OpaquePart) for part in last.parts)
    ):
        raise _unsupported(
            f"takes no beginning of the response with {target.model}; let the last message be the user's, or ask for a "
            "form with response_format"
        )


def _interleaves(extra: Mapping[str, Any]) -> bool:
    # With tools between its thoughts, the budget applies to all of them and may exceed max_tokens.
    return "interleaved-thinking" in str(extra.get("betas"))


def _max_tokens(request: ChatRequest) -> int:
    if request.max_tokens is not None:
        return request.max_tokens
    budget = request.reasoning.max_tokens if request.reasoning is not None else None
    return DEFAULT_MAX_TOKENS + (budget or 0)


def _sampling(request: ChatRequest, family: Family, warnings: list[str]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name in ("temperature", "top_p", "top_k"):
        value = getattr(request, name)
        refused = None if value is None else _refused_sampling(name, value, request, family)
        if refused is not None:
            warnings.append(f"{name} was left out: {refused}")
        elif value is not None:
            body[name] = value
    if "temperature" in body and body["temperature"] > 1:
        warnings.append(warning_of("temperature", value=f"{request.temperature:g}"))
        body["temperature"] = 1.0
    return body


def _refused_sampling(name: str, value: float, request: ChatRequest, family: Family) -> str | None:
    """Return why a sampling option is never accepted with this model and request; `None` if it is accepted."""
    if not family.sampling:
        return "this model has no sampling options"
    if name == "top_p" and request.temperature is not None and not family.both_samplings:
        return "this model takes temperature or top_p, not both"
    if family is ANY_FAMILY or request.reasoning is None or not _thinks(request.reasoning):
        return None
    # https://platform.claude.com/docs/en/build-with-claude/extended-thinking#feature-compatibility
    refused = {"temperature": value != 1, "top_k": True, "top_p": not 0.95 <= value <= 1}
    return "this model does not take it while it thinks" if refused[name] else None


def _thinks(reasoning: Reasoning) -> bool:
    return _thinking(reasoning).get("type") in {"enabled", "adaptive"}


def _output(request: ChatRequest, family: Family, warnings: list[str]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    effort = request.reasoning.effort if request.reasoning is not None else None
    if effort == "minimal":
        config["effort"] = "low"
        warnings.append(warning_of("reasoning.effort=minimal"))
    elif effort is not None and effort != "none":
        config["effort"] = effort
    wanted = request.response_format
    if wanted is not None and wanted.description is not None:
        warnings.append(warning_of("response_format.description"))
    if wanted is not None and wanted.type == "json_schema":
        if wanted.schema is None:
            raise InvalidRequestError("response_format is of type json_schema but has no schema")
        config["format"] = {"type": "json_schema", "schema": wanted.schema}
    elif wanted is not None and wanted.schema is not None:
        warnings.append(warning_of("response_format.schema"))
    body: dict[str, Any] = {"output_config": config} if config else {}
    thinking = _thinking(request.reasoning)
    if "budget_tokens" in thinking and not family.budgets:
        del thinking["budget_tokens"]
        thinking["type"] = "adaptive"
        warnings.append(warning_of("reasoning.max_tokens", value="this model decides itself how much to think"))
    if request.reasoning is not None and thinking.get("type") == "disabled":
        warnings += _unthought(request.reasoning)
    return {**body, "thinking": thinking} if thinking else body


def _unthought(reasoning: Reasoning) -> list[str]:
    """Return warnings for other options of reasoning that is switched off."""
    warnings: list[str] = []
    if reasoning.enabled:
        warnings.append(warning_of("reasoning.enabled"))
    if reasoning.max_tokens is not None:
        warnings.append(warning_of("reasoning.max_tokens", value="thinking is switched off"))
    if reasoning.display is not None:
        warnings.append(warning_of("reasoning.display"))
    return warnings


def _thinking(reasoning: Reasoning | None) -> dict[str, Any]:
    if reasoning is None:
        return {}
    if reasoning.effort == "none" or reasoning.enabled is False:
        return {"type": "disabled"}
    if reasoning.max_tokens is not None:
        thinking: dict[str, Any] = {"type": "enabled", "budget_tokens": reasoning.max_tokens}
    elif reasoning.enabled or reasoning.display is not None:
        thinking = {"type": "adaptive"}
    else:
        return {}
    return thinking if reasoning.display is None else {**thinking, "display": reasoning.display}


def _account(request: ChatRequest, warnings: list[str]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    metadata = dict(request.metadata or {})
    user = metadata.pop("user_id", None) if request.user is None else request.user
    if user is not None:
        body["metadata"] = {"user_id": user}
    if metadata:
        warnings.append(warning_of("metadata", value=sorted(metadata)))
    if request.service_tier is not None:
        tier = _SERVICE_TIERS.get(request.service_tier)
        if tier is None:
            warnings.append(warning_of("service_tier", value=repr(request.service_tier)))
        else:
            body["service_tier"] = tier
    return body


def _betas(names: object) -> str:
    try:
        text = ",".join(msgspec.convert(names, list[str]))
    except msgspec.ValidationError:
        text = ""
    if not _HEADER_VALUE.fullmatch(text):
        raise InvalidRequestError('extra: "betas" must be a list of names, as in {"anthropic": {"betas": ["name-1"]}}')
    return text


# --- tools


def _tools(request: ChatRequest, target: Target, warnings: list[str]) -> dict[str, Any]:
    check_tools(request.tools or ())
    tools = [_tool(tool, target, warnings) for tool in request.tools or ()]
    choice = request.tool_choice or ToolChoice()
    if choice.mode not in _MODES:
        raise InvalidRequestError(f"tool_choice: mode {choice.mode!r} is none of {', '.join(_MODES)}")
    if choice.allowed is not None:
        tools = _narrowed(tools, choice.allowed, warnings)
    if request.web_search is not None:
        tools.append(_web_search(request.web_search))
    warnings += _spare_choices(choice, calls=bool(tools), parallel=request.parallel_tool_calls)
    if not tools:
        if choice.mode in {"required", "tool"}:
            raise InvalidRequestError(f"tool_choice is {choice.mode!r}, but the request has no tools")
        return {}
    wire: dict[str, Any] = {"type": _MODES[choice.mode]}
    if choice.mode == "tool":
        if choice.name is None:
            raise InvalidRequestError("tool_choice is 'tool' but names no tool; set its name")
        wire["name"] = choice.name
    if request.parallel_tool_calls is False and choice.mode != "none":
        wire["disable_parallel_tool_use"] = True
    given = request.tool_choice is not None or len(wire) > 1
    return {"tools": tools, "tool_choice": wire} if given else {"tools": tools}


def _spare_choices(choice: ToolChoice, *, calls: bool, parallel: bool | None) -> list[str]:
    """Return warnings for options of calls that have no effect with this choice."""
    warnings: list[str] = []
    if choice.name is not None and choice.mode != "tool":
        warnings.append(warning_of("tool_choice.name"))
    if parallel is False and (choice.mode == "none" or not calls):
        warnings.append(warning_of("parallel_tool_calls"))
    return warnings


def _tool(tool: Tool | ProviderTool, target: Target, warnings: list[str]) -> dict[str, Any]:
    match tool:
        case ProviderTool():
            if tool.provider not in {None, DIALECT, target.provider}:
                raise _unsupported(f"cannot run {tool.provider}'s tool {tool.definition.get('type', '')!r}")
            return tool.definition
        case Tool() if not _TOOL_NAME.fullmatch(tool.name):
            raise _unsupported(f"takes only a-z, A-Z, 0-9, '_' and '-' in a tool's name, not {tool.name!r}; rename it")
        case Tool():
            wire: dict[str, Any] = {"name": tool.name}
            if tool.description is not None:
                wire["description"] = tool.description
            wire["input_schema"], strict, changed = tool_parameters(
                tool.name, tool.parameters, strict=tool.strict, rules=ANTHROPIC_RULES
            )
            warnings += changed
            if strict is not None:
                wire["strict"] = strict
            return _marked(wire, tool.cache)


def _narrowed(tools: list[dict[str, Any]], allowed: Sequence[str], warnings: list[str]) -> list[dict[str, Any]]:
    unknown = sorted(set(allowed) - {tool.get("name") for tool in tools})
    if unknown:
        raise InvalidRequestError(f"tool_choice allows {unknown}, which are not among the request's tools")
    kept = [tool for tool in tools if tool.get("name") in allowed]
    if len(kept) < len(tools):
        warnings.append(warning_of("tool_choice.allowed"))
    return kept


def _web_search(search: WebSearch) -> dict[str, Any]:
    wire: dict[str, Any] = {"type": "web_search_20250305", "name": "web_search"}
    for name in ("max_uses", "allowed_domains", "blocked_domains"):
        value = getattr(search, name)
        if value is not None:
            wire[name] = value
    if search.user_location is not None:
        wire["user_location"] = {"type": "approximate", **msgspec.to_builtins(search.user_location)}
    return wire


# --- messages


@attrs.frozen
class _Context:
    """What is needed to convert a message."""

    target: Target
    warnings: list[str]
    ids: CallIds

    def note(self, path: str, place: str) -> None:
        """Record that a field is omitted here, or sent in another form."""
        self.warnings.append(warning_of(path, place=place))


def _conversation(
    messages: Sequence[Message], context: _Context
) -> tuple[str | list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the system prompt and the turns.

    Consecutive messages of one role are merged into a turn, as Anthropic does.
    """
    system: list[Message] = []
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
            system.append(message)
            continue
        content = _tool_result(message, where, context) if message.role == "tool" else _content(message, where, context)
        if content:
            _add(turns, role, content)
        elif role == "assistant":
            context.warnings.append(f"{where}: an assistant message without content was left out")
        else:
            raise InvalidRequestError(f"{where}: the {message.role} message has no content")
    if not messages:
        raise InvalidRequestError("the request has no messages; give at least one")
    if not turns:
        raise _unsupported("needs a user message beside the system prompt")
    return _system(system, context), turns


def _of_results(message: Message, where: str) -> list[str]:
    """Return warnings for options of tool results on a message that is not one."""
    warnings: list[str] = []
    if message.tool_call_id is not None:
        warnings.append(warning_of("messages.tool_call_id", place=where))
    if message.is_error:
        warnings.append(warning_of("messages.is_error", place=where))
    return warnings


def _speaks_natively(message: Message, target: Target) -> bool:
    # Few models accept system messages within the conversation, and only the caller knows them:
    # https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages. Anthropic's own blocks
    # (`tool_addition`, or text as an `OpaquePart`) indicate it, and are allowed nowhere else.
    return any(isinstance(part, OpaquePart) and target.owns(part) for part in message.parts)


def _system(messages: list[Message], context: _Context) -> str | list[dict[str, Any]]:
    if len(messages) == 1 and isinstance(messages[0].content, str) and messages[0].cache is None:
        return messages[0].content
    blocks: list[dict[str, Any]] = []
    for message in messages:
        for part in message.parts:
            if not isinstance(part, TextPart | OpaquePart):
                raise _unsupported("takes text only in a system message")
        content = _content(message, "the system prompt", context)
        blocks += _as_blocks(content)
    return blocks


def _add(turns: list[dict[str, Any]], role: str, content: str | list[dict[str, Any]]) -> None:
    last = turns[-1] if turns else None
    if last is None or last["role"] != role:
        turns.append({"role": role, "content": content})
        return
    blocks = [*_as_blocks(last["content"]), *_as_blocks(content)]
    # Results must be at the beginning of the turn that follows the calls:
    # https://platform.claude.com/docs/en/agents-and-tools/tool-use/handle-tool-calls
    blocks.sort(key=lambda block: block.get("type") != "tool_result")
    last["content"] = blocks


def _as_blocks(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _content(message: Message, where: str, context: _Context) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str) and message.cache is None:
        return message.content if message.content.strip() else ""
    parts = message.parts
    if message.role == "assistant" and any(isinstance(part, ImagePart) for part in parts):
        parts = [part for part in parts if not isinstance(part, ImagePart)]
        context.warnings.append(f"{where}: a picture was left out: Anthropic takes none from a model")
    blocks = [block for part in parts if (block := _block(part, where, context)) is not None]
    if message.cache is not None:
        _mark_end(blocks, message.cache, where, context)
    return blocks


def _tool_result(message: Message, where: str, context: _Context) -> list[dict[str, Any]]:
    if not message.tool_call_id:
        raise InvalidRequestError(f"{where}: the tool's result does not say which call it answers; set tool_call_id")
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": context.ids.of_result(message.tool_call_id)}
    if isinstance(message.content, str):
        block["content"] = message.content
    elif message.content is not None:
        block["content"] = [
            converted for part in message.parts if (converted := _block(part, where, context)) is not None
        ]
    if message.is_error:
        block["is_error"] = True
    return [_marked(block, message.cache)]


def _mark_end(blocks: list[dict[str, Any]], mark: CacheMark, where: str, context: _Context) -> None:
    for place in range(len(blocks) - 1, -1, -1):
        if blocks[place].get("type") not in _UNMARKABLE:
            blocks[place] = _marked(blocks[place], mark)
            return
    context.note("messages.cache", where)


def _marked(block: dict[str, Any], mark: CacheMark | None) -> dict[str, Any]:
    if mark is None:
        return block
    control = {"type": "ephemeral"} if mark.ttl is None else {"type": "ephemeral", "ttl": mark.ttl}
    return {**block, "cache_control": control}


# --- parts


def _block(part: Part, where: str, context: _Context) -> dict[str, Any] | None:
    """Return the block for a part; `None`, with a warning, for one that is omitted."""
    match part:
        case TextPart():
            return _text(part, where, context)
        case ImagePart():
            context.warnings.extend(spare_sources(part, ("file_id", "data", "url"), where))
            return _image(part, where)
        case FilePart():
            context.warnings.extend(spare_sources(part, ("file_id", "text", "data", "url"), where))
            return _document(part, where)
        case ToolCall():
            return _tool_use(part, where, context)
        case ReasoningPart():
            return _reasoning(part, where, context)
        case OpaquePart():
            if context.target.owns(part):
                return part.data
            context.warnings.append(f"{where}: {part.provider}'s own block {part.kind!r} was left out")
            return None
        case RefusalPart():
            return {"type": "text", "text": part.refusal} if part.refusal else None
        case AudioPart():
            if not part.transcript:
                raise CHAT.refusal("messages.content.audio.data", context.target, place=f"({where})")
            context.note("messages.content.audio.transcript", where)
            return _marked({"type": "text", "text": part.transcript}, part.cache)
        case VideoPart():
            raise CHAT.refusal("messages.content.video", context.target, place=f"({where})")


def _text(part: TextPart, where: str, context: _Context) -> dict[str, Any] | None:
    if not part.text.strip() and not part.citations:
        return None  # Anthropic refuses blank text, even of its own models
    block: dict[str, Any] = {"type": "text", "text": part.text}
    if part.citations:
        native = [
            cited.native
            for cited in part.citations
            if cited.provider == context.target.provider and cited.native is not None
        ]
        if len(native) < len(part.citations):
            context.note("messages.content.text.citations", where)
        if native:
            block["citations"] = native
    return _marked(block, part.cache)


def _image(part: ImagePart, where: str) -> dict[str, Any]:
    media_type, data = _inline(part)
    source: dict[str, Any]
    if part.file_id is not None:
        source = {"type": "file", "file_id": part.file_id}
    elif data is not None:
        if media_type is None:
            raise InvalidRequestError(f"{where}: the image has data but no media_type (image/png, say)")
        source = {"type": "base64", "media_type": media_type, "data": json.long_text(data)}
    elif part.url is not None:
        source = {"type": "url", "url": part.url}
    else:
        raise InvalidRequestError(f"{where}: the image has no source; give url, data with media_type, or file_id")
    return _marked({"type": "image", "source": source}, part.cache)


def _inline(part: ImagePart | FilePart) -> tuple[str | None, str | None]:
    """Return media type and base64 data, which may be part of a `data:` URL. Anthropic does not accept such URLs."""
    found = _DATA_URL.fullmatch(part.url) if part.data is None and part.url is not None else None
    return (found[1], found[2]) if found is not None else (part.media_type, part.data)


def _document(part: FilePart, where: str) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "document", "source": _document_source(part, where)}
    if part.filename is not None:
        block["title"] = part.filename
    if part.context is not None:
        block["context"] = part.context
    if part.citations is not None:
        block["citations"] = {"enabled": part.citations}
    return _marked(block, part.cache)


def _document_source(part: FilePart, where: str) -> dict[str, Any]:
    if part.file_id is not None:
        return {"type": "file", "file_id": part.file_id}
    if part.text is not None:
        return {"type": "text", "media_type": "text/plain", "data": part.text}
    media_type, data = _inline(part)
    if data is not None:
        return _data_source(data, media_type, where)
    if part.url is not None:
        return {"type": "url", "url": part.url}
    raise InvalidRequestError(f"{where}: the file has no source; give url, data with media_type, text, or file_id")


def _data_source(data: str, media_type: str | None, where: str) -> dict[str, Any]:
    if media_type is None:
        raise InvalidRequestError(f"{where}: the file has data but no media_type (application/pdf, say)")
    if media_type == "application/pdf":
        return {"type": "base64", "media_type": media_type, "data": json.long_text(data)}
    if not media_type.startswith("text/"):
        raise _unsupported(f"reads documents as PDF or text, not as {media_type} ({where})")
    try:
        text = b64decode(data, validate=True).decode()
    except ValueError as error:
        raise InvalidRequestError(f"{where}: the file's data is not base64 of UTF-8 text") from error
    return {"type": "text", "media_type": "text/plain", "data": text}


def _reasoning(part: ReasoningPart, where: str, context: _Context) -> dict[str, Any] | None:
    if not context.target.owns(part):
        context.note("messages.content.reasoning.text", where)
        return None
    if part.redacted is not None:
        return {"type": "redacted_thinking", "data": part.redacted}
    if part.signature is None:
        # A thought without its signature (from a stream that was cut) would be refused.
        context.note("messages.content.reasoning.signature", where)
        return None
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _tool_use(call: ToolCall, where: str, context: _Context) -> dict[str, Any]:
    if not call.id:
        raise InvalidRequestError(f"{where}: the call of tool {call.name!r} has no id for its result to name")
    arguments = as_object(call.arguments)
    if arguments is not call.arguments and call.arguments.strip():
        context.warnings.append(unreadable(call.name, where))
    # The model's text, neither parsed nor encoded again.
    given = msgspec.Raw(arguments.encode())
    block = {"type": "tool_use", "id": context.ids.of_call(call), "name": call.name, "input": given}
    return _marked({**block, **_state(call, where, context)}, call.cache)


def _state(call: ToolCall, where: str, context: _Context) -> dict[str, Any]:
    if call.signature is None:
        return {}
    if not context.target.owns(call):
        context.note("messages.content.tool_call.signature", where)
        return {}
    try:
        return _STATE.decode(call.signature)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidRequestError(f"{where}: the signature of tool call {call.id!r} was changed: {error}") from error


def _unsupported(reason: str) -> UnsupportedError:
    return UnsupportedError(f"{SPEAKER} {reason}")
