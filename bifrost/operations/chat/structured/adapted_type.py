"""Expresses types that msgspec cannot decode by types that it can.

A class with a field that msgspec does not support, or with a feature such as `InitVar` or a converter, is decoded as a
`Struct` made for it. The class is then called with the decoded values, so that its own code runs. Types of pydantic are
decoded by the pydantic that the caller has imported; it is never imported here.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import ipaddress
import pathlib
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, ClassVar, Final, NamedTuple, TypeVar, Union, cast, get_args, get_origin

import attrs
import msgspec

from bifrost.errors import InvalidRequestError
from bifrost.operations.chat.structured.lenient import UNCHANGED, repair, with_whole_numbers

_DEEPEST = 64
"""The deepest nesting of types that is followed; a deeper one is endless."""

_LIMITS: Final = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length")
"""Limits that annotated_types and msgspec call by the same names."""

_SIMPLE: Final = (str, int, float, bool, type(None))

_BUILTINS: Final[Mapping[Any, tuple[dict[str, Any], Callable[[Any], Any]]]] = {
    ipaddress.IPv4Address: ({"type": "string", "format": "ipv4"}, ipaddress.IPv4Address),
    ipaddress.IPv6Address: ({"type": "string", "format": "ipv6"}, ipaddress.IPv6Address),
    pathlib.Path: ({"type": "string"}, pathlib.Path),
    pathlib.PurePath: ({"type": "string"}, pathlib.PurePath),
}
"""Classes of the standard library that are made of text."""

_CONTAINERS: Final = cast(
    "Mapping[Any, tuple[Any, Callable[[Any], Any]]]",
    {
        collections.deque: (list, collections.deque),
        collections.OrderedDict: (dict, collections.OrderedDict),
        collections.Counter: (dict, collections.Counter),
        collections.defaultdict: (dict, partial(collections.defaultdict, None)),
        Iterable: (list, list),
    },
)
"""Containers that msgspec does not support: the type they are decoded as, and the function that converts it."""


class _AnyInstance(type):
    """The class of placeholder types. Every object is an instance of them, as msgspec requires."""

    def __instancecheck__(cls, instance: object) -> bool:
        return True


class _Leaf(NamedTuple):
    """The schema of a placeholder type, and how it is decoded."""

    schema: Callable[[], dict[str, Any]]
    read: Callable[[Any], Any]


class _Field(NamedTuple):
    """A field of a class, as its constructor accepts it."""

    name: str
    """The name of the constructor's parameter."""
    key: str
    """The key in JSON."""
    kind: Any
    required: bool
    default: Any = msgspec.UNSET
    """A simple value, which is part of the schema."""


class Adapter:
    """Adapts one type, and converts values of the adapted type to it."""

    def __init__(self) -> None:
        self._leaves: dict[Any, _Leaf] = {}
        self._made: dict[Any, Any] = {}
        self._classes: dict[type, tuple[Any, list[_Field]]] = {}
        """The classes that Structs were made for, with their fields."""

    def adapt(self, kind: Any, depth: int = 0) -> Any:
        """Return the type to decode instead; the type itself if msgspec supports it."""
        if depth > _DEEPEST:
            raise InvalidRequestError(
                f"a type that is nested in more than {_DEEPEST} others; is it an alias of itself?"
            )
        depth += 1
        kind = unaliased(kind)
        origin, args = get_origin(kind), get_args(kind)
        if origin is Annotated:
            return self._annotated(kind, depth)
        if origin in (Union, types.UnionType):
            return self._union(kind, args, depth)
        if is_pydantic_class(kind):
            return self._pydantic_leaf(kind) if dataclasses.is_dataclass(kind) or args else kind
        if not _is_hashable(kind) or kind in _BUILTINS:
            return kind
        if kind is typing.LiteralString:
            return str
        if _is_mixed_enum(kind):
            return self._enum_leaf(kind)
        if origin is collections.Counter:
            args = (*args, int)
        container = _CONTAINERS.get(origin or kind)
        if container is not None:
            inner, make = container
            return self._leaf(kind, self.adapt(_generic(inner, args) if args else inner, depth), make)
        base = origin or kind
        if isinstance(base, type) and fields_of(kind) is not None:
            return self._class(kind, depth) if _is_special(kind) else kind
        if args and origin is not typing.Literal and isinstance(origin, type):
            return _with_args(kind, tuple(each if each is ... else self.adapt(each, depth) for each in args))
        return kind

    # --- decoding

    def schema(self, kind: Any) -> dict[str, Any]:
        """Return the schema of a type that msgspec does not support."""
        if kind in self._leaves:
            return self._leaves[kind].schema()
        if kind in _BUILTINS:
            return dict(_BUILTINS[kind][0])
        if is_pydantic_class(kind):
            return pydantic_schema(kind)
        raise NotImplementedError

    def read(self, kind: Any, value: Any) -> Any:
        """Return a value of a type that msgspec does not support."""
        if kind in self._leaves:
            return self._leaves[kind].read(value)
        if kind in _BUILTINS:
            if not isinstance(value, str):
                raise TypeError(f"expected str, got {type(value).__name__}")
            return _BUILTINS[kind][1](value)
        return read_with_pydantic(kind, value)

    def build(self, value: Any, path: str = "$") -> Any:
        """Convert decoded values to the type itself. Raises `msgspec.ValidationError`."""
        if not self._classes:
            return value
        made = self._classes.get(value.__class__)
        if made is not None:
            return self._instance(value, *made, path)
        if isinstance(value, list):
            items = cast("list[object]", value)
            return [self.build(each, f"{path}[{place}]") for place, each in enumerate(items)]
        if isinstance(value, dict):
            entries = cast("dict[object, object]", value)
            return {key: self.build(each, f"{path}[...]") for key, each in entries.items()}
        if type(value) is tuple:
            members = cast("tuple[object, ...]", value)
            return tuple(self.build(each, f"{path}[{place}]") for place, each in enumerate(members))
        if isinstance(value, set | frozenset):
            some = cast("set[Any]", value)
            return type(some)(self.build(each, f"{path}[...]") for each in some)
        return value

    def _instance(self, value: Any, kind: Any, fields: list[_Field], path: str) -> Any:
        given = {
            field.name: self.build(each, f"{path}.{field.key}")
            for place, field in enumerate(fields)
            if (each := getattr(value, f"f{place}")) is not msgspec.UNSET
        }
        maker = get_origin(kind) or kind
        try:
            return given if is_typed_dict(maker) else maker(**given)
        except (ValueError, TypeError) as error:
            failure = msgspec.ValidationError(f"{error} - at `{path}`")
            failure.__cause__ = error
        raise failure

    # --- placeholder types

    def _leaf(self, kind: Any, inner: Any, make: Callable[[Any], Any]) -> Any:
        """Return a placeholder type that is decoded as another type and then converted."""
        return self._stand_in(kind, _Leaf(partial(self._inner_schema, inner), partial(self._read_inner, inner, make)))

    def _read_inner(self, inner: Any, make: Callable[[Any], Any], value: Any) -> Any:
        try:
            return make(self.convert(value, inner))
        except msgspec.ValidationError as error:
            # msgspec adds the outer path only to such an error.
            raise ValueError(str(error)) from None

    def convert(self, value: Any, adapted: Any) -> Any:
        """Convert decoded JSON, which may be written in another form than msgspec expects.

        Raises `msgspec.ValidationError`.
        """
        try:
            return self.build(msgspec.convert(value, adapted, dec_hook=self.read, str_keys=True))
        except msgspec.ValidationError as error:
            failure = error
        changed = repair(value, msgspec.inspect.type_info(adapted))
        if changed is UNCHANGED:
            raise failure
        return self.build(msgspec.convert(changed, adapted, dec_hook=self.read, str_keys=True))

    def _inner_schema(self, inner: Any) -> dict[str, Any]:
        (schema,), defs = msgspec.json.schema_components(
            [inner], schema_hook=self.schema, ref_template="#/$defs/{name}"
        )
        return {**schema, "$defs": defs} if defs else schema

    def _pydantic_leaf(self, kind: Any) -> Any:
        return self._stand_in(kind, _Leaf(partial(pydantic_schema, kind), partial(read_with_pydantic, kind)))

    def _enum_leaf(self, kind: Any) -> Any:
        values = [each.value for each in kind]

        def read(value: Any) -> Any:
            for place, known in enumerate(values):
                if known == value and isinstance(known, bool) == isinstance(value, bool):
                    return [*kind][place]
            raise ValueError(f"invalid enum value {value!r}")

        schema = {"title": kind.__name__, "enum": values}
        return self._stand_in(kind, _Leaf(schema=lambda: schema, read=read))

    def _stand_in(self, kind: Any, leaf: _Leaf) -> Any:
        key = kind if _is_hashable(kind) else id(kind)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = _AnyInstance(f"Leaf{len(self._made)}", (), {"kind": kind})
            self._leaves[made] = leaf
        return made

    def _annotated(self, kind: Any, depth: int) -> Any:
        inner, *notes = get_args(kind)
        if any(map(_is_pydantic_note, notes)) and _pydantic_reads(kind):
            return self._pydantic_leaf(kind)
        adapted = self.adapt(inner, depth)
        meta = [_meta(note) for note in notes]
        return Annotated[(adapted, *meta)]

    def _union(self, kind: Any, args: tuple[Any, ...], depth: int) -> Any:
        members = [self.adapt(each, depth) for each in args]
        known = [each for each in members if each is not type(None) and self._is_leaf(each)]
        if known and len(members) - (type(None) in members) > 1:
            # msgspec allows nothing but None next to a type that it does not support.
            if not _pydantic_reads(kind):
                raise InvalidRequestError(f"the kinds of {kind} cannot be told apart")
            return self._pydantic_leaf(kind)
        return Union[tuple(members)] if members != list(args) else kind  # noqa: UP007 - there is no other way

    def _is_leaf(self, kind: Any) -> bool:
        return _is_hashable(kind) and (kind in self._leaves or kind in _BUILTINS or is_pydantic_class(kind))

    # --- classes

    def _class(self, kind: Any, depth: int) -> Any:
        """Return a Struct with the fields that a class accepts."""
        made = self._made.get(kind)
        if made is not None:
            return made
        fields = cast("list[_Field]", fields_of(kind))
        base: Any = get_origin(kind) or kind
        members: list[Any] = [
            (f"f{place}", Any) if field.required else (f"f{place}", Any, field.default)
            for place, field in enumerate(fields)
        ]
        config = getattr(base, "__struct_config__", None)
        is_tuple = _is_named_tuple(base)
        made = msgspec.defstruct(
            _class_name(kind),
            members,
            module=base.__module__,
            rename={f"f{place}": field.key for place, field in enumerate(fields)},
            kw_only=not is_tuple,
            frozen=True,
            array_like=is_tuple or (config is not None and config.array_like),
            forbid_unknown_fields=is_tuple or (config is not None and config.forbid_unknown_fields),
            tag=None if config is None else config.tag,
            tag_field=None if config is None else config.tag_field,
        )
        made.__doc__ = _doc(base)
        self._made[kind] = made
        self._classes[made] = (kind, fields)
        # msgspec reads it when the class is first used, because a class may contain itself.
        made.__annotations__ = {
            f"f{place}": adapted if field.required else Union[adapted, msgspec.UnsetType]  # noqa: UP007 - it may be a text
            for place, field in enumerate(fields)
            for adapted in [self.adapt(field.kind, depth)]
        }
        return made


# --- the kind of a type


def unaliased(kind: Any) -> Any:
    """Return the type that an alias (`type Name = ...`), a new type or a mark of a key (`ReadOnly[...]`) stands for."""
    for _ in range(_DEEPEST):
        origin: Any = get_origin(kind)
        if type(kind).__name__ == "TypeAliasType":
            kind = kind.__value__
        elif type(origin).__name__ == "TypeAliasType":
            names: Any = origin.__type_params__
            kind = _substitute(origin.__value__, dict(zip(names, get_args(kind), strict=False)))
        elif isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        elif getattr(origin, "_name", None) in ("ReadOnly", "Required", "NotRequired"):
            kind = get_args(kind)[0]
        else:
            return kind
    raise InvalidRequestError("an alias that stands for itself")


def _is_mixed_enum(kind: Any) -> bool:
    """Return whether an enumeration has values of several types, or numbers with a fraction."""
    if not (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        return False
    members: list[Any] = [*kind]
    kinds: set[Any] = {type(each.value) for each in members}
    return kinds not in ({str}, {int}) and kinds <= {*_SIMPLE}


def is_pydantic_class(kind: Any) -> bool:
    """Return whether only pydantic supports a class."""
    base = get_origin(kind) or kind
    return isinstance(base, type) and (
        hasattr(base, "__pydantic_core_schema__")
        or hasattr(base, "__get_pydantic_core_schema__")
        or base.__module__.partition(".")[0] == "pydantic"
    )


def _is_pydantic_note(note: Any) -> bool:
    return type(note).__module__.partition(".")[0] in ("pydantic", "annotated_types") or hasattr(
        note, "__get_pydantic_core_schema__"
    )


def _meta(note: Any) -> Any:
    """Return an annotation as msgspec's `Meta`: limits if pydantic is not imported, and documentation."""
    description = getattr(note, "documentation", None) or getattr(note, "description", None)
    package = type(note).__module__.partition(".")[0]
    if type(note).__name__ in ("Doc", "FieldInfo") and isinstance(description, str):
        return msgspec.Meta(description=description)
    if package != "annotated_types":
        return note
    limits = {name: value for name in _LIMITS if (value := getattr(note, name, None)) is not None}
    if limits.get("min_length") == 0:
        del limits["min_length"]
    return msgspec.Meta(**limits) if limits else note


def _is_special(kind: Any) -> bool:
    """Return whether msgspec cannot decode a class as its constructor requires, or a type within it."""
    waiting, seen = [kind], set[Any]()
    while waiting:
        each = waiting.pop()
        plain = unaliased(each)
        if plain is not each and not isinstance(each, typing.NewType):
            return True
        if _is_hashable(plain) and plain not in seen:
            seen.add(plain)
            inside = _kinds_inside(plain)
            if inside is None:
                return True
            waiting += inside
    return False


def _kinds_inside(kind: Any) -> list[Any] | None:
    """Return the types that a type consists of; `None` if msgspec cannot decode the type itself."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        is_read_by_others = any(_is_pydantic_note(note) or type(note).__name__ == "Doc" for note in args[1:])
        return None if is_read_by_others else [args[0]]
    if origin in (Union, types.UnionType):
        return None if _has_unsupported_member(args) else [*args]
    if is_pydantic_class(kind):
        return None if dataclasses.is_dataclass(kind) else []
    if (origin or kind) in _CONTAINERS or kind is typing.LiteralString or _is_mixed_enum(kind):
        return None
    fields = fields_of(kind)
    if fields is None:
        return [] if origin is typing.Literal else [*args]
    return None if _has_custom_construction(kind, fields) else [field.kind for field in fields]


def _has_unsupported_member(members: tuple[Any, ...]) -> bool:
    """Return whether a union has several types of which msgspec does not support one."""
    plain = [unaliased(each) for each in members if each is not type(None)]
    return len(plain) > 1 and any(
        is_pydantic_class(each) or (_is_hashable(each) and each in _BUILTINS) for each in plain
    )


def _has_custom_construction(kind: Any, fields: list[_Field]) -> bool:
    """Return whether a class cannot be constructed field by field."""
    base: Any = get_origin(kind) or kind
    if is_typed_dict(base):
        return base is not kind or any(unaliased(field.kind) is not field.kind for field in fields)
    if attrs.has(base):
        return any(
            field.converter is not None or not field.init or getattr(field.default, "takes_self", False)
            for field in attrs.fields(base)
        )
    if dataclasses.is_dataclass(base):
        every: dict[str, Any] = base.__dataclass_fields__
        return any(not field.init or _is_init_only(field) for field in every.values() if not _is_class_variable(field))
    return False


def fields_of(kind: Any) -> list[_Field] | None:
    """Return the fields of a class as its constructor accepts them; `None` for other types."""
    base: Any = get_origin(kind) or kind
    if not isinstance(base, type) or is_pydantic_class(kind):
        return None
    return _fields_of_class(kind, base)


def _fields_of_class(kind: Any, base: Any) -> list[_Field] | None:
    if issubclass(base, msgspec.Struct):
        return [
            _Field(field.name, field.encode_name, field.type, field.required, _simple(field.default))
            for field in msgspec.structs.fields(kind)
        ]
    if is_typed_dict(base):
        return list(_typed_dict_fields(kind, base))
    if _is_named_tuple(base):
        hints, defaults = hints_of(kind), base._field_defaults
        return [
            _Field(name, name, hints.get(name, Any), name not in defaults, _simple(defaults.get(name, msgspec.UNSET)))
            for name in base._fields
        ]
    if attrs.has(base):
        return list(_attrs_fields(kind, base))
    if dataclasses.is_dataclass(base):
        return list(_dataclass_fields(kind, base))
    return None


def is_typed_dict(base: Any) -> bool:
    """Return whether a class is a TypedDict, of `typing` or of a package with newer ones."""
    return hasattr(base, "__required_keys__") and hasattr(base, "__total__")


def _is_named_tuple(base: Any) -> bool:
    return hasattr(base, "_field_defaults") and issubclass(base, tuple)


def _typed_dict_fields(kind: Any, base: Any) -> Iterator[_Field]:
    for name, hint in hints_of(kind).items():
        marks = set(_marks(hint))
        required = "Required" in marks or (name in base.__required_keys__ and "NotRequired" not in marks)
        yield _Field(name, name, hint if "ReadOnly" in marks else _without_marks(hint), required)


def _without_marks(hint: Any) -> Any:
    return get_args(hint)[0] if getattr(get_origin(hint), "_name", None) in ("Required", "NotRequired") else hint


def _marks(hint: Any) -> Iterator[str]:
    while (name := getattr(get_origin(hint), "_name", None)) in ("ReadOnly", "Required", "NotRequired"):
        yield str(name)
        hint = get_args(hint)[0]


def _attrs_fields(kind: Any, base: Any) -> Iterator[_Field]:
    hints = hints_of(kind)
    taken = _converter_types(base)
    for field in attrs.fields(base):
        if not field.init:
            continue
        hint = hints.get(field.name, Any)
        if field.converter is not None:
            hint = taken.get(field.alias, hint)
        yield _Field(
            field.alias,
            field.name,
            hint,
            field.default is attrs.NOTHING,
            # The field has a converter because its default may be of another type.
            msgspec.UNSET if field.converter is not None else _simple(field.default),
        )


def _dataclass_fields(kind: Any, base: Any) -> Iterator[_Field]:
    hints = hints_of(kind)
    every: dict[str, dataclasses.Field[Any]] = base.__dataclass_fields__
    for name, field in every.items():
        if _is_class_variable(field) or not field.init:
            continue
        hint = hints.get(name, Any)
        if isinstance(hint, dataclasses.InitVar):
            hint = cast("Any", hint).type
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        yield _Field(name, name, hint, required, _simple(field.default))


def _is_class_variable(field: Any) -> bool:
    return getattr(field, "_field_type", None).__str__() == "_FIELD_CLASSVAR"


def _is_init_only(field: Any) -> bool:
    return getattr(field, "_field_type", None).__str__() == "_FIELD_INITVAR"


def hints_of(kind: Any) -> dict[str, Any]:
    """Return the evaluated annotations of a class, with the arguments of generic classes inserted."""
    base = get_origin(kind) or kind
    hints = {
        name: hint
        for name, hint in typing.get_type_hints(base, include_extras=True).items()
        if not _is_class_hint(hint)
    }
    given: dict[Any, Any] = {}
    _bind(kind, given)
    return {name: _substitute(hint, given) for name, hint in hints.items()} if given else hints


def _is_class_hint(hint: Any) -> bool:
    return hint is ClassVar or get_origin(hint) is ClassVar


def _bind(kind: Any, given: dict[Any, Any]) -> None:
    """Collect the values of the type variables of a class and its bases."""
    base: Any = get_origin(kind) or kind
    given |= dict(zip(getattr(base, "__parameters__", ()), get_args(kind), strict=False))
    for parent in getattr(base, "__orig_bases__", ()):
        if get_origin(parent) not in (None, typing.Generic, typing.Protocol):
            _bind(_substitute(parent, given), given)


def _substitute(hint: Any, given: Mapping[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return given.get(hint, hint)
    if isinstance(hint, dataclasses.InitVar):
        return _substitute(cast("Any", hint).type, given)
    names = getattr(hint, "__parameters__", ())
    if not names or isinstance(hint, type):
        return hint
    return hint[tuple(given.get(name, name) for name in names)]


def _converter_types(base: Any) -> dict[str, Any]:
    """Return the types that the converters of an attrs class accept, as far as they declare them."""
    try:
        return typing.get_type_hints(base.__init__, vars(sys.modules[base.__module__]), include_extras=True)
    except Exception:  # noqa: BLE001 - an annotation has an unknown name; the types of the fields are used
        return {}


def _generic(origin: Any, args: tuple[Any, ...]) -> Any:
    return origin[args]


def _with_args(kind: Any, args: tuple[Any, ...]) -> Any:
    if args == get_args(kind):
        return kind
    return _generic(get_origin(kind), args)


def _is_hashable(kind: Any) -> bool:
    try:
        hash(kind)
    except TypeError:
        return False
    return True


def _simple(value: Any) -> Any:
    return value if type(value) in _SIMPLE else msgspec.UNSET


def _class_name(kind: Any) -> str:
    base = get_origin(kind) or kind
    names = [getattr(arg, "__name__", str(arg)) for arg in get_args(kind)]
    return f"{base.__name__}_{'_'.join(names)}" if names else str(base.__name__)


def _doc(base: type) -> str | None:
    """Return the docstring of a class, unless it was generated (by dataclasses and named tuples)."""
    doc = base.__dict__.get("__doc__")
    return None if doc is None or doc.startswith(f"{base.__name__}(") else str(doc)


# --- pydantic


def _pydantic_reads(kind: Any) -> bool:
    pydantic = sys.modules.get("pydantic")
    if pydantic is None:
        return False
    try:
        pydantic.TypeAdapter(kind)
    except Exception:  # noqa: BLE001 - pydantic may raise any error for a class that it does not support
        return False
    return True


def pydantic_schema(kind: Any) -> dict[str, Any]:
    """Return the schema of a type that pydantic supports, including its definitions."""
    return dict(sys.modules["pydantic"].TypeAdapter(kind).json_schema())


def read_with_pydantic(kind: Any, value: Any) -> Any:
    """Decode a value as pydantic decodes JSON. Raises `ValueError` with the list of pydantic's errors."""
    pydantic = sys.modules["pydantic"]
    try:
        return validated(pydantic.TypeAdapter(kind), msgspec.json.encode(value).decode())
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
    raise ValueError(problems)


def validated(adapter: Any, text: str) -> Any:
    """Decode JSON with an adapter of pydantic. Numbers like `41.0` are accepted as integers."""
    try:
        return adapter.validate_json(text)
    except ValueError as error:
        failure = error
    written = with_whole_numbers(text)
    if written is not None:
        with suppress(ValueError):
            return adapter.validate_json(written)
    raise failure
