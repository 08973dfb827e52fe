"""Converts values that a model writes in another form than msgspec or pydantic expects. Pure.

Examples: `41.0` for an integer, `2026-12-01 10:00` for a point in time, `P1W` for a week. It also adds the formats of
times and dates that msgspec omits from schemas, so that a model knows how to write them.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import inspect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

UNCHANGED: Final = object()
"""Returned instead of a value if nothing needs to be converted."""

_NUMBER = re.compile(
    r'"(?:[^"\\]|\\.)*+"|-?(?<![0-9])[0-9]++(?:\.[0-9]++(?:[eE][-+]?[0-9]++)?|[eE][-+]?[0-9]++)', re.DOTALL
)
"""A string, or a number that is not written as an integer."""
_INEXACT = re.compile(r"[0-9](?:\.[0-9]|[eE][-+0-9])")
_MOST_TOKENS = 50_000
"""The most strings and such numbers of a text in which they are looked at, one by one."""
_WHOLE = re.compile(r"(-?[0-9]+)\.0+")
_EXACT = 2.0**53
"""Up to this number, a float that is an integer has exactly the value that was written."""

_DURATION = re.compile(
    r"(?P<sign>[-+]?)P(?:(?P<weeks>\d+(?:\.\d+)?)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"(?P<sign>[-+]?)(?P<hours>\d{1,4}):(?P<minutes>\d{2})(?::(?P<seconds>\d{2}(?:\.\d+)?))?")


def with_whole_numbers(text: str) -> str | None:
    """Return JSON text with numbers like `41.0` and `1e2` written as integers; `None` if there are none."""
    changed = False
    numbers = len(_INEXACT.findall(text))
    if not numbers or numbers + text.count('"') // 2 > _MOST_TOKENS:
        return None

    def whole(found: re.Match[str]) -> str:
        nonlocal changed
        token = found[0]
        if token[0] == '"' or len(token) > 40:
            return token
        short = _WHOLE.fullmatch(token)
        if short is not None:
            changed = True
            return short[1]
        number = float(token)
        if not number.is_integer() or abs(number) >= _EXACT:
            return token
        changed = True
        return str(int(number))

    written = _NUMBER.sub(whole, text)
    return written if changed else None


def repair(value: Any, info: inspect.Type) -> Any:
    """Return a value of decoded JSON in the form that a type expects; `UNCHANGED` if nothing needs to be converted."""
    found = _repair(value, info)
    return UNCHANGED if found is value else found


def _repair(value: Any, info: inspect.Type) -> Any:
    while isinstance(info, inspect.Metadata):
        info = info.type
    repair = _REPAIRS.get(type(info))
    return value if repair is None else repair(value, info)


def _whole_number(value: Any, _info: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT else value


def _moment(value: Any, info: inspect.DateTimeType) -> Any:
    return _without_zone(_parse(value, datetime.fromisoformat), info)


def _time(value: Any, info: inspect.TimeType) -> Any:
    return _without_zone(_parse(value, time.fromisoformat), info)


def _without_zone(value: Any, info: Any) -> Any:
    """Remove the time zone, which a format makes models write, if the type has none."""
    return value.replace(tzinfo=None) if info.tz is False and isinstance(value, datetime | time) else value


def _day(value: Any, _info: Any) -> Any:
    parsed = _parse(value, datetime.fromisoformat)
    if isinstance(parsed, datetime):
        return parsed.date() if parsed.time() == time() else value
    return cast("date | Any", parsed)


def _parse(value: Any, parse: Callable[[str], Any]) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse(value.strip().upper())
    except ValueError:
        return value


def _duration(value: Any, _info: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _span({"seconds": str(value)}, value)
    found = _DURATION.fullmatch(value.strip()) or _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or not any(found.groups()[1:]):
        return value
    return _span(found.groupdict(), value)


def _span(parts: dict[str, str | None], given: Any) -> Any:
    units = {name: float(number) for name, number in parts.items() if name != "sign" and number is not None}
    try:
        span = timedelta(**units)
    except OverflowError:
        return given
    return -span if parts.get("sign") == "-" else span


def _items(value: Any, info: Any) -> Any:
    if not isinstance(value, list):
        return value
    given = cast("list[object]", value)
    items = [_repair(each, info.item_type) for each in given]
    return given if _same(items, given) else items


def _members(value: Any, info: inspect.TupleType) -> Any:
    if not isinstance(value, list):
        return value
    given = cast("list[object]", value)
    items = [_repair(each, kind) for each, kind in zip(given, info.item_types, strict=False)]
    items += given[len(items) :]
    return given if _same(items, given) else items


def _entries(value: Any, info: inspect.DictType) -> Any:
    if not isinstance(value, dict):
        return value
    given = cast("dict[str, Any]", value)
    entries = {_repair_key(key, info.key_type): _repair(each, info.value_type) for key, each in given.items()}
    return given if _same([*entries, *entries.values()], [*given, *given.values()]) else entries


def _repair_key(key: str, info: inspect.Type) -> str:
    while isinstance(info, inspect.Metadata):
        info = info.type
    found = _WHOLE.fullmatch(key) if isinstance(info, inspect.IntType) else None
    return key if found is None else found[1]


def _fields(value: Any, info: Any) -> Any:
    if isinstance(value, list):
        return _row(cast("list[object]", value), info)
    if not isinstance(value, dict):
        return value
    given = cast("dict[str, object]", value)
    kinds = {field.encode_name: field.type for field in info.fields}
    entries = {key: _repair(each, kinds[key]) if key in kinds else each for key, each in given.items()}
    return given if _same([*entries.values()], [*given.values()]) else entries


def _row(given: list[object], info: Any) -> Any:
    """Convert the fields of a class that is written as a list, after its tag if it has one."""
    shift = int(getattr(info, "tag", None) is not None)
    kinds = [field.type for field in info.fields]
    items = given[:shift] + [_repair(each, kind) for each, kind in zip(given[shift:], kinds, strict=False)]
    items += given[len(items) :]
    return given if _same(items, given) else items


def _one_of(value: object, info: inspect.UnionType) -> object:
    """Convert a value for the first type that changes something, unless a type accepts the value as it is."""
    taken = inspect.StrType if isinstance(value, str) else inspect.FloatType if isinstance(value, float) else None
    if taken is not None and any(isinstance(kind, taken) for kind in info.types):
        return value
    for kind in info.types:
        if not _has_tag(value, kind):
            continue
        found = _repair(value, kind)
        if found is not value:
            return found
    return value


def _has_tag(value: object, kind: Any) -> bool:
    """Return whether the tag of an object allows a type."""
    tag = getattr(kind, "tag", None)
    if tag is None or not isinstance(value, dict):
        return True
    return bool(cast("dict[str, object]", value).get(kind.tag_field) == tag)


def _listed_value(value: Any, info: Any) -> Any:
    """Accept an integer as the value of an enumeration or a literal."""
    whole = _whole_number(value, None)
    values: Any = info.values if isinstance(info, inspect.LiteralType) else [each.value for each in info.cls]
    return whole if whole is not value and whole in values else value


def _same(some: list[Any], others: list[object]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))


_REPAIRS: Final[Mapping[type, Callable[[Any, Any], Any]]] = {
    inspect.IntType: _whole_number,
    inspect.DateTimeType: _moment,
    inspect.TimeType: _time,
    inspect.DateType: _day,
    inspect.TimeDeltaType: _duration,
    inspect.ListType: _items,
    inspect.SetType: _items,
    inspect.FrozenSetType: _items,
    inspect.VarTupleType: _items,
    inspect.CollectionType: _items,
    inspect.TupleType: _members,
    inspect.DictType: _entries,
    inspect.StructType: _fields,
    inspect.DataclassType: _fields,
    inspect.TypedDictType: _fields,
    inspect.NamedTupleType: _fields,
    inspect.UnionType: _one_of,
    inspect.EnumType: _listed_value,
    inspect.LiteralType: _listed_value,
}


# --- schemas


def with_formats(info: inspect.Type, schema: dict[str, Any], defs: dict[str, Any]) -> None:
    """Add the formats of times and dates to a schema made by msgspec."""
    _Formats(defs).write(info, schema)


class _Formats:
    """Traverses a type and its schema in parallel."""

    def __init__(self, defs: dict[str, Any]) -> None:
        self._defs = defs
        self._seen: set[int] = set()

    def write(self, info: inspect.Type, schema: Any) -> None:
        while isinstance(info, inspect.Metadata):
            info = info.type
        if not isinstance(schema, dict):
            return
        given = cast("dict[str, Any]", schema)
        if "$ref" in given:
            given = self._defs.get(str(given["$ref"]).rpartition("/")[2], {})
        if id(given) in self._seen:
            return
        self._seen.add(id(given))
        match info:
            case inspect.DateTimeType() | inspect.TimeType() if given.get("type") == "string":
                given.setdefault("format", "time" if isinstance(info, inspect.TimeType) else "date-time")
            case (
                inspect.ListType() | inspect.SetType() | inspect.FrozenSetType() | inspect.VarTupleType()
            ) | inspect.CollectionType():
                self.write(info.item_type, given.get("items"))
            case inspect.TupleType():
                self._each(info.item_types, given.get("prefixItems", []))
            case inspect.DictType():
                self.write(info.value_type, given.get("additionalProperties"))
            case inspect.UnionType():
                self._union(info, given)
            case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType() | inspect.NamedTupleType():
                self._fields(info, given)
            case _:
                pass

    def _each(self, kinds: Any, schemas: Any) -> None:
        for kind, schema in zip(kinds, schemas, strict=False):
            self.write(kind, schema)

    def _fields(self, info: Any, schema: dict[str, Any]) -> None:
        if "prefixItems" in schema:
            kinds = [field.type for field in info.fields]
            self._each(kinds, schema["prefixItems"][len(schema["prefixItems"]) - len(kinds) :])
        properties = schema.get("properties", {})
        for field in info.fields:
            self.write(field.type, properties.get(field.encode_name))

    def _union(self, info: inspect.UnionType, schema: dict[str, Any]) -> None:
        if "anyOf" in schema:
            self._each(info.types, schema["anyOf"])
        else:
            # Only one type is left, besides the one of missing keys.
            for kind in info.types:
                self._seen.discard(id(schema))
                self.write(kind, schema)


def gather(schema: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """Move the definitions within a schema, where pydantic puts them, to those at its root."""
    for name in [*defs]:
        defs[name] = _hoist(defs[name], defs)
    hoisted: dict[str, Any] = _hoist(schema, defs)
    return hoisted


def _hoist(schema: Any, defs: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_hoist(each, defs) for each in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    given = cast("dict[str, Any]", schema)
    inner: dict[str, Any] = given.get("$defs", {})
    if not inner or not all(isinstance(each, dict) for each in inner.values()):
        return {key: _hoist(value, defs) for key, value in given.items()}
    names = {name: _free_name(name, each, defs) for name, each in inner.items()}
    for name, each in inner.items():
        defs[names[name]] = _rename(each, names)
    return _rename({key: value for key, value in given.items() if key != "$defs"}, names)


def _free_name(name: str, schema: Any, defs: dict[str, Any]) -> str:
    free, count = name, 1
    while free in defs and defs[free] != schema:
        count += 1
        free = f"{name}_{count}"
    return free


def _rename(schema: Any, names: Mapping[str, str]) -> Any:
    if isinstance(schema, list):
        return [_rename(each, names) for each in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"#/$defs/{names.get(str(value).rpartition('/')[2], str(value).rpartition('/')[2])}"
        if key == "$ref" and isinstance(value, str)
        else _rename(value, names)
        for key, value in cast("dict[str, Any]", schema).items()
    }
