"""How a dialect sends each field of a request: a table of data, and one check of a request against it.

A table has an entry for every field of the request's type, including nested ones. A path names the fields from the
request down (`reasoning.effort`); a part of a union is named by its tag (`messages.content.image.detail`), and a single
value of a field by the value (`response_format.type=json_object`). An entry applies to everything below its path,
unless the field is sent. A field without an entry is reported as omitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypeGuard, get_args

import msgspec

from bifrost.errors import UnsupportedError
from bifrost.frozen import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

Support: TypeAlias = Literal["required", "optional", "mapped", "emulated", "unsupported", "local"]
"""How a dialect supports a field.

`required`: always sent. `optional`: sent if the caller sets it. `mapped`: sent in another form, or with another value.
`emulated`: its effect is achieved in another way. `unsupported`: omitted with a warning, or refused. `local`: it is
information for bifrost, or repeats another field; it is never sent, and nothing is lost.
"""


class Destination(Protocol):
    """What a table knows about where a request goes: the part of a `Target` that it reads."""

    @property
    def provider(self) -> str:
        """The name of the provider."""
        ...

    @property
    def model(self) -> str:
        """The provider's name of the model."""
        ...

    @property
    def stream(self) -> bool:
        """Whether a stream is requested."""
        ...


class Field(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a dialect sends one field."""

    support: Support
    """The kind of support."""

    name: str | None = None
    """Its name on the wire, if it is sent unchanged at the top level of the body."""
    words: str = ""
    """The message for a field that is omitted or refused. `{field}`, `{provider}`, `{place}` and `{value}` are
    replaced.
    """
    is_refused: bool = False
    """Whether a request that sets it is refused, because omitting it would change the response."""
    neutral: tuple[Any, ...] = ()
    """Values that request nothing, so that no warning is needed."""
    is_conditional: bool = False
    """Whether support depends on more than the field. The code that builds the request decides."""

    def warning(self, field: str, provider: str, *, place: str = "", value: object = "") -> str:
        """Return the warning that it was omitted, or sent in another form."""
        return self.words.format(field=field, provider=provider, place=place, value=value)

    def refusal(
        self, path: str, target: Destination, *, provider: str | None = None, place: str = ""
    ) -> UnsupportedError:
        """Return the error for a request that sets it. `place` says where, or with what."""
        what, _, hint = self.words.partition("; ")
        where = f" {place}" if place else ""
        return UnsupportedError(
            f"{provider or target.provider} {what}{where}" + (f"; {hint}" if hint else ""),
            provider=target.provider,
            model=target.model,
            param=path,
        )


def sent(name: str | None = None) -> Field:
    """Return the entry of a field that is sent if it is set; with `name`, unchanged and under this name."""
    return Field(support="optional", name=name)


def mapped(words: str = "", *, name: str | None = None, neutral: tuple[Any, ...] = ()) -> Field:
    """Return the entry of a field that is sent in another form or value.

    `words` is the warning if that is impossible.
    """
    return Field(support="mapped", name=name, words=words, neutral=neutral, is_conditional=True)


def emulated(words: str) -> Field:
    """Return the entry of a field whose effect is achieved in another way."""
    return Field(support="emulated", words=words, is_conditional=True)


def left_out(reason: str = "has no such option", *, neutral: tuple[Any, ...] = ()) -> Field:
    """Return the entry of a field that is omitted with a warning. `reason` says what the provider does not do."""
    return Field(support="unsupported", words=f"{{field}} was left out: {{provider}} {reason}", neutral=neutral)


def left_out_saying(words: str, *, neutral: tuple[Any, ...] = ()) -> Field:
    """Return the entry of a field that is omitted with its own warning."""
    return Field(support="unsupported", words=words, neutral=neutral)


def refused(words: str, *, neutral: tuple[Any, ...] = ()) -> Field:
    """Return the entry of a field that is refused.

    `words` says what the provider does not do, and what to do instead.
    """
    return Field(support="unsupported", words=words, is_refused=True, neutral=neutral)


def local(reason: str) -> Field:
    """Return the entry of a field that is never sent, with the reason why nothing is lost."""
    return Field(support="local", words=reason)


def in_some_places(field: Field) -> Field:
    """Return the entry of a field that is omitted or refused in some places only."""
    return field.replace(is_conditional=True)


REQUIRED: Final = Field(support="required")
OF_STREAMS: Final = mapped("{field} was left out: only a stream has it")
"""The entry of a field that is sent with streams only."""

_UNKNOWN: Final = left_out_saying("{field} was left out: bifrost does not know how to say it to {provider}")


class _Entry(msgspec.Struct, frozen=True):
    """What is checked in one field of a request."""

    name: str
    path: str
    default: Any
    field: Field | None
    """The entry to report; `None`: the field is supported."""
    values: Mapping[Any, Field | None] | None
    """The same for single values."""
    inner: Mapping[type, _Part]
    is_of_streams: bool


class _Part(msgspec.Struct, frozen=True):
    """What is checked in a request, or in one kind of Struct inside it."""

    plain: tuple[_Entry, ...]
    """Fields that contain no Struct."""
    read: Callable[[Any], Any]
    """Returns the values of `plain`. Most requests set none of them, and one comparison shows that."""
    unset: Any
    """What it returns if none is set."""
    nested: tuple[_Entry, ...]
    """The other fields."""

    def holds_nothing(self, value: Any) -> bool:
        """Return whether nothing in a value needs a check: no plain field is set, and the others are texts."""
        if self.read(value) != self.unset:
            return False
        for entry in self.nested:
            item: Any = getattr(value, entry.name)
            if item is not None and item.__class__ is not str:
                return False
        return True


class FieldTable:
    """How one dialect sends each field of one type of request.

    Args:
        request: The type of the request.
        fields: The entries by path.
        speaker: The name of the provider in warnings and errors; `None`: the name in calls.
    """

    def __init__(
        self, request: type[msgspec.Struct], fields: Mapping[str, Field], *, speaker: str | None = None
    ) -> None:
        self.request = request
        self.fields = fields
        self.plain: tuple[tuple[str, str], ...] = tuple(
            (path, field.name) for path, field in fields.items() if field.name is not None
        )
        """Fields that are sent unchanged, with their names on the wire."""
        self.lacking = frozenset(path for path, field in fields.items() if field.is_refused)
        """Fields that are refused, always or in some places."""
        self._speaker = speaker

    def __getitem__(self, path: str) -> Field:
        return self.fields[path]

    def narrowed(self, request: type[msgspec.Struct]) -> FieldTable:
        """Return the table of a type of request that has some of these fields."""
        return FieldTable(request, narrowed(self.fields, request), speaker=self._speaker)

    def check(self, request: msgspec.Struct, target: Destination) -> list[str]:
        """Return a warning for each field that is set and omitted.

        Raises `UnsupportedError` for one that is refused.
        """
        warnings: list[str] = []
        seen: set[str] = set()
        found: list[tuple[Any, str, _Part]] = [(request, "", self._part)]
        for value, place, part in found:
            entries = part.nested if part.read(value) == part.unset else (*part.plain, *part.nested)
            for entry in entries:
                item: Any = getattr(value, entry.name)
                if item is None or item == entry.default:
                    continue
                field = entry.field if entry.values is None else entry.values.get(item, entry.field)
                if entry.is_of_streams and not target.stream:
                    field = OF_STREAMS
                if field is None:
                    inner = entry.inner
                    if not inner:
                        continue
                    below: _Part | None
                    if item.__class__ is not list:
                        if (below := inner.get(item.__class__)) is not None:
                            found.append((item, f"{place}{entry.name}.", below))
                        continue
                    each: Any
                    for number, each in enumerate(item):
                        below = inner.get(each.__class__)
                        # Most messages set a text and nothing else.
                        if below is not None and not below.holds_nothing(each):
                            found.append((each, f"{place}{entry.name}[{number}].", below))
                elif item not in field.neutral and entry.path not in seen:
                    seen.add(entry.path)
                    warnings.append(self._lacking(field, entry, place, target))
        return warnings

    def warning(self, path: str, target: Destination, *, place: str = "", value: object = "") -> str:
        """Return the warning for a field that is omitted here, or sent in another form.

        `place` is that of the message, part or tool; `value` is what the words want to know beside it.
        """
        provider = self._speaker or target.provider
        return self.fields[path].warning(label_of(path, place), provider, place=place, value=value)

    def refusal(self, path: str, target: Destination, *, place: str = "") -> UnsupportedError:
        """Return the error for a field that is refused here. `place` says where, or with what."""
        return self.fields[path].refusal(path, target, provider=self._speaker, place=place)

    def _lacking(self, field: Field, entry: _Entry, place: str, target: Destination) -> str:
        if field.is_refused:
            where = f"({place[:-1]})" if "[" in place else ""
            raise field.refusal(entry.path, target, provider=self._speaker, place=where)
        label = f"{place[:-1]}: {entry.name}" if place.endswith("].") else f"{place}{entry.name}"
        return field.warning(label, self._speaker or target.provider, place=place[:-1])

    @cached_property
    def _part(self) -> _Part:
        return _part_of(self.request, "", self.fields)


def narrowed(fields: Mapping[str, Field], request: type[msgspec.Struct]) -> dict[str, Field]:
    """Return the entries that concern a type of request, which has some of the fields."""
    names = frozenset(request.__struct_fields__)
    return {path: field for path, field in fields.items() if path.partition("=")[0].partition(".")[0] in names}


def label_of(path: str, place: str = "") -> str:
    """Return the name of a field in a warning: its path, or within a message, part or tool its place and name."""
    field = path.partition("=")[0]
    return f"{place}: {field.rpartition('.')[2]}" if place else field


def covering(path: str, fields: Mapping[str, Field]) -> Field | None:
    """Return the entry that applies to a path: that of a parent if it is never sent, or else its own."""
    steps = path.split(".")
    for place in range(1, len(steps)):
        above = fields.get(".".join(steps[:place]))
        if above is not None and (above.support == "local" or _reported(above) is not None):
            return above
    return fields.get(path)


def paths_of(request: type[msgspec.Struct]) -> Iterator[str]:
    """Yield the path of every field of a type of request, parents first."""
    for name, below in _fields_of(request):
        yield name
        for step, kind in below:
            for path in paths_of(kind):
                yield f"{name}{step}.{path}"


def _part_of(kind: type[msgspec.Struct], above: str, fields: Mapping[str, Field]) -> _Part:
    entries = tuple(_compiled(kind, above, fields))
    plain = tuple(entry for entry in entries if not entry.inner)
    names = [entry.name for entry in plain]
    return _Part(
        plain,
        attrgetter(*names) if names else _nothing,
        plain[0].default if len(plain) == 1 else tuple(entry.default for entry in plain) or None,
        tuple(entry for entry in entries if entry.inner),
    )


def _nothing(_request: object) -> None:
    return None


def _compiled(kind: type[msgspec.Struct], above: str, fields: Mapping[str, Field]) -> Iterator[_Entry]:
    """Yield what must be checked; fields that are always supported are omitted."""
    defaults = {each.name: each for each in msgspec.structs.fields(kind)}
    for name, below in _fields_of(kind):
        path = above + name
        field = fields.get(path)
        if field is None and not any(True for other in fields if other.startswith(f"{path}.")):
            field = _UNKNOWN
        reported = _reported(field)
        ends = reported is not None or (field is not None and field.support == "local")
        values = {
            other.rpartition("=")[2]: _reported(each) for other, each in fields.items() if other.startswith(f"{path}=")
        }
        inner: dict[type, _Part] = {}
        if not ends:
            for step, kind_below in below:
                part = _part_of(kind_below, f"{path}{step}.", fields)
                if part.plain or part.nested:
                    inner[kind_below] = part
        is_of_streams = field is OF_STREAMS
        if reported is not None or any(values.values()) or inner or is_of_streams:
            yield _Entry(name, path, _default_of(defaults[name]), reported, values or None, inner, is_of_streams)


def _reported(field: Field | None) -> Field | None:
    """Return an entry if a request that sets the field is to be reported, whatever else it sets."""
    return field if field is not None and field.support == "unsupported" and not field.is_conditional else None


def _default_of(field: Any) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _fields_of(kind: type[msgspec.Struct]) -> list[tuple[str, list[tuple[str, type[msgspec.Struct]]]]]:
    """Return the fields of a Struct, each with the Structs that it may contain and their step in a path."""
    return [(field.name, list(_structs_in(field.type))) for field in msgspec.structs.fields(kind)]


def _is_struct(kind: Any) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _structs_in(kind: Any) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    if _is_struct(kind):
        tag = kind.__struct_config__.tag
        yield (f".{tag}" if tag is not None else ""), kind
        return
    for part in get_args(kind):
        yield from _structs_in(part)
