"""Finds pieces of a secret in foreign text, in linear time. Pure; `bifrost.wire.secrets` provides the secrets.

A provider may repeat a key as a whole, cut, masked or escaped. The search finds:

- any piece of 8 characters, in any case, as it is, in hexadecimal digits or within base64 (three alignments, both
  alphabets), also if the text around it is escaped for JSON, HTML or a URL, up to twice
- a piece of 3 or more characters next to a mask (`sk-p...WXYZ`, `sk-proj-****`)
- the last 4 characters as a separate word ("the key that ends in WX4Z")
- a secret of fewer than 8 characters only as a whole, and only as a separate word

The work is done by functions of C over the whole text, not by a loop over its characters (`bifrost.wire.ngrams`,
`bifrost.wire.escapes`). Only what is found takes longer. A text that shows very many pieces loses all that follows.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from bifrost.html import escape
from bifrost.wire.escapes import ESCAPING, approximations, has_escapes, layers, unescape
from bifrost.wire.ngrams import SIZE as PIECE
from bifrost.wire.ngrams import NgramIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bifrost.wire.ngrams import Span

MASK = b"***"

SLICE = 16 * 1024
"""How much of a text is searched at once where others must not wait: some 7 ms at worst."""
_OVERLAP = 1024
"""So much is searched twice, so that what lies across two slices is found: eight characters, each escaped twice."""

_WORD = 4
_MASKED_PIECE = 3
"""The number of characters next to a mask that count as a piece of the secret."""
_TELLING_TAIL = 16
"""The length of a secret from which on its last four characters are searched for separately."""
_SHORT_TEXT = 512
"""The first text, if it is not longer than this, is searched without an index: making one takes some milliseconds."""
_MOST_MASKED = 256
"""After this many pieces next to masks, or last characters, all that follows in a text is redacted."""
_SEPARATOR = b"\0\n\0"

_BULLET = rb"\xe2(?:\x80[\xa2\xa6]|\x97[\x8b\x8f]|\x96[\x88\xa0\xaa])"
_MASKED = re.compile(
    rb"\*[*#]+|#[*#]+|\.\.+|xxx+|___+|---+|%b(?:%b|\xc2\xb7)*|\xc2\xb7(?:\xc2\xb7)*"
    rb"|\[(?:redacted|masked|hidden|secret|filtered)\]|<(?:redacted|masked|hidden|secret|filtered)>"
    % (_BULLET, _BULLET)
)
_MASKING = b"*#.x_-[<\xe2\x80\x96\x97\xc2\xb7"
"""The bytes that masks begin with."""
_UNMASKING = bytes(set(range(256)).difference(_MASKING))
_MARKS = (b"**", b"*#", b"#*", b"##", b"..", b"xxx", b"___", b"---", b"\xe2\x80", b"\xe2\x97", b"\xe2\x96", b"\xc2\xb7")
_MASK_WORDS = tuple(
    form % word for word in (b"redacted", b"masked", b"hidden", b"secret", b"filtered") for form in (b"[%b]", b"<%b>")
)
_NOTABLE = re.compile(rb"[^\w.:/ -]|\.\.|xxx|__|--")
"""Characters that occur in a text with escapes or masks."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_HINT = re.compile(rb"(?:end|last|tail|suffix)[^\n]{0,24}\Z")


class Pieces:
    """The search tables of several secrets. No attribute reveals a secret: each is a bound method of C."""

    __slots__ = (
        "_forms",
        "_has_line_end",
        "_holds",
        "_index",
        "_is_masked_piece",
        "_is_plain",
        "_resembles_escape",
        "_short",
        "_tails",
        "_used",
    )

    def __init__(self, secrets: Iterable[str]) -> None:
        plain: dict[bytes, None] = {}
        forms: dict[bytes, None] = {}
        short: dict[bytes, None] = {}
        self._tails: list[tuple[Callable[[], bytes], Callable[[bytes], bool]]] = []
        self._resembles_escape = self._has_line_end = False
        for secret in secrets:
            for text in _readings(secret):
                raw = text.encode("utf-8", "surrogatepass")
                lower = raw.lower()
                self._resembles_escape |= not ESCAPING.isdisjoint(raw)
                self._has_line_end |= b"\n" in raw
                if len(raw) < PIECE:
                    short.update(dict.fromkeys(_short_forms(lower, raw)))
                    continue
                plain.update(dict.fromkeys((lower, unescape(lower))))
                forms.update(dict.fromkeys(_forms(raw)))
                if len(raw) >= _TELLING_TAIL:
                    self._tails.append((lower[-_WORD:].__bytes__, lower.endswith))
        haystack = _SEPARATOR.join((*plain, *forms))
        self._used = False
        self._forms: Callable[[bytes], list[bytes]] = haystack.split
        self._holds: Callable[[bytes], bool] = haystack.__contains__
        self._is_plain: Callable[[bytes], bool] = _SEPARATOR.join(plain).__contains__
        self._is_masked_piece: Callable[[bytes], bool] = frozenset(
            form[at : at + _MASKED_PIECE] for form in plain for at in range(len(form) - _MASKED_PIECE + 1)
        ).__contains__
        self._index: NgramIndex | None = None
        self._short = _finder(short)

    def redact(self, data: bytes, *, known: Sequence[str] = (), thorough: bool = True) -> bytes:
        """Replace the pieces that are found with `***`."""
        if self._used and len(data) <= _SHORT_TEXT:
            # A quick check: nearly all identifiers of requests contain nothing to find.
            text = data.lower()
            if self._made_index().is_free(text) and _NOTABLE.search(text) is None:
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
        text = data.lower()
        simple = self._simplified(text)
        found = self._pieces_in(text)
        found += self._remains_in(simple, found, thorough=thorough)
        if has_escapes(simple) and self._may_show(text, partial(self._shown_in, thorough=thorough)):
            for layer in layers(text):
                spans = self._shown_in(layer.text, thorough=thorough)
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
        text = data.lower()
        return bool(self._pieces_in(text)) or (
            has_escapes(text)
            and self._may_show(text, self._pieces_in)
            and any(self._pieces_in(layer.text) for layer in layers(text))
        )

    def _shown_in(self, text: bytes, *, thorough: bool) -> list[Span]:
        """Return what a text in lower case shows as it is, without a look at its escapes."""
        pieces = self._pieces_in(text)
        return pieces + self._remains_in(text, pieces, thorough=thorough)

    def _remains_in(self, text: bytes, pieces: list[Span], *, thorough: bool) -> list[Span]:
        """Return what a text shows besides pieces of 8 characters: parts next to masks, the end, or a short secret."""
        marks = _marks_in(text)
        least = _MASKED_PIECE if thorough else _WORD
        spans = self._masked_in(_masks_in(text, marks), text, pieces, least=least) if marks else []
        if thorough:
            spans += self._tails_in(text)
        if self._short is not None:
            spans += [match.span() for match in self._short(text)]
        return spans

    def _simplified(self, text: bytes) -> bytes:
        """Return a text of the same length without the escapes that nearly every JSON has, if none is escaped again."""
        if b"\\" not in text or b"\\\\" in text or self._has_line_end or self._resembles_escape:
            return text
        return text.replace(b'\\"', b'\0"').replace(b"\\n", b"\0\n")

    def _may_show(self, text: bytes, search: Callable[[bytes], list[Span]]) -> bool:
        """Return whether a text may show something once its escapes are removed, which takes longer to do exactly."""
        return self._resembles_escape or any(map(search, approximations(text)))

    # --- pieces of eight characters

    def _pieces_in(self, text: bytes) -> list[Span]:
        if len(text) > _SHORT_TEXT or self._index is not None:
            return self._made_index().spans(text)
        holds = self._holds
        near = [place for place in range(0, len(text) - _WORD + 1, _WORD) if holds(text[place : place + _WORD])]
        return [
            (start, start + PIECE)
            for place in near
            for start in range(max(0, place - _WORD + 1), min(place, len(text) - PIECE) + 1)
            if holds(text[start : start + PIECE])
        ]

    def _made_index(self) -> NgramIndex:
        if self._index is None:
            self._index = NgramIndex(self._forms(_SEPARATOR))
        return self._index

    # --- the rest of a secret next to a mask, or the last characters

    def _masked_in(self, masks: Iterable[Span], text: bytes, pieces: list[Span], *, least: int) -> list[Span]:
        starts, ends = {start for start, _ in pieces}, {end for _, end in pieces}
        is_piece = self._is_masked_piece
        found: list[Span] = []
        for start, end in masks:
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
                    if len(found) == _MOST_MASKED:
                        return [*found, (last, len(text))]
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

    def _tails_in(self, text: bytes) -> list[Span]:
        found: list[Span] = []
        for tail, is_end in self._tails:
            last = tail()
            place = text.find(last)
            while place >= 0:
                start, end = place, place + _WORD
                place = text.find(last, end)
                if text[end : end + 1].isalnum():
                    continue
                while 0 < start > end - PIECE and is_end(text[start - 1 : end]):
                    start -= 1
                if _stands_alone(text, start, end):
                    found.append((start, end))
                    if len(found) == _MOST_MASKED:
                        return [*found, (end, len(text))]
        return found


def _marks_in(text: bytes) -> list[bytes]:
    """Return the beginnings of masks that a text contains."""
    signs = text.translate(None, _UNMASKING)
    marks = [mark for mark in _MARKS if mark in signs and mark in text]
    if b"[" in signs or b"<" in signs:
        marks += [mark for mark in _MASK_WORDS if mark in text]
    return marks


def _masks_in(text: bytes, marks: Iterable[bytes]) -> Iterator[Span]:
    """Yield the masks that begin with one of some marks. Parts of a mask may follow as masks."""
    for mark in marks:
        place = text.find(mark)
        while place >= 0:
            match = _MASKED.match(text, place)
            if match is not None:
                yield match.span()
            place = text.find(mark, place + 1 if match is None else match.end())


def _stands_alone(text: bytes, start: int, end: int) -> bool:
    """Return whether the last characters of a secret, with no letter behind them, are a separate word.

    Letters alone count only after "ends in" or similar.
    """
    if text[max(0, start - 1) : start].isalnum():
        return False
    return not text[start:end].isalpha() or _HINT.search(text, max(0, start - 32), start) is not None


# --- how a secret may be written


def _readings(secret: str) -> list[str]:
    """Return the secret, its decoded text if it is base64 of text (`user:password`), and the password in either.

    Of AWS credentials (`ID:SECRET:SESSION`), each part is a reading: in base64, its end depends on what follows.
    """
    readings = [secret]
    if _BASE64.fullmatch(secret):
        bare = secret.rstrip("=").replace("-", "+").replace("_", "/")
        data = b""
        with suppress(ValueError):  # a length that is not possible in base64
            data = b64decode(bare + "=" * (-len(bare) % 4))
        if data and all(0x20 <= byte < 0x7F for byte in data):
            readings.append(data.decode("ascii"))
    passwords = [password for text in readings if len(password := text.partition(":")[2]) >= _WORD]
    parts = secret.split(":", 2) if secret.count(":") > 1 else []
    return [*readings, *passwords, *(part for part in parts if len(part) >= PIECE)]


def _forms(raw: bytes) -> Iterator[bytes]:
    """Yield further ways to write a secret, in lower case. Escapes are removed from the text instead."""
    yield raw.lower().replace(b" ", b"+")
    if not ESCAPING.isdisjoint(raw):
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
