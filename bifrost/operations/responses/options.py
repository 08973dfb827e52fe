"""The keyword arguments of the Responses API, defined once for all methods that take them, and their conversion."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, TypedDict, cast

import msgspec

from bifrost.errors import InvalidRequestError
from bifrost.operations.chat.messages import AssistantMessage, Message
from bifrost.operations.chat.openai_form import to_messages
from bifrost.operations.chat.options import check_names
from bifrost.operations.chat.request import Reasoning
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.operations.responses.chat_items import items_of_message
from bifrost.operations.responses.item_forms import read_item
from bifrost.operations.responses.items import (
    CustomToolCallItem,
    CustomToolCallOutputItem,
    FunctionCallOutputItem,
    Item,
)
from bifrost.operations.responses.request import ResponsesRequest
from bifrost.operations.responses.response import ResponsesResponse
from bifrost.operations.typed import read_as

AnyItem: TypeAlias = Item | Message | AssistantMessage | Mapping[str, Any]
"""An item in any form that callers may pass; a message may have the form of a chat."""

AnyInput: TypeAlias = str | AnyItem | Sequence[AnyItem]
"""The input in any form that callers may pass: the user's text, one item, or a conversation."""


class ResponsesOptions(TypedDict, total=False):
    """The options of a request of the Responses API, with OpenAI's names. `ResponsesRequest` explains each option.

    `None` means that the provider's default applies. Options of a single provider belong in
    `extra={"openai": {...}}`.
    """

    instructions: str | None
    tools: Sequence[Tool | ProviderTool | Mapping[str, Any]] | None
    tool_choice: str | ToolChoice | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    max_tool_calls: int | None
    reasoning: Reasoning | Mapping[str, Any] | None
    text: Mapping[str, Any] | None
    temperature: float | None
    top_p: float | None
    max_output_tokens: int | None
    top_logprobs: int | None
    include: Sequence[str] | None
    previous_response_id: str | None
    conversation: str | Mapping[str, Any] | None
    prompt: Mapping[str, Any] | None
    store: bool | None
    background: bool | None
    truncation: str | None
    context_management: Sequence[Mapping[str, Any]] | None
    moderation: Mapping[str, Any] | None
    metadata: Mapping[str, str] | None
    service_tier: str | None
    prompt_cache_key: str | None
    prompt_cache_retention: str | None
    prompt_cache_options: Mapping[str, Any] | None
    safety_identifier: str | None
    user: str | None
    stream_options: Mapping[str, Any] | None
    extra: Mapping[str, Mapping[str, Any]] | None


class ResponsesArguments(ResponsesOptions, total=False):
    """`ResponsesOptions` and the options of the call."""

    timeout: float | None
    max_retries: int | None
    fallbacks: Sequence[str] | None
    extra_headers: Mapping[str, str] | None
    key: str | None
    session: str | None


class ResponsesStreamArguments(ResponsesArguments, total=False):
    """`ResponsesArguments` and the options of streams."""

    on_interrupt: Literal["raise", "restart"] | None


RESPONSES_OPTIONS: Final = frozenset(ResponsesOptions.__annotations__)

_OF_THE_CALL: Final = (
    frozenset({*ResponsesStreamArguments.__annotations__, "output", "max_output_retries"}) - RESPONSES_OPTIONS
)

_INSTEAD: Final[Mapping[str, str]] = {
    "stream": "call stream_respond(...) for a stream",
    **dict.fromkeys(("system", "system_prompt"), "give instructions"),
    **dict.fromkeys(("messages", "prompt_text"), "give them as input, the second argument"),
    **dict.fromkeys(("max_tokens", "max_completion_tokens"), "give max_output_tokens"),
    "response_format": 'give output=Type, or text={"format": {...}}',
    **dict.fromkeys(("text_format", "response_model", "output_type"), "give output"),
    "reasoning_effort": 'give reasoning={"effort": ...}',
    "verbosity": 'give text={"verbosity": ...}',
    **dict.fromkeys(("stop", "seed", "n", "logit_bias"), "the Responses API has none; use chat(...)"),
    "logprobs": 'give include=["message.output_text.logprobs"]',
    "web_search": 'give tools=[{"type": "web_search"}]',
}
"""Names from chats and other libraries, with what to give instead."""

_TYPES: Final[Mapping[str, Any]] = {field.name: field.type for field in msgspec.structs.fields(ResponsesRequest)}


def responses_request(model: str, given: AnyInput, options: ResponsesOptions) -> ResponsesRequest:
    """Return a request made from what a caller passed. The caller's objects are not modified.

    Raises `InvalidRequestError`, which names the argument or the place in the input.
    """
    items = to_input(given)
    return ResponsesRequest(model=model, input=items, **(responses_fields(options) if options else {}))


def to_input(given: AnyInput) -> str | list[Item]:
    """Return the input as text or as items. Raises `InvalidRequestError`, which names the place."""
    if isinstance(given, str):
        if not given:
            raise InvalidRequestError("input: the text is empty; give text, an item or a list of items")
        return given
    if isinstance(given, Mapping | Item | Message | AssistantMessage):
        return _items(given, "input[0]")
    entries = _entries(given, "input", "text, an item or a list of items")
    items = [item for place, each in enumerate(entries) for item in _items(each, f"input[{place}]")]
    custom = {item.call_id for item in items if isinstance(item, CustomToolCallItem)}
    return [_result(item, custom) for item in items] if custom else items


def _result(item: Item, custom: Collection[str]) -> Item:
    """Return a result with the type of its call, which a chat's message does not have."""
    if not isinstance(item, FunctionCallOutputItem) or item.call_id not in custom or item.id is not None:
        return item
    return CustomToolCallOutputItem(
        call_id=item.call_id,
        output=item.output,
        author=item.author,
        is_error=item.is_error,
        status=item.status,
        unknown=item.unknown,
    )


def _entries(value: object, where: str, expected: str) -> Sequence[object]:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return cast("Sequence[object]", value)
    raise InvalidRequestError(f"{where}: expected {expected}, got {type(value).__name__}")


def _items(given: object, where: str) -> list[Item]:
    if isinstance(given, Item):
        return [given]
    match given:
        case Message():
            return items_of_message(to_messages(given)[0])
        case AssistantMessage():
            return items_of_message(given.to_message())
        case Mapping():
            form = cast("Mapping[str, Any]", given)
            if _is_of_a_chat(form):
                return items_of_message(to_messages(form)[0])
            if not (isinstance(form.get("type"), str) or isinstance(form.get("role"), str)):
                raise InvalidRequestError(
                    f'{where}: type is missing; write {{"role": "user", "content": ...}}, or an item with its "type"'
                )
            return [read_item(form)]
        case ResponsesResponse():
            raise InvalidRequestError(f"{where}: a ResponsesResponse is no item; give *reply.output")
        case ChatResponse():
            raise InvalidRequestError(f"{where}: a ChatResponse is no item; give its .message")
        case str():
            raise InvalidRequestError(
                f'{where}: a list holds items, not bare text; write {{"role": "user", "content": ...}}'
            )
        case _:
            advice = "; give its .model_dump()" if hasattr(given, "model_dump") else ""
            raise InvalidRequestError(f"{where}: expected an item or a dict, got {type(given).__name__}{advice}")


def _is_of_a_chat(form: Mapping[str, Any]) -> bool:
    """Return whether a message has the form of a chat and not of the Responses API."""
    if "type" in form:
        return False
    if form.get("role") == "tool" or form.get("tool_calls"):
        return True
    content = form.get("content")
    parts = cast("list[object]", content) if isinstance(content, list) else []
    kinds = [cast("Mapping[str, Any]", part).get("type") for part in parts if isinstance(part, Mapping)]
    return any(kind in _CHAT_PARTS for kind in kinds) or (isinstance(form.get("name"), str) and not kinds)


_CHAT_PARTS: Final = ("text", "image_url", "input_audio", "file")


def responses_fields(options: ResponsesOptions) -> dict[str, Any]:
    """Return the options as fields of `ResponsesRequest`. Raises `InvalidRequestError`."""
    for name in options:
        if name not in RESPONSES_OPTIONS and name in _INSTEAD:
            raise InvalidRequestError(f"{name!r} is no option of a response; {_INSTEAD[name]}")
    check_names(options, RESPONSES_OPTIONS, what="a response", beside=_OF_THE_CALL)
    fields: dict[str, Any] = {}
    for name, value in options.items():
        if value is not None:
            reader = _READ.get(name)
            fields[name] = read_as(value if reader is None else reader(value), _TYPES[name], name)
    for name in ("temperature", "top_p"):
        if name in fields and not math.isfinite(fields[name]):
            raise InvalidRequestError(f"{name}: expected a finite number, got {fields[name]}")
    return fields


def _tools(tools: object) -> list[dict[str, Any]]:
    return [_tool(tool, f"tools[{place}]") for place, tool in enumerate(_entries(tools, "tools", "a list of tools"))]


def _tool(tool: object, where: str) -> dict[str, Any]:
    match tool:
        case Tool():
            return tool_form(tool)
        case ProviderTool():
            return tool.definition
        case Mapping():
            form = dict(cast("Mapping[str, Any]", tool))
        case _:
            advice = "; describe it with Tool(name=..., parameters=...)" if callable(tool) else ""
            raise InvalidRequestError(f"{where}: expected a Tool or a dict, got {type(tool).__name__}{advice}")
    kind = form.get("type")
    if not isinstance(kind, str):
        raise InvalidRequestError(f'{where}: type is missing; write {{"type": "function", "name": ...}}')
    inner = form.get(kind)
    if kind in ("function", "custom") and isinstance(inner, Mapping):
        form = {"type": kind, **cast("Mapping[str, Any]", inner)}
    return {name: value for name, value in form.items() if value is not None}


def tool_form(tool: Tool) -> dict[str, Any]:
    """Return a tool in the form of the Responses API."""
    names = ("description", "parameters", "strict") if tool.kind == "function" else ("description", "format")
    members = {name: getattr(tool, name) for name in names}
    known = {name: value for name, value in members.items() if value is not None}
    return {"type": tool.kind, "name": tool.name, **known}


def _tool_choice(choice: object) -> object:
    match choice:
        case ToolChoice(mode="tool"):
            return {"type": "function", "name": choice.name or ""}
        case ToolChoice(allowed=list(names)) if choice.mode != "none":
            tools = [{"type": "function", "name": name} for name in names]
            return {"type": "allowed_tools", "mode": choice.mode, "tools": tools}
        case ToolChoice():
            return choice.mode
        case Mapping():
            form = dict(cast("Mapping[str, Any]", choice))
            kind = form.get("type")
            inner = form.get(kind) if kind in ("function", "custom", "allowed_tools") else None
            return {"type": kind, **cast("Mapping[str, Any]", inner)} if isinstance(inner, Mapping) else form
        case _:
            return choice


def _reasoning(reasoning: object) -> object:
    if not isinstance(reasoning, Reasoning):
        return reasoning
    effort = "none" if reasoning.enabled is False else reasoning.effort
    if reasoning.max_tokens is not None:
        raise InvalidRequestError("reasoning: the Responses API has no max_tokens of reasoning; give effort")
    summary = "auto" if reasoning.display == "summarized" else None
    members = {"effort": effort, "summary": summary}
    return {name: value for name, value in members.items() if value is not None}


_READ: Final[Mapping[str, Any]] = {"tools": _tools, "tool_choice": _tool_choice, "reasoning": _reasoning}
