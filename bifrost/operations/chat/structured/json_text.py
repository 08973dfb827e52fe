"""Finds the JSON in a model's text: after marked reasoning, in a code fence, or among words. Pure and linear.

Models often write other text around the requested JSON. `JsonFinder` receives the text in pieces, as a stream yields
it, and classifies each piece. Marks within the strings of the JSON belong to the JSON.
"""

from __future__ import annotations

import re
from json import JSONDecoder
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind: TypeAlias = Literal["json", "end", "broken", "thought", "words", "were thought"]
"""The kind of a piece.

- `json`: part of a JSON value; `end` and `broken` (both without text) mean that it is complete, or not JSON after all
- `thought`: marked as reasoning
- `words`: anything else; `were thought` (without text) means that the words so far were reasoning: its end followed
"""

Piece: TypeAlias = tuple[Kind, str]

_THINKING: Final[Mapping[str, str]] = {
    **{f"<{name}>": f"</{name}>" for name in ("think", "thinking", "thought", "reasoning")},
    "[THINK]": "[/THINK]",
}
"""The marks around reasoning that a server leaves in the text: the start and the end."""

_LONGEST_MARK = max(map(len, [*_THINKING, *_THINKING.values()]))
_MARKS_IN_WORDS = ("```", *_THINKING.values())

_EFFORT = 50_000
"""The limit for the effort spent on a text: some 30 ms, however long it is. The rest is not searched."""
_PER_STEP = 5
"""The effort for a mark, a possible beginning of a value, or a bracket that no pattern passes over."""
_PER_VALUE = 200
"""The effort for a value that begins, because each value is decoded later."""

_LARGE = 16 * 1024
"""The rest of a longer text is first tried as one JSON value by a parser in C, unless it is dense."""
_PARSED_LIMIT = 8 * 1024 * 1024
_PARSED_PARTS = 40_000
"""The most characters, and the most brackets, for that parser, because its objects take time and memory. Eight quotes
count as a bracket.
"""

_LONGEST_WAIT = 256
"""How many characters of white space after a bracket are buffered to see whether it begins a value."""

_PARSER = JSONDecoder(strict=False)
_SIGN_IN_WORDS = re.compile(r"[{\[`<](?:(?<=[{\[])|(?<=`)(?=``|`?\Z)|(?<=<)(?=/|\Z))")
"""What may begin a value or a mark. It begins with a set of characters, which makes the search fast."""
_SPACE = re.compile(r"[ \t\n\r]*")
_STRING_RUN = re.compile(r'[^"\\]*')
_PLAIN = r"[ \t\n\r,:0-9+\-.eEtrufalsn]"
"""A character of a JSON value outside of its strings and brackets."""
_QUOTED = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_PARTS = rf"(?:{_PLAIN}++|{_QUOTED}){{0,256}}"
_FLAT = rf"\{{[ \t\n\r]*+(?:{_QUOTED}{_PARTS})?\}}|\[{_PARTS}\]"
_FLAT_PARTS = rf"(?:{_PLAIN}++|{_QUOTED}|{_FLAT}){{0,256}}"
_NESTED = rf"\{{[ \t\n\r]*+(?:{_QUOTED}{_FLAT_PARTS})?\}}|\[{_FLAT_PARTS}\]"
_RUN = re.compile(rf"(?:{_PLAIN}++|{_QUOTED}|{_NESTED}){{0,256}}", re.DOTALL)
"""Parts of a JSON value: complete strings, and objects and lists that nest at most twice. The bounds save memory."""
_BRACKETS = frozenset("{}[]")
_VALUE_BEGINS = frozenset('"{[]-0123456789tfn')


class JsonFinder:
    """Separates the JSON in a text from the rest. A text that begins with JSON is JSON to its end.

    With `words`, JSON may occur anywhere among words; without it, only at the beginning or in a code fence. With
    `lists`, it may be a list; without it, only an object counts. `whole` says that the complete text is fed at once, so
    that the effort is also bounded for JSON and reasoning at its beginning.
    """

    __slots__ = (
        "_close",
        "_direct",
        "_effort",
        "_expects",
        "_fenced",
        "_has_parsed",
        "_open",
        "_opening",
        "_rest",
        "_state",
        "_whole",
        "_words",
    )

    def __init__(self, *, words: bool, lists: bool, whole: bool = False) -> None:
        self._words = words
        self._whole = whole
        self._has_parsed = not whole
        """Whether a long value was tried by the parser in C, which is done once."""
        self._opening = "{[" if lists else "{"
        self._state: Literal["start", "thought", "words", "value", "string"] = "start"
        self._close = ""
        """The mark that ends the reasoning."""
        self._rest = ""
        """Text that cannot be classified until more arrives."""
        self._open: list[str] = []
        """The brackets that close the value, from the outside in."""
        self._expects = False
        """Whether an object has just begun, so that a key or its end must follow."""
        self._fenced = False
        self._direct = True
        """Whether only marked reasoning precedes this."""
        self._effort = _EFFORT

    def feed(self, text: str) -> list[Piece]:
        """Add the next piece of the text. Returns the classified pieces."""
        text, self._rest = self._rest + text, ""
        pieces: list[Piece] = []
        place = 0
        while place < len(text):
            if self._effort <= 0:
                self._stop_searching(text[place:], pieces)
                break
            match self._state:
                case "start":
                    end = self._start(text, place, pieces)
                case "thought":
                    end = self._thought(text, place, pieces)
                case "words":
                    end = self._among_words(text, place, pieces)
                case "value":
                    end = self._value(text, place, pieces)
                case "string":
                    end = self._string(text, place, pieces)
            if end is None:
                self._rest = text[place:]
                break
            place = end
        return pieces

    def _stop_searching(self, text: str, pieces: list[Piece]) -> None:
        """Treat the rest as words, because the text consists of very many tiny values that cannot be the output."""
        if self._state in ("value", "string"):
            pieces.append(("broken", ""))
        self._state = "words"
        _add(pieces, "words", text)

    def finish(self) -> list[Piece]:
        """Return the buffered text at the end of the text."""
        rest, self._rest = self._rest, ""
        kind: Kind = "words" if self._state in ("start", "words") else "thought" if self._state == "thought" else "json"
        return [(kind, rest)] if rest else []

    def new_part(self) -> list[Piece]:
        """Treat what follows as the beginning of a separate text, unless reasoning or a JSON value is open."""
        if self._state not in ("start", "words"):
            return []
        pieces = self.finish()
        self._state, self._direct = "start", True
        return pieces

    # --- each of these consumes text from a position and returns the next position, or `None` if it needs more text

    def _start(self, text: str, place: int, pieces: list[Piece]) -> int | None:
        begin = _end_of(_SPACE, text, place)
        _add(pieces, "words", text[place:begin])
        if begin > place:
            return begin
        if text[begin] in "<[":
            for mark, close in _THINKING.items():
                if text.startswith(mark, begin):
                    self._state, self._close = "thought", close
                    self._spend(_PER_STEP)
                    return begin + len(mark)
                if _is_cut(mark, text, begin):
                    return None
        if text[begin] in self._opening:
            return self._begin(text, begin, pieces)
        self._state, self._direct = "words", False
        return place

    def _thought(self, text: str, place: int, pieces: list[Piece]) -> int | None:
        end = text.find(self._close, place)
        if end >= 0:
            _add(pieces, "thought", text[place:end])
            self._state = "start"
            return end + len(self._close)
        end = len(text) - _overlap(text, place, (self._close,))
        _add(pieces, "thought", text[place:end])
        return end if end > place else None

    def _among_words(self, text: str, place: int, pieces: list[Piece]) -> int | None:
        found = _SIGN_IN_WORDS.search(text, place)
        begin = len(text) if found is None else found.start()
        _add(pieces, "words", text[place:begin])
        if begin > place or found is None:
            return begin
        self._effort -= _PER_STEP
        for mark in _MARKS_IN_WORDS if text[begin] != "{" else ():
            if text.startswith(mark, begin):
                self._pass_mark(mark, pieces)
                return begin + len(mark)
            if _is_cut(mark, text, begin):
                return None
        if text[begin] in self._opening and (self._words or self._fenced):
            return self._begin(text, begin, pieces)
        _add(pieces, "words", text[begin])
        return begin + 1

    def _pass_mark(self, mark: str, pieces: list[Piece]) -> None:
        if mark == "```":
            self._fenced = not self._fenced
            _add(pieces, "words", mark)
            return
        pieces.append(("were thought", ""))
        self._state, self._direct, self._fenced = "start", True, False

    def _begin(self, text: str, begin: int, pieces: list[Piece]) -> int | None:
        """Begin a value if the text after its bracket allows it."""
        follows = _end_of(_SPACE, text, begin + 1)
        if follows == len(text) and not self._direct and follows - begin < _LONGEST_WAIT:
            return None
        is_object = text[begin] == "{"
        if follows < len(text) and text[follows] not in ('"}' if is_object else _VALUE_BEGINS) and not self._direct:
            _add(pieces, "words", text[begin])
            return begin + 1
        self._spend(_PER_VALUE)
        if not self._has_parsed and len(text) - begin > _LARGE:
            self._has_parsed = True
            end = _end_of_value(text, begin)
            if end is not None:
                self._state, self._direct = "words", False
                pieces.append(("json", text[begin:end]))
                pieces.append(("end", ""))
                return end
        self._open, self._expects = ["}" if is_object else "]"], is_object
        self._state = "value"
        pieces.append(("json", text[begin]))
        return begin + 1

    def _spend(self, effort: int) -> None:
        if self._whole or not self._direct:
            self._effort -= effort

    def _value(self, text: str, place: int, pieces: list[Piece]) -> int:
        if self._expects:
            begin = _end_of(_SPACE, text, place)
            if begin < len(text) and text[begin] not in '"}':
                return self._break(begin, text, place, pieces)
        end = _end_of(_RUN, text, place)
        _add(pieces, "json", text[place:end])
        if end == len(text) or (end > place and text[end] not in _BRACKETS):
            self._expects = self._expects and text[place:end].isspace()
            return end
        return self._sign(text, end, pieces)

    def _sign(self, text: str, place: int, pieces: list[Piece]) -> int:
        sign = text[place]
        if sign not in '"{[' and sign != self._open[-1]:
            return self._break(place, text, place, pieces)
        pieces.append(("json", sign))
        self._spend(_PER_STEP)
        self._expects = sign == "{"
        if sign == '"':
            self._state = "string"
        elif sign in "{[":
            self._open.append("}" if sign == "{" else "]")
        else:
            self._open.pop()
            if not self._open:
                pieces.append(("end", ""))
                self._state, self._direct = "words", False
        return place + 1

    def _string(self, text: str, place: int, pieces: list[Piece]) -> int | None:
        end = _end_of(_STRING_RUN, text, place)
        _add(pieces, "json", text[place:end])
        if end == len(text):
            return end
        if text[end] == '"':
            self._state = "value"
            pieces.append(("json", '"'))
            return end + 1
        if end + 1 == len(text):
            return None if end == place else end
        _add(pieces, "json", text[end : end + 2])
        return end + 2

    def _break(self, wrong: int, text: str, place: int, pieces: list[Piece]) -> int:
        """Leave a value that is not JSON. What was read of it is not read again."""
        _add(pieces, "json", text[place:wrong])
        pieces.append(("broken", ""))
        self._state, self._direct = "words", False
        return wrong


def _end_of_value(text: str, begin: int) -> int | None:
    """Return the end of the JSON value that begins here; `None` if it is not JSON, too large, too dense or too deep."""
    if len(text) - begin > _PARSED_LIMIT:
        return None
    if text.count("{", begin) + text.count("[", begin) + text.count('"', begin) // 8 > _PARSED_PARTS:
        return None
    try:
        return _PARSER.raw_decode(text, begin)[1]
    except (ValueError, RecursionError):
        return None


def json_in(text: str, *, words: bool, lists: bool) -> tuple[list[str], str]:
    """Return the possible JSON of a complete text, the most probable first, and the text marked as reasoning."""
    finder = JsonFinder(words=words, lists=lists, whole=True)
    found: list[str] = []
    before: list[str] = []
    thoughts: list[str] = []
    said: list[str] = []
    value: list[str] = []
    for kind, piece in [*finder.feed(text), *finder.finish()]:
        match kind:
            case "json":
                value.append(piece)
            case "end":
                found.append("".join(value))
                said += value
                value = []
            case "broken":
                said += value
                value = []
            case "thought":
                thoughts.append(piece)
            case "words":
                said.append(piece)
            case "were thought":
                before += found
                found = []
                thoughts += said
                said = []
    return [*found, *before], "".join(thoughts)


def _add(pieces: list[Piece], kind: Kind, text: str) -> None:
    if text:
        pieces.append((kind, text))


def _end_of(pattern: re.Pattern[str], text: str, place: int) -> int:
    found = pattern.match(text, place)
    return place if found is None else found.end()


def _is_cut(mark: str, text: str, place: int) -> bool:
    """Return whether the text ends within a mark that begins at a position."""
    return len(text) - place < len(mark) and mark.startswith(text[place:])


def _overlap(text: str, place: int, marks: tuple[str, ...]) -> int:
    """Return how many characters at the end of a text may be the beginning of a mark."""
    for length in range(min(_LONGEST_MARK - 1, len(text) - place), 0, -1):
        if any(mark.startswith(text[-length:]) and len(mark) > length for mark in marks):
            return length
    return 0
