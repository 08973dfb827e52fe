"""`Uncopyable`: for objects that hold tasks and connections, of which there can only be one."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex


class Uncopyable:
    """Refuses `copy`, `deepcopy` and `pickle` with a `TypeError` that tells what to do."""

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
        "hand the same one on, or call its with_options(...) for other defaults; in another process make a new one"
        if hasattr(thing, "with_options")
        else "hand the same one on"
    )
    return TypeError(f"a {kind} cannot be copied or pickled, since it holds connections and tasks: {hint}")
