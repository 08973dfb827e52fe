"""Decodes a JSON object to a shape although some of its members have unexpected types.

The decoders of this dialect refuse a whole document if one member has an unexpected type. Servers that are nearly
compatible send empty members, or details of their own shape. Such a member is ignored here, and the rest is decoded.
Members that a response needs (`NEEDED`) are refused nevertheless unless they are empty.
"""

from __future__ import annotations

from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.providers.sizes import PARTS_LIMIT, SPARSE
from bifrost.wire import json

_StructT = TypeVar("_StructT", bound=msgspec.Struct)
_T = TypeVar("_T")

NEEDED = frozenset(["choices", "content", "data", "delta", "embedding", "function", "message", "tool_calls"])
"""Members whose loss would change the response: text, calls, vectors, and what contains them."""

_COMMAS = 65_536, 64
"""The number of commas that any document may have, and the bytes per further comma: a list of tiny values takes much
memory.
"""

_ODD = object()
_ERRORS = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_EMPTY = frozenset([b"null", b"false", b'""', b"[]", b"{}"])
_BLANKS = b" \t\r\n"


class UnfitError(Exception):
    """A required member has another type, or a list has too many items to be examined one by one."""


def fit(data: bytes | msgspec.Raw, shape: type[_StructT], *, needed: frozenset[str] = NEEDED) -> _StructT:
    """Return a JSON object as a struct of this shape, without unexpected members.

    Raises `UnfitError` if it is not an object or has too many values, or if a required member is missing or has another
    type.
    """
    least, each = _COMMAS
    if bytes(data).count(b",") > least + len(data) // each:
        raise UnfitError
    return _Fitting(needed).fit(data, shape)


def decode_fitting(
    data: bytes | msgspec.Raw,
    decoder: msgspec.json.Decoder[_T],
    shape: type[msgspec.Struct],
    *,
    needed: frozenset[str],
    what: str,
) -> _T:
    """Decode JSON. If it does not match, unexpected members are ignored as `fit` does, which receives `shape`.

    Raises `MalformedResponseError` for other content, and `ResponseTooLargeError` as `bifrost.wire.json.decode` does.
    """
    try:
        return json.decode(data, decoder, what=what, sparse=SPARSE)
    except MalformedResponseError as error:
        malformed = error
    try:
        return cast("_T", fit(data if isinstance(data, msgspec.Raw) else json.mended(data), shape, needed=needed))
    except UnfitError:
        pass
    raise malformed


class _Fitting:
    """The decoding of one document, with its decoders."""

    __slots__ = ("_decoders", "_fields", "_needed")

    def __init__(self, needed: frozenset[str]) -> None:
        self._needed = needed
        self._decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
        self._fields: dict[type[msgspec.Struct], tuple[msgspec.structs.FieldInfo, ...]] = {}

    def fit(self, data: bytes | msgspec.Raw, shape: type[_StructT]) -> _StructT:
        try:
            form = _OBJECT.decode(data)
        except _ERRORS:
            form = None
        if form is None:
            raise UnfitError
        kept: dict[str, Any] = {}
        for field in self._fields_of(shape):
            raw = form.get(field.encode_name)
            found = _ODD if raw is None else self._member(raw, field.type, field.encode_name in self._needed)
            if found is not _ODD:
                kept[field.name] = found
            elif field.required:
                raise UnfitError
        return shape(**kept)

    def _member(self, raw: msgspec.Raw, kind: Any, is_needed: bool) -> Any:
        if kind is msgspec.Raw:
            return raw
        try:
            return self._decoder(kind).decode(raw)
        except _ERRORS:
            pass
        if len(raw) < 32 and bytes(raw).translate(None, _BLANKS) in _EMPTY:
            return _ODD
        try:
            return self._within(raw, kind, is_needed)
        except UnfitError:
            if is_needed:
                raise
            return _ODD

    def _within(self, raw: msgspec.Raw, kind: Any, is_needed: bool) -> Any:
        first = bytes(raw).lstrip(_BLANKS)[:1]
        for arm in get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,):
            if first == b"{" and isinstance(arm, type) and issubclass(arm, msgspec.Struct):
                return self.fit(raw, arm)
            if first == b"[" and get_origin(arm) is list:
                (item,) = get_args(arm)
                items = _LIST.decode(raw)
                if len(items) > PARTS_LIMIT:
                    raise UnfitError
                found = [self._member(each, item, is_needed) for each in items]
                return [each for each in found if each is not _ODD]
        raise UnfitError

    def _fields_of(self, shape: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
        if shape not in self._fields:
            self._fields[shape] = msgspec.structs.fields(shape)
        return self._fields[shape]

    def _decoder(self, kind: Any) -> msgspec.json.Decoder[Any]:
        if kind not in self._decoders:
            self._decoders[kind] = msgspec.json.Decoder(kind, strict=False)
        return self._decoders[kind]
