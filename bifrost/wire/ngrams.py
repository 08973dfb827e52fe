"""An index of n-grams: finds the places in a text that repeat 8 bytes of given texts. The work is done in C.

Each window of 8 bytes contains 4 bytes that begin at a multiple of 4. A hash of each such word is therefore enough to
find nearly all places that need a closer look: a byte is mapped to a hexadecimal digit, and the 4 digits of a word are
one character of a string, in which a regular expression finds the hashes of known words.
"""

from __future__ import annotations

import re
import sys
from binascii import unhexlify
from codecs import utf_16_le_decode
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Span: TypeAlias = tuple[int, int]
"""A part of a text: its start and its end."""

SIZE = 8
"""The size of an n-gram, in bytes."""
_WORD = 4
_DENSE = 16
"""If one of so many words is known, every window is looked up."""
_MOST_RUNS = 512
"""If a text repeats more pieces than this, those that are close to each other are one."""

_FREQUENT = b"etaoinsrhldcumfpgwybvkxjqz0123456789-_+/=.:"
_DIGITS = b"123456789abcef"
"""The digits for frequent bytes. Without a `d`, no four of them are half of a surrogate pair."""
_CODES = bytes(_DIGITS[_FREQUENT.index(byte) % len(_DIGITS)] if byte in _FREQUENT else ord("0") for byte in range(256))
_NEVER = "\ud800"
"""What is no hash, since these have no `d`."""
_RUN = re.compile(rb"\x01+")
_NEAR_RUNS = re.compile(rb"\x01(?:\x00{0,23}\x01)*+")


class NgramIndex:
    """The 8-grams of some texts. No attribute reveals them: each is a bound method of C."""

    __slots__ = ("_candidates", "_characters", "_has_window", "_has_word", "_shares_none")

    def __init__(self, texts: Iterable[bytes]) -> None:
        words: set[int] = set()
        windows: set[int] = set()
        hashes: set[str] = set()
        for text in texts:
            view = memoryview(text)
            for offset in range(min(SIZE, len(text))):
                windows.update(view[offset : _last(text, offset, SIZE)].cast("Q"))
                part = view[offset : _last(text, offset, _WORD)]
                words.update(part.cast("I"))
                hashes.update(_hashes(bytes(part)))
        self._shares_none: Callable[[memoryview], bool] = words.isdisjoint
        self._has_word: Callable[[int], bool] = words.__contains__
        self._has_window: Callable[[int], bool] = windows.__contains__
        self._characters: Callable[[], str] = "".join(map(re.escape, sorted(hashes))).__str__
        self._candidates: Callable[[str], Iterator[re.Match[str]]] | None = None
        """The search for hashes of words; `None` until it is first used, because it takes milliseconds to make."""

    def is_free(self, text: bytes) -> bool:
        """Return whether a short text certainly contains no 8-gram."""
        return self._shares_none(_words(text))

    def spans(self, text: bytes) -> list[Span]:
        """Return the parts of a text that consist of 8-grams. They are in order, and may overlap."""
        if len(text) < SIZE:
            return []
        padded = text + bytes(-len(text) % _WORD)
        words = memoryview(padded).cast("I")
        known = self._has_word
        candidates = self._candidates = self._candidates or re.compile(f"[{_NEVER}{self._characters()}]").finditer
        hits: list[int] = []
        most = len(words) // _DENSE
        for match in candidates(_hashes(padded)):
            if known(words[place := match.start()]):
                hits.append(place)
                if len(hits) > most:
                    return self._runs(text)
        has_window = self._has_window
        return [
            (start, start + SIZE)
            for place in hits
            for start in range(max(0, place * _WORD - _WORD + 1), min(place * _WORD, len(text) - SIZE) + 1)
            if has_window(int.from_bytes(text[start : start + SIZE], sys.byteorder))
        ]

    def _runs(self, text: bytes) -> list[Span]:
        """Return the spans of a text in which many places resemble an 8-gram: every window is checked."""
        flags = bytearray(len(text))
        view = memoryview(text)
        for offset in range(min(SIZE, len(text) - SIZE + 1)):
            end = _last(text, offset, SIZE)
            flags[offset:end:SIZE] = bytes(map(self._has_window, view[offset:end].cast("Q")))
        run = _NEAR_RUNS if flags.count(b"\x00\x01") > _MOST_RUNS else _RUN
        return [(match.start(), match.end() + SIZE - 1) for match in run.finditer(flags)]


def _words(text: bytes) -> memoryview:
    return memoryview(text + bytes(-len(text) % _WORD)).cast("I")


def _hashes(text: bytes) -> str:
    """Return a hash for each word, as a string."""
    # `decode` would import the codec on first use, which fails while no file descriptor is left.
    return utf_16_le_decode(unhexlify(text.translate(_CODES)))[0]


def _last(text: bytes, offset: int, size: int) -> int:
    return len(text) - (len(text) - offset) % size
