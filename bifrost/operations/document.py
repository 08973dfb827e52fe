"""A large answer's document, stored without the texts that the answer holds anyway.

`response.raw` is the provider's document, `response.text` the text in it. Of a large answer both are nearly the same
bytes. So the document is stored as the pieces between its long texts, with references to those texts, and put together
again when somebody reads `raw`. This is done only where it gives back the very same bytes.
"""

from __future__ import annotations

import json
from bisect import bisect
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from bifrost.frozen import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SMALL = 64 * 1024
"""A document of fewer bytes is stored as it is."""

_LONG = 4 * 1024
"""The shortest text that is left out of a document."""
_SLICE = 64 * 1024
"""How many characters are compared at once."""
_BEGINNING = 128
"""How many characters of a text are looked for."""
_PLACES = 3
"""How many places that begin like a text are compared with it."""
_MISSES = 4
"""After so many texts that are not in the document, in their order, the others are not looked for."""

_T = TypeVar("_T")


class Document(Value, msgspec.Struct, frozen=True, kw_only=True):
    """A document in pieces: `between[0]`, the first text, `between[1]`, ..."""

    between: list[bytes]
    texts: list[str]
    forms: list[str]
    """How each text is written in the document, by the names of `_FORMS`."""

    def to_bytes(self) -> bytes:
        """Return the whole document."""
        pieces = [self.between[0]]
        for text, form, after in zip(self.texts, self.forms, self.between[1:], strict=True):
            pieces += (_FORMS[form](text), after)
        return b"".join(pieces)


def without_texts(body: bytes, texts: Iterable[str]) -> bytes:
    """Return what to store as `raw` in an answer that holds these texts: the body, or a `Document` for a large one.

    The type is that of the field as `has_document` reads it.
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
    """Let `raw` of an answer give whole bytes, whether the body is stored in it or a `Document`."""
    stored = cast("Any", cls).raw.__get__

    def raw(self: Any) -> bytes:
        value: bytes | Document = stored(self)
        return value.to_bytes() if isinstance(value, Document) else value

    cast("Any", cls).raw = property(raw)
    return cls


def _found(body: bytes, texts: Iterable[str]) -> list[tuple[int, int, str, str]]:
    """Return the texts that are in the body: from where, to where, the text, and its form. None overlaps another."""
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
    absent: set[bytes] = set()
    for name, write in _FORMS.items():
        # Half a character cannot be written in every form.
        with suppress(UnicodeEncodeError):
            beginning = write(text[:_BEGINNING])
            if beginning in absent:
                continue
            start = body.find(beginning, position)
            if start < 0:
                absent.add(beginning)
            for _ in range(_PLACES):
                end = _end(body, start, text, write) if start >= 0 else None
                if end is not None:
                    return start, end, name
                start = body.find(beginning, start + 1) if start >= 0 else start
    return None


def _end(body: bytes, start: int, text: str, write: Callable[[str], bytes]) -> int | None:
    """Return where the text ends that begins here, `None` if another stands here."""
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
"""How servers write a text into JSON: as UTF-8, in ASCII (Python), safe within HTML (Go), with `\\/` (PHP), or as JSON
that is no string: a tool's arguments at Anthropic."""
