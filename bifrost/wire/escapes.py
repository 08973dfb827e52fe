"""Text without the escapes of JSON, HTML and URLs. Pure and linear.

`layers` removes them exactly, and knows which part of the original text each part comes from. It takes some 0.4 µs per
escape. `approximations` takes a hundredth of that, and is enough to see that there is nothing to find.
"""

from __future__ import annotations

import re
import sys
from binascii import a2b_qp
from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bifrost.wire.ngrams import Span

ESCAPING = frozenset(b'\\%&"')
"""The bytes that begin an escape, and the quote, which is often escaped."""

_ROUNDS = 2
"""How often a text is unescaped."""
_APPROXIMATE_ROUNDS = 8
"""The same for the approximations, which remove one kind of escape at a time."""
_MOST_ESCAPES = 4096

_ESCAPE = re.compile(
    rb"%(?:25){0,3}([0-9a-f]{2})"
    rb"|\\{1,8}(?:u([0-9a-f]{4})|x([0-9a-f]{2})|([^\\]))"
    rb"|&(?:amp;){0,3}(#[0-9]{1,7}|#x[0-9a-f]{1,6}|lt|gt|amp|quot|apos);"
)
_PERCENT = re.compile(rb"%[0-9a-f][0-9a-f]")
_ENTITY = re.compile(rb"&#(?:[0-9]{1,7}|x[0-9a-f]{1,6});")
_ENTITIES: Mapping[bytes, bytes] = {b"lt": b"<", b"gt": b">", b"amp": b"&", b"quot": b'"', b"apos": b"'"}
_CONTROLS: Mapping[bytes, bytes] = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_OTHER_BACKSLASH = re.compile(rb"\\[\\uxrtbf]")
_BEYOND_ASCII = re.compile(rb"\\u(?!00[0-7])[0-9a-f]{4}")


class Layer:
    """A text, or the same text without some of its escapes."""

    __slots__ = ("_below", "text")

    def __init__(self, text: bytes, below: Layer | None = None) -> None:
        self.text = text
        self._below = below

    def original(self, spans: list[Span]) -> list[Span]:
        """Return the corresponding parts of the original text."""
        if self._below is None:
            return spans
        here, there = [0], [0]
        size = done = 0
        for match in _ESCAPE.finditer(self._below.text):
            start, end = match.span()
            size += start - done + len(_CHARACTERS[match[0]])
            done = end
            here.append(size)
            there.append(end)
        found: list[Span] = []
        for start, end in spans:
            first, last = bisect_right(here, start) - 1, bisect_right(here, end) - 1
            found.append((there[first] + start - here[first], there[last] + end - here[last]))
        return self._below.original(found)


def has_escapes(text: bytes) -> bool:
    """Return whether a text may contain escapes."""
    return b"%" in text or b"\\" in text or b"&" in text


def layers(text: bytes) -> Iterator[Layer]:
    """Yield a text in lower case without its escapes: without the outer ones, then without those that were inside."""
    layer = Layer(text)
    for _ in range(_ROUNDS):
        below = layer.text
        if not has_escapes(below):
            return
        layer = Layer(unescape(below), layer)
        if len(layer.text) == len(below):
            return
        yield layer


def unescape(text: bytes) -> bytes:
    """Return a text in lower case without its outer escapes."""
    characters = _CHARACTERS
    return _ESCAPE.sub(lambda match: characters[match[0]], text)


def approximations(text: bytes) -> Iterator[bytes]:
    """Yield a text in lower case without its escapes, a level and a kind of them at a time.

    What is written in one way, or in one way within another, reads as in `layers`: only what is malformed, or mixed
    within a word, may leave something else behind.
    """
    for _ in range(_APPROXIMATE_ROUNDS):
        before = text
        for remove in _KINDS:
            shorter = remove(text)
            if shorter != text:
                yield shorter
            text = shorter
        if text == before:
            return


def _without_backslashes(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    if _OTHER_BACKSLASH.search(text) is not None:
        for _ in range(3):
            text = text.replace(b"\\\\", b"\\")
        text = text.replace(b"\\\\", b"\0\\")  # These were more than 8 in a row, and separate words.
        text = _BEYOND_ASCII.sub(_character_of, text).replace(b"\\u00", b"%").replace(b"\\x", b"%")
        for letter, control in _CONTROLS.items():
            text = text.replace(b"\\" + letter, control)
    return text.replace(b"\\n", b"\n").translate(None, b"\\")


def _without_entities(text: bytes) -> bytes:
    if b"&" not in text:
        return text
    for _ in range(4):
        text = text.replace(b"&amp;", b"&")
    for name, character in _ENTITIES.items():
        text = text.replace(b"&%b;" % name, character)
    return _ENTITY.sub(_character_of, text) if b"&#" in text else text


_EQUALS = bytes.maketrans(b"%=", b"=%")


def _without_percent(text: bytes) -> bytes:
    """Remove percent encoding with the decoder of `=41`, in which `=` and `%` change places."""
    if _PERCENT.search(text) is None:
        return text
    # `=` before a line end or another `=` would mean something else there, so it is escaped.
    for follower in (b"\n", b"\r", b"%", b"%"):
        text = text.replace(b"%" + follower, b"%\0" + follower)
    text = text.replace(b"%25", b"%\0").replace(b"%3d", b"%25").replace(b"%\0", b"%3d")
    return a2b_qp(text.translate(_EQUALS)).translate(_EQUALS).lower()


_KINDS = (*[_without_percent] * 4, _without_backslashes, _without_entities)
"""Up to four levels of percent encoding count as one escape, as `_ESCAPE` has it."""


def _character_of(match: re.Match[bytes]) -> bytes:
    return _CHARACTERS[match[0]]


class _Characters(dict[bytes, bytes]):
    """The characters that escapes stand for, in lower case. Few are in use, so they are cached."""

    def __missing__(self, written: bytes) -> bytes:
        match = _ESCAPE.fullmatch(written)
        character = b"" if match is None else _character(*match.groups())
        if len(self) < _MOST_ESCAPES:
            self[written] = character
        return character


_CHARACTERS = _Characters()


def _character(
    percent: bytes | None, unicode: bytes | None, two: bytes | None, letter: bytes | None, entity: bytes | None
) -> bytes:
    if letter is not None:
        return _CONTROLS.get(letter, letter)
    if entity is not None and not entity.startswith(b"#"):
        return _ENTITIES[entity]
    if entity is not None:
        code = int(entity[2:], 16) if entity.startswith(b"#x") else int(entity[1:])
        return chr(code).lower().encode("utf-8", "surrogatepass") if code <= sys.maxunicode else b""
    if unicode is not None:
        return chr(int(unicode, 16)).lower().encode("utf-8", "surrogatepass")
    return bytes([int(percent or two or b"0", 16)]).lower()
