"""An incremental parser for incomplete JSON, which returns the value so far. It never fails, whatever the text is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

_State: TypeAlias = Literal["value", "value or ]", "key", "key or }", ":", ", or end", "end", "broken"]
"""What may come next."""

_SPACE = re.compile(r"[ \t\n\r]*")
_SCALAR = re.compile(r"[-+.eE0-9]+|[a-z]+")
_MORE_DIGITS = re.compile(r"[-+.eE0-9]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_RUN = re.compile(r'[^"\\]*')
_CODE = re.compile(r"\\u[0-9a-fA-F]{4}")
_LOW_HALF = re.compile(r"\\u[dD][c-fC-F][0-9a-fA-F]{2}")

_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}
_ESCAPES: Mapping[str, str] = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}

_DIGITS = "-0123456789"

_LONGEST_INT = 4000
"""Python parses integers of at most 4,300 digits; longer ones become floats."""

_DEEPEST = 128
"""The deepest nesting that is followed. A value costs a copy of each open level, and models get stuck in `[[[[[`."""

_FREE = 4096
"""Making a value copies its open parts. Values of up to this many entries (or 32 times as many characters) are made at
any time.
"""
_PER_CHARACTER = 16
"""For larger values, at most this many entries are copied per character of text."""
_CHARACTERS = 32
"""The number of characters that are copied in the time of one entry."""
_PER_DIGIT = 4

_NOTHING: Final = object()


def complete(text: str) -> Any:
    """Return the value of JSON text that may end anywhere; `None` if there is no value yet.

        complete('{"name": "Ad')  # {"name": "Ad"}
        complete('{"name": "Ada", "age": 3')  # {"name": "Ada"}, since 3 may become 36

    The result is a part of the value of the complete text: strings may be shorter, and lists and objects may have fewer
    entries. Numbers and `true`, `false`, `null` appear when they are complete. (A number that is the whole text counts
    as complete.) If the text stops being JSON or exceeds 128 levels, the value of the text before that is returned.
    """
    reader = PartialJson()
    reader.feed(text)
    reader.settle()
    return reader.value


class PartialJson:
    """Parses JSON that arrives in pieces, each character once. Its value is available at any time, as with `complete`.

    A value does not change when more text arrives. Complete parts are shared between values, so they must not be
    modified.

    Making a value copies its open parts. So that the total time is proportional to the text, a value with more than
    about 4,000 open entries, or 130,000 characters in one string, is not made for every piece: until enough text has
    arrived, `feed` returns `False` and `value` returns the previous value. At the end of the JSON, and after `settle`,
    the value is complete.
    """

    __slots__ = (
        "_allowance",
        "_changed",
        "_fragments",
        "_is_settled",
        "_is_stale",
        "_is_unreported",
        "_keys",
        "_last",
        "_length",
        "_open",
        "_rest",
        "_root",
        "_state",
        "_string",
    )

    def __init__(self) -> None:
        self._state: _State = "value"
        self._open: list[dict[str, Any] | list[Any]] = []
        """The objects and lists that are not closed yet, from the outside in."""
        self._keys: list[str] = []
        """The current key in each of them; unused for lists."""
        self._string: Literal["key", "value", "number"] | None = None
        """What the string or number that is being read will be."""
        self._fragments: list[str] = []
        self._length = 0
        """The number of characters of the fragments."""
        self._rest = ""
        """The beginning of an incomplete word or escape."""
        self._root: Any = _NOTHING
        self._changed = False
        """Whether the current piece has changed the value."""
        self._is_stale = False
        """Whether the value differs from the last one that was made."""
        self._is_unreported = False
        """Whether it differs and `feed` has not reported it."""
        self._last: Any = None
        self._allowance = 0
        self._is_settled = False

    @property
    def done(self) -> bool:
        """Whether the value is complete. Text after it is not read."""
        return self._state == "end"

    def feed(self, text: str) -> bool:
        """Add the next piece of text. Returns whether it has changed `value`."""
        self._allowance += len(text) * _PER_CHARACTER
        self._changed = False
        text = self._rest + text
        self._rest = ""
        place = 0
        while place < len(text) and self._state not in ("end", "broken"):
            if self._string is None:
                place = self._token(text, place)
            elif self._string == "number":
                place = self._more_of_number(text, place)
            else:
                place = self._text(text, place)
        self._is_stale = self._is_stale or self._changed
        has_news = self._changed or self._is_unreported
        self._is_unreported = has_news and not self._is_due()
        return has_news and not self._is_unreported

    def settle(self) -> bool:
        """Mark the end of the text: `value` includes everything.

        Returns whether `feed` has not reported all changes.
        """
        self._is_settled = True
        return self._is_unreported

    @property
    def value(self) -> Any:
        """The value so far; `None` if there is no value yet."""
        if self._is_stale and self._is_due():
            self._allowance = max(0, self._allowance - self._cost())
            self._is_stale = self._is_unreported = False
            self._last = self._make()
        return self._last

    def _is_due(self) -> bool:
        cost = self._cost()
        return cost <= _FREE or cost <= self._allowance or self._is_settled or self._state in ("end", "broken")

    def _cost(self) -> int:
        # The digits of a number are read, not copied.
        text = self._length * _PER_DIGIT if self._string == "number" else self._length // _CHARACTERS
        return sum(map(len, self._open)) + text

    def _make(self) -> Any:
        inner = self._join() if self._string == "value" else _NOTHING
        for container, key in zip(reversed(self._open), reversed(self._keys), strict=True):
            copy = container.copy()
            if inner is not _NOTHING:
                _add(copy, key, inner)
            inner = copy
        if inner is not _NOTHING:
            return inner
        return self._top_level_number() if self._root is _NOTHING else self._root

    def _top_level_number(self) -> Any:
        if self._string != "number" or self._open or self._state == "broken":
            return None
        found = _NUMBER.fullmatch(self._join())
        return None if found is None else _number(found[0])

    # --- the tokens; each function returns the position after its token

    def _token(self, text: str, place: int) -> int:
        place = cast("re.Match[str]", _SPACE.match(text, place)).end()
        if place == len(text):
            return place
        match text[place]:
            case '"':
                self._begin_text()
            case "{" | "[" as bracket if self._wants_value:
                self._begin({} if bracket == "{" else [])
            case "}" if self._state in ("key or }", ", or end") and isinstance(self._open[-1], dict):
                self._end()
            case "]" if self._state in ("value or ]", ", or end") and isinstance(self._open[-1], list):
                self._end()
            case "," if self._state == ", or end":
                self._state = "key" if isinstance(self._open[-1], dict) else "value"
            case ":" if self._state == ":":
                self._state = "value"
            case _:
                return self._scalar(text, place)
        return place + 1

    @property
    def _wants_value(self) -> bool:
        return self._state in ("value", "value or ]")

    def _begin_text(self) -> None:
        self._fragments, self._length = [], 0
        if self._wants_value:
            self._string = "value"
            self._changed = True
        elif self._state in ("key", "key or }"):
            self._string = "key"
        else:
            self._state = "broken"

    def _begin(self, container: dict[str, Any] | list[Any]) -> None:
        if len(self._open) == _DEEPEST:
            self._state = "broken"
            return
        self._open.append(container)
        self._keys.append("")
        self._state = "key or }" if isinstance(container, dict) else "value or ]"
        self._changed = True

    def _end(self) -> None:
        self._keys.pop()
        self._put(self._open.pop())

    def _put(self, value: Any) -> None:
        if self._open:
            _add(self._open[-1], self._keys[-1], value)
            self._state = ", or end"
        else:
            self._root = value
            self._state = "end"

    def _scalar(self, text: str, place: int) -> int:
        found = _SCALAR.match(text, place)
        if found is None or not self._wants_value or not _may_begin(found[0]):
            self._state = "broken"
            return place
        token, end = found[0], found.end()
        if token in _WORDS:
            self._put(_WORDS[token])
            self._changed = True
        elif end == len(text) and token[0] in _DIGITS:
            self._string, self._fragments, self._length = "number", [token], len(token)
            # A number that is not inside a container can be complete already.
            self._changed = self._changed or not self._open
        elif end == len(text):
            self._rest = token
        elif _NUMBER.fullmatch(token):
            self._put(_number(token))
            self._changed = True
        else:
            self._state = "broken"
        return end

    def _more_of_number(self, text: str, place: int) -> int:
        run = cast("re.Match[str]", _MORE_DIGITS.match(text, place))
        self._fragments.append(run[0])
        self._length += len(run[0])
        self._changed = self._changed or not self._open
        if run.end() == len(text):
            return run.end()
        token = self._join()
        self._string, self._fragments, self._length = None, [], 0
        if _NUMBER.fullmatch(token):
            self._put(_number(token))
            self._changed = True
        else:
            self._state = "broken"
        return run.end()

    # --- inside a string

    def _text(self, text: str, place: int) -> int:
        run = cast("re.Match[str]", _RUN.match(text, place))
        if run[0]:
            self._take(run[0])
        place = run.end()
        if place == len(text):
            return place
        if text[place] == '"':
            self._end_text()
            return place + 1
        return self._escape(text, place)

    def _take(self, fragment: str) -> None:
        self._fragments.append(fragment)
        self._length += len(fragment)
        self._changed = self._changed or self._string == "value"

    def _end_text(self) -> None:
        text = self._join()
        kind, self._string = self._string, None
        self._fragments, self._length = [], 0
        if kind == "value":
            self._put(text)
        else:
            self._keys[-1] = text
            self._state = ":"

    def _join(self) -> str:
        # The joined text is stored, because `value` is read after every piece.
        self._fragments = ["".join(self._fragments)]
        return self._fragments[0]

    def _escape(self, text: str, place: int) -> int:
        letter = text[place + 1 : place + 2]
        if letter in _ESCAPES:
            self._take(_ESCAPES[letter])
            return place + 2
        code = _CODE.match(text, place)
        if code is not None:
            return self._character(text, code)
        if len(text) - place < 6 and letter in ("", "u"):
            self._rest = text[place:]
        else:
            self._state = "broken"
        return len(text)

    def _character(self, text: str, code: re.Match[str]) -> int:
        number, end = _code(code), code.end()
        if 0xD800 <= number < 0xDC00:
            low = _LOW_HALF.match(text, end)
            if low is not None:
                number = 0x10000 + ((number - 0xD800) << 10) + _code(low) - 0xDC00
                end = low.end()
            elif len(text) - end < 6 and "\\u".startswith(text[end : end + 2]):
                # The other half may follow.
                self._rest = text[code.start() :]
                return len(text)
        self._take(chr(number))
        return end


def _add(container: dict[str, Any] | list[Any], key: str, value: Any) -> None:
    if isinstance(container, dict):
        container[key] = value
    else:
        container.append(value)


def _may_begin(token: str) -> bool:
    return token[0] in _DIGITS or any(word.startswith(token) for word in _WORDS)


def _number(token: str) -> int | float:
    is_whole = not ("." in token or "e" in token or "E" in token) and len(token) < _LONGEST_INT
    return int(token) if is_whole else float(token)


def _code(found: re.Match[str]) -> int:
    return int(found[0][2:], 16)
