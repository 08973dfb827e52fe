"""Changes of recorded responses such as servers that are nearly like their vendor make, from a seed."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

Path = tuple[str | int, ...]

ABSENT = object()
"""The member is dropped."""

UNKNOWN = {"zz_new": {"type": "zz_unknown", "list": [None, 1]}}
"""What a vendor added without asking."""


class Mutation(NamedTuple):
    """One change of a document."""

    path: Path
    """The place of the changed member."""

    value: Any
    """Its new value, or `ABSENT`."""

    def apply(self, document: Any) -> Any:
        """Return a changed copy."""
        changed = copy.deepcopy(document)
        *outer, last = self.path
        inside: Any = changed
        for step in outer:
            inside = inside[step]
        if self.value is not ABSENT:
            inside[last] = self.value
        elif isinstance(last, int) or last in inside:
            del inside[last]
        return changed


def mutation(document: Any, random: Random) -> Mutation:
    """Choose a change of a document, which is an object with members."""
    path, value = random.choice(list(places(document)))
    return Mutation(path, random.choice(values(value)))


def places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every member and item of a document, with its value."""
    match value:
        case dict():
            for key, inner in value.items():
                yield (*path, key), inner
                yield from places(inner, (*path, key))
            yield (*path, "zz_new"), UNKNOWN
        case list():
            for place, inner in enumerate(value):
                yield (*path, place), inner
                yield from places(inner, (*path, place))
        case _:
            pass


def values(value: Any) -> list[Any]:
    """Return what may stand in the place of a value."""
    common = [ABSENT, None, "", {}, [], 10**30, False, 3.0, "3", "zz_unknown", UNKNOWN]
    match value:
        case bool():
            return [*common, not value]
        case int() | float():
            return [*common, float(value), str(value), -1]
        case str():
            return [*common, [value]]
        case list():
            return [*common, [*value, None], [*value, *value], [None], [UNKNOWN]]
        case dict():
            return [*common, [value], {**value, **UNKNOWN}]
        case _:
            return common
