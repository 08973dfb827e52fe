"""Reading and writing JSON. Input is not trusted, output must be valid JSON, and both raise only bifrost's errors.

If an object repeats a key, the last value is used. The order of keys is preserved.
"""

from __future__ import annotations

import re
from enum import Enum
from io import BytesIO
from math import isfinite
from secrets import token_hex
from types import NoneType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import msgspec

from bifrost.attempt_record import shown
from bifrost.errors import InvalidRequestError, MalformedResponseError, ResponseTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")

DEPTH_LIMIT = 128
"""The deepest nesting of a caller's own JSON (a schema, `extra`)."""

_CORRECTION_LIMIT = 8 * 1024 * 1024
"""The largest document in which lone surrogates and NaN are replaced; this takes up to 0.1 µs per byte."""

_PLAIN_LIMIT = 100_000
"""The most parts of a value that the quick check examines. A value that contains itself twice doubles with each
level.
"""

SMALL = 16 * 1024
"""A document of up to this size in bytes takes little memory, whatever it contains."""

_CONTAINERS = 4096
"""The number of objects and lists that any document may contain; larger documents may contain more."""

_DENSEST = 16
"""The bytes per further object or list."""

_STRINGS = 8192, 8
"""The number of strings that any document may contain, and the bytes per further string. A short string takes 72 bytes
of memory.
"""

_WINDOW = 64 * 1024
"""The number of bytes that are examined at once."""

_LONG = 64 * 1024
"""Text of at least this size is written without being joined first."""


class _LongTextError(TypeError):
    """A body contains a `LongText`."""


def _refuse_long(thing: object) -> object:
    if isinstance(thing, LongText):
        raise _LongTextError
    raise TypeError(f"Encoding objects of type {type(thing).__name__} is unsupported")


_ENCODER = msgspec.json.Encoder(enc_hook=_refuse_long)

_BOM = b"\xef\xbb\xbf"

# A lone half of a surrogate pair: a first one without a second behind it, or a second one without a first before it.
# Escaped backslashes are replaced beforehand, so that `\\ud800` is none.
_LONE_SURROGATE = rb"""
    \\u[dD] (?:
        [89abAB][0-9a-fA-F]{2} (?! \\u[dD][c-fC-F][0-9a-fA-F]{2} )
      | [c-fC-F][0-9a-fA-F]{2} (?<! \\u[dD][89abAB][0-9a-fA-F]{2} \\u[dD][0-9a-fA-F]{3} )
    )
    """
_ESCAPED_BACKSLASH, _STAND_IN = b"\\\\", b"\x00\x00"

# Strings are matched as well, so that a word within a string is not mistaken for a number.
_NOT_FINITE = rb"""
    " (?: [^"\\]++ | \\.? )*+ "?
    | ( -?(?:NaN|Infinity) )
    """


def decode(data: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T], *, what: str, sparse: int = _DENSEST) -> T:
    """Decode a provider's JSON. `what` begins the error's message: "the response", "an event of the stream".

    Three things are accepted although msgspec refuses the whole document for each of them: a byte order mark, halves of
    surrogate pairs (models cut emoji in two; they become U+FFFD), and NaN and infinity (Python's encoder writes them;
    they become null). Raises `MalformedResponseError` for anything else that is not JSON of the decoder's type, and
    `ResponseTooLargeError` as `check_density` does, which receives `sparse`. (A `Raw` is a part of a document that was
    checked.)
    """
    if len(data) > SMALL and not isinstance(data, msgspec.Raw):
        check_density(data, what=what, sparse=sparse)
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        problem = _problem_of(error)
    found = bytes(data)
    corrected_data = mended(found)
    if corrected_data != found:
        try:
            return decoder.decode(corrected_data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            problem = _problem_of(error)
    # Raised outside the `except` block: the original error may contain the whole text.
    raise MalformedResponseError(f"{what} cannot be read: {problem}; {excerpt(found)}")


def check_density(data: bytes, *, what: str, sparse: int = _DENSEST) -> None:
    """Raise `ResponseTooLargeError` for JSON that would take many times its size in memory, as tiny objects do.

    A large document may contain an object for every `sparse` bytes, and an object or a list for every 16: a small
    struct takes about 100 bytes of memory, a dict 200, a list 60, and each takes three bytes on the wire. Of what
    providers send, log probabilities are the densest, with an object or a list for every 19 bytes and a string for
    every 10.
    """
    least, each = _STRINGS
    most = 2 * (least + len(data) // each)
    quotes = data.count(b'"')
    # Nearly every document has few of them, escaped or not.
    if quotes > most and quotes - data.count(b'\\"') > most + 1:
        raise _too_dense(what, "strings")
    most_objects, most_containers = _CONTAINERS + len(data) // sparse, _CONTAINERS + len(data) // _DENSEST
    objects, lists = data.count(b"{"), data.count(b"[")
    if objects > most_objects or objects + lists > most_containers:
        # Text may contain any number of braces, so they are counted exactly only if there are many.
        objects, lists = _containers(data)
    if objects > most_objects or objects + lists > most_containers:
        raise _too_dense(what, "objects and lists")


def _containers(data: bytes) -> tuple[int, int]:
    """Return the numbers of objects and of lists: of braces and brackets outside of strings."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    objects = lists = inside = 0
    for start in range(0, len(data), _WINDOW):
        pieces = data[start : start + _WINDOW].split(b'"')
        outside = b"".join(pieces[inside::2])
        objects += outside.count(b"{")
        lists += outside.count(b"[")
        inside ^= (len(pieces) - 1) & 1
    return objects, lists


def _too_dense(what: str, things: str) -> ResponseTooLargeError:
    return ResponseTooLargeError(f"{what} holds too many {things} for its size; reading it would take too much memory")


def excerpt(data: bytes) -> str:
    """Describe foreign bytes briefly and in printable characters, with at most their first 200 characters."""
    if not data.strip():
        return "it is empty"
    text = shown(data[:1000].decode("utf-8", "replace"), 200)
    return f"its {len(data):,} bytes begin with: {text[:200]}"


class LongText:
    """Text in pieces that `encode` writes one after another, so that a large image is not copied.

    Only `long_text` makes it, because its text must not need escapes in JSON.
    """

    __slots__ = ("pieces",)

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces

    @property
    def size(self) -> int:
        """The size in bytes when written."""
        return sum(map(len, self.pieces))

    def __repr__(self) -> str:
        return f"LongText({self.size:,} bytes)"


def long_text(*pieces: str) -> str | LongText:
    """Return text for the body of a request: joined if it is short or needs escapes, otherwise as `LongText`."""
    if sum(map(len, pieces)) < _LONG or not all(map(_is_safe, pieces)):
        return "".join(pieces)
    return LongText(*pieces)


def _is_safe(text: str) -> bool:
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def encode(value: Any) -> bytes:
    """Encode the body of a request. Raises `InvalidRequestError`, which names the value that JSON cannot express.

    NaN and infinity (which msgspec writes as `null`), lone surrogates, cycles and unsupported types are refused. What
    msgspec converts (bytes to base64, numbers as keys) is accepted: use `check_json` first for a caller's own dicts.
    """
    data = b""
    problem: str | None = None
    try:
        data = _ENCODER.encode(value)
    except _LongTextError:
        return _encode_long(value)
    except (TypeError, ValueError, RecursionError) as error:
        problem = _problem_of(error)
    # A NaN is possible only if a null was written.
    if problem is None and b"null" not in data:
        return data
    _Walk("request", strict=False).check(value)
    if problem is not None:
        raise InvalidRequestError(f"the request cannot be written as JSON: {problem}")
    return data


def _encode_long(value: Any) -> bytes:
    """Encode a body with long texts, which are copied directly to their places."""
    found: list[LongText] = []
    mark = token_hex(16)

    def note(thing: object) -> str:
        if isinstance(thing, LongText):
            found.append(thing)
            return mark
        raise TypeError(f"Encoding objects of type {type(thing).__name__} is unsupported")

    problem: str | None = None
    around: list[bytes] = []
    try:
        around = msgspec.json.Encoder(enc_hook=note).encode(value).split(mark.encode())
    except (TypeError, ValueError, RecursionError) as error:
        problem = _problem_of(error)
    if problem is not None or any(b"null" in piece for piece in around):
        _Walk("request", strict=False).check(value)
    if problem is not None:
        raise InvalidRequestError(f"the request cannot be written as JSON: {problem}")
    size = sum(map(len, around)) + sum(text.size for text in found)
    body = BytesIO()
    # The buffer is allocated at its final size, because a growing one takes half as much again.
    body.seek(size - 1)
    body.write(b"}")
    body.seek(0)
    body.write(around[0])
    for text, rest in zip(found, around[1:], strict=True):
        for piece in text.pieces:
            for start in range(0, len(piece), _WINDOW):
                body.write(piece[start : start + _WINDOW].encode("ascii"))
        body.write(rest)
    return body.getvalue()


def check_json(value: Any, *, where: str) -> None:
    """Check that a caller's own value is JSON: None, booleans, numbers, text, lists, and dicts with text as keys.

    Raises `InvalidRequestError` for NaN and infinity, bytes, lone surrogates, other types, keys that are not text,
    cycles, and more than 128 levels. The error names the place, which begins with `where` ("tools[0].parameters"). Enum
    members count as their values, structs as dicts of their fields.
    """
    if not _is_plain(value):
        _Walk(where, strict=True).check(value)


def _problem_of(error: Exception) -> str:
    match error:
        case RecursionError():
            return "it is nested too deeply"
        case UnicodeError():
            return "it holds text that is not UTF-8"
        case _:
            return shown(str(error), 200)


def mended(data: bytes) -> bytes:
    """Return a document with the corrections that `decode` makes."""
    data = data.removeprefix(_BOM)
    if len(data) > _CORRECTION_LIMIT:
        return data
    if b"NaN" in data or b"Infinity" in data:
        data = re.sub(_NOT_FINITE, lambda found: b"null" if found[1] else found[0], data, flags=re.VERBOSE | re.DOTALL)
    # A document with a NUL byte is not JSON anyway.
    if (b"\\ud" in data or b"\\uD" in data) and b"\x00" not in data:
        data = data.replace(_ESCAPED_BACKSLASH, _STAND_IN)
        data = re.sub(_LONE_SURROGATE, rb"\\ufffd", data, flags=re.VERBOSE)
        data = data.replace(_STAND_IN, _ESCAPED_BACKSLASH)
    return data


def _is_plain(value: object) -> bool:
    """Check quickly whether a value is JSON of built-in types. `False` means that this is not known."""
    level: list[object] = [value]
    left = _PLAIN_LIMIT
    for _ in range(DEPTH_LIMIT):
        below: list[object] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                parts = cast("dict[object, object]", item)
                if not _TEXT.issuperset(map(type, parts)):
                    return False
                below += parts
                below += parts.values()
            elif kind is list:
                below += cast("list[object]", item)
            elif not (kind in _CONSTANTS or (kind in _PLAIN and _PLAIN[kind](item))):
                return False
        left -= len(below)
        if not below or left < 0:
            return left >= 0
        level = below
    return False


class _Walk:
    """Finds the first part of a value that is not JSON.

    `strict` accepts JSON's own types only; otherwise everything that msgspec can write is accepted.
    """

    __slots__ = ("_path", "_strict", "_where")

    def __init__(self, where: str, *, strict: bool) -> None:
        self._where = where
        self._strict = strict
        self._path: list[str] = []

    def check(self, value: object) -> None:
        if type(value) is str:
            if not _is_text(value):
                self._refuse("holds half of a surrogate pair (a character cut in two)")
        elif type(value) is float:
            if not isfinite(value):
                self._refuse(f"is {value}")
        elif type(value) is int:
            if value.bit_length() > 64 and not _is_writable(value):
                self._refuse("is too long a number")
        elif value is not None and type(value) is not bool:
            self._check_compound(value)

    def _check_compound(self, value: object) -> None:
        match value:
            case Enum():
                self.check(value.value)
            case dict() | list() | tuple() | msgspec.Struct() if len(self._path) >= DEPTH_LIMIT:
                if self._strict or not _is_writable(cast("object", value)):
                    self._refuse(f"is nested deeper than {DEPTH_LIMIT} levels, or holds itself")
            case dict():
                self._check_dict(cast("dict[object, object]", value))
            case list() | tuple():
                items = cast("list[object]", value)
                self._check_parts((f"[{place}]", item) for place, item in enumerate(items))
            case msgspec.Struct():
                fields = ((f".{name}", getattr(value, name)) for name in value.__struct_fields__)
                self._check_parts((name, item) for name, item in fields if item is not msgspec.UNSET)
            case LongText() if not self._strict:
                pass
            case _:
                if self._strict or not _is_writable(value):
                    self._refuse(f"is of type {type(value).__name__}")

    def _check_dict(self, value: dict[object, object]) -> None:
        for key in value:
            text = key.value if isinstance(key, Enum) else key
            if not isinstance(text, str):
                if self._strict or not _is_writable({key: 0}):
                    self._refuse(f"has the key {shown(repr(key), 100)}, which is not text")
            elif not _is_text(text):
                self._refuse(f"has the key {shown(repr(key), 100)}, which holds half of a surrogate pair")
        self._check_parts((_step(key), item) for key, item in value.items())

    def _check_parts(self, parts: Iterable[tuple[str, object]]) -> None:
        for step, part in parts:
            self._path.append(step)
            self.check(part)
            self._path.pop()

    def _refuse(self, problem: str) -> NoReturn:
        place = self._where + "".join(self._path)
        raise InvalidRequestError(f"{shown(place, 150)} {problem}; JSON cannot say that", param=place)


def _step(key: object) -> str:
    text = str(key)
    return f".{text}" if text.isidentifier() else f"[{shown(repr(text), 100)}]"


def _is_text(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_writable(value: object) -> bool:
    try:
        _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _is_short(number: int) -> bool:
    return number.bit_length() <= 64


_TEXT = frozenset({str})
_CONSTANTS = frozenset({bool, NoneType})
_PLAIN: Mapping[type, Callable[[Any], bool]] = {str: _is_text, float: isfinite, int: _is_short}
