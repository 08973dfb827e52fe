"""Adapts the ids of tool calls to the server that a conversation is sent to.

Servers accept the ids that they made themselves, but not always those of others: some require a certain form, some a
unique id for each call of a conversation. A valid id is kept. Any other is replaced with a hash of it, for the call and
its result alike. The same conversation always has the same ids, so that prompt caches remain valid.
"""

from __future__ import annotations

from collections import deque
from hashlib import sha256
from string import ascii_letters, digits
from typing import TYPE_CHECKING

import attrs

from bifrost.frozen import Frozen

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from bifrost.operations.chat.content import ToolCall
    from bifrost.operations.chat.messages import Message
    from bifrost.providers.base import Target

_LETTERS = digits + ascii_letters


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CallIdRule(Frozen):
    """The ids of tool calls that a server accepts, and how others are replaced."""

    pattern: re.Pattern[str]
    """The pattern of the whole id."""
    unique: bool = False
    """Whether ids must be unique in a conversation. Within a message they must be unique in any case."""
    prefix: str = ""
    """The prefix of a new id."""

    length: int
    """The number of letters and digits after the prefix of a new id."""


class CallIds:
    """The ids of the calls and results of one request, in the order in which they are written.

    Without a rule all ids are kept.
    """

    def __init__(self, messages: Sequence[Message], target: Target, rule: CallIdRule | None) -> None:
        self._messages = messages
        self._target = target
        self._rule = rule
        self._in_message: dict[str, int] = {}
        self._in_conversation: dict[str, int] = {}
        self._unanswered: dict[str, deque[str]] = {}
        self._latest: dict[str, str] = {}
        self._made: dict[tuple[str, int], str] = {}
        self._taken: set[str] | None = None
        """The ids of the conversation, which a new id must not repeat."""

    def begin(self) -> None:
        """Begin a message that may contain calls."""
        self._in_message = {}

    def of_call(self, call: ToolCall) -> str:
        """Return the id of a call in the request."""
        rule, original = self._rule, call.id
        if rule is None:
            return original
        in_message = self._in_message.get(original, 0)
        self._in_message[original] = in_message + 1
        seen = self._in_conversation.get(original, 0) if rule.unique else in_message
        self._in_conversation[original] = self._in_conversation.get(original, 0) + 1
        fits = self._target.issued(call.issuer) or (not seen and rule.pattern.fullmatch(original) is not None)
        used = original if fits else self._hashed(original, seen, rule)
        if not in_message:
            self._unanswered[original] = deque()
        self._unanswered[original].append(used)
        self._latest[original] = used
        return used

    def of_result(self, original: str) -> str:
        """Return the id of the call that a result belongs to: the first one with that id and without a result."""
        rule = self._rule
        if rule is None:
            return original
        unanswered = self._unanswered.get(original)
        if unanswered:
            return unanswered.popleft()
        if original in self._latest:
            return self._latest[original]
        return original if rule.pattern.fullmatch(original) else self._hashed(original, 0, rule)

    def _hashed(self, original: str, number: int, rule: CallIdRule) -> str:
        made = self._made.get((original, number))
        if made is None:
            if self._taken is None:
                self._taken = {call.id for message in self._messages for call in message.tool_calls}
            attempt = 0
            while made is None or made in self._taken:
                made = _hash(f"{original}\0{number}\0{attempt}", rule)
                attempt += 1
            self._made[original, number] = made
            self._taken.add(made)
        return made


def _hash(text: str, rule: CallIdRule) -> str:
    number = int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest())
    letters: list[str] = []
    for _ in range(rule.length):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    return rule.prefix + "".join(letters)
