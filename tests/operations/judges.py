"""Judges of schemas that know nothing of ours: JSON schema itself, and what each vendor documents of its subset."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENAI_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
OPENAI_KEYWORDS: dict[str, set[str]] = {
    # https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    "string": {"pattern", "format"},
    "number": {"multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"},
    "integer": {"multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"},
    "array": {"minItems", "maxItems", "items"},
    "object": {"properties", "required", "additionalProperties"},
    "boolean": set(),
    "null": set(),
}
ANTHROPIC_KEYWORDS: dict[str, set[str]] = {
    # https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
    "string": {"format"},
    "number": set(),
    "integer": set(),
    "array": {"minItems", "items"},
    "object": {"properties", "required", "additionalProperties"},
    "boolean": set(),
    "null": set(),
}
ANYWHERE = {"title", "description", "enum", "const", "type", "$defs"}


def check_valid(schema: Any) -> None:
    """The schema is one, and every reference in it leads somewhere."""
    Draft202012Validator.check_schema(schema)
    for each in subschemas(schema):
        if "$ref" in each:
            assert each["$ref"].startswith("#/$defs/")
            assert each["$ref"].removeprefix("#/$defs/") in schema["$defs"]


def check_fits(schema: Any, value: Any) -> None:
    """A value that the type takes fits the schema that the model is shown."""
    Draft202012Validator(schema).validate(value)


def check_openai_strict(schema: Any, *, most_enum_values: int | None = 1000) -> None:
    """The schema is inside the subset that OpenAI documents for strict mode."""
    _check_root(schema)
    enum_values = 0
    for each in subschemas(schema):
        if "$ref" in each:
            assert set(each) == {"$ref"}, "$ref cannot have keywords"
            continue
        _check_keywords(each, OPENAI_KEYWORDS)
        enum_values += len(each.get("enum", ()))
        if each.get("type") == "object":
            assert each["additionalProperties"] is False
            assert sorted(each["required"]) == sorted(each["properties"])
        if each.get("type") == "array":
            assert isinstance(each["items"], dict)
        assert each.get("format") in {None, *OPENAI_FORMATS}
        assert re.search(r"\(\?[=!<P]|\\[1-9bBAZ]", each.get("pattern", "")) is None
    assert most_enum_values is None or enum_values <= most_enum_values


def check_anthropic_native(schema: Any) -> None:
    """The schema is inside the subset that Anthropic documents."""
    _check_root(schema)
    optional = unions = 0
    for each in subschemas(schema):
        if "$ref" in each:
            assert each["$ref"] not in _reached(schema, each["$ref"]), "nothing may contain itself"
            continue
        _check_keywords(each, ANTHROPIC_KEYWORDS)
        if each.get("type") == "object":
            assert each["additionalProperties"] is False
            assert set(each["required"]) <= set(each["properties"])
            optional += len(each["properties"]) - len(each["required"])
        unions += len(each.get("anyOf", ())) > 1
        assert each.get("minItems", 0) in (0, 1)
        assert each.get("format") in {None, "uri", *OPENAI_FORMATS}
        assert not any(isinstance(value, dict | list) for value in each.get("enum", ()))
    assert optional <= 24
    assert unions <= 16


def check_tool(schema: Any) -> None:
    """The schema is one that every vendor takes for a tool's parameters."""
    assert schema["type"] == "object"
    assert isinstance(schema.get("properties", {}), dict)
    assert not schema.keys() & {"anyOf", "oneOf", "allOf", "enum", "not"}
    for each in subschemas(schema):
        assert "prefixItems" not in each
        if each.get("type") == "array":
            assert isinstance(each["items"], dict)


def _check_root(schema: Any) -> None:
    assert schema["type"] == "object"
    assert "anyOf" not in schema


def _check_keywords(schema: dict[str, Any], allowed: dict[str, set[str]]) -> None:
    if "anyOf" in schema:
        assert set(schema) <= {"anyOf", *ANYWHERE} - {"type"}
        return
    assert isinstance(schema.get("type"), str), f"no type in {schema}"
    assert set(schema) <= ANYWHERE | allowed[schema["type"]], schema


def subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    """Give a schema and every schema in it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in ("properties", "$defs", "patternProperties"):
        for each in schema.get(key, {}).values():
            yield from subschemas(each)
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for each in schema.get(key, ()):
            yield from subschemas(each)
    for key in ("items", "additionalProperties", "propertyNames"):
        yield from subschemas(schema.get(key))


def _reached(schema: Any, reference: str) -> set[str]:
    """The references that a definition leads to."""
    found: set[str] = set()
    waiting = [reference]
    while waiting:
        for each in subschemas(schema["$defs"][waiting.pop().removeprefix("#/$defs/")]):
            if "$ref" in each and each["$ref"] not in found:
                found.add(each["$ref"])
                waiting.append(each["$ref"])
    return found
