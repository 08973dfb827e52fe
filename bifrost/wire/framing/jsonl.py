"""An incremental parser for lines of JSON: https://github.com/ndjson/ndjson-spec. Ollama streams them."""

from __future__ import annotations

import msgspec

from bifrost.wire.framing.base import EVENT_LIMIT, STREAM_LIMIT, too_large

_BLANKS = b" \t\r"


class JsonLine(msgspec.Struct, frozen=True, gc=False):
    """One line of a stream."""

    data: bytes
    """The line without its end and without blanks around it, not decoded."""


class JsonLinesParser:
    """Converts the bytes of one stream to its lines, however they are divided into pieces.

    Empty lines are omitted. Only LF ends a line: JSON allows other line ends within a text.
    """

    __slots__ = ("_event_limit", "_open", "_received", "_stream_limit")

    def __init__(self, *, event_limit: int = EVENT_LIMIT, stream_limit: int = STREAM_LIMIT) -> None:
        self._event_limit = event_limit
        self._stream_limit = stream_limit
        self._received = 0
        self._open = bytearray()
        """The line that has begun."""

    def feed(self, data: bytes) -> list[JsonLine]:
        """Add bytes. Returns the lines that are complete.

        Raises `ResponseTooLargeError` if a line or the stream exceeds its limit. Then nothing more can be read.
        """
        self._received += len(data)
        if self._received > self._stream_limit:
            raise too_large("the stream is", self._stream_limit)
        first, *others = data.split(b"\n")
        self._keep(first)
        if not others:
            return []
        lines = [bytes(self._open), *others[:-1]]
        self._open.clear()
        self._keep(others[-1])
        if any(len(line) > self._event_limit for line in lines):
            raise too_large("a line of the stream is", self._event_limit)
        return [JsonLine(line) for line in (each.strip(_BLANKS) for each in lines) if line]

    def finish(self) -> list[JsonLine]:
        """Return the last line if it has no line end. It may have been cut off: use it if it decodes."""
        line = bytes(self._open).strip(_BLANKS)
        self._open.clear()
        return [JsonLine(line)] if line else []

    def _keep(self, data: bytes) -> None:
        if len(self._open) + len(data) > self._event_limit:
            raise too_large("a line of the stream is", self._event_limit)
        self._open += data
