"""Requests that set one field, or two, found by reflection, and what a provider's codec makes of them."""

from __future__ import annotations

import copy
import json
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import msgspec

from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.providers.base import Target
from bifrost.providers.fields import covering, paths_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bifrost.providers.base import Codec
    from bifrost.providers.fields import Field, FieldTable

MISSING = object()

_PDF = "application/pdf"
_CALL: dict[str, Any] = {"type": "tool_call", "id": "abcdefghi", "name": "f", "arguments": "{}"}
_TOOLS: list[dict[str, Any]] = [{"type": "tool", "name": "f"}, {"type": "tool", "name": "g"}]
_SCHEMA: dict[str, Any] = {"type": "json_schema", "schema": {"type": "object"}}


def _part(**part: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part]}]}


def _answer(**part: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "content": [part]}]}


def _item(**item: Any) -> dict[str, Any]:
    return {"input": [item]}


def _content(**part: Any) -> dict[str, Any]:
    return _item(type="message", role="user", content=[part])


def _output(kind: str, **part: Any) -> dict[str, Any]:
    return _item(type=kind, call_id="c", output=[part])


_ITEMS_WITH_PARTS = ("function_call_output", "custom_tool_call_output")
_INPUTS: dict[str, dict[str, Any]] = {
    "output_text": {"type": "output_text", "text": "a"},
    "refusal": {"type": "refusal", "refusal": "a"},
    "input_text": {"type": "input_text", "text": "a"},
    "input_image": {"type": "input_image", "image_url": "https://a.example/b"},
    "input_image.file_id": {"type": "input_image"},
    "input_image.image_url": {"type": "input_image"},
    "input_file": {"type": "input_file", "file_data": "data:application/pdf;base64,AA=="},
    "input_file.file_url": {"type": "input_file"},
    "input_file.file_id": {"type": "input_file"},
    "input_file.file_data": {"type": "input_file"},
    "opaque": {"type": "opaque", "data": {"type": "k"}},
}

# What must stand beside a field for it to mean anything; the longest beginning of its path counts. `PROVIDER` is
# replaced by the name of the provider that is asked.
PROVIDER = "the provider's name"
CONTEXTS: Mapping[str, Mapping[str, Any]] = {
    "id": {"action": "retrieve"},
    **{name: {"action": "create"} for name in ("input_file_id", "completion_window", "metadata")},
    **{name: {"action": "upload", "data": "AA=="} for name in ("data", "filename", "media_type")},
    "messages": {"messages": [{"role": "user", "content": "hello"}]},
    "messages.tool_call_id": {
        "messages": [
            {"role": "assistant", "content": [_CALL, {**_CALL, "id": "abcdefghj"}]},
            {"role": "tool", "content": "x"},
        ]
    },
    "messages.is_error": {
        "messages": [
            {"role": "assistant", "content": [_CALL]},
            {"role": "tool", "tool_call_id": "abcdefghi", "content": "x"},
        ]
    },
    "messages.content.text": _part(type="text", text="a"),
    "messages.content.text.citations": _answer(type="text", text="a", citations=[{"provider": PROVIDER}]),
    "messages.content.text.signature": _answer(type="text", text="a", provider=PROVIDER),
    "messages.content.image": _part(type="image", url="https://a.example/b"),
    "messages.content.image.url": _part(type="image"),
    "messages.content.image.file_id": _part(type="image"),
    "messages.content.image.data": _part(type="image", media_type="image/png"),
    "messages.content.image.media_type": _part(type="image", data="AA=="),
    "messages.content.image.signature": _answer(type="image", data="AA==", media_type="image/png", provider=PROVIDER),
    "messages.content.audio": _part(type="audio", data="AA==", format="wav"),
    "messages.content.audio.id": _answer(type="audio"),
    "messages.content.audio.transcript": _answer(type="audio"),
    "messages.content.video": _part(type="video", url="https://a.example/b.mp4"),
    "messages.content.video.url": _part(type="video"),
    "messages.content.video.file_id": _part(type="video"),
    "messages.content.video.data": _part(type="video", media_type="video/mp4"),
    "messages.content.video.media_type": _part(type="video", data="AA=="),
    "messages.content.file": _part(type="file", data="AA==", media_type=_PDF),
    "messages.content.file.url": _part(type="file"),
    "messages.content.file.text": _part(type="file"),
    "messages.content.file.file_id": _part(type="file"),
    "messages.content.file.data": _part(type="file", media_type=_PDF),
    "messages.content.file.media_type": _part(type="file", data="YQ=="),
    "messages.content.reasoning": _answer(type="reasoning", text="a", signature="[]", provider=PROVIDER),
    "messages.content.reasoning.redacted": _answer(type="reasoning", provider=PROVIDER),
    "messages.content.refusal": _answer(type="refusal", refusal="a"),
    "messages.content.tool_call": _answer(**_CALL, provider=PROVIDER),
    "messages.content.opaque": _part(type="opaque", provider=PROVIDER, kind="k", data={"type": "k"}),
    "input": {"input": [{"type": "message", "role": "user", "content": "hello"}]},
    "input.reasoning": _item(type="reasoning", id="rs_1", summary=["b"], issuer={"provider": PROVIDER}),
    "input.function_call": _item(type="function_call", call_id="c", name="f", arguments="{}"),
    "input.custom_tool_call": _item(type="custom_tool_call", call_id="c", name="f", input="a"),
    "input.function_call_output": _item(type="function_call_output", call_id="c", output="a"),
    "input.custom_tool_call_output": _item(type="custom_tool_call_output", call_id="c", output="a"),
    "input.opaque": _item(type="opaque", kind="k", data={"type": "k"}),
    **{f"input.message.content.{name}": _content(**part) for name, part in _INPUTS.items()},
    **{
        f"input.{kind}.output.{name}": _output(kind, **part)
        for kind in _ITEMS_WITH_PARTS
        for name, part in _INPUTS.items()
    },
    "tools": {"tools": _TOOLS},
    "tools.tool.name": {"tools": [{"type": "tool", "name": "f"}]},
    "tools.tool.format": {"tools": [{"type": "tool", "name": "f", "kind": "custom"}]},
    "tools.provider": {"tools": [{"type": "provider", "definition": {"type": "a"}}]},
    "tool_choice": {"tools": _TOOLS},
    "tool_choice.name": {"tools": _TOOLS, "tool_choice": {"mode": "tool", "name": "f"}},
    "tool_choice.mode": {"tools": _TOOLS, "tool_choice": {"name": "f"}},
    "parallel_tool_calls": {"tools": _TOOLS},
    "response_format": {"response_format": _SCHEMA},
    "audio": {"audio": {"voice": "v", "format": "wav"}},
    "document.url": {"document": {}},
    "document.data": {"document": {"media_type": _PDF}},
    "document.media_type": {"document": {"data": "AA=="}},
    "document.file_id": {"document": {}},
    "document.filename": {"document": {"url": "https://a.example/b.pdf"}},
    "prediction": {"prediction": {"content": "a"}},
    "prediction.content.text.citations": {
        "prediction": {"content": [{"type": "text", "text": "a", "citations": [{"title": "a"}]}]}
    },
    "prediction.content.text.issuer": {
        "prediction": {"content": [{"type": "text", "text": "a", "issuer": {"provider": "p"}}]}
    },
    "prediction.content.text": {"prediction": {"content": [{"type": "text", "text": "a"}]}},
}

# Two values of what no type tells: others would be refused as wrong in themselves, or mean the same.
VALUES: Mapping[str, Sequence[Any]] = {
    "requests": (
        {"a": {"model": "m", "messages": [{"role": "user", "content": "a"}]}},
        {"b": {"model": "m", "messages": [{"role": "user", "content": "a"}]}},
    ),
    "model": ("a", "b"),
    "file": ("AQ==", "Ag=="),
    "messages.role": ("system", "user"),
    "messages.content": ("a", "b"),
    "messages.tool_call_id": ("abcdefghi", "abcdefghj"),
    "messages.content.image.url": ("https://a.example/1", "https://a.example/2"),
    "messages.content.image.data": ("AA==", "AQ=="),
    "messages.content.image.media_type": ("image/png", "image/jpeg"),
    "messages.content.audio.data": ("AA==", "AQ=="),
    "messages.content.video.url": ("https://a.example/1.mp4", "https://a.example/2.mp4"),
    "messages.content.video.data": ("AA==", "AQ=="),
    "messages.content.video.media_type": ("video/mp4", "video/webm"),
    "messages.content.file.url": ("https://a.example/1", "https://a.example/2"),
    "messages.content.file.data": ("AA==", "AQ=="),
    "messages.content.file.media_type": (_PDF, "text/plain"),
    "messages.content.reasoning.signature": (
        '[{"type": "reasoning.text", "text": "1"}]',
        '[{"type": "reasoning.text", "text": "2"}]',
    ),
    "messages.content.tool_call.id": ("abcdefghi", "abcdefghj"),
    "messages.content.tool_call.arguments": ('{"a": 1}', '{"a": 2}'),
    "messages.content.tool_call.signature": ('{"a": 1}', '{"a": 2}'),
    "messages.content.tool_call.kind": ("custom",),
    "document.media_type": (_PDF, "image/png"),
    "tools.tool.kind": ("custom",),
    "tools.tool.parameters": ({"type": "object", "description": "1"}, {"type": "object", "description": "2"}),
    "tools.tool.format": ({"type": "text"}, {"type": "grammar"}),
    **{
        f"input.{place}.{part}.prompt_cache_breakpoint": ({"mode": "explicit"},)
        for place in ("message.content", *(f"{kind}.output" for kind in _ITEMS_WITH_PARTS))
        for part in ("input_text", "input_image", "input_file")
    },
    "input.message.role": ("system", "user"),
    "tool_choice.mode": ("tool", "none", "required"),
    "tool_choice.name": ("f", "g"),
    "tool_choice.allowed": (["f"], ["g"]),
    "response_format.type": ("json_object", "json_schema"),
    "response_format.schema": ({"type": "object", "title": "1"}, {"type": "object", "title": "2"}),
    "temperature": (0.25, 0.5, 1.5),
    "n": (1, 2, 3),
    "modalities": (["text"], ["text", "audio"], ["audio"]),
    "service_tier": ("auto", "flex"),
    "metadata": ({"a": "1"}, {"user_id": "1"}),
    "reasoning.effort": ("none", "minimal", "low", "high"),
    "reasoning.max_tokens": (2000, 3000),
    "extra": ({PROVIDER: {"a": 1}}, {PROVIDER: {"a": 2}}),
}

Outcome = tuple[Any, tuple[str, ...]] | InvalidRequestError
"""The wire and the warnings, or the error."""


@cache
def leaves(request: type[msgspec.Struct]) -> list[str]:
    """Return the path of every field that holds no Struct of ours alone."""
    paths = list(paths_of(request))
    return [path for path in paths if path in VALUES or not any(other.startswith(f"{path}.") for other in paths)]


@cache
def values_of(request: type[msgspec.Struct], path: str) -> Sequence[Any]:
    """Return values of a field that differ from each other and from its default."""
    if path == "action":
        return get_args(_type_of(request, path))[-2:]
    return VALUES.get(path) or _values(_type_of(request, path))


@cache
def default_of(request: type[msgspec.Struct], path: str) -> Any:
    """Return the value that a field has if nobody sets it."""
    above, _, name = path.rpartition(".")
    kind = _type_of(request, above) if above else request
    return next(
        field.default for each in _structs(kind) for field in msgspec.structs.fields(each) if field.name == name
    )


@cache
def _type_of(request: type[msgspec.Struct], path: str) -> Any:
    kind: Any = request
    for step in path.split("."):
        structs = list(_structs(kind))
        tagged = [each for each in structs if each.__struct_config__.tag == step]
        if tagged and not isinstance(kind, type):
            kind = tagged[0]
            continue
        kind = next(field.type for each in structs for field in msgspec.structs.fields(each) if field.name == step)
    return kind


def _structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for part in get_args(kind):
        yield from _structs(part)


def _values(kind: Any) -> Sequence[Any]:
    origin, arguments = get_origin(kind), [part for part in get_args(kind) if part is not type(None)]
    if origin in (Union, UnionType):
        words = [part for part in arguments if get_origin(part) is Literal]
        return _values(words[0] if words else arguments[0])
    if origin is Literal:
        return arguments[:2]
    if origin is list:
        return [[value] for value in _values(arguments[0])]
    if origin is dict:
        return [{"1": value} for value in _values(arguments[1])]
    return {
        bool: (True, False),
        int: (2, 3),
        float: (0.25, 0.5),
        str: ("a1", "b2"),
        bytes: ("AA==", "AQ=="),
        Any: ("a1", "b2"),
    }[kind]


# --- requests


def context_of(path: str) -> dict[str, Any]:
    """Return what stands beside a field, as a dict."""
    steps = path.split(".")
    names = (".".join(steps[:place]) for place in range(len(steps), 0, -1))
    return copy.deepcopy(dict(next((CONTEXTS[name] for name in names if name in CONTEXTS), {})))


def with_value(form: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a request's form with one field set, or taken out (`MISSING`)."""
    form = copy.deepcopy(dict(form))
    steps = path.split(".")
    place: Any = form
    for step in steps[:-1]:
        if isinstance(place, list):
            place = place[-1]
            if place.get("type") == step:  # the step is a tag, and no field
                continue
        if value is MISSING and step not in place:
            return form
        place = place.setdefault(step, {})
    if isinstance(place, list):
        place = place[-1]
    if value is MISSING:
        place.pop(steps[-1], None)
    else:
        place[steps[-1]] = value
    return form


def outcome(
    codec: Codec[Any, Any], provider: str, form: Mapping[str, Any], *, stream: bool, model: str = "m"
) -> Outcome:
    """Build a request of this form."""
    table = codec.fields
    assert table is not None
    whole = _named(form, provider)
    if "messages" in table.request.__struct_fields__:
        whole.setdefault("messages", [{"role": "user", "content": "hello"}])
    for field in msgspec.structs.fields(table.request):
        if field.name in ("prompt", "input") and field.required:
            whole.setdefault(field.name, "hello" if field.type is str else ["hello"])
        elif field.name == "voice":
            whole.setdefault("voice", "coral")
        elif field.name == "file":
            whole.setdefault("file", "AA==")
    if "document" in table.request.__struct_fields__:
        whole.setdefault("document", {"url": "https://a.example/b.pdf"})
    if "documents" in table.request.__struct_fields__:
        whole = {"query": "hello", "documents": ["hello"], **whole}
    if "id" in table.request.__struct_fields__:
        whole.setdefault("id", "resp_1")
    if "requests" in table.request.__struct_fields__:
        whole.setdefault("requests", {"c": VALUES["requests"][0]["a"]})
    whole.setdefault("model", model)
    try:
        request = msgspec.convert(whole, table.request)
    except msgspec.ValidationError as error:  # a field that must be there was taken out
        return InvalidRequestError(str(error))
    target = Target(provider=provider, model=whole["model"], stream=stream)
    try:
        built = codec.build(request, target)
    except InvalidRequestError as error:
        return error
    wire = built.request
    is_form = wire.headers.get("content-type", "").startswith("multipart/")
    body = bytes(wire.body) if is_form else json.loads(bytes(wire.body)) if wire.body else None
    return (f"{wire.method} {wire.path}", dict(wire.headers.items()), body), tuple(built.warnings)


def _named(value: Any, provider: str) -> Any:
    if isinstance(value, dict):
        return {provider if key == PROVIDER else key: _named(each, provider) for key, each in value.items()}
    if isinstance(value, list):
        return [_named(each, provider) for each in value]
    return provider if value == PROVIDER else value


# --- judging


def entry_of(table: FieldTable, path: str, value: Any) -> Field | None:
    """Return what a table says of a value of a field."""
    if isinstance(value, str) and (found := table.fields.get(f"{path}={value}")) is not None:
        return found
    return covering(path, table.fields)


def top_of(table: FieldTable, path: str) -> str:
    """Return the path whose entry holds for a path: that of what it is a part of, or its own."""
    steps = path.split(".")
    beginnings = (".".join(steps[:place]) for place in range(1, len(steps) + 1))
    entry = covering(path, table.fields)
    ends = entry is not None and entry.support in {"unsupported", "local"}
    return next(each for each in beginnings if each == path or (ends and table.fields.get(each) is entry))


def shows(path: str, after: Outcome, before: Outcome) -> bool:
    """Whether what a field changed in a request can be seen: on the wire, in a warning or in an error that names it."""
    if isinstance(after, UnsupportedError):
        param = after.param or ""
        return path.startswith(param) or param.startswith(path.partition(".")[0]) or isinstance(before, Exception)
    if isinstance(after, InvalidRequestError):
        return isinstance(before, Exception)
    if isinstance(before, InvalidRequestError):
        return True
    return after[0] != before[0] or any(names(path, warning) for warning in set(after[1]) - set(before[1]))


def warns(after: Outcome, before: Outcome) -> bool:
    """Whether a field that was set brought a warning or an error."""
    if isinstance(after, InvalidRequestError):
        return True
    return bool(set(after[1]) - (set() if isinstance(before, InvalidRequestError) else set(before[1])))


def names(path: str, warning: str) -> bool:
    """Whether a warning tells of a field: by its name, or by that of what it is a part of."""
    steps = path.split(".")
    known = {*steps[-1:], *steps} - {"messages", "content", "tools", "tool", *({"text"} - set(steps[-1:]))}
    return any(_CALLED.get(step, step) in warning for step in known)


_CALLED = {"audio": "sound", "author": "name", "prompt_cache_breakpoint": "cache marks"}
"""How warnings call a part, where it is not by its tag."""
