"""What values have in common: `replace` gives a changed copy of one; settings also compare, hash and show themselves.

attrs would write and compile those methods anew for every class, which is a twelfth of what `import bifrost` takes.
"""

from __future__ import annotations

from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import ClassVar, Self

    import attrs


class Value:
    """Base of Structs: of requests, answers and what else travels."""

    __slots__ = ()

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed: `request.replace(temperature=0)`.

        `copy.replace`, which Python has from 3.13 on, does the same. Raises `TypeError` for a field that there is not.
        """
        struct = cast("Any", self)
        _check_names(self, changes, struct.__struct_fields__)
        return cast("Self", msgspec.structs.replace(struct, **changes))

    def __replace__(self, /, **changes: Any) -> Self:
        return self.replace(**changes)


class Frozen:
    """Base of classes made with `attrs.frozen(eq=False, repr=False)`, which compare and show by their fields.

    What a field says of itself (`eq=False`, `hash=False`, `repr=False`) counts.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        __attrs_attrs__: ClassVar[tuple[attrs.Attribute[Any], ...]]

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        compared = [field.name for field in self.__attrs_attrs__ if field.eq]
        return all(getattr(self, name) == getattr(other, name) for name in compared)

    def __hash__(self) -> int:
        hashed = [field.name for field in self.__attrs_attrs__ if (field.eq if field.hash is None else field.hash)]
        return hash((type(self), *(getattr(self, name) for name in hashed)))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed: `config.replace(concurrency=64)`. Its validators run.

        `copy.replace`, which Python has from 3.13 on, does the same. Raises `TypeError` for a field that there is not.
        """
        import attrs

        _check_names(self, changes, [field.alias or field.name for field in self.__attrs_attrs__ if field.init])
        return cast("Self", attrs.evolve(cast("Any", self), **changes))

    def __replace__(self, /, **changes: Any) -> Self:
        return self.replace(**changes)

    @recursive_repr()
    def __repr__(self) -> str:
        shown = (f"{field.name}={getattr(self, field.name)!r}" for field in self.__attrs_attrs__ if field.repr)
        return f"{type(self).__qualname__.rpartition('>.')[2]}({', '.join(shown)})"


def _check_names(value: object, changes: Collection[str], known: Collection[str]) -> None:
    for name in changes:
        if name not in known:
            # Where all goes well nobody needs it.
            from difflib import get_close_matches

            near = get_close_matches(name, list(known), n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(known)}"
            raise TypeError(f"{type(value).__name__} has no field {name!r}; {hint}")
