"""Decodes a JSON object to a shape although some of its members have unexpected types.

The decoders of this dialect refuse a whole document if one member has an unexpected type. Servers that are nearly
compatible send empty members, or details of their own shape. Such a member is ignored here, and the rest is decoded.
Members that a response needs (`NEEDED`) are refused nevertheless unless they are empty.
"""

from __future__ import annotations

from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec

_StructT = TypeVar("_StructT", bound=msgspec.Struct)

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
    """A required member has another type."""


def fit(data: bytes | msgspec.Raw, shape: type[_StructT], *, needed: frozenset[str] = NEEDED) -> _StructT:
    """Return a JSON object as a struct of this shape, without unexpected members.

    Raises `UnfitError` if it is not an object or has too many values, or if a required member is missing or has another
    type.
    """
    least, each = _COMMAS
    if bytes(data).count(b",") > least + len(data) // each:
        raise UnfitError
    return _fit(data, shape, needed)


def _fit(data: bytes | msgspec.Raw, shape: type[_StructT], needed: frozenset[str]) -> _StructT:
    try:
        form = _OBJECT.decode(data)
    except _ERRORS:
        form = None
    if form is None:
        raise UnfitError
    kept: dict[str, Any] = {}
    for field in msgspec.structs.fields(shape):
        raw = form.get(field.encode_name)
        found = _ODD if raw is None else _member(raw, field.type, field.encode_name in needed, needed)
        if found is not _ODD:
            kept[field.name] = found
        elif field.required:
            raise UnfitError
    return shape(**kept)


def _member(raw: msgspec.Raw, kind: Any, is_needed: bool, needed: frozenset[str]) -> Any:
    if kind is msgspec.Raw:
        return raw
    try:
        return msgspec.json.decode(raw, type=kind, strict=False)
    except _ERRORS:
        pass
    if len(raw) < 32 and bytes(raw).translate(None, _BLANKS) in _EMPTY:
        return _ODD
    try:
        return _within(raw, kind, is_needed, needed)
    except UnfitError:
        if is_needed:
            raise
        return _ODD


def _within(raw: msgspec.Raw, kind: Any, is_needed: bool, needed: frozenset[str]) -> Any:
    first = bytes(raw).lstrip(_BLANKS)[:1]
    for arm in get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,):
        if first == b"{" and isinstance(arm, type) and issubclass(arm, msgspec.Struct):
            return _fit(raw, arm, needed)
        if first == b"[" and get_origin(arm) is list:
            (item,) = get_args(arm)
            found = [_member(each, item, is_needed, needed) for each in _LIST.decode(raw)]
            return [each for each in found if each is not _ODD]
    raise UnfitError
