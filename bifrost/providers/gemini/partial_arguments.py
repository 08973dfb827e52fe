"""Puts the arguments of a streamed tool call together: https://ai.google.dev/api/caching#PartialArg.

A piece names the place of a value with a JSON path (`$.places[0].name`), and adds to a text or sets another value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.providers.sizes import PARTS_LIMIT, check_count
from bifrost.wire import json

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,4})\]|\['([^'\]]*)'\]|\[\"([^\"\]]*)\"\]")
_DEEPEST = 64


class _Piece(msgspec.Struct, rename="camel"):
    json_path: str | None = None
    string_value: str | None = None
    number_value: float | int | None = None
    bool_value: bool | None = None

    @property
    def value(self) -> Any:
        found = (self.string_value, self.number_value, self.bool_value)
        return next((value for value in found if value is not None), None)


_PIECES = msgspec.json.Decoder(list[_Piece] | None, strict=False)


class PartialArguments:
    """The arguments of one call as they arrive."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}
        self._count = 0

    def add(self, data: msgspec.Raw) -> None:
        """Add pieces. Raises `MalformedResponseError` for a path that leads nowhere."""
        pieces = json.decode(data, _PIECES, what="the arguments of a tool") or ()
        self._count += len(pieces)
        check_count(self._count, PARTS_LIMIT, what="pieces of a tool's arguments")
        for piece in pieces:
            self._set(list(_steps(piece.json_path or "")), piece.value)

    def to_json(self) -> str:
        """Return the arguments so far."""
        return json.encode(_joined(self._root)).decode()

    def _set(self, steps: list[str | int], value: Any) -> None:
        place: Any = self._root
        for step, below in zip(steps, [*steps[1:], None], strict=True):
            if isinstance(place, list):
                _extend(cast("list[object]", place), step)
            if below is None:
                _put(place, step, value)
                return
            place = _inside(place, step, below)


def _steps(path: str) -> Iterator[str | int]:
    """Yield the names and numbers of a path."""
    position, count = len(path) - len(path.removeprefix("$")), 0
    while position < len(path) and count < _DEEPEST:
        found = _STEP.match(path, position)
        if found is None:
            break
        name, number, single, double = found.groups()
        yield int(number) if number is not None else name or single or double or ""
        position, count = found.end(), count + 1
    if position < len(path) or not count:
        raise MalformedResponseError(f"a tool's arguments name the place {path[:100]!r}, which cannot be read")


def _extend(place: list[object], step: str | int) -> None:
    if not isinstance(step, int) or step > len(place):
        raise _lost(step)
    if step == len(place):
        place.append(None)


def _inside(place: Any, step: str | int, below: str | int) -> Any:
    """Return the object or list at a step, which is made if there is none."""
    known = _at(place, step)
    if known is None:
        place[step] = known = cast("Any", [] if isinstance(below, int) else {})
    if not isinstance(known, dict | list) or isinstance(known, list) != isinstance(below, int):
        raise _lost(step)
    return cast("Any", known)


def _at(place: Any, step: str | int) -> Any:
    """Return the value at a step; `None` if there is none yet."""
    if isinstance(place, dict) == isinstance(step, int):
        raise _lost(step)
    return cast("Any", place).get(step) if isinstance(place, dict) else place[step]


class _Text(list[str]):
    """The pieces of a text, which are not yet joined."""


def _put(place: Any, step: str | int, value: Any) -> None:
    known = _at(place, step)
    if isinstance(known, _Text) and isinstance(value, str):
        known.append(value)
    else:
        place[step] = _Text([value]) if isinstance(value, str) else value


def _joined(value: Any) -> Any:
    if isinstance(value, _Text):
        return "".join(value)
    if isinstance(value, dict):
        return {name: _joined(inner) for name, inner in cast("dict[str, Any]", value).items()}
    if not isinstance(value, list):
        return value
    return [_joined(inner) for inner in cast("list[object]", value)]


def _lost(step: str | int) -> MalformedResponseError:
    return MalformedResponseError(f"a tool's arguments name a place {str(step)[:100]!r} that does not exist")
