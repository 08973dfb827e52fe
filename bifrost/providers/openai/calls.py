"""Which pieces of a stream form one tool call.

OpenAI numbers calls by `index`, and tells id and name with the first piece. Other servers give every call the index 0
or none, repeat id or name with every piece, change the id on the way, or cut the name into pieces. The decisions here
need only what came so far, and take time in proportion to it.
"""

from __future__ import annotations

import re

_MARKS = re.compile(r'[{}\[\]"\\]')
_IN_TEXT = re.compile(r'["\\]')


class StreamedCall:
    """One tool call as it grows."""

    def __init__(self, call_id: str | None, index: int | None) -> None:
        self.id = call_id
        self.index = index
        self.name = ""
        self.inherits = ""
        """The name that it has from the call before it, until it was told."""
        self.is_namesake = False
        """An earlier call of the answer has the same id."""
        self.is_renewed = False
        """Its name came again after its arguments were complete: arguments that follow are another call's."""
        self._pieces: list[str] = []
        self._length = 0
        self._scanned = 0
        self._depth = 0
        self._begun = False
        self._in_text = False
        self._escaped = False

    @property
    def has_arguments(self) -> bool:
        """Whether any arguments have come."""
        return bool(self._pieces)

    @property
    def is_whole(self) -> bool:
        """Whether the arguments are a complete object or list."""
        self._scan()
        return self._begun and not self._depth and not self._in_text

    @property
    def is_partial(self) -> bool:
        """Whether the arguments are the beginning of an object or list."""
        self._scan()
        return self._begun and (self._depth > 0 or self._in_text)

    def repeats(self, arguments: str) -> bool:
        """Whether a piece is the complete arguments once more."""
        return len(arguments) == self._length and self.is_whole and arguments == "".join(self._pieces)

    def add(self, arguments: str) -> None:
        """Take the next piece of the arguments."""
        if arguments:
            self._pieces.append(arguments)
            self._length += len(arguments)

    def take_name(self, name: str) -> str | None:
        """Take the name, or a piece of it. Returns what is new of it."""
        name, self.inherits = name or self.inherits, ""
        if name == self.name:
            return None
        new = name.removeprefix(self.name)
        self.name += new
        return new

    def hand_on(self) -> str:
        """Return the name for a call that goes on without one, if this call's came again."""
        renewed, self.is_renewed = self.is_renewed, False
        return self.name if renewed else ""

    def _scan(self) -> None:
        """Look at the pieces that came since the last time: each is looked at once."""
        while self._scanned < len(self._pieces):
            self._read(self._pieces[self._scanned])
            self._scanned += 1

    def _read(self, text: str) -> None:
        place = 0
        if self._escaped:
            self._escaped, place = False, 1
        while found := (_IN_TEXT if self._in_text else _MARKS).search(text, place):
            place = found.end()
            match found[0]:
                case '"':
                    self._in_text = not self._in_text
                case "\\":
                    self._escaped = place == len(text)
                    place += 1
                case "{" | "[":
                    self._depth += 1
                    self._begun = True
                case _:
                    self._depth -= 1


class StreamedCalls:
    """The tool calls of one answer, numbered from 0 in the order in which they begin."""

    def __init__(self) -> None:
        self._calls: list[StreamedCall] = []
        self._by_id: dict[str, int] = {}
        self._by_index: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def place(
        self, index: int | None, call_id: str | None, name: str, arguments: str
    ) -> tuple[int, str | None, str | None, str] | None:
        """Return the number of the call that a piece belongs to, and what is new in it: id, name and arguments.

        Returns `None` for a piece that says nothing and belongs to no call.
        """
        number = self._find(index, call_id, name, arguments)
        if number is None:
            if not (call_id or name or arguments):
                return None
            number = self._begin(index, call_id, name)
        call = self._calls[number]
        if index is not None:
            self._by_index[index] = number
        if call_id is not None:
            if call.id is None and call_id not in self._by_id:
                call.id = call_id
            self._by_id.setdefault(call_id, number)
        is_its_id = call_id is not None and call.id == call_id
        if is_its_id and arguments and call.repeats(arguments):
            arguments = ""
        call.add(arguments)
        new_name = call.take_name(name) if name or call.inherits else None
        return number, call_id if is_its_id and not call.is_namesake else None, new_name, arguments

    def _begin(self, index: int | None, call_id: str | None, name: str) -> int:
        number = len(self._calls)
        call = StreamedCall(call_id, index)
        if call_id is not None:
            # Two calls of one answer with the same id could not be told apart by their results.
            call.is_namesake = call_id in self._by_id
            self._by_id[call_id] = number
        if not name and index in self._by_index:
            call.inherits = self._calls[self._by_index[index]].hand_on()
        self._calls.append(call)
        return number

    def _find(self, index: int | None, call_id: str | None, name: str, arguments: str) -> int | None:
        """Return the call that goes on with a piece, `None` if a new one begins."""
        known = self._by_id.get(call_id) if call_id is not None else None
        if known is not None:
            return None if _begins_despite_its_id(self._calls[known], index, name, arguments) else known
        number = self._by_index.get(index) if index is not None else len(self._calls) - 1
        if number is None or number < 0:
            return self._stray(call_id, name, arguments)
        call = self._calls[number]
        if not name:
            begins = _begins_without_a_name(call, index, call_id, arguments)
        elif call_id is not None and call.id is not None:
            # An id of its own with every piece: the same name in the midst of the arguments is no other call.
            begins = index is None or name != call.name or not call.is_partial
        else:
            begins = _begins_with_a_name(call, index, name, arguments)
        return None if begins else number

    def _stray(self, call_id: str | None, name: str, arguments: str) -> int | None:
        """Return the last call for arguments of which nothing says whose they are."""
        if call_id is not None or name or not arguments or not self._calls:
            return None
        return len(self._calls) - 1 if self._calls[-1].is_partial else None


def _begins_despite_its_id(call: StreamedCall, index: int | None, name: str, arguments: str) -> bool:
    if not name:
        return False
    if name == call.name:
        return bool(arguments) and call.is_whole and not call.repeats(arguments)
    moved = index is not None and call.index is not None and index != call.index
    # A name in pieces comes before the arguments are complete.
    return bool(call.name) and (moved or call.is_whole)


def _begins_without_a_name(call: StreamedCall, index: int | None, call_id: str | None, arguments: str) -> bool:
    if call_id is not None and call.id is not None:
        # Another id at the same index is the same call's; without an index it is, unless the call is complete.
        return index is None and not call.is_partial
    return call.is_renewed and bool(arguments)


def _begins_with_a_name(call: StreamedCall, index: int | None, name: str, arguments: str) -> bool:
    if not call.name:
        return False
    if name != call.name:
        # The rest of a name whose beginning came with the id begins none.
        return call.id is None or call.has_arguments or (index is None and bool(arguments))
    if index is None:
        return not call.is_partial
    if not call.is_whole:
        return False
    call.is_renewed = not arguments
    return bool(arguments)
