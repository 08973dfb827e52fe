"""The JSON schema of a file in bifrost's format, made from the classes that the file is read into."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin

from bifrost.config import CallOptions, ProviderConfig
from bifrost.errors import ConfigError
from bifrost.providers.catalog import CATALOG
from bifrost.settings.form import NOT_THE_CLIENTS, File, KeyEntry, ProviderEntry
from bifrost.settings.shape import Field, fields_of, is_shape, members_of
from bifrost.wire.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.settings.shape import Shape

_TYPES: Mapping[type, str] = {str: "string", Secret: "string", bool: "boolean", int: "integer", float: "number"}

_MERGED: Mapping[Shape, Shape] = {File: CallOptions, ProviderEntry: ProviderConfig}
"""The shapes whose tables also have the fields of another one."""


def schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a configuration file."""
    definitions: dict[str, Any] = {}
    root = _object(File, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A configuration file of bifrost",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _object(shape: Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    shapes = [shape, *([_MERGED[shape]] if shape in _MERGED else [])]
    fields = {
        name: _property(field, _descriptions(each).get(field.attribute), definitions)
        for each in shapes
        for name, field in fields_of(each).items()
        if not (each is CallOptions and name in NOT_THE_CLIENTS)
    }
    if shape is KeyEntry:
        fields["settings"] = {"description": fields["settings"]["description"], **_key_settings(definitions)}
    required = [name for each in shapes for name, field in fields_of(each).items() if field.required]
    made: dict[str, Any] = {"type": "object", "description": _first_paragraph(shape)}
    if required:
        made["required"] = required
    return {**made, "properties": fields, "additionalProperties": False}


def _key_settings(definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a key's settings: a table for each provider that has some."""
    shapes = dict.fromkeys(row.key_settings for row in CATALOG.values() if row.key_settings is not None)
    return {"anyOf": [_schema_of_one(shape, definitions) for shape in shapes]}


def _property(field: Field, description: str | None, definitions: dict[str, Any]) -> dict[str, Any]:
    made = _schema_of(field.hint, definitions)
    if description:
        made = {"description": description, **made}
    if field.default is not None:
        made["default"] = field.default
    numbers = {"integer", "number"}
    if made.get("type") in numbers:
        made.update(_bound(field))
    return made


def _schema_of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    # None means that the field is missing, which a file expresses by omitting it.
    members = [member for member in members_of(hint) if member is not NoneType]
    made = [_schema_of_one(member, definitions) for member in members]
    return made[0] if len(made) == 1 else {"anyOf": made}


def _schema_of_one(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if is_shape(hint):
        name = cast("type", hint).__name__
        definitions[name] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{name}"}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple and arguments[-1] is not Ellipsis:
        items = [_schema_of(each, definitions) for each in arguments]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
    if origin in (list, tuple):
        return {"type": "array", "items": _schema_of(arguments[0], definitions)}
    if arguments:
        return {"type": "object", "additionalProperties": _schema_of(arguments[1], definitions)}
    return {"type": _TYPES[hint]} if hint is not Any else {}


def _bound(field: Field) -> dict[str, Any]:
    """Determine the minimum of a field by calling its validator."""
    if _takes(field, -1):
        return {}
    return {"minimum": 0} if _takes(field, 0) else {"exclusiveMinimum": 0}


def _takes(field: Field, value: float) -> bool:
    try:
        field.check(value)
    except ConfigError:
        return False
    return True


def _first_paragraph(shape: Shape) -> str:
    return " ".join((shape.__doc__ or "").partition("\n\n")[0].split())


def _descriptions(shape: Shape) -> dict[str, str]:
    """Return the docstrings of a class's fields, which only its source contains."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(shape))).body
    body = cast("ast.ClassDef", definition).body
    found: dict[str, str] = {}
    for field, text in pairwise(body):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(words))),
            ):
                found[name] = " ".join(words.split())
            case _:
                pass
    return found
