"""Server-sent events from bytes, incrementally: https://html.spec.whatwg.org/multipage/server-sent-events.html.

Only LF, CRLF and CR end a line. (Text tools also split at U+2028, U+0085, VT and FF, which stand unescaped in JSON.)
"""

from __future__ import annotations

import msgspec

from bifrost.errors import ResponseTooLargeError

EVENT_LIMIT = 8 * 1024 * 1024
"""The most bytes of one event, its comments and field names included; so no line is longer either."""

STREAM_LIMIT = 256 * 1024 * 1024
"""The most bytes of one stream."""

_LINES_LIMIT = 65_536
"""The most lines of one event: a short line costs far more memory as an object than on the wire."""

_BOM = b"\xef\xbb\xbf"


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    """One event. `id` and `retry` serve reconnecting, which no answer to a POST allows, and are left out."""

    event: str | None
    """The event's type; `None` when the stream names none (the standard's `message`)."""
    data: bytes
    """The `data` lines joined by LF, undecoded."""


class SseParser:
    """Turn the bytes of one event stream into events, whatever the pieces they come in.

        parser = SseParser()
        for piece in pieces:
            for event in parser.feed(piece): ...
        rest = parser.finish()

    A comment (heartbeat) gives no event, nor does an event without a `data` line. Comments at the head of an event are
    not kept, however many they are.
    """

    __slots__ = ("_after_cr", "_at_start", "_event_limit", "_open", "_received", "_stream_limit")

    def __init__(self, *, event_limit: int = EVENT_LIMIT, stream_limit: int = STREAM_LIMIT) -> None:
        self._event_limit = event_limit
        self._stream_limit = stream_limit
        self._received = 0
        self._at_start = True
        # The last byte was a CR: an LF that comes next belongs to the same line end.
        self._after_cr = False
        # The event that has begun, its line ends already made LF; at the very start what may be a piece of a BOM.
        self._open = bytearray()

    def feed(self, data: bytes) -> list[SseEvent]:
        """Take the next bytes and give the events that they complete.

        Raises `ResponseTooLargeError` when a line, an event or the stream passes its limit. Nothing can be read after.
        """
        self._received += len(data)
        if self._received > self._stream_limit:
            raise _too_large("the event stream is", self._stream_limit)
        if self._at_start:
            data = self._skip_bom(data)
        if self._after_cr or b"\r" in data:
            data = self._only_lf(data)
        if self._open:
            return self._complete(data)
        return self._split(data)

    def finish(self) -> list[SseEvent]:
        """Give what stands after the last blank line as an event, or nothing. Call it once, when the bytes have ended.

        The standard drops such an event. But senders forget the last line end, and the event may be the final marker
        or the usage; or else it was cut. So: use it if its data decodes (an object that was cut never does), otherwise
        drop it and judge the stream's end by what `feed` gave.
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
        """Go on with the event that has begun."""
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
        """Read all events of `data`, which begins with an event. This is the hot loop of every stream."""
        end = data.rfind(b"\n\n")
        if end > 0 and data.startswith(b"data: ") and len(data) <= self._event_limit:
            # Nearly always each event is one line, its `data`; then all are found by one search.
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
            raise _too_large("an event of the stream is", self._event_limit)
        return [event for event in map(_read, blocks) if event is not None]

    def _keep(self, data: bytes) -> None:
        # The blank line that ends an event is not counted, as it is not when an event comes whole.
        if len(self._open) + len(data) > self._event_limit + len(b"\n\n"):
            raise _too_large("an event of the stream is", self._event_limit)
        before = len(self._open)
        self._open += data
        if self._open.startswith(b":"):
            self._drop_comments(before)

    def _drop_comments(self, searched: int) -> None:
        """Forget whole comments at the head of the event that has begun: heartbeats may come without blank lines.

        No line ends before `searched`.
        """
        start = 0
        while self._open.startswith(b":", start):
            end = self._open.find(b"\n", max(start, searched))
            if end < 0:
                break
            start = end + 1
        del self._open[:start]


def _read(block: bytes) -> SseEvent | None:
    """Read the lines of one event, as the standard says."""
    # Nearly always it has a name and one line of data.
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


def _too_large(what: str, limit: int) -> ResponseTooLargeError:
    return ResponseTooLargeError(f"{what} larger than the limit of {limit:,} bytes")
