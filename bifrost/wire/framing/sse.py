"""An incremental parser for server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html.

Only LF, CRLF and CR end a line. (Text functions also split at U+2028, U+0085, VT and FF, which JSON does not escape.)
"""

from __future__ import annotations

import msgspec

from bifrost.errors import ResponseTooLargeError
from bifrost.wire.framing.base import EVENT_LIMIT, STREAM_LIMIT, too_large

_LINES_LIMIT = 65_536
"""The most lines of one event, because a short line takes far more memory as an object than on the wire."""

_BOM = b"\xef\xbb\xbf"


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    """One event.

    The fields `id` and `retry` are omitted: they serve reconnecting, which a response to a POST does not allow.
    """

    event: str | None
    """The type of the event; `None` if the stream does not name it (`message` in the standard)."""
    data: bytes
    """The `data` lines joined by LF, not decoded."""


class SseParser:
    """Converts the bytes of one event stream to events, however they are divided into pieces.

        parser = SseParser()
        for piece in pieces:
            for event in parser.feed(piece): ...
        rest = parser.finish()

    A comment (heartbeat) produces no event; neither does an event without a `data` line. Comments at the beginning of
    an event are not stored, however many there are.
    """

    __slots__ = ("_after_cr", "_at_start", "_event_limit", "_open", "_received", "_stream_limit")

    def __init__(self, *, event_limit: int = EVENT_LIMIT, stream_limit: int = STREAM_LIMIT) -> None:
        self._event_limit = event_limit
        self._stream_limit = stream_limit
        self._received = 0
        self._at_start = True
        # The last byte was a CR: an LF that follows belongs to the same line ending.
        self._after_cr = False
        # The incomplete event, with its line endings converted to LF; at the very start possibly a part of a BOM.
        self._open = bytearray()

    def feed(self, data: bytes) -> list[SseEvent]:
        """Add the next bytes and return the events that they complete.

        Raises `ResponseTooLargeError` when a line, an event or the stream exceeds its limit. The parser cannot be used
        after that.
        """
        self._received += len(data)
        if self._received > self._stream_limit:
            raise too_large("the event stream is", self._stream_limit)
        if self._at_start:
            data = self._skip_bom(data)
        if self._after_cr or b"\r" in data:
            data = self._only_lf(data)
        if self._open:
            return self._complete(data)
        return self._split(data)

    def finish(self) -> list[SseEvent]:
        """Return the text after the last blank line as an event, or nothing. Call it once, at the end of the bytes.

        The standard discards such an event. But some senders omit the last line ending, and the event may be the final
        marker or the usage, or it was cut. Use it if its data can be decoded (a truncated object never can). Otherwise
        discard it and judge the end of the stream by what `feed` returned.
        """
        event = _read(bytes(self._open))
        self._open.clear()
        return [event] if event is not None and event.data else []

    def _skip_bom(self, data: bytes) -> bytes:
        head = bytes(self._open) + data
        if len(head) < len(_BOM):
            self._open[:] = head
            return b""
        self._at_start = False
        self._open.clear()
        return head.removeprefix(_BOM)

    def _only_lf(self, data: bytes) -> bytes:
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data.endswith(b"\r"):
            self._after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _complete(self, data: bytes) -> list[SseEvent]:
        """Complete the event that has begun."""
        if data.startswith(b"\n") and self._open.endswith(b"\n"):
            end = 1
        else:
            end = data.find(b"\n\n") + 2
            if end == 1:
                self._keep(data)
                return []
        self._keep(data[:end])
        first = _read(bytes(self._open))
        self._open.clear()
        rest = self._split(data[end:])
        return rest if first is None else [first, *rest]

    def _split(self, data: bytes) -> list[SseEvent]:
        """Parse all events of `data`, which begins with an event. This is the hot loop of every stream."""
        end = data.rfind(b"\n\n")
        if end > 0 and data.startswith(b"data: ") and len(data) <= self._event_limit:
            # Nearly always each event is a single `data` line; then one search finds them all.
            lines = data[6:end].split(b"\n\ndata: ")
            if data.count(b"\n", 0, end) == 2 * (len(lines) - 1):
                if len(data) > end + 2:
                    self._keep(data[end + 2 :])
                return [SseEvent(None, line) for line in lines]
        return self._split_others(data)

    def _split_others(self, data: bytes) -> list[SseEvent]:
        blocks = data.split(b"\n\n")
        rest = blocks.pop().lstrip(b"\n")
        if rest:
            self._keep(rest)
        if len(data) > self._event_limit and any(len(block) > self._event_limit for block in blocks):
            raise too_large("an event of the stream is", self._event_limit)
        return [event for event in map(_read, blocks) if event is not None]

    def _keep(self, data: bytes) -> None:
        # The blank line that ends an event is not counted, as it is not when an event arrives as a whole.
        if len(self._open) + len(data) > self._event_limit + len(b"\n\n"):
            raise too_large("an event of the stream is", self._event_limit)
        before = len(self._open)
        self._open += data
        if self._open.startswith(b":"):
            self._drop_comments(before)

    def _drop_comments(self, searched: int) -> None:
        """Discard complete comments at the beginning of the incomplete event.

        Heartbeats may arrive without blank lines. No line ends before `searched`.
        """
        start = 0
        while self._open.startswith(b":", start):
            end = self._open.find(b"\n", max(start, searched))
            if end < 0:
                break
            start = end + 1
        del self._open[:start]


def _read(block: bytes) -> SseEvent | None:
    """Parse the lines of one event as the standard defines."""
    # Nearly always there is a name and one line of data.
    head, _, tail = block.partition(b"\n")
    if head.startswith(b"event: ") and tail.startswith(b"data: ") and b"\n" not in tail:
        return SseEvent(head[7:].decode("utf-8", "replace") or None, tail[6:])
    if block.count(b"\n") >= _LINES_LIMIT:
        raise ResponseTooLargeError(f"an event of the stream has more than {_LINES_LIMIT:,} lines")
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    if not data:
        return None
    return SseEvent(name.decode("utf-8", "replace") or None, b"\n".join(data))
