"""A stream without events: sound, for example. Its pieces are passed on as they are received."""

from __future__ import annotations

import msgspec

from bifrost.wire.framing.base import EVENT_LIMIT, STREAM_LIMIT, too_large


class RawPiece(msgspec.Struct, frozen=True, gc=False):
    """Bytes as they were received."""

    data: bytes


class RawBytes:
    """Passes the bytes of one stream on, within its limit. The event limit does not concern it."""

    __slots__ = ("_received", "_stream_limit")

    def __init__(self, *, event_limit: int = EVENT_LIMIT, stream_limit: int = STREAM_LIMIT) -> None:
        self._stream_limit = stream_limit
        self._received = 0

    def feed(self, data: bytes) -> list[RawPiece]:
        """Return the bytes, unless there are none. Raises `ResponseTooLargeError` if the stream exceeds its limit."""
        self._received += len(data)
        if self._received > self._stream_limit:
            raise too_large("the stream is", self._stream_limit)
        return [RawPiece(data)] if data else []

    def finish(self) -> list[RawPiece]:
        """Return nothing: every byte was passed on."""
        return []
