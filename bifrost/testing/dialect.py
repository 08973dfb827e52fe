"""What a scripted answer says, before it is written in a provider's words, and what it takes to write it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import attrs
import msgspec

from bifrost.frozen import Value
from bifrost.operations.chat.content import ToolCall
from bifrost.operations.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bifrost.testing.calls import MockCall
    from bifrost.wire.http import HttpRequest

_WORD = re.compile(r"\s*\S+|\s+")


class Reply(Value, msgspec.Struct, frozen=True, kw_only=True):
    """An answer, said once for every dialect."""

    pieces: tuple[str, ...] = ()
    """The text as a stream gives it; joined, it is the plain answer's."""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage
    model: str | None = None
    """`None`: the model that was asked."""
    finish_reason: str | None = None
    """`None`: `tool_calls` if there are any, else `stop`."""

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)

    @property
    def ending(self) -> str:
        """The finish reason, the usual one if none was given."""
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")


class Event(Value, msgspec.Struct, frozen=True):
    """One event of a stream as it is sent. `content`: it carries a piece of the answer."""

    data: bytes
    content: bool = False


ErrorWriter: TypeAlias = "Callable[[int, str | None, str | None, str | None], bytes]"
"""Writes an error of status, message, type and code; what is `None` is what the provider says with that status."""


@attrs.frozen(kw_only=True)
class Dialect:
    """The functions that write answers in one provider's format. The modules `render_*` have one each."""

    name: str
    """The provider whose format it is."""
    endpoint_of: Callable[[HttpRequest], str | None]
    """Says which operation a request asks for, by its path and headers; `None` if it is not of this dialect."""
    chat: Callable[[Reply, MockCall], bytes]
    """Writes a complete answer."""
    chat_stream: Callable[[Reply, MockCall], Sequence[Event]]
    """Writes the events of a streamed answer."""
    embeddings: Callable[[Sequence[Sequence[float]], Usage, MockCall], bytes] | None = None
    """Writes vectors; `None` for a provider that has none."""
    models: Callable[[Sequence[str]], bytes]
    """Writes a list of models."""
    error: ErrorWriter
    """Writes an error's body."""
    error_event: ErrorWriter
    """Writes an error as an event of a stream."""
    event: Callable[[str], bytes]
    """Writes data that need not be JSON as an event of a stream."""


def words(text: str) -> tuple[str, ...]:
    """Split text into words with the blanks before them, as a stream would give it."""
    return tuple(_WORD.findall(text))


def typical_usage(text: str) -> Usage:
    """Give the usage of an answer for which a test named none: ten tokens in, one out for each word."""
    return Usage(input_tokens=10, output_tokens=max(1, len(words(text))))
