"""`Uncopyable`: a base class for objects that hold tasks and connections and therefore cannot be copied."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex


class Uncopyable:
    """Raises `TypeError` for `copy`, `deepcopy` and `pickle`. The message says what to do instead."""

    __slots__ = ()

    def __copy__(self) -> NoReturn:
        raise _refusal(self)

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise _refusal(self)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise _refusal(self)


def _refusal(thing: object) -> TypeError:
    kind = type(thing).__name__
    hint = (
        "pass the same object on, or call its with_options(...) for other defaults; create a new one in another process"
        if hasattr(thing, "with_options")
        else "pass the same object on"
    )
    return TypeError(f"a {kind} cannot be copied or pickled because it holds connections and tasks: {hint}")
