"""A type for the output of a model: its JSON schema for the model, and the decoder of the model's text.

Types are decoded by msgspec (Struct, attrs, dataclass, TypedDict, built-in types and generics of them), or, if they
belong to pydantic, by the pydantic that the caller has imported. It is never imported here.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast, get_args, overload

import msgspec

from bifrost.attempt_record import shown
from bifrost.errors import InvalidRequestError, OutputValidationError, UsageError
from bifrost.operations.chat.structured.strict_schema import (
    COMMON_RULES,
    DEFS,
    SchemaRules,
    StrictSchema,
    references,
    single_values_required,
    strict_schema,
    with_items,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_LONGEST_NAME = 64
_LONGEST_WORDS = 500
"""The most characters of the description of one problem, which quotes what a model wrote."""
_MOST_PROBLEMS = 10
_MOST_TYPES = 256
_MOST_PLACES = 8
_MOST_CONTAINERS = 4096
"""The number of objects and lists in any text that is decoded to dicts to find values of another form."""
_SPARSE = 16
"""The number of characters per further object or list in such a text."""

_MODULES = re.compile(r"(?:[\w<>]+\.)+")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9-]+")


class _Wrapped(msgspec.Struct, frozen=True):
    """The object around output that is not an object itself."""

    value: msgspec.Raw


_WRAPPED: Final = msgspec.json.Decoder(_Wrapped)


def _is_wrapped(text: str) -> bool:
    try:
        _WRAPPED.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


class OutputType(Generic[T]):
    """A type for `output=`, with its name, schema and decoder.

        invoice = OutputType(Invoice)
        invoice.decode('{"total": 12.5}')  # Invoice(total=12.5)

    `output=Invoice` makes one implicitly. Make it explicitly to inform a type checker about a type that is not a class:
    `OutputType[Cat | Dog](Cat | Dog)`.

    Providers require an object. A type whose JSON is not an object (a list, a number, a union) is requested within one,
    `{"value": ...}`, and extracted again.

    `require_all=True` requests every key from the model, including those with a default, which it may otherwise omit;
    OpenAI's strict mode then remains enabled. Output without them matches nevertheless.

    Raises `InvalidRequestError` for a type without a JSON schema.
    """

    __slots__ = ("_read", "_strict", "is_wrapped", "kind", "name", "schema", "tool_schema")

    @overload
    def __init__(self, kind: type[T], *, require_all: bool = False) -> None: ...
    @overload
    def __init__(self, kind: Any, *, require_all: bool = False) -> None: ...
    def __init__(self, kind: Any, *, require_all: bool = False) -> None:
        self.kind: Any = kind
        """The type itself."""
        self.name: str = _name_of(kind)
        """The name for providers: at most 64 of the characters a-z, A-Z, 0-9, `_` and `-`."""
        schema, read = _schema_and_decoder(kind)
        schema = single_values_required(schema, everything=require_all)
        self._read: Callable[[str | bytes], T] = read
        self.is_wrapped: bool = schema.get("type") != "object"
        """Whether the type's own JSON is not an object and is therefore the `value` of one."""
        self.schema: dict[str, Any] = _wrapped(schema) if self.is_wrapped else schema
        """The type's JSON schema, with an object at its root and keys in the order of declaration. It must not be
        modified.
        """
        self.tool_schema: dict[str, Any] = with_items(self.schema)
        """The schema as the parameters of a tool: every array has `items`. It must not be modified."""
        self._strict: dict[SchemaRules, StrictSchema] = {}

    @property
    def strict(self) -> StrictSchema:
        """The schema for the strict modes of all providers. It must not be modified."""
        return self.strict_for(COMMON_RULES)

    def strict_for(self, rules: SchemaRules) -> StrictSchema:
        """Return the schema for the strict mode of one provider. It must not be modified."""
        made = self._strict.get(rules)
        if made is None:
            made = self._strict[rules] = strict_schema(self.schema, rules)
        return made

    def decode(self, text: str, *, bare: bool = False) -> T:
        """Decode a model's text, which must be JSON only. `bare`: JSON of a wrapped type may come without its object.

        Raises `OutputValidationError`, whose message says what does not match and where, in terms that a model
        understands.
        """
        prefix = "$"
        try:
            if not self.is_wrapped or (bare and not _is_wrapped(text)):
                return self._read(text)
            value = _WRAPPED.decode(text).value
            prefix = "$.value"
            return self._read(bytes(value))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            problem = _problem(error, prefix) if text.strip() else "it is empty"
        except Exception as error:  # the type's own code (a validator, `__post_init__`) has run
            raise UsageError(f"the code of {self.name} failed with {type(error).__name__}; correct it") from error
        # Raised outside the `except` block: the original error may contain the whole text.
        raise OutputValidationError(f"the response does not fit {self.name}: {problem}", output=text)

    def unwrap(self, value: Any) -> Any:
        """Extract the type's own JSON from its object; `None` if it is missing (yet).

        A list without an object is returned as it is.
        """
        if not self.is_wrapped or isinstance(value, list):
            return cast("object", value)
        return cast("dict[str, Any]", value).get("value") if isinstance(value, dict) else None

    def __repr__(self) -> str:
        return f"OutputType({self.name})"


class OutputTypes:
    """A cache of output types for a client. Making one takes about a millisecond."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[Any, OutputType[Any]] = {}

    def of(self, kind: type[T] | OutputType[T] | Any) -> OutputType[Any]:
        """Return the output type for a type. Raises `InvalidRequestError`."""
        if isinstance(kind, OutputType):
            return cast("OutputType[Any]", kind)
        try:
            made = self._made.get(kind)
        except TypeError:
            return OutputType(kind)  # it is not hashable
        if made is None:
            made = OutputType(kind)
            if len(self._made) >= _MOST_TYPES:
                # A program that creates types continuously must not fill the memory with them.
                del self._made[next(iter(self._made))]
            self._made[kind] = made
        return made


# --- schema and decoder of a type

_MARKS = ("__struct_fields__", "__attrs_attrs__", "__dataclass_fields__", "model_fields")
"""Attributes of classes with fields, and of their objects."""


def _schema_and_decoder(kind: Any) -> tuple[dict[str, Any], Callable[[str | bytes], Any]]:
    # Imported on first use, here and below, because most programs use text only.
    from bifrost.operations.chat.structured.adapted_type import unaliased

    try:
        plain = unaliased(kind)
        if _is_pydantic(plain):
            return _pydantic_decoder(plain)
        return _msgspec_decoder(plain)
    except InvalidRequestError as error:
        reason = error.message
    except Exception as error:  # noqa: BLE001 - a type's own code or a library may raise anything
        reason = _reason(error)
    if any(hasattr(kind, name) and not isinstance(kind, type) for name in _MARKS):
        reason = f"this is an object of the type {type(kind).__name__}; pass the type"
    raise InvalidRequestError(
        f"output: {shown(reason, 300)}; pass a msgspec Struct, an attrs class, a dataclass, a TypedDict, "
        "a pydantic model, or builtin types of these"
    )


def _pydantic_decoder(kind: Any) -> tuple[dict[str, Any], Callable[[str | bytes], Any]]:
    from bifrost.operations.chat.structured.adapted_type import validated

    adapter = sys.modules["pydantic"].TypeAdapter(kind)
    schema: dict[str, Any] = dict(adapter.json_schema())
    defs: dict[str, Any] = schema.pop("$defs", {})

    def read(text: str | bytes) -> Any:
        return validated(adapter, text if isinstance(text, str) else text.decode())

    return _with_root(schema, defs), read


def _msgspec_decoder(kind: Any) -> tuple[dict[str, Any], Callable[[str | bytes], Any]]:
    from bifrost.operations.chat.structured.adapted_type import Adapter
    from bifrost.operations.chat.structured.lenient import UNCHANGED, gather, repair, with_formats

    adapter = Adapter()
    adapted = adapter.adapt(kind)
    (schema,), defs = msgspec.json.schema_components(
        [adapted], schema_hook=adapter.schema, ref_template=f"{DEFS}{{name}}"
    )
    info = msgspec.inspect.type_info(adapted)
    with_formats(info, schema, defs)
    _put_in_order(info, defs)
    schema = gather(schema, defs)
    decode = msgspec.json.Decoder(adapted, dec_hook=adapter.read).decode

    def read(text: str | bytes) -> Any:
        try:
            return adapter.build(decode(text))
        except msgspec.ValidationError as error:
            failure = error
        if _is_dense(text):
            raise failure
        # A value may have another form than msgspec expects, and the same meaning.
        value = repair(msgspec.json.decode(text), info)
        if value is UNCHANGED:
            raise failure
        return adapter.convert(value, adapted)

    return _with_root(schema, defs), read


def _is_dense(text: str | bytes) -> bool:
    """Return whether a text has so many objects and lists that decoding it to dicts would take long."""
    brackets = text.count(b"{") + text.count(b"[") if isinstance(text, bytes) else text.count("{") + text.count("[")
    return brackets > _MOST_CONTAINERS + len(text) // _SPARSE


def _reason(error: Exception) -> str:
    """Return the relevant line: the first, or the last if msgspec begins with advice ("requires either:")."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1] if lines[0].endswith(":") else lines[0]


def _is_pydantic(kind: Any) -> bool:
    """Return whether a type contains a class of pydantic, or an annotation that only pydantic supports."""
    if "pydantic" not in sys.modules:
        return False
    from bifrost.operations.chat.structured.adapted_type import unaliased

    kind = unaliased(kind)
    owner: type = kind if isinstance(kind, type) else type(kind)
    package = owner.__module__.partition(".")[0]
    return (
        package in ("annotated_types", "pydantic")
        or hasattr(kind, "__pydantic_core_schema__")
        or any(map(_is_pydantic, get_args(kind)))
    )


def _with_root(schema: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with its root resolved, and the definitions that are still referred to."""
    if isinstance(schema.get("$ref"), str):
        name = schema["$ref"].removeprefix(DEFS)
        schema = {**defs[name], **{key: value for key, value in schema.items() if key != "$ref"}}
        if name not in references(list(defs.values())):
            defs = {other: each for other, each in defs.items() if other != name}
    return {**schema, "$defs": defs} if defs else schema


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    outer: dict[str, Any] = {"type": "object", "properties": {"value": inner}, "required": ["value"]}
    return {**outer, "$defs": schema["$defs"]} if "$defs" in schema else outer


def _put_in_order(info: msgspec.inspect.Type, defs: dict[str, Any]) -> None:
    """Put the keys of typed dicts into the order of declaration, because msgspec sorts them."""
    for typed_dict in _typed_dicts(info, set()):
        order = {name: place for place, name in enumerate(typed_dict.__annotations__)}
        for schema in defs.values():
            properties = schema.get("properties", {})
            if schema.get("title") == typed_dict.__name__ and properties.keys() == order.keys():
                schema["properties"] = {name: properties[name] for name in order}
                schema["required"] = sorted(schema["required"], key=order.__getitem__)


def _typed_dicts(info: object, seen: set[int]) -> Iterator[type]:
    if id(info) in seen:
        return
    seen.add(id(info))
    if isinstance(info, tuple):
        for each in cast("tuple[object, ...]", info):
            yield from _typed_dicts(each, seen)
    if isinstance(info, msgspec.inspect.TypedDictType):
        yield info.cls
    if isinstance(info, msgspec.inspect.Type | msgspec.inspect.Field):
        for name in info.__struct_fields__:
            yield from _typed_dicts(getattr(info, name), seen)


def _name_of(kind: Any) -> str:
    name = kind.__name__ if isinstance(kind, type) and not get_args(kind) else _MODULES.sub("", repr(kind))
    return _NOT_IN_NAMES.sub("_", name).strip("_")[:_LONGEST_NAME] or "answer"


# --- error messages


def _problem(error: Exception, prefix: str) -> str:
    match error:
        case RecursionError():
            return "it is nested too deeply"
        case msgspec.ValidationError():
            return _msgspec_problem(error, prefix)
        case msgspec.MsgspecError():
            return f"it is not JSON: {_lower_first(str(error).removeprefix('JSON is malformed: '))}"
        case UnicodeError():
            return "it holds half of a surrogate pair (a character cut in two)"
        case _:
            return _pydantic_problem(error, prefix)


def _msgspec_problem(error: msgspec.ValidationError, prefix: str) -> str:
    """Return msgspec's message with the path first: `$.price: expected float, got str`."""
    text, places = str(error), list[str]()
    for _ in range(_MOST_PLACES):
        # A value that was decoded within another one has a path of its own. The text may quote a name of any length
        # that the model has invented.
        before, _mark, place = text.rpartition(" - at ")
        if not before or "`$" not in place:
            break
        text = before
        places.append(place.replace("`", ""))
    place = "".join([places[0] if places else "$", *(inner.removeprefix("$") for inner in places[1:])])
    place = shown(place.replace("$", prefix, 1), _LONGEST_WORDS)
    cause = error.__cause__
    if cause is not None and cause.args and isinstance(cause.args[0], list):
        return _problems_of(cast("list[object]", cause.args[0]), place)
    if cause is not None and len(cause.args) > 1:
        text = str(cause.args[0])  # attrs puts the validator and the value behind it
    return f"{place}: {_lower_first(shown(text.replace('`', ''), _LONGEST_WORDS))}"


def _pydantic_problem(error: Any, prefix: str) -> str:
    problems: Any = error.errors(include_url=False, include_input=False, include_context=False)
    if problems[0]["type"] == "json_invalid":
        return f"it is not JSON: {problems[0]['msg'].removeprefix('Invalid JSON: ')}"
    return _problems_of(problems, prefix)


def _problems_of(problems: Any, prefix: str) -> str:
    texts: list[str] = []
    for each in problems[:_MOST_PROBLEMS]:
        place = shown(prefix + "".join(map(_step, each["loc"])), _LONGEST_WORDS)
        texts.append(f"{place}: {_lower_first(shown(each['msg'], _LONGEST_WORDS))}")
    more = len(problems) - _MOST_PROBLEMS
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "")


def _step(step: object) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if str(step).isidentifier() else f"[{str(step)!r}]"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
