"""JSON schemas in the form that Gemini accepts: https://ai.google.dev/gemini-api/docs/structured-output.

Gemini takes JSON schemas, but not every keyword. A constant becomes an enumeration; a limit that Gemini does not know
is put into the description, so that the model still sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from bifrost.errors import InvalidRequestError
from bifrost.wire import json
from bifrost.wire.json import DEPTH_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping

_DROPPED = frozenset({"$schema", "$comment", "$id", "examples", "deprecated", "readOnly", "writeOnly", "discriminator"})
"""Keywords that say nothing about the form of a value."""

_DESCRIBED: Mapping[str, str] = {
    "exclusiveMinimum": "greater than",
    "exclusiveMaximum": "less than",
    "multipleOf": "a multiple of",
    "minProperties": "at least this many keys:",
    "maxProperties": "at most this many keys:",
    "uniqueItems": "items are unique:",
    "contentEncoding": "encoding:",
    "contentMediaType": "media type:",
}

_OF_NAMES = ("properties", "$defs", "definitions", "patternProperties")
_OF_ONE = ("items", "additionalProperties", "not")
_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")


def schema_field(schema: Mapping[str, Any], *, plain: str, openapi: str) -> dict[str, Any]:
    """Return a schema under the name of its form.

    `plain` is the field for JSON schemas, `openapi` the field for Google's older form, whose types are in capitals.
    """
    kind = schema.get("type")
    if isinstance(kind, str) and kind.isupper():
        return {openapi: schema}
    return {plain: cleaned(schema)}


def cleaned(schema: Mapping[str, Any], *, depth: int = 0) -> dict[str, Any]:
    """Return a schema without the keywords that Gemini refuses. The order of keys is preserved."""
    if depth > DEPTH_LIMIT:
        raise InvalidRequestError("a schema is nested too deeply")
    written: dict[str, Any] = {}
    told: list[str] = []
    for key, value in schema.items():
        if key in _DROPPED:
            continue
        if key == "const":
            written.setdefault("enum", [value])
        elif key in _DESCRIBED:
            told.append(f"{_DESCRIBED[key]} {json.encode(value).decode()}")
        else:
            written[key] = _inner(key, value, depth + 1)
    if told:
        before = written.get("description")
        written["description"] = f"{before} ({'; '.join(told)})" if before else "; ".join(told)
    return written


def _inner(key: str, value: Any, depth: int) -> Any:
    """Return the value of a keyword, with the schemas in it cleaned."""
    if key in _OF_NAMES and isinstance(value, dict):
        return {name: _of(each, depth) for name, each in cast("dict[str, Any]", value).items()}
    if key in _OF_SCHEMAS and isinstance(value, list):
        return [_of(each, depth) for each in cast("list[object]", value)]
    return _of(value, depth) if key in _OF_ONE else value


def _of(schema: Any, depth: int) -> Any:
    return cleaned(cast("dict[str, Any]", schema), depth=depth) if isinstance(schema, dict) else schema
