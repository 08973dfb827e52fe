"""Converts callers' values to the expected type, and describes where a value does not match."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from bifrost.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

_T = TypeVar("_T")

_JSON_NAMES: Final[Mapping[str, str]] = {"array": "list", "object": "dict", "null": "None"}
"""msgspec's names of types in JSON, with Python's names."""


def read_as(value: object, kind: type[_T], where: str) -> _T:
    """Convert a value to a type. `where` is the caller's name for it; empty if only its fields have names.

    Raises `InvalidRequestError`, which names the place and the expected type.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason = str(error)
    raise InvalidRequestError(describe(reason, where))


def misfit(request: msgspec.Struct) -> str | None:
    """Return a description of a field with the wrong type in a request, whose fields accept any value; else `None`."""
    try:
        msgspec.convert(msgspec.to_builtins(request), type(request))
    except msgspec.ValidationError as error:
        return describe(str(error), "")
    except (TypeError, ValueError, RecursionError) as error:
        return f"the request contains an invalid value: {error}"
    return None


def describe(reason: str, where: str) -> str:
    """Return msgspec's message in the caller's terms: `messages[0].role: expected str, got int`."""
    problem, mark, place = reason.rpartition(" - at ")
    is_key = place.startswith("`key` in ")
    path = place.removeprefix("`key` in ")
    if mark and path.startswith("`$") and path.endswith("`"):
        reason = problem
        where = f"{where}{path[2:-1]}".lstrip(".")
        if is_key:
            where = f"a key of {where}"
    reason = re.sub(r"`[^`]*`", lambda found: re.sub(r"\w+", _python_name, found[0]), reason)
    return f"{where}: {reason[:1].lower()}{reason[1:]}"


def _python_name(word: re.Match[str]) -> str:
    return _JSON_NAMES.get(word[0], word[0])
