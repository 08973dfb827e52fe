"""Values that callers give, read as the type that is wanted; what does not fit is told by its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from bifrost.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

_T = TypeVar("_T")

_JSON_NAMES: Final[Mapping[str, str]] = {"array": "list", "object": "dict", "null": "None"}
"""What msgspec calls in JSON's words, and a caller in Python's."""


def read_as(value: object, kind: type[_T], where: str) -> _T:
    """Read a value as a type. `where` is how the caller knows it; empty for what has only its fields' names.

    Raises `InvalidRequestError` that names the place and what was expected there.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason = str(error)
    raise InvalidRequestError(told(reason, where))


def misfit(request: msgspec.Struct) -> str | None:
    """Look for a value of the wrong type in a request, whose fields take anything; `None` if there is none."""
    try:
        msgspec.convert(msgspec.to_builtins(request), type(request))
    except msgspec.ValidationError as error:
        return told(str(error), "")
    except (TypeError, ValueError, RecursionError) as error:
        return f"the request holds what no request can: {error}"
    return None


def told(reason: str, where: str) -> str:
    """Return what msgspec found wrong in the caller's words: `messages[0].role: expected str, got int`."""
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
