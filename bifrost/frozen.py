"""What frozen classes of settings have in common: comparing, hashing and showing them, written once for all.

attrs would write and compile these methods anew for every class, which is a twelfth of what `import bifrost` takes.
"""

from __future__ import annotations

from reprlib import recursive_repr
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, ClassVar

    import attrs


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

    @recursive_repr()
    def __repr__(self) -> str:
        shown = (f"{field.name}={getattr(self, field.name)!r}" for field in self.__attrs_attrs__ if field.repr)
        return f"{type(self).__qualname__.rpartition('>.')[2]}({', '.join(shown)})"
