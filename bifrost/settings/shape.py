"""Converts plain values to typed ones, by the annotations of a class.

All problems are found with their paths; none is raised.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs
import msgspec

from bifrost.account import near
from bifrost.errors import ConfigError
from bifrost.settings.problems import Problems, below, element, listed, quoted_name

if TYPE_CHECKING:
    from collections.abc import Collection

Shape: TypeAlias = type[Any]
"""A msgspec Struct or an attrs class, which a table of the file is read into."""

ShapeT = TypeVar("ShapeT")

_MAPPINGS = (dict, Mapping)
_LISTS = (list, Sequence, tuple)
_WRONG: Final = object()


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a shape."""

    name: str
    """The name in the file."""

    attribute: str
    """The name of the attribute."""

    hint: Any
    """The annotation."""

    required: bool
    """Whether it must be in the file."""

    default: Any
    """The default; `None` also if it is not text, a number or a boolean."""
    check: Callable[[Any], None]
    """Raises `ConfigError` for an invalid value of the right type."""


def is_shape(hint: object) -> bool:
    """Return whether an annotation stands for a table with known fields."""
    return isinstance(hint, type) and (issubclass(hint, msgspec.Struct) or attrs.has(cast("type[Any]", hint)))


def fields_of(shape: Shape) -> dict[str, Field]:
    """Return the fields of a shape by their names in a file."""
    return _attrs_fields(shape) if attrs.has(shape) else _struct_fields(shape)


def members_of(hint: object) -> tuple[Any, ...]:
    """Return the alternatives of an annotation."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


class Reader:
    """Reads tables into shapes.

    An unknown name is a problem, unless `unknown` is set: then that is called with its path and the similar names.
    """

    def __init__(self, problems: Problems, *, unknown: Callable[[str, str], None] | None = None) -> None:
        self.problems = problems
        self._unknown = unknown

    def table(self, value: object, shape: type[ShapeT], at: str) -> ShapeT | None:
        """Read a table into a shape; `None` if one of its fields has a problem."""
        made: ShapeT | None = self.tables(value, (shape,), at)[0]
        return made

    def tables(
        self, value: object, shapes: Sequence[Shape], at: str, *, without: Collection[str] = ()
    ) -> tuple[Any, ...]:
        """Read a table whose fields belong to several shapes, except for the fields in `without`.

        Returns an instance of each shape, or `None` for one whose fields have a problem.
        """
        before = len(self.problems)
        table = self.names(value, at)
        if len(self.problems) > before:
            return (None,) * len(shapes)
        fields = [_without_fields(fields_of(shape), without) for shape in shapes]
        known = [name for each in fields for name in each]
        for name in table:
            if name not in known:
                self._report_unknown(name, known, at, within=_tables_with(name, fields))
        return tuple(self._make(shape, each, table, at) for shape, each in zip(shapes, fields, strict=True))

    def names(self, value: object, at: str) -> dict[str, Any]:
        """Return a table with any names, its values unchanged; empty, with a problem, if the value is not a table."""
        if not isinstance(value, dict):
            self.problems.add(at, f"expected a table, found {_kind(value)}")
            return {}
        table = cast("dict[str, Any]", value)
        self._repeated(table, at)
        return table

    def _mapping(self, value: object, hint: Any, at: str) -> Any:
        read = {name: self._value(each, hint, below(at, name)) for name, each in self.names(value, at).items()}
        return _WRONG if any(each is _WRONG for each in read.values()) else read

    def _make(self, shape: Shape, fields: Mapping[str, Field], table: Mapping[str, Any], at: str) -> Any:
        given: dict[str, Any] = {}
        whole = True
        for name, field in fields.items():
            if name in table:
                read = self._value(table[name], field.hint, below(at, name), default=field.default)
                if read is not _WRONG and self._passes(field, read, below(at, name), shape):
                    given[field.attribute] = read
                    continue
            elif not field.required:
                continue
            else:
                self.problems.add(at, f"{name} is missing; it must be {_expected(field.hint)}")
            whole = False
        made = self._construct(shape, given, at)
        return made if whole else None

    def _construct(self, shape: Shape, given: dict[str, Any], at: str) -> Any:
        """Create the instance.

        If the class refuses a field because of others, that is reported and the rest is checked.
        """
        complaint = ""
        while True:
            try:
                made = shape(**given)
            except ConfigError as error:
                complaint = error.message
            except TypeError:  # A required field is missing, which was reported.
                return None
            else:
                return None if complaint else made
            culprit = _refused_field(complaint, shape, given)
            self.problems.add(below(at, culprit) if culprit else at, _in_place(complaint, shape, culprit))
            if culprit is None:
                return None
            del given[culprit]

    def _passes(self, field: Field, value: object, at: str, shape: Shape) -> bool:
        try:
            field.check(value)
        except ConfigError as error:
            self.problems.add(at, _in_place(error.message, shape, field.attribute))
            return False
        return True

    def _value(self, value: object, hint: Any, at: str, *, default: object = None) -> Any:
        members = members_of(hint)
        if Any in members:
            return value
        container = next((member for member in members if _holds(member, value)), None)
        if container is not None:
            return self._container(value, container, at)
        scalars = [member for member in members if not _is_container(member)]
        if scalars and not _is_many(value):
            try:
                return msgspec.convert(value, Union[tuple(scalars)])  # noqa: UP007 - made of what is there
            except ValueError:
                pass
        the_default = f" (the default is {_written(default)})" if default is not None else ""
        self.problems.add(at, f"expected {_expected(hint)}{the_default}, found {_kind(value)}")
        return _WRONG

    def _container(self, value: object, hint: Any, at: str) -> Any:
        if is_shape(hint):
            made = self.table(value, hint, at)
            return _WRONG if made is None else made
        if isinstance(value, list):
            return self._list(cast("list[object]", value), hint, at)
        return self._mapping(value, get_args(hint)[1], at)

    def _list(self, value: list[object], hint: Any, at: str) -> Any:
        arguments = get_args(hint)
        is_tuple = get_origin(hint) is tuple
        if is_tuple and arguments[-1] is not Ellipsis:
            if len(value) != len(arguments):
                self.problems.add(at, f"expected {_expected(hint)}, found a list of {len(value)}")
                return _WRONG
            kinds: Sequence[Any] = arguments
        else:
            kinds = (arguments[0],) * len(value)
        pairs = enumerate(zip(value, kinds, strict=True))
        read = [self._value(each, kind, element(at, index)) for index, (each, kind) in pairs]
        if any(each is _WRONG for each in read):
            return _WRONG
        return tuple(read) if is_tuple else read

    def _repeated(self, table: dict[str, Any], at: str) -> None:
        for name in getattr(table, "repeated", ()):
            self.problems.add(below(at, quoted_name(name)), "this is set twice; remove one of them")

    def _report_unknown(self, name: str, known: Sequence[str], at: str, *, within: str = "") -> None:
        alike = within or near(name, known)
        path = below(at, name if alike else quoted_name(name))
        if self._unknown is not None:
            self._unknown(path, alike)
            return
        hint = f"did you mean {alike}?" if alike else f"there are: {listed(known)}"
        self.problems.add(path, f"there is no such setting; {hint}")


# --- fields


def _struct_fields(shape: Shape) -> dict[str, Field]:
    return {
        field.encode_name: Field(
            name=field.encode_name,
            attribute=field.name,
            hint=field.type,
            required=field.required,
            default=field.default if isinstance(field.default, bool | int | float | str) else None,
            check=_anything,
        )
        for field in msgspec.structs.fields(shape)
    }


def _attrs_fields(shape: Shape) -> dict[str, Field]:
    hints = get_type_hints(shape, vars(sys.modules[shape.__module__]), {"Mapping": Mapping, "Sequence": Sequence})
    return {
        attribute.name: Field(
            name=attribute.name,
            attribute=attribute.name,
            hint=hints[attribute.name],
            required=attribute.default is attrs.NOTHING,
            default=attribute.default if isinstance(attribute.default, bool | int | float | str) else None,
            check=_check_of(shape, attribute),
        )
        for attribute in attrs.fields(shape)
        if attribute.metadata.get("in_files", True)
    }


def _check_of(shape: Shape, attribute: attrs.Attribute[Any]) -> Callable[[Any], None]:
    validator = attribute.validator
    if validator is None:
        return _anything
    # A validator uses only the class of the instance for its message, and not the other fields.
    return lambda value: validator(object.__new__(shape), attribute, value)


def _anything(value: object) -> None:
    """Accept any value."""


def _tables_with(name: str, shapes: Sequence[Mapping[str, Field]]) -> str:
    """Return the tables that have a field of this name, as text for a message; empty if there are none."""
    return " or ".join(
        repr(f"{field.name}.{name}")
        for fields in shapes
        for field in fields.values()
        if any(is_shape(hint) and name in fields_of(hint) for hint in members_of(field.hint))
    )


def _without_fields(fields: Mapping[str, Field], without: Collection[str]) -> dict[str, Field]:
    return {name: field for name, field in fields.items() if name not in without}


# --- words


_KINDS: Mapping[type, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    NoneType: "null",
}


def _kind(value: object) -> str:
    """Return the kind of a value; never the value, which may be a secret in the wrong place."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}" if abs(value) < 1e15 else "a very large number"
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return _KINDS.get(type(value), "a date or time")


def _expected(hint: object) -> str:
    kinds = [_expected_one(member) for member in members_of(hint) if member is not NoneType]
    return " or ".join(dict.fromkeys(kinds))


def _expected_one(hint: object) -> str:
    if is_shape(hint):
        return "a table"
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in _MAPPINGS:
        return "a table"
    if origin is Literal:
        return " or ".join(repr(each) for each in arguments)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"a list of {' and '.join(map(_expected, arguments))}"
    if origin in _LISTS:
        return "a list"
    return _KINDS.get(cast("type", hint), "text")


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _holds(hint: object, value: object) -> bool:
    """Return whether an annotation stands for a table, or a list, like this value."""
    if isinstance(value, dict):
        return is_shape(hint) or get_origin(hint) in _MAPPINGS
    return isinstance(value, list) and get_origin(hint) in _LISTS


def _is_many(value: object) -> bool:
    return isinstance(value, dict | list)


def _is_container(hint: object) -> bool:
    return is_shape(hint) or get_origin(hint) in (*_MAPPINGS, *_LISTS)


def _refused_field(complaint: str, shape: Shape, given: Mapping[str, Any]) -> str | None:
    """Return the field that an error of a class names: `ProviderConfig.base_url: ...` or `extra_headers: ...`."""
    subject = complaint.removeprefix(f"{shape.__name__}.")
    return next((name for name in given if subject.startswith((f"{name}:", f"{name} "))), None)


def _in_place(complaint: str, shape: Shape, field: str | None) -> str:
    """Remove a field's name from an error of a class, because the path in front contains it."""
    text = complaint.removeprefix(f"{shape.__name__}.")
    return text.removeprefix(field).removeprefix(":").lstrip() if field else text
