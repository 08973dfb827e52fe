"""Base classes of values: `replace` returns a changed copy; settings also compare, hash and have a `repr`.

attrs would generate and compile these methods for every class, which takes a twelfth of the time of `import bifrost`.
"""

from __future__ import annotations

from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, KeysView
    from typing import ClassVar, Self

    import attrs


class Value:
    """Base class of Structs: requests, responses and other values that are sent or received."""

    __slots__ = ()

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed: `request.replace(temperature=0)`.

        `copy.replace` (Python 3.13 and later) does the same. Raises `TypeError` for an unknown field.
        """
        struct = cast("Any", self)
        _check_names(self, changes, struct.__struct_fields__)
        return cast("Self", msgspec.structs.replace(struct, **changes))

    def __replace__(self, /, **changes: Any) -> Self:
        return self.replace(**changes)


class Frozen:
    """Base class for `attrs.frozen(eq=False, repr=False)` classes, which compares and prints them by their fields.

    The options of a field (`eq=False`, `hash=False`, `repr=False`) apply.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        __attrs_attrs__: ClassVar[tuple[attrs.Attribute[Any], ...]]
    else:

        def __new__(cls, *args: Any, **fields: Any) -> Self:
            """Check the names of the arguments, before `__init__` refuses them without a hint. No value is shown."""
            known = cls._arguments()
            if (args and all(field.kw_only for field in cls.__attrs_attrs__)) or not fields.keys() <= known:
                unknown = next((name for name in fields if name not in known), None)
                # They may contain a key, and a traceback may print the local variables of this frame.
                args = fields = ()
                raise TypeError(_refusal(cls.__name__, unknown, known))
            return super().__new__(cls)

    @classmethod
    def _arguments(cls) -> KeysView[str]:
        """Return the names of the arguments of the class, in order."""
        return {field.alias or field.name: None for field in cls.__attrs_attrs__ if field.init}.keys()

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        compared = [field.name for field in self.__attrs_attrs__ if field.eq]
        return all(getattr(self, name) == getattr(other, name) for name in compared)

    def __hash__(self) -> int:
        hashed = [field.name for field in self.__attrs_attrs__ if (field.eq if field.hash is None else field.hash)]
        return hash((type(self), *(getattr(self, name) for name in hashed)))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed: `config.replace(concurrency=64)`. The validators run again.

        `copy.replace` (Python 3.13 and later) does the same. Raises `TypeError` for an unknown field.
        """
        import attrs

        _check_names(self, changes, self._arguments())
        return cast("Self", attrs.evolve(cast("Any", self), **changes))

    def __replace__(self, /, **changes: Any) -> Self:
        return self.replace(**changes)

    @recursive_repr()
    def __repr__(self) -> str:
        fields = (f"{field.name}={getattr(self, field.name)!r}" for field in self.__attrs_attrs__ if field.repr)
        return f"{type(self).__qualname__.rpartition('>.')[2]}({', '.join(fields)})"


def _check_names(value: object, changes: Collection[str], known: Collection[str]) -> None:
    for name in changes:
        if name not in known:
            raise TypeError(f"{type(value).__name__} has no field {name!r}; {_hint(name, known)}")


def _refusal(kind: str, unknown: str | None, known: Collection[str]) -> str:
    if unknown is None:
        return f"{kind} takes its arguments by name, not by position: {kind}({next(iter(known))}=...)"
    return f"{kind} takes no {unknown}=; {_hint(unknown, known)}"


def _hint(name: str, known: Collection[str]) -> str:
    # Imported here because it is needed only when something is wrong.
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else f"it has: {', '.join(known)}"
