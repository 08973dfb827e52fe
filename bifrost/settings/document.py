"""Parses TOML and JSON to plain values, with modules of the standard library that are imported on use."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, NoReturn

_TOML_PLACE = re.compile(r" \(at (.*)\)$")
_DEEP_KEY = re.compile(r"^[ \t\[]*(?:[\w-]+[ \t]*\.[ \t]*){128}", re.ASCII | re.MULTILINE)
"""A key with so many parts that the standard library would take quadratic time."""
_LONGEST_REASON = 300
_QUOTED = re.compile(r"""['"(].{2,}['")]""", re.DOTALL)


class Table(dict[str, Any]):
    """A JSON object that records which of its names were repeated; the last value counts."""

    repeated: tuple[str, ...] = ()


def parse(data: bytes, suffix: str) -> tuple[object, str]:
    """Parse a file.

    Returns the document and an empty text, or `None` and a description of the error, without a quotation.

    `suffix` is the file's, `.toml` or `.json`.
    """
    syntax = suffix.removeprefix(".").upper()
    try:
        # Some editors write a byte order mark, which is not part of the text.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return None, f"this is not UTF-8 text (byte {error.start}); save the file as UTF-8"
    try:
        return (_toml(text) if syntax == "TOML" else _json(text)), ""
    except RecursionError:
        return None, f"this {syntax} is nested too deeply"
    except ValueError as error:  # Both parsers raise it, also for numbers with thousands of digits.
        return None, f"this is not {syntax}{_place(error)}"


def _toml(text: str) -> object:
    import tomllib

    if _DEEP_KEY.search(text):
        raise RecursionError
    return tomllib.loads(text)


def _json(text: str) -> object:
    import json

    return json.loads(text, object_pairs_hook=_table, parse_constant=_no_constant)


def _table(pairs: list[tuple[str, Any]]) -> Table:
    table = Table(pairs)
    if len(table) < len(pairs):
        times = Counter(name for name, _ in pairs)
        table.repeated = tuple(name for name in table if times[name] > 1)
    return table


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _place(error: ValueError) -> str:
    """Return the position and the reason, without text from the file, because the line may contain a key."""
    line, column, reason = (getattr(error, name, None) for name in ("lineno", "colno", "msg"))
    if line is not None:
        return f": line {line}, column {column}: {_QUOTED.sub('…', str(reason)[:_LONGEST_REASON])}"
    reason = str(error)[-_LONGEST_REASON:]
    place = _TOML_PLACE.search(reason)
    if place is None:
        return f": {_QUOTED.sub('…', reason)}"
    return f": {place[1]}: {_QUOTED.sub('…', reason[: place.start()])}"
