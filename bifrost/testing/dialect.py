"""The content of a scripted response, independent of a provider's format, and the functions that render it."""

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
    """The content of a response, independent of the format."""

    pieces: tuple[str, ...] = ()
    """The pieces of text that a stream sends, and a plain response joins."""
    reasoning: str = ""
    """The reasoning."""

    tool_calls: tuple[ToolCall, ...] = ()
    """The tool calls."""

    usage: Usage
    """The usage."""

    model: str | None = None
    """The model that the response names; `None`: the requested one."""
    finish_reason: str | None = None
    """Why the response ends; `None`: `tool_calls` if there are any, else `stop`."""

    @property
    def text(self) -> str:
        """The complete text."""
        return "".join(self.pieces)

    @property
    def ending(self) -> str:
        """The finish reason, or the default one."""
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")


class Event(Value, msgspec.Struct, frozen=True):
    """One event of a stream as it is sent."""

    data: bytes
    """The bytes of the event."""

    content: bool = False
    """Whether it carries a piece of the response."""


ErrorWriter: TypeAlias = "Callable[[int, str | None, str | None, str | None], bytes]"
"""Renders an error with a status, message, type and code. For `None` the provider's usual value is used."""


@attrs.frozen(kw_only=True)
class Dialect:
    """The functions that render responses in one provider's format. Each module `render_*` has one."""

    name: str
    """The provider whose format it is."""
    endpoint_of: Callable[[HttpRequest], str | None]
    """Returns the operation that a request names by its path and headers; `None` if the format is another one."""
    asked_of: Callable[[HttpRequest], tuple[str, bool]] | None = None
    """Returns the model of a request, and whether it requests a stream, if the path says it. `None`: the fields `model`
    and `stream` of the body do."""
    chat: Callable[[Reply, MockCall], bytes]
    """Renders a complete response."""
    chat_stream: Callable[[Reply, MockCall], Sequence[Event]]
    """Renders the events of a streamed response."""
    responses: Callable[[Reply, MockCall], bytes] | None = None
    """Renders a complete response of the Responses API; `None` for a provider without one."""
    responses_stream: Callable[[Reply, MockCall], Sequence[Event]] | None = None
    """Renders the events of a streamed response of the Responses API."""
    embeddings: Callable[[Sequence[Sequence[float]], Usage, MockCall], bytes] | None = None
    """Renders vectors; `None` for a provider without embeddings."""
    models: Callable[[Sequence[str]], bytes]
    """Renders a list of models."""
    error: ErrorWriter
    """Renders the body of an error."""
    error_event: ErrorWriter
    """Renders an error as an event of a stream."""
    event: Callable[[str], bytes]
    """Renders data that need not be JSON as an event of a stream."""
    stream_type: str = "text/event-stream; charset=utf-8"
    """The content type of its streams."""
    needs_key: bool = True
    """Whether the provider requires a key."""


def words(text: str) -> tuple[str, ...]:
    """Split text into words, each with the spaces before it, as a stream sends it."""
    return tuple(_WORD.findall(text))


def typical_usage(text: str) -> Usage:
    """Return the usage of a response without an explicit one: ten input tokens, and one output token per word."""
    return Usage(input_tokens=10, output_tokens=max(1, len(words(text))))
