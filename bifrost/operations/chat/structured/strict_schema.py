"""Converts JSON schemas for the strict modes of providers. Pure; the order of keys is preserved.

A strict mode often refuses the whole request for a keyword that it does not support. Only documented keywords are
therefore left in the schema (`SchemaRules`). Other limits are described in the description, and the output is validated
against the type in any case.
"""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, cast

import msgspec

from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFS = "#/$defs/"
"""The beginning of references."""

_KEPT = frozenset({"$ref", "title", "description", "type", "enum", "required"})

_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})


class SchemaRules(Value, msgspec.Struct, frozen=True, kw_only=True):
    """The JSON schema features that a provider's strict mode supports, according to its documentation.

    `None` means no limit.
    """

    limits: frozenset[str] = frozenset()
    """Keywords that restrict a value (`minimum`, `pattern`, ...) and are enforced. Others are described in words."""
    formats: frozenset[str] = _FORMATS
    """The supported values of `format`."""
    largest_min_items: int | None = None
    """The largest `minItems` that is supported."""
    most_enum_values: int | None = None
    """The most values in all enumerations of a schema together."""
    most_properties: int | None = None
    """The most properties in all objects of a schema together."""
    deepest: int | None = None
    """The most nested levels of objects."""
    most_optional: int | None = None
    """The most optional properties."""
    most_unions: int | None = None
    """The most properties and items whose value may be of several types."""


COMMON_RULES = SchemaRules()
"""The features that the strict modes of all providers have in common."""

OPENAI_RULES = SchemaRules(
    # https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    limits=frozenset(
        {
            *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
            *("pattern", "minItems", "maxItems"),
        }
    ),
    most_enum_values=1000,
    most_properties=5000,
    deepest=10,
)

ANTHROPIC_RULES = SchemaRules(
    # https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
    limits=frozenset({"minItems"}),
    formats=_FORMATS | {"uri"},
    largest_min_items=1,
    most_optional=24,
    most_unions=16,
)

GEMINI_RULES = SchemaRules(
    # https://ai.google.dev/gemini-api/docs/structured-output#json_schema_support
    limits=frozenset({"minimum", "maximum", "minItems", "maxItems"}),
    formats=frozenset({"date-time", "date", "time"}),
)

AZURE_RULES = SchemaRules(
    # https://learn.microsoft.com/azure/foundry/openai/how-to/structured-outputs#unsupported-type-specific-keywords
    formats=frozenset(),
    # https://learn.microsoft.com/azure/foundry/openai/how-to/structured-outputs#nesting-depth
    most_enum_values=500,
    most_properties=100,
    deepest=5,
)

_LONG_ENUM, _LONG_ENUM_TEXT, _MOST_TEXT = 250, 15_000, 120_000
"""OpenAI's limits of text: the number of values from which an enumeration is long, the characters in a long
enumeration, and the characters in all names and values.
"""

_LIMITS = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "pattern", "format", "contentEncoding", "contentMediaType"),
        *("minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "propertyNames"),
    }
)
"""Keywords that are described in words."""

_SILENT = frozenset(
    {
        *("$schema", "$id", "$comment", "examples", "deprecated", "readOnly", "writeOnly"),
        "discriminator",  # the variants have tags as well
        "additionalProperties",  # see `_Writer._object`
    }
)
"""Keywords that are omitted silently, because they say nothing about the form of the output that is not said
elsewhere.
"""

_SPECIAL_PATTERN = re.compile(r"\(\?(?!:)|\\[1-9AbBGkpPzZ]")
"""Features of regular expressions that not every engine supports: lookaround, named groups, back references, ..."""

_TYPES: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


class StrictSchema(Value, msgspec.Struct, frozen=True, kw_only=True):
    """A schema for strict modes, and how far they can enforce it."""

    schema: dict[str, Any]
    """The schema."""

    strict: bool
    """Whether every object has a fixed set of keys that are all required, as OpenAI's strict mode demands."""
    closed: bool
    """Whether every object has a fixed set of keys, optional or not, and nothing is recursive, as Anthropic demands."""
    excess: list[str] = []
    """The limits of the provider's strict mode that the schema exceeds."""
    optional: list[str] = []
    """The paths of optional keys, which strict modes do not support."""
    notes: list[str] = []
    """What no provider enforces, with its path."""


def strict_schema(schema: Mapping[str, Any], rules: SchemaRules = COMMON_RULES) -> StrictSchema:
    """Return a schema for a strict mode.

    Objects with named properties are closed (`additionalProperties: false`). What cannot be changed without changing
    the meaning stays as it is: maps with free keys, values of any type, optional keys.
    """
    writer = _Writer(rules)
    written = writer.write(schema, "$")
    excess = [] if writer.is_open else _excess(written, rules)
    return StrictSchema(
        schema=written,
        strict=not (writer.is_open or writer.optional or excess),
        closed=not (writer.is_open or excess or _is_recursive(written)),
        optional=writer.optional,
        excess=excess,
        notes=writer.notes,
    )


def with_items(schema: Any) -> Any:
    """Return a schema in which every array has `items`, which many providers require in schemas of tools.

    A tuple becomes a list of the same length whose items have one of its types; their order is part of the description.
    """
    if not isinstance(schema, dict):
        return schema
    given = cast("dict[str, Any]", schema)
    written: dict[str, Any] = {}
    for key, value in given.items():
        match key, value:
            case (("properties" | "$defs" | "patternProperties"), dict()):
                each = cast("dict[str, Any]", value)
                written[key] = {name: with_items(inner) for name, inner in each.items()}
            case (("anyOf" | "oneOf" | "allOf" | "prefixItems"), list()):
                written[key] = [with_items(inner) for inner in cast("list[object]", value)]
            case (("items" | "additionalProperties"), dict()):
                written[key] = with_items(value)
            case _:
                written[key] = value
    return _list_schema(written) if _is_array(written) else written


def single_values_required(schema: dict[str, Any], *, everything: bool = False) -> dict[str, Any]:
    """Return a schema in which keys are required whose only possible value is their default.

    Such a key distinguishes the types of a union, so the model has to write it. With `everything`, all keys are
    required.
    """
    written: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs", "patternProperties") and isinstance(value, dict):
            inner = cast("dict[str, Any]", value)
            written[key] = {name: _required_inside(each, everything=everything) for name, each in inner.items()}
        elif key in ("anyOf", "oneOf", "allOf", "prefixItems", "items", "additionalProperties"):
            written[key] = _required_inside(value, everything=everything)
        else:
            written[key] = value
    if isinstance(written.get("properties"), dict):
        before: list[str] = schema.get("required", [])
        properties = cast("dict[str, Any]", written["properties"])
        required = [name for name in properties if name in before or everything or _has_one_value(properties[name])]
        if len(required) > len(before):
            written["required"] = required
    return written


def _required_inside(schema: Any, *, everything: bool) -> Any:
    if isinstance(schema, list):
        return [_required_inside(each, everything=everything) for each in cast("list[object]", schema)]
    if isinstance(schema, dict):
        return single_values_required(cast("dict[str, Any]", schema), everything=everything)
    return schema


def _has_one_value(schema: Any) -> bool:
    match schema:
        case {"const": value, "default": default}:
            return bool(value == default)
        case {"enum": [value], "default": default}:
            return bool(value == default)
        case _:
            return False


def _is_array(schema: dict[str, Any]) -> bool:
    return "prefixItems" in schema or (schema.get("type") == "array" and not isinstance(schema.get("items"), dict))


def _list_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an array with `items` instead of `prefixItems`."""
    first: list[Any] = schema.get("prefixItems", [])
    rest = schema.get("items")
    kinds: list[Any] = []
    given: list[Any] = [*first, rest] if isinstance(rest, dict) else first
    for kind in given:
        if kind not in kinds:
            kinds.append(kind)
    written = {key: value for key, value in schema.items() if key not in ("prefixItems", "items")}
    written["items"] = {"anyOf": kinds} if len(kinds) > 1 else kinds[0] if kinds else {}
    if schema.get("maxItems") == 0:
        written["items"] = {"type": "string"}
    if len(kinds) < 2:
        return written
    order = ", ".join(map(_kind_name, first))
    before = f"{schema['description']} " if schema.get("description") else ""
    return {**written, "description": f"{before}(items in this order: {order})"}


def _kind_name(schema: dict[str, Any]) -> str:
    """Return a short name of what a schema describes, for a model."""
    for key in ("title", "type", "$ref"):
        if isinstance(schema.get(key), str):
            return str(schema[key]).removeprefix(DEFS)
    values: list[Any] = [schema["const"]] if "const" in schema else schema.get("enum", [])
    if values:
        return " or ".join([msgspec.json.encode(value).decode() for value in values[:5]])
    kinds: list[Any] = schema.get("anyOf") or schema.get("oneOf") or []
    return " or ".join(map(_kind_name, kinds)) or "anything"


def _excess(schema: dict[str, Any], rules: SchemaRules) -> list[str]:
    """Return the limits of the rules that a closed schema exceeds."""
    counted: list[tuple[int, int | None, str]] = []
    if rules.most_enum_values is not None or rules.most_properties is not None:
        enums = [each["enum"] for each in _schemas_in(schema) if "enum" in each]
        names = [name for each in _schemas_in(schema) for name in each.get("properties", ())]
        texts = [text for values in enums for text in values if isinstance(text, str)]
        long = [
            sum(len(text) for text in values if isinstance(text, str)) for values in enums if len(values) > _LONG_ENUM
        ]
        counted += [
            (sum(map(len, enums)), rules.most_enum_values, "values in enumerations"),
            (len(names), rules.most_properties, "keys"),
            (max(long, default=0), _LONG_ENUM_TEXT, "characters in a long enumeration"),
            (sum(map(len, [*names, *texts, *schema.get("$defs", ())])), _MOST_TEXT, "characters in names and values"),
        ]
    if rules.deepest is not None:
        counted.append((_depth(schema), rules.deepest, "levels of objects"))
    if rules.most_optional is not None and not _is_recursive(schema):
        optional, unions = _counts(schema)
        counted += [
            (optional, rules.most_optional, "keys that may be left out"),
            (unions, rules.most_unions, "keys of several kinds"),
        ]
    return [
        f"{count:,} {what}, of {most:,} at most" for count, most, what in counted if most is not None and count > most
    ]


def _parts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the schemas directly within a schema, without definitions."""
    yield from schema.get("properties", {}).values()
    yield from schema.get("anyOf", ())
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield schema[key]


def _schemas_in(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a schema and all schemas within it, including definitions, each once."""
    waiting = [schema, *schema.get("$defs", {}).values()]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += _parts(each)


def _counts(schema: dict[str, Any]) -> tuple[int, int]:
    """Count the optional keys and unions of a schema without recursion. A definition counts wherever it is used."""
    defs: dict[str, Any] = schema.get("$defs", {})
    known: dict[str, tuple[int, int]] = {}

    def count(each: dict[str, Any]) -> tuple[int, int]:
        name = each.get("$ref")
        if name is not None:
            name = name.removeprefix(DEFS)
            if name not in known:
                known[name] = count(defs.get(name, {}))
            return known[name]
        optional = len(each.get("properties", ())) - len(each.get("required", ())) if "properties" in each else 0
        unions = int(len(each.get("anyOf", ())) > 1)
        for part in _parts(each):
            more = count(part)
            optional, unions = optional + more[0], unions + more[1]
        return optional, unions

    return count(schema)


def _depth(schema: dict[str, Any]) -> int:
    """Return the number of nested levels of objects. A recursive definition counts once."""
    defs: dict[str, Any] = schema.get("$defs", {})
    known: dict[str, int] = {}

    def depth(each: dict[str, Any]) -> int:
        name = each.get("$ref")
        if name is not None:
            name = name.removeprefix(DEFS)
            if name not in known:
                known[name] = 0  # while it is being counted
                known[name] = depth(defs.get(name, {}))
            return known[name]
        return int("properties" in each) + max(map(depth, _parts(each)), default=0)

    return depth(schema)


def tool_parameters(
    name: str, parameters: Mapping[str, Any] | None, *, strict: bool | None, rules: SchemaRules
) -> tuple[dict[str, Any], bool | None, list[str]]:
    """Return the schema of a tool's parameters for providers, whether it is strict, and what was changed.

    The schema has an object at its root, with `properties`, and every array has `items`. A strict schema is closed and,
    if the rules demand it, all its keys are required; whatever matches it matches the given schema as well. If a schema
    cannot be strict, it is not. A schema that is correct already is not changed.

    Raises `InvalidRequestError` if it does not describe an object.
    """
    given = _object_of(name, dict(parameters or {}))
    if any(map(_is_array, _schemas_in(given))):
        given = with_items(given)
    if not strict:
        return given, strict, []
    everything = rules.most_optional is None
    found = strict_schema(single_values_required(given, everything=everything), rules)
    if not found.strict and (everything or not found.closed):
        reasons = [*found.notes, *(f"it has {excess}" for excess in found.excess), "it contains itself"]
        return given, None, [f"tool {name}: strict was left out, since {reasons[0]}"]
    notes = [] if rules == COMMON_RULES else found.notes
    optional = strict_schema(given, rules).optional if everything else []
    if optional:
        notes = [f"{', '.join(optional)} must be given in strict mode", *notes]
    written = _closed(given, everything=everything) if rules == COMMON_RULES else found.schema
    if _with_sorted_required(written) == _with_sorted_required(given):
        written = given
    return written, True, [f"tool {name}: {'; '.join(notes)}"] if notes else []


def _closed(schema: Any, *, everything: bool) -> Any:
    """Close every object of a schema and change nothing else, for servers whose strict mode is not documented."""
    if isinstance(schema, list):
        return [_closed(each, everything=everything) for each in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    given = cast("dict[str, Any]", schema)
    written: dict[str, Any] = {}
    for key, value in given.items():
        if key in ("properties", "$defs") and isinstance(value, dict):
            inner = cast("dict[str, Any]", value)
            written[key] = {name: _closed(each, everything=everything) for name, each in inner.items()}
        elif key in ("items", "anyOf", "oneOf", "allOf"):
            written[key] = _closed(value, everything=everything)
        else:
            written[key] = value
    if "properties" in given:
        if everything:
            written["required"] = list(given["properties"])
        written["additionalProperties"] = False
    return written


def _with_sorted_required(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_sorted_required(each) for each in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    given = cast("dict[str, Any]", schema)
    return {
        key: sorted(value) if key == "required" and _are_names(value) else _with_sorted_required(value)
        for key, value in given.items()
        if not (key == "required" and value == [])
    }


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in cast("list[object]", value))


def _object_of(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with an object at its root, resolved."""
    defs: Any = schema.get("$defs")
    if isinstance(schema.get("$ref"), str) and isinstance(defs, dict):
        root = cast("dict[str, Any]", defs).get(schema["$ref"].removeprefix(DEFS))
        if isinstance(root, dict):
            schema = {**root, **{key: value for key, value in schema.items() if key != "$ref"}}
    kind = schema.get("type", "object")
    if kind != "object":
        if kind != ["object", "null"]:
            raise InvalidRequestError(
                f"tool {name}: parameters describe {kind!r}, and no object; put it into a property of one"
            )
        schema = {**schema, "type": "object"}
    missing: dict[str, Any] = {key: value for key, value in _EMPTY.items() if key not in schema}
    if schema.keys() & {"anyOf", "oneOf", "allOf"}:
        missing.pop("properties", None)
    return {**schema, **missing} if missing else schema


_EMPTY: Mapping[str, Any] = {"type": "object", "properties": {}}


def references(schema: object) -> Iterator[str]:
    """Yield the names of the `$defs` that a schema refers to, once per reference."""
    if isinstance(schema, list):
        for item in cast("list[object]", schema):
            yield from references(item)
    if isinstance(schema, dict):
        for key, value in cast("dict[str, object]", schema).items():
            if key == "$ref" and isinstance(value, str):
                yield value.removeprefix(DEFS)
            else:
                yield from references(value)


def _is_recursive(schema: dict[str, Any]) -> bool:
    defs: dict[str, Any] = schema.get("$defs", {})
    graph = {name: set(references(each)) for name, each in defs.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        return True
    return False


class _Writer:
    """Converts one schema, and records what could not be preserved."""

    def __init__(self, rules: SchemaRules) -> None:
        self._rules = rules
        self.notes: list[str] = []
        self.optional: list[str] = []
        self.is_open = False

    def write(self, schema: object, where: str) -> Any:
        if not isinstance(schema, dict):
            # `true` is a schema too, and so is `false` (nothing may follow a tuple's items).
            if schema is not False:
                self._free(where)
            return schema
        given = cast("dict[str, Any]", schema)
        if "prefixItems" in given:
            given = _list_schema(given)
            if "anyOf" in given["items"]:
                self._note(where, "the order of its items is stated in words only")
        written: dict[str, Any] = {}
        limits: list[str] = []
        for key, value in given.items():
            self._keyword(key, value, written, limits, where)
        if "properties" in given or given.get("type") == "object":
            self._object(given, written, where)
        elif not written.keys() & {"type", "enum", "anyOf", "$ref", "allOf"} or (
            written.get("type") == "array" and "items" not in written
        ):
            self._free(where)
        return _typed(_described(written, limits))

    def _keyword(self, key: str, value: Any, written: dict[str, Any], limits: list[str], where: str) -> None:
        match key:
            case "anyOf" | "oneOf":
                written["anyOf"] = [self.write(each, where) for each in value]
            case "allOf" if len(value) == 1:
                written["anyOf"] = [self.write(value[0], where)]
            case "allOf":
                written[key] = [self.write(each, where) for each in value]
                self._note(where, f"{key} is not enforced")
                self.is_open = True
            case "items":
                written[key] = self.write(value, f"{where}[]")
            case "patternProperties" if isinstance(value, dict):
                patterns = cast("dict[str, Any]", value)
                limits.append(_limit("keys match", list(patterns)))
            case "properties":
                written[key] = {name: self.write(each, f"{where}.{name}") for name, each in value.items()}
            case "$defs":
                written[key] = {name: self.write(each, name) for name, each in value.items()}
            case _:
                self._word(key, value, written, limits, where)

    def _word(self, key: str, value: Any, written: dict[str, Any], limits: list[str], where: str) -> None:
        """Convert a keyword without a schema, or one that strict modes do not use."""
        if key in _KEPT or self._is_enforced(key, value):
            written[key] = value
        elif key == "const":
            written["enum"] = [value]
        elif key == "default":
            limits.append(_limit(key, value))
        elif key in _LIMITS:
            limits.append(_limit(key, value))
            self._note(where, f"{key} is stated in words only")
        elif key not in _SILENT:
            self._note(where, f"{key} is left out")

    def _is_enforced(self, key: str, value: Any) -> bool:
        """Return whether the provider enforces this limit."""
        rules = self._rules
        match key:
            case "format":
                return value in rules.formats
            case "pattern":
                return key in rules.limits and _SPECIAL_PATTERN.search(value) is None
            case "minItems":
                return key in rules.limits and (rules.largest_min_items is None or value <= rules.largest_min_items)
            case _:
                return key in rules.limits

    def _object(self, given: dict[str, Any], written: dict[str, Any], where: str) -> None:
        properties: dict[str, Any] | None = written.get("properties")
        more: Any = given.get("additionalProperties", properties is None)
        patterns: list[Any] = list(given.get("patternProperties", {}).values())
        if patterns:
            # The patterns of the keys are described in words, their values are not.
            kinds: list[Any] = [*patterns, more] if isinstance(more, dict) else patterns
            more = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        if more is not False:
            written["additionalProperties"] = True if more is True else self.write(more, f"{where}.*")
            self.is_open = True
            self._note(where, "it may have any keys")
            return
        written["additionalProperties"] = False
        required: list[str] = written.get("required", [])
        self.optional += [f"{where}.{name}" for name in properties or () if name not in required]
        written["required"] = [name for name in properties or () if name in required]

    def _free(self, where: str) -> None:
        self.is_open = True
        self._note(where, "it may be anything")

    def _note(self, where: str, text: str) -> None:
        self.notes.append(f"{where}: {text}")


def _limit(key: str, value: Any) -> str:
    return f"{key}: {msgspec.json.encode(value).decode()}"


def _described(written: dict[str, Any], limits: list[str]) -> dict[str, Any]:
    """Add limits to the description, and move a reference with a description into a separate schema."""
    if limits:
        before = f"{written['description']} " if written.get("description") else ""
        written = {**written, "description": f"{before}({', '.join(limits)})"}
    if "$ref" in written and len(written) > 1:
        # OpenAI: "$ref cannot have keywords".
        reference = {"$ref": written.pop("$ref")}
        written = {**written, "anyOf": [reference]}
    return written


def _typed(written: dict[str, Any]) -> dict[str, Any]:
    """Add the type of an enumeration, which OpenAI requires and msgspec omits. If it has several types, it is split."""
    values: list[Any] | None = written.get("enum")
    if values is None or "type" in written or not all(type(value) in _TYPES for value in values):
        return written
    by_type: dict[str, list[Any]] = {}
    for value in values:
        by_type.setdefault(_TYPES[type(value)], []).append(value)
    rest = {key: value for key, value in written.items() if key != "enum"}
    if len(by_type) == 1:
        return {**rest, "type": next(iter(by_type)), "enum": values}
    return {**rest, "anyOf": [{"type": kind, "enum": some} for kind, some in by_type.items()]}
