"""From bytes to plain values: TOML and JSON, read with the standard library, which is loaded here on use."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, NoReturn

_TOML_PLACE = re.compile(r" \(at (.*)\)$")
_DEEP_KEY = re.compile(r"^[ \t\[]*(?:[\w-]+[ \t]*\.[ \t]*){128}", re.ASCII | re.MULTILINE)
"""A key of so many parts: the standard library takes time by their square."""
_LONGEST_REASON = 300
_QUOTED = re.compile(r"""['"(].{2,}['")]""", re.DOTALL)


class Table(dict[str, Any]):
    """A JSON object that remembers which of its names were written twice; the last one counts."""

    repeated: tuple[str, ...] = ()


def parse(data: bytes, suffix: str) -> tuple[object, str]:
    """Read a file's bytes; give its document, or what is wrong with it, in words that quote nothing of it.

    `suffix` is the file's, `.toml` or `.json`.
    """
    syntax = suffix.removeprefix(".").upper()
    try:
        # Editors of one system put a mark in front, which is not part of the text.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return None, f"this is not UTF-8 text (byte {error.start}); save the file as UTF-8"
    try:
        return (_toml(text) if syntax == "TOML" else _json(text)), ""
    except RecursionError:
        return None, f"this {syntax} is nested too deeply"
    except ValueError as error:  # Of both parsers; for numbers of thousands of digits a bare one.
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
    """Say where and why, without a word of the file: the line may hold a key."""
    line, column, reason = (getattr(error, name, None) for name in ("lineno", "colno", "msg"))
    if line is not None:
        return f": line {line}, column {column}: {_QUOTED.sub('…', str(reason)[:_LONGEST_REASON])}"
    reason = str(error)[-_LONGEST_REASON:]
    place = _TOML_PLACE.search(reason)
    if place is None:
        return f": {_QUOTED.sub('…', reason)}"
    return f": {place[1]}: {_QUOTED.sub('…', reason[: place.start()])}"
