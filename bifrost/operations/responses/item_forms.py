"""Converts items between bifrost's types and OpenAI's form, in both directions and without loss.

The form: https://platform.openai.com/docs/api-reference/responses/create#responses_create-input. An object that does
not have the form of its kind becomes opaque, so that nothing of a provider breaks a response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

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
    CustomToolCallOutputItem,
    FunctionCallItem,
    FunctionCallOutputItem,
    Item,
    MessageItem,
    OpaqueItem,
    ReasoningItem,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.operations.chat.content import Issuer

_CONTENTS: Final[Mapping[str, type[Any]]] = {
    "output_text": OutputText,
    "refusal": OutputRefusal,
    "input_text": InputText,
    "input_image": InputImage,
    "input_file": InputFile,
}

_ITEMS: Final[Mapping[str, type[Any]]] = {
    "message": MessageItem,
    "reasoning": ReasoningItem,
    "function_call": FunctionCallItem,
    "custom_tool_call": CustomToolCallItem,
    "function_call_output": FunctionCallOutputItem,
    "custom_tool_call_output": CustomToolCallOutputItem,
}

_LOCAL: Final = frozenset(["part", "signature", "unknown", "issuer", "is_short", "author", "is_error", "cache"])
"""Fields that are no members on the wire."""

_LISTS: Final = frozenset(["annotations", "logprobs"])
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "output_text": ("text",),
    "input_text": ("text",),
    "refusal": ("refusal",),
    "message": ("role", "content"),
    "function_call": ("call_id", "name"),
    "custom_tool_call": ("call_id", "name"),
    "function_call_output": ("call_id", "output"),
    "custom_tool_call_output": ("call_id", "output"),
}
_REASONS: Final[Mapping[str, str]] = {"summary": "summary_text", "content": "reasoning_text"}
"""The members of reasoning that are lists of texts, and the type of their entries."""


# --- from OpenAI's form


def read_item(form: Mapping[str, Any], issuer: Issuer | None = None) -> Item:
    """Return the item of an object. Values of the wrong type make it opaque.

    With an issuer, the object is a provider's, which may be incomplete: what it lacks gets a neutral value.
    """
    if issuer is not None:
        form = _completed(form)
    kind = form.get("type")
    if kind is None and "role" in form:
        kind = "message"
    cls = _ITEMS.get(kind) if isinstance(kind, str) else None
    fields = None if cls is None else _fields(form, cast("str", kind), cls)
    if cls is None or fields is None:
        return OpaqueItem(kind=kind if isinstance(kind, str) else "", data=dict(form), issuer=issuer)
    if cls is MessageItem and form.get("type") is None:
        fields["is_short"] = True
    return cast("Item", cls(**fields, issuer=issuer))


_OPTIONAL: Final = frozenset(["id", "status", "phase", "encrypted_content"])


def _completed(form: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a provider's item with what bifrost needs to read it, if it is only nearly in its form."""
    missing: dict[str, Any] = {}
    match form.get("type"):
        case "message":
            content = form.get("content")
            if not isinstance(form.get("role"), str):
                missing["role"] = "assistant"
            if content is None:
                missing["content"] = []
            elif isinstance(content, list):
                parts = cast("list[object]", content)
                if not all(
                    isinstance(part, dict) and cast("dict[str, Any]", part).get("type") != "text" for part in parts
                ):
                    missing["content"] = [_completed_part(part) for part in parts if _is_part(part)]
        case "function_call" | "custom_tool_call":
            if not isinstance(form.get("call_id"), str):
                missing["call_id"] = form.get("id") if isinstance(form.get("id"), str) else ""
            arguments = form.get("arguments")
            if isinstance(arguments, dict | list):
                missing["arguments"] = msgspec.json.encode(cast("object", arguments)).decode()
        case _:
            pass
    wrong = [name for name in _OPTIONAL if name in form and not isinstance(form[name], str | None)]
    if not missing and not wrong:
        return form
    return {name: value for name, value in {**form, **missing}.items() if name not in wrong}


def _is_part(part: object) -> bool:
    return isinstance(part, dict | str)


def _completed_part(part: object) -> object:
    """Return a part of a message: a bare text, or one with the name that it has in a chat, becomes text of a model."""
    if isinstance(part, str):
        return {"type": "output_text", "text": part}
    form = cast("dict[str, Any]", part)
    return {**form, "type": "output_text"} if form.get("type") == "text" else form


def read_content(value: object) -> str | list[Content] | None:
    """Return text or parts; `None` if it is neither."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    parts: list[Content] = []
    for each in cast("list[object]", value):
        if not isinstance(each, dict):
            return None
        parts.append(read_part(cast("dict[str, Any]", each)))
    return parts


def read_part(form: Mapping[str, Any]) -> Content:
    """Return the part of an object."""
    kind = form.get("type")
    cls = _CONTENTS.get(kind) if isinstance(kind, str) else None
    fields = None if cls is None else _fields(form, cast("str", kind), cls)
    if cls is None or fields is None:
        return OpaqueContent(data=dict(form))
    return cast("Content", cls(**fields))


def _fields(form: Mapping[str, Any], kind: str, cls: type[Any]) -> dict[str, Any] | None:
    """Return the fields of an object; `None` if a member has another type, or is missing or unknown without a place."""
    fields: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    names = cls.__struct_fields__
    for name, value in form.items():
        if value is None or name == "type":
            continue
        if name not in names or name in _LOCAL:
            unknown[name] = value
            continue
        known = _value(kind, name, value)
        if known is None:
            return None
        fields[name] = known
    if any(name not in fields for name in _NEEDED.get(kind, ())):
        return None
    if unknown:
        if "unknown" not in names:
            return None
        fields["unknown"] = unknown
    return fields


def _value(kind: str, name: str, value: object) -> Any:
    if kind == "reasoning" and name in _REASONS:
        return _texts(value, _REASONS[name])
    if name in ("content", "output"):
        return read_content(value)
    if name in _LISTS:
        found = cast("list[object]", value) if isinstance(value, list) else None
        return found if found is not None and all(isinstance(each, dict) for each in found) else None
    if name == "prompt_cache_breakpoint":
        return cast("object", value) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


def _texts(value: object, kind: str) -> list[str] | None:
    """Return the texts of a list like `[{"type": "summary_text", "text": ...}]`; `None` for another form."""
    if not isinstance(value, list):
        return None
    texts: list[str] = []
    for each in cast("list[object]", value):
        form = cast("dict[str, Any]", each) if isinstance(each, dict) else {}
        text = form.get("text")
        if form.get("type") != kind or not isinstance(text, str) or len(form) != 2:
            return None
        texts.append(text)
    return texts


# --- to OpenAI's form


def item_form(item: Item) -> dict[str, Any]:
    """Return an item in OpenAI's form."""
    if isinstance(item, OpaqueItem):
        return item.data
    form = _form(item)
    if isinstance(item, MessageItem):
        if item.is_short:
            del form["type"]
        form["content"] = content_form(item.content)
    elif isinstance(item, ReasoningItem):
        form["summary"] = _text_forms(item.summary, "summary_text")
        if item.content is not None:
            form["content"] = _text_forms(item.content, "reasoning_text")
    elif isinstance(item, FunctionCallItem):
        form["arguments"] = item.arguments
    elif isinstance(item, CustomToolCallItem):
        form["input"] = item.input
    else:
        form["output"] = content_form(item.output)
    return form


def content_form(content: str | Sequence[Content]) -> str | list[dict[str, Any]]:
    """Return text or parts in OpenAI's form."""
    return content if isinstance(content, str) else [part_form(part) for part in content]


def part_form(part: Content) -> dict[str, Any]:
    """Return a part in OpenAI's form."""
    return part.data if isinstance(part, OpaqueContent) else _form(part)


def _form(value: Any) -> dict[str, Any]:
    form: dict[str, Any] = {"type": value.__struct_config__.tag}
    for name in value.__struct_fields__:
        if name not in _LOCAL:
            field = getattr(value, name)
            if field is not None:
                form[name] = field
    unknown = getattr(value, "unknown", None)
    return form if unknown is None else {**form, **unknown}


def _text_forms(texts: Sequence[str], kind: str) -> list[dict[str, Any]]:
    return [{"type": kind, "text": text} for text in texts]
