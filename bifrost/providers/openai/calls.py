"""Assigns the pieces of a stream to tool calls.

OpenAI numbers calls by `index`, and sends id and name with the first piece. Other servers use the index 0 for every
call or none, repeat id or name with every piece, change the id within a call, or divide the name. The decisions depend
only on what was received so far, and take linear time.
"""

from __future__ import annotations

import re

_MARKS = re.compile(r'[{}\[\]"\\]')
_IN_TEXT = re.compile(r'["\\]')


class StreamedCall:
    """One tool call as it arrives."""

    def __init__(self, call_id: str | None, index: int | None) -> None:
        self.id = call_id
        self.index = index
        self.name = ""
        self.inherits = ""
        """The name that it has from the previous call, until it is returned."""
        self.is_namesake = False
        """Whether an earlier call of the response has the same id."""
        self.is_renewed = False
        """Whether its name was repeated after its arguments were complete, so that further arguments belong to another
        call.
        """
        self._pieces: list[str] = []
        self._length = 0
        self._scanned = 0
        self._depth = 0
        self._begun = False
        self._in_text = False
        self._escaped = False

    @property
    def has_arguments(self) -> bool:
        """Whether any arguments were received."""
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
        """Return whether a piece repeats the complete arguments."""
        return len(arguments) == self._length and self.is_whole and arguments == "".join(self._pieces)

    def add(self, arguments: str) -> None:
        """Add the next piece of the arguments."""
        if arguments:
            self._pieces.append(arguments)
            self._length += len(arguments)

    def take_name(self, name: str) -> str | None:
        """Add the name, or a piece of it. Returns what is new of it."""
        name, self.inherits = name or self.inherits, ""
        if name == self.name:
            return None
        new = name.removeprefix(self.name)
        self.name += new
        return new

    def hand_on(self) -> str:
        """Return the name for a call that continues without one, if this call's name was repeated."""
        renewed, self.is_renewed = self.is_renewed, False
        return self.name if renewed else ""

    def _scan(self) -> None:
        """Examine the new pieces. Each is examined once."""
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
    """The tool calls of one response, numbered from 0 in the order in which they begin."""

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

        Returns `None` for a piece without content that belongs to no call.
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
            # Two calls of one response with the same id could not be distinguished by their results.
            call.is_namesake = call_id in self._by_id
            self._by_id[call_id] = number
        if not name and index in self._by_index:
            call.inherits = self._calls[self._by_index[index]].hand_on()
        self._calls.append(call)
        return number

    def _find(self, index: int | None, call_id: str | None, name: str, arguments: str) -> int | None:
        """Return the call that a piece continues; `None` if a new one begins."""
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
            # The server sends a new id with every piece: the same name within the arguments does not begin another
            # call.
            begins = index is None or name != call.name or not call.is_partial
        else:
            begins = _begins_with_a_name(call, index, name, arguments)
        return None if begins else number

    def _stray(self, call_id: str | None, name: str, arguments: str) -> int | None:
        """Return the last call for arguments without any indication of their call."""
        if call_id is not None or name or not arguments or not self._calls:
            return None
        return len(self._calls) - 1 if self._calls[-1].is_partial else None


def _begins_despite_its_id(call: StreamedCall, index: int | None, name: str, arguments: str) -> bool:
    if not name:
        return False
    if name == call.name:
        return bool(arguments) and call.is_whole and not call.repeats(arguments)
    moved = index is not None and call.index is not None and index != call.index
    # A name in pieces precedes the complete arguments.
    return bool(call.name) and (moved or call.is_whole)


def _begins_without_a_name(call: StreamedCall, index: int | None, call_id: str | None, arguments: str) -> bool:
    if call_id is not None and call.id is not None:
        # Another id at the same index belongs to the same call; without an index as well, unless the call is complete.
        return index is None and not call.is_partial
    return call.is_renewed and bool(arguments)


def _begins_with_a_name(call: StreamedCall, index: int | None, name: str, arguments: str) -> bool:
    if not call.name:
        return False
    if name != call.name:
        # The rest of a name whose beginning came with the id does not begin a call.
        return call.id is None or call.has_arguments or (index is None and bool(arguments))
    if index is None:
        return not call.is_partial
    if not call.is_whole:
        return False
    call.is_renewed = not arguments
    return bool(arguments)
