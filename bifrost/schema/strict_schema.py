"""A JSON schema in the words that providers' strict modes have in common. Pure; the order of keys is kept.

A strict mode refuses what it does not know, often the whole request. So only what all of them take is left in the
schema; a limit (`maxLength`, `minimum`, ...) is told in the description instead, and the answer is checked against the
type in any case. https://platform.openai.com/docs/guides/structured-outputs#supported-schemas and
https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFS = "#/$defs/"
"""How references begin."""

_KEPT = frozenset({"$ref", "title", "description", "type", "enum", "required"})

_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"},
)

_LIMITS = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "pattern", "format", "contentEncoding", "contentMediaType"),
        *("minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "propertyNames"),
    }
)
"""What is told in words."""

_SILENT = frozenset(
    {
        *("$schema", "$id", "$comment", "examples", "deprecated", "readOnly", "writeOnly"),
        "discriminator",  # the variants' own tags say it too
        "additionalProperties",  # see `_Writer._object`
    }
)
"""What is left out without a word, since it says nothing about the answer's form that is not said elsewhere."""

_TYPES: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


class StrictSchema(msgspec.Struct, frozen=True, kw_only=True):
    """A schema that strict modes understand, and how far they can enforce it."""

    schema: dict[str, Any]
    strict: bool
    """Every object has a fixed set of keys, all of them required: what OpenAI's strict mode asks for."""
    closed: bool
    """Every object has a fixed set of keys, optional or not, and nothing contains itself: what Anthropic asks for."""
    optional: list[str] = []
    """The places of keys that may be left out, for which there is no strict mode."""
    notes: list[str] = []
    """What no provider enforces, with its place."""


def strict_schema(schema: Mapping[str, Any]) -> StrictSchema:
    """Say a schema in the words that strict modes have in common.

    Objects that name their properties are closed (`additionalProperties: false`). What would change the meaning stays
    as it is: maps with free keys, values of any kind, keys that may be left out.
    """
    writer = _Writer()
    written = writer.write(schema, "$")
    recursive = _is_recursive(written)
    return StrictSchema(
        schema=written,
        strict=not (writer.is_open or writer.optional),
        closed=not (writer.is_open or recursive),
        optional=writer.optional,
        notes=writer.notes,
    )


def references(schema: object) -> Iterator[str]:
    """Give the names of the `$defs` that a schema refers to, as often as it does."""
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
    """Writes one schema anew, and notes what becomes of it."""

    def __init__(self) -> None:
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
        written: dict[str, Any] = {}
        told: list[str] = []
        for key, value in given.items():
            self._keyword(key, value, written, told, where)
        if "properties" in given or given.get("type") == "object":
            self._object(given, written, where)
        elif not written.keys() & {"type", "enum", "anyOf", "$ref", "allOf"} or (
            written.get("type") == "array" and "items" not in written
        ):
            self._free(where)
        return _typed(_described(written, told))

    def _keyword(self, key: str, value: Any, written: dict[str, Any], told: list[str], where: str) -> None:
        match key:
            case "anyOf" | "oneOf":
                written["anyOf"] = [self.write(each, where) for each in value]
            case "allOf" if len(value) == 1:
                written["anyOf"] = [self.write(value[0], where)]
            case "allOf" | "prefixItems":
                written[key] = [self.write(each, where) for each in value]
                self._note(where, f"{key} is not enforced")
                self.is_open = True
            case "items":
                written[key] = self.write(value, f"{where}[]")
            case "properties":
                written[key] = {name: self.write(each, f"{where}.{name}") for name, each in value.items()}
            case "$defs":
                written[key] = {name: self.write(each, name) for name, each in value.items()}
            case _:
                self._word(key, value, written, told, where)

    def _word(self, key: str, value: Any, written: dict[str, Any], told: list[str], where: str) -> None:
        """Write a keyword that holds no schema (or one that strict modes have no use for)."""
        if key in _KEPT or (key == "format" and value in _FORMATS):
            written[key] = value
        elif key == "const":
            written["enum"] = [value]
        elif key == "default":
            told.append(_limit(key, value))
        elif key in _LIMITS:
            told.append(_limit(key, value))
            self._note(where, f"{key} is told in words only")
        elif key not in _SILENT:
            self._note(where, f"{key} is left out")

    def _object(self, given: dict[str, Any], written: dict[str, Any], where: str) -> None:
        properties: dict[str, Any] | None = written.get("properties")
        more = given.get("additionalProperties", properties is None)
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


def _described(written: dict[str, Any], told: list[str]) -> dict[str, Any]:
    """Put limits into the description, and a reference that has a description into a schema of its own."""
    if told:
        before = f"{written['description']} " if written.get("description") else ""
        written = {**written, "description": f"{before}({', '.join(told)})"}
    if "$ref" in written and len(written) > 1:
        # "$ref cannot have keywords", says OpenAI.
        reference = {"$ref": written.pop("$ref")}
        written = {**written, "anyOf": [reference]}
    return written


def _typed(written: dict[str, Any]) -> dict[str, Any]:
    """Give an enumeration its type, which OpenAI wants and msgspec does not write; one of several types is split."""
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
