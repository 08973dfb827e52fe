"""Stores the document of a large response without the texts that the response contains anyway.

`response.raw` is the provider's document, and `response.text` is the text in it. In a large response both are nearly
the same bytes. The document is therefore stored as the pieces between its long texts, with references to these texts,
and joined when `raw` is read. This is done only if it reproduces exactly the same bytes.
"""

from __future__ import annotations

import json
from bisect import bisect
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from bifrost.frozen import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

SMALL = 64 * 1024
"""A smaller document, in bytes, is stored unchanged."""

_LONG = 4 * 1024
"""The length of the shortest text that is omitted from a document."""
_SLICE = 64 * 1024
"""How many characters are compared at once."""
_BEGINNING = 128
"""How many characters of a text are searched for."""
_PLACES = 3
"""How many positions that begin like a text are compared with it."""
_MISSES = 4
"""After this many texts that do not occur in the document in order, the others are not searched for."""

_T = TypeVar("_T")


class Document(Value, msgspec.Struct, frozen=True, kw_only=True):
    """A document in pieces: `between[0]`, the first text, `between[1]`, ..."""

    between: list[bytes]
    texts: list[str]
    forms: list[str]
    """How each text is written in the document, by the names of `_FORMS`."""

    def to_bytes(self) -> bytes:
        """Return the complete document."""
        pieces = [self.between[0]]
        for text, form, after in zip(self.texts, self.forms, self.between[1:], strict=True):
            pieces += (_FORMS[form](text), after)
        return b"".join(pieces)


def without_texts(body: bytes, texts: Iterable[str]) -> bytes:
    """Return the value of `raw` for a response with these texts: the body, or a `Document` for a large one.

    The return type is that of the field after `has_document`.
    """
    if len(body) < SMALL:
        return body
    found = _found(body, (text for text in texts if len(text) >= _LONG))
    if not found:
        return body
    edges = [0, *(edge for start, end, _, _ in found for edge in (start, end)), len(body)]
    document = Document(
        between=[body[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)],
        texts=[text for _, _, text, _ in found],
        forms=[form for _, _, _, form in found],
    )
    return cast("bytes", document)


def has_document(cls: type[_T]) -> type[_T]:
    """Make `raw` of a response return bytes, whether it stores the body or a `Document`."""
    stored = cast("Any", cls).raw.__get__

    def raw(self: Any) -> bytes:
        value: bytes | Document = stored(self)
        return value.to_bytes() if isinstance(value, Document) else value

    cast("Any", cls).raw = property(raw)
    return cls


def _found(body: bytes, texts: Iterable[str]) -> list[tuple[int, int, str, str]]:
    """Return the texts that occur in the body: start, end, text and form. They do not overlap."""
    found: list[tuple[int, int, str, str]] = []
    position = misses = 0
    for text in texts:
        place = _place(body, text, position)
        if place is None and position:
            misses += 1
            place = _place(body, text, 0)
        if place is None:
            misses += 1
        else:
            position = place[1]
            at = bisect(found, place[0], key=lambda each: each[0])
            is_free = (at == 0 or found[at - 1][1] <= place[0]) and (at == len(found) or place[1] <= found[at][0])
            if is_free:
                found.insert(at, (place[0], place[1], text, place[2]))
        if misses >= _MISSES:
            break
    return found


def _place(body: bytes, text: str, position: int) -> tuple[int, int, str] | None:
    """Return where a text is next: start, end and form.

    The search goes no further than needed, whatever the form is. Many texts together therefore take linear time.
    """
    beginnings = _beginnings(text)
    left = dict.fromkeys(beginnings, _PLACES)
    for first, last in _windows(position, len(body)):
        for beginning, forms in beginnings.items():
            start = first - 1
            while left[beginning] and (start := body.find(beginning, start + 1, last + len(beginning) - 1)) >= 0:
                left[beginning] -= 1
                for form in forms:
                    end = _end(body, start, text, _FORMS[form])
                    if end is not None:
                        return start, end, form
    return None


def _beginnings(text: str) -> dict[bytes, list[str]]:
    """Return the beginning of a text in each form, with the names of its forms."""
    beginnings: dict[bytes, list[str]] = {}
    for name, write in _FORMS.items():
        # Half of a surrogate pair cannot be written in every form.
        with suppress(UnicodeEncodeError):
            beginnings.setdefault(write(text[:_BEGINNING]), []).append(name)
    return beginnings


def _windows(position: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a document in which a text may begin. Each is twice as long as the one before."""
    width = _LONG
    while position < size:
        yield position, min(position + width, size)
        position += width
        width *= 2


def _end(body: bytes, start: int, text: str, write: Callable[[str], bytes]) -> int | None:
    """Return the end of the text that begins here; `None` if it is another text."""
    for at in range(0, len(text), _SLICE):
        piece = write(text[at : at + _SLICE])
        if not body.startswith(piece, start):
            return None
        start += len(piece)
    return start


def _utf8(text: str) -> bytes:
    return msgspec.json.encode(text)[1:-1]


def _ascii(text: str) -> bytes:
    return json.dumps(text)[1:-1].encode()


def _html(text: str) -> bytes:
    return _utf8(text).replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")


_FORMS: Mapping[str, Callable[[str], bytes]] = {
    "utf-8": _utf8,
    "ascii": _ascii,
    "html": _html,
    "ascii, slashes": lambda text: _ascii(text).replace(b"/", b"\\/"),
    "plain": str.encode,
}
r"""How servers write a text in JSON: as UTF-8, in ASCII (Python), safe within HTML (Go), with `\/` (PHP), or as JSON
outside of a string (the arguments of a tool at Anthropic).
"""
