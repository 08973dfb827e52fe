"""Checks values against the specifications in `tests/providers/specs`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SPECS = Path(__file__).parent / "specs"


@cache
def _document(name: str) -> dict[str, Any]:
    # The alternatives of these documents are told apart by a member (`discriminator`), which JSON Schema does not know.
    text = (SPECS / f"{name}.openapi.json").read_text(encoding="utf-8")
    return json.loads(text.replace('"oneOf"', '"anyOf"'))


@cache
def _validator(name: str, path: str) -> Draft202012Validator:
    document = _document(name)
    body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return Draft202012Validator({**body, "components": document["components"]})


def problems(name: str, path: str, body: Any) -> list[str]:
    """Return what is wrong with the body of a request: members of another type, and unknown ones at the top."""
    validator = _validator(name, path)
    found = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]
    known = _properties(name, validator.schema)
    return found + [f"$: unknown member {member}" for member in body if member not in known]


def _properties(name: str, schema: Any) -> set[str]:
    if "$ref" in schema:
        return _properties(name, _document(name)["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    inner = [_properties(name, part) for part in schema.get("allOf", ())]
    return set(schema.get("properties", ())).union(*inner)
