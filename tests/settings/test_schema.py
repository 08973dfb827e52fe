from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from bifrost.config import CallOptions, ProviderConfig, SizeLimits
from bifrost.settings.form import NOT_THE_CLIENTS, File, KeyEntry, ProviderEntry
from bifrost.settings.schema import schema
from bifrost.settings.shape import fields_of

_ROOT = Path(__file__).parents[2]


def fits(value: Any, rules: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Say whether a value keeps to a schema, as far as ours uses the language."""
    if "$ref" in rules:
        rules = whole["$defs"][rules["$ref"].rpartition("/")[2]]
    if "anyOf" in rules:
        return any(fits(value, each, whole) for each in rules["anyOf"])
    if "enum" in rules:
        return value in rules["enum"]
    match rules["type"], value:
        case "object", dict():
            own = rules.get("properties", {})
            others = rules["additionalProperties"]
            return all(name in value for name in rules.get("required", ())) and all(
                fits(each, own[name], whole) if name in own else bool(others) and fits(each, others, whole)
                for name, each in value.items()
            )
        case "array", list():
            items = rules.get("prefixItems") or [rules["items"]] * len(value)
            return len(value) == len(items) and all(
                fits(each, rule, whole) for each, rule in zip(value, items, strict=True)
            )
        case "string", str():
            return True
        case "boolean", bool():
            return True
        case (("integer" | "number" as kind), int() | float()):
            whole_number = kind == "number" or isinstance(value, int)
            bound = value >= rules.get("minimum", value) and value > rules.get("exclusiveMinimum", value - 1)
            return not isinstance(value, bool) and whole_number and bound
        case _:
            return False


def test_the_schema_in_the_documentation_is_that_of_the_code() -> None:
    """To renew it: `python -m bifrost.settings --schema > docs/bifrost.schema.json`."""
    run = subprocess.run(
        [sys.executable, "-m", "bifrost.settings", "--schema"], capture_output=True, text=True, check=True, cwd=_ROOT
    )
    assert run.stdout == (_ROOT / "docs" / "bifrost.schema.json").read_text(encoding="utf-8")
    assert json.loads(run.stdout) == schema()


def test_anything_else_is_refused_with_a_word_on_how_it_is_used() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bifrost.settings"], capture_output=True, text=True, check=False, cwd=_ROOT
    )
    assert run.returncode == 2
    assert "--schema" in run.stderr


def test_it_has_every_field_of_every_class() -> None:
    made = schema()
    assert set(made["properties"]) == {*fields_of(File), *fields_of(CallOptions)} - {*NOT_THE_CLIENTS}
    tables = made["$defs"]
    assert set(tables["ProviderEntry"]["properties"]) == {*fields_of(ProviderEntry), *fields_of(ProviderConfig)}
    assert set(tables["KeyEntry"]["properties"]) == set(fields_of(KeyEntry))
    assert set(tables["SizeLimits"]["properties"]) == set(fields_of(SizeLimits))
    assert all(table["additionalProperties"] is False for table in (made, *tables.values()))


def test_it_tells_bounds_defaults_and_meaning() -> None:
    tables = schema()["$defs"]
    assert tables["ProviderEntry"]["properties"]["queue"] == {
        "description": "The most callers that wait for one of these places. Default: 10,000.",
        "type": "integer",
        "default": ProviderConfig().queue,
        "minimum": 0,
    }
    assert tables["Timeouts"]["properties"]["connect"]["exclusiveMinimum"] == 0
    assert tables["ProviderEntry"]["properties"]["on_full"]["enum"] == ["wait", "drop"]
    assert tables["RetryConfig"]["properties"]["fallback_on_caller_error"]["type"] == "boolean"


def test_it_takes_what_the_loader_takes_and_refuses_what_it_refuses() -> None:
    made = schema()
    example = tomllib.loads((_ROOT / "examples" / "bifrost.toml").read_text(encoding="utf-8"))
    assert fits(example, made, made)
    provider: dict[str, Any] = {"keys": "env.K"}
    for change in (
        {"timeout": 0},
        {"timeout": "x"},
        {"tiemout": 1},
        {"models": {"a": [["b"]]}},
        {"providers": {"openai": {**provider, "queue": -1}}},
        {"providers": {"openai": {**provider, "on_full": "x"}}},
        {"providers": {"openai": {**provider, "timeouts": {"conect": 1}}}},
        {"providers": {"openai": {"keys": [{"value": {"emv": "K"}}]}}},
        {"providers": {"openai": {**provider, "auth": "basic"}}},
    ):
        assert not fits(change, made, made), change
