"""Finds pieces of a secret in foreign text, in linear time. Pure; `bifrost.wire.secrets` provides the secrets.

A provider may repeat a key as a whole, cut, masked or escaped. The search finds:

- any piece of 8 characters, in any case, as it is, in hexadecimal digits or within base64 (three alignments, both
  alphabets), also if the text around it is escaped for JSON, HTML or a URL, up to twice
- a piece of 3 or more characters next to a mask (`sk-p...WXYZ`, `sk-proj-****`)
- the last 4 characters as a separate word ("the key that ends in WX4Z")
- a secret of fewer than 8 characters only as a whole, and only as a separate word

The work is done by functions of C over the whole text, not by a loop over its characters: every window of 8 bytes
contains 4 bytes that begin at a multiple of 4, so checking every fourth position finds all places that need a closer
look.
"""

from __future__ import annotations

import re
import sys
from base64 import b64decode, b64encode, urlsafe_b64encode
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

from bifrost.html import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Span: TypeAlias = tuple[int, int]
"""A part of a text: its start and its end."""

MASK = b"***"

PIECE = 8
"""A piece of this many characters identifies a secret; a shorter one may be a coincidence."""

SLICE = 16 * 1024
"""How much of a text is searched at once where others must not wait: some 10 ms at worst."""
_OVERLAP = 1024
"""So much is searched twice, so that what lies across two slices is found: eight characters, each escaped twice."""

_WORD = 4
_MASKED_PIECE = 3
"""The number of characters next to a mask that count as a piece of the secret."""
_TELLING_TAIL = 16
"""The length of a secret from which on its last four characters are searched for separately."""
_SHORT_TEXT = 512
"""The first text, if it is not longer than this, is searched without tables: making them takes up to a millisecond."""
_ROUNDS = 2
"""How often a text is unescaped."""
_SEPARATOR = b"\0\n\0"

_ESCAPE = re.compile(
    rb"%(?:25){0,3}([0-9a-f]{2})"
    rb"|\\{1,8}(?:u([0-9a-f]{4})|x([0-9a-f]{2})|([^\\]))"
    rb"|&(?:amp;){0,3}(#[0-9]{1,7}|#x[0-9a-f]{1,6}|lt|gt|amp|quot|apos);"
)
_BULLET = rb"\xe2(?:\x80[\xa2\xa6]|\x97[\x8b\x8f]|\x96[\x88\xa0\xaa])"
# Each branch begins with a character, which makes the search for the first of them fast.
_MASKED = re.compile(
    rb"\*[*#]+|#[*#]+|\.\.+|xxx+|___+|---+|%b(?:%b|\xc2\xb7)*|\xc2\xb7(?:\xc2\xb7)*"
    rb"|\[(?:redacted|masked|hidden|secret|filtered)\]|<(?:redacted|masked|hidden|secret|filtered)>"
    % (_BULLET, _BULLET)
)
_NOTABLE = re.compile(rb"[^\w.:/ -]|\.\.|xxx|__|--")
"""Characters that occur in a text with escapes or masks."""
_FLAGGED = re.compile(rb"\x01+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_ENTITIES: Mapping[bytes, bytes] = {b"lt": b"<", b"gt": b">", b"amp": b"&", b"quot": b'"', b"apos": b"'"}
_MOST_ESCAPES = 4096
_HINT = re.compile(rb"(?:end|last|tail|suffix)[^\n]{0,24}\Z")
_ESCAPING = frozenset(b'\\%&"')
_CONTROLS: Mapping[bytes, bytes] = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


class Pieces:
    """The search tables of several secrets. No attribute reveals a secret: each is a bound method of C."""

    __slots__ = ("_haystack", "_holds", "_is_masked_piece", "_is_plain", "_short", "_tables", "_tails", "_used")

    def __init__(self, secrets: Iterable[str]) -> None:
        plain: dict[bytes, None] = {}
        forms: dict[bytes, None] = {}
        short: dict[bytes, None] = {}
        self._tails: list[tuple[Callable[[], bytes], Callable[[bytes], bool]]] = []
        for secret in secrets:
            for text in _readings(secret):
                raw = text.encode("utf-8", "surrogatepass")
                lower = raw.lower()
                if len(raw) < PIECE:
                    short.update(dict.fromkeys(_short_forms(lower, raw)))
                    continue
                plain.update(dict.fromkeys((lower, _unescape(lower))))
                forms.update(dict.fromkeys(_forms(raw)))
                if len(raw) >= _TELLING_TAIL:
                    self._tails.append((lower[-_WORD:].__bytes__, lower.endswith))
        haystack = _SEPARATOR.join((*plain, *forms))
        self._used = False
        self._haystack: Callable[[], bytes] = haystack.__bytes__
        self._holds: Callable[[bytes], bool] = haystack.__contains__
        self._is_plain: Callable[[bytes], bool] = _SEPARATOR.join(plain).__contains__
        self._is_masked_piece: Callable[[bytes], bool] = frozenset(
            form[at : at + _MASKED_PIECE] for form in plain for at in range(len(form) - _MASKED_PIECE + 1)
        ).__contains__
        self._tables: tuple[Callable[..., bool], ...] = ()
        self._short = _finder(short)

    def redact(self, data: bytes, *, known: Sequence[str] = (), thorough: bool = True) -> bytes:
        """Replace the pieces that are found with `***`."""
        if self._used and len(data) <= _SHORT_TEXT:
            # A quick check: nearly all identifiers of requests contain nothing to find.
            text = data.lower()
            words = memoryview(text + bytes(-len(text) % _WORD)).cast("I")
            if (self._tables or self._make_tables())[0](words) and _NOTABLE.search(text) is None:
                for tail, _ in self._tails:
                    if tail() in text:
                        break
                else:
                    if self._short is None or next(self._short(text), None) is None:
                        return data
        self._used = True
        spans = self.spans(data, known=known, thorough=thorough)
        return without(data, spans) if spans else data

    def spans(self, data: bytes, *, known: Sequence[str] = (), thorough: bool = True) -> list[Span]:
        """Return the parts that reveal something of a secret, in order and without overlaps.

        `known` are words that are not redacted although they are part of a secret: the names of the provider, the model
        and the key. With `thorough=False`, the last four characters and pieces next to a mask are not searched for,
        because harmless text may contain them by coincidence.
        """
        found: list[Span] = []
        for layer in _layers(data.lower()):
            text = layer.text
            spans = self._pieces_in(text)
            if _NOTABLE.search(text):
                spans += self._masked_in(text, spans, least=_MASKED_PIECE if thorough else _WORD)
            if thorough:
                spans += self._tails_in(text)
            if self._short is not None:
                spans += [match.span() for match in self._short(text)]
            found += layer.original(spans) if spans else ()
        found = merged(found)
        if found and known:
            names = [name.lower().encode("utf-8", "surrogatepass") for name in known]
            found = [span for span in found if not _is_known(data[slice(*span)].lower(), names)]
        return [_whole_characters(data, span) for span in found]

    def slices(self, data: bytes) -> Iterator[list[Span]]:
        """Find what `spans` finds, a slice of the text at a time: the caller can let others run in between.

        Together they are neither in order nor apart from each other: `merged` sorts them.
        """
        for start in range(0, len(data), SLICE):
            first = max(0, start - _OVERLAP)
            found = self.spans(data[first : start + SLICE])
            yield [(begin + first, end + first) for begin, end in found]

    def shows_piece(self, data: bytes) -> bool:
        """Return whether `data` contains a piece of 8 characters."""
        return any(self._pieces_in(layer.text) for layer in _layers(data.lower()))

    # --- pieces of eight characters

    def _pieces_in(self, text: bytes) -> list[Span]:
        if len(text) < PIECE:
            return []
        if len(text) <= _SHORT_TEXT and not self._tables:
            holds = self._holds
            near = [place for place in range(0, len(text) - _WORD + 1, _WORD) if holds(text[place : place + _WORD])]
            return [
                (start, start + PIECE)
                for place in near
                for start in range(max(0, place - _WORD + 1), min(place, len(text) - PIECE) + 1)
                if holds(text[start : start + PIECE])
            ]
        _, has_word, has_window = self._make_tables()
        flags = bytes(map(has_word, memoryview(text + bytes(-len(text) % _WORD)).cast("I")))
        hits = flags.count(1)
        if hits * 32 > len(flags):
            return _all_windows(text, has_window)
        return [
            (start, start + PIECE)
            for match in (_FLAGGED.finditer(flags) if hits else ())
            for start in range(max(0, match.start() * _WORD - _WORD + 1), match.end() * _WORD - _WORD + 1)
            if start + PIECE <= len(text) and has_window(int.from_bytes(text[start : start + PIECE], sys.byteorder))
        ]

    def _make_tables(self) -> tuple[Callable[..., bool], ...]:
        if not self._tables:
            haystack = memoryview(self._haystack())
            words: set[int] = set()
            windows: set[int] = set()
            for offset in range(min(PIECE, len(haystack))):
                end = len(haystack) - (len(haystack) - offset) % PIECE
                words.update(haystack[offset:end].cast("I"))
                windows.update(haystack[offset:end].cast("Q"))
            self._tables = (words.isdisjoint, words.__contains__, windows.__contains__)
        return self._tables

    # --- the rest of a secret next to a mask, or the last characters

    def _masked_in(self, text: bytes, pieces: list[Span], *, least: int) -> list[Span]:
        starts, ends = {start for start, _ in pieces}, {end for _, end in pieces}
        is_piece = self._is_masked_piece
        found: list[Span] = []
        for match in _MASKED.finditer(text):
            start, end = match.span()
            # A mask of letters may have replaced the first or the last character of the piece.
            before = after = 0
            if is_piece(text[max(0, start - _MASKED_PIECE) : start]):
                before = start
            elif is_piece(text[max(0, start + 1 - _MASKED_PIECE) : start + 1]):
                before = start + 1
            if is_piece(text[end : end + _MASKED_PIECE]):
                after = end
            elif is_piece(text[end - 1 : end - 1 + _MASKED_PIECE]):
                after = end - 1
            whole = start in ends or end in starts
            if before or after or whole:
                first = min(start, self._begin(text, before)) if before else start
                last = max(end, self._end(text, after)) if after else end
                if whole or max(start - first, last - end) >= least:
                    found.append((first, last))
        return found

    def _begin(self, text: bytes, end: int) -> int:
        start = end - _MASKED_PIECE
        while 0 < start > end - PIECE and self._is_plain(text[start - 1 : end]):
            start -= 1
        return start

    def _end(self, text: bytes, start: int) -> int:
        end = start + _MASKED_PIECE
        while len(text) > end < start + PIECE and self._is_plain(text[start : end + 1]):
            end += 1
        return end

    def _tails_in(self, text: bytes) -> Iterator[Span]:
        for tail, is_end in self._tails:
            last = tail()
            place = text.find(last)
            while place >= 0:
                start, end = place, place + _WORD
                while 0 < start > end - PIECE and is_end(text[start - 1 : end]):
                    start -= 1
                if _stands_alone(text, start, end):
                    yield start, end
                place = text.find(last, end)


def _stands_alone(text: bytes, start: int, end: int) -> bool:
    """Return whether the last characters of a secret are a separate word.

    Letters alone count only after "ends in" or similar.
    """
    if text[max(0, start - 1) : start].isalnum() or text[end : end + 1].isalnum():
        return False
    return not text[start:end].isalpha() or _HINT.search(text, max(0, start - 32), start) is not None


def _all_windows(text: bytes, has_window: Callable[..., bool]) -> list[Span]:
    """Check every window, for texts that are made so that many places resemble a secret."""
    flags = bytearray(len(text))
    view = memoryview(text)
    for offset in range(PIECE):
        end = len(text) - (len(text) - offset) % PIECE
        if end > offset:
            flags[offset:end:PIECE] = bytes(map(has_window, view[offset:end].cast("Q")))
    return [(match.start(), match.end() + PIECE - 1) for match in _FLAGGED.finditer(flags)]


# --- how a secret may be written


def _readings(secret: str) -> list[str]:
    """Return the secret, its decoded text if it is base64 of text (`user:password`), and the password in either."""
    readings = [secret]
    if _BASE64.fullmatch(secret):
        bare = secret.rstrip("=").replace("-", "+").replace("_", "/")
        data = b""
        with suppress(ValueError):  # a length that is not possible in base64
            data = b64decode(bare + "=" * (-len(bare) % 4))
        if data and all(0x20 <= byte < 0x7F for byte in data):
            readings.append(data.decode("ascii"))
    passwords = [password for text in readings if len(password := text.partition(":")[2]) >= _WORD]
    return [*readings, *passwords]


def _forms(raw: bytes) -> Iterator[bytes]:
    """Yield further ways to write a secret, in lower case. Escapes are removed from the text instead."""
    yield raw.lower().replace(b" ", b"+")
    if not _ESCAPING.isdisjoint(raw):
        # If the secret itself resembles an escape, it reads differently after it is escaped or unescaped.
        text = raw.decode("utf-8", "surrogatepass")
        doubled = text.replace("\\", "\\\\")
        for escaped in (doubled, doubled.replace('"', '\\"'), quote(raw, safe=""), escape(text)):
            yield escaped.encode("utf-8", "surrogatepass").lower()
    yield raw.hex().encode()
    # Base64 writes three bytes as four characters, so the result depends on the bytes before: 0, 1 or 2 in excess.
    for over, foreign in ((0, 0), (1, 2), (2, 3)):
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(bytes(over) + raw)[foreign:].lower()


def _short_forms(lower: bytes, raw: bytes) -> Iterator[bytes]:
    if raw:
        yield lower
        yield b64encode(raw).lower()


def _finder(texts: Iterable[bytes]) -> Callable[[bytes], Iterator[re.Match[bytes]]] | None:
    """Return a search for any of the texts as a separate word."""
    either = b"|".join(map(re.escape, texts))
    return re.compile(rb"(?<!\w)(?:%b)(?!\w)" % either).finditer if either else None


# --- texts without their escapes


class _Layer:
    """A text in lower case, or the same text without its escapes."""

    __slots__ = ("_below", "text")

    def __init__(self, text: bytes, below: _Layer | None = None) -> None:
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


def _layers(text: bytes) -> Iterator[_Layer]:
    layer = _Layer(text)
    yield layer
    for _ in range(_ROUNDS):
        below = layer.text
        if not (b"%" in below or b"\\" in below or b"&" in below):
            return
        layer = _Layer(_unescape(below), layer)
        if len(layer.text) == len(below):
            return
        yield layer


def _unescape(text: bytes) -> bytes:
    characters = _CHARACTERS
    return _ESCAPE.sub(lambda match: characters[match[0]], text)


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


# --- spans


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return the spans in order, with adjacent and overlapping ones merged."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def without(data: bytes, spans: Iterable[Span]) -> bytes:
    """Replace each span with `***`. The spans must be in order and must not touch."""
    parts: list[bytes] = []
    done = 0
    for start, end in spans:
        parts += (data[done:start], MASK)
        done = end
    parts.append(data[done:])
    return b"".join(parts)


def _is_known(found: bytes, names: Sequence[bytes]) -> bool:
    word = found.strip(b" -_./:'\"")
    return any(word in name for name in names)


def _whole_characters(data: bytes, span: Span) -> Span:
    start, end = span
    while start > 0 and start < len(data) and 0x80 <= data[start] < 0xC0:
        start -= 1
    while end < len(data) and 0x80 <= data[end] < 0xC0:
        end += 1
    return start, end
