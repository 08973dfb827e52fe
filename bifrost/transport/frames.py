"""Divides the bytes of an HTTP/2 peer into frames (RFC 9113, section 4.1), which are checked before h2 receives them.

h2 closes the whole connection for errors that concern one stream only, and refuses responses that arrive after a
GOAWAY.
"""

from __future__ import annotations

import msgspec

_HEAD = 9
_LONGEST = 64 * 1024
"""The largest frame. 16 KiB are allowed, and the peer cannot change that."""
HEADERS = 1
GOAWAY = 7
END_STREAM = 1


class Frame(msgspec.Struct, frozen=True):
    """One complete frame."""

    kind: int
    """The type of the frame."""

    flags: int
    """The flags."""

    stream_id: int
    """The stream; 0 for the connection."""

    data: bytes
    """The nine bytes of its header, and its payload."""

    @property
    def last_stream(self) -> int:
        """In a GOAWAY frame: the last stream that will receive a response."""
        return int.from_bytes(self.data[_HEAD : _HEAD + 4], "big") & 0x7FFF_FFFF

    def ending(self) -> bytes:
        """Return the frame's bytes with the END_STREAM flag set."""
        return self.data[:4] + bytes([self.flags | END_STREAM]) + self.data[5:]


class FrameCutter:
    """Divides bytes into frames as they arrive."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete. Raises `ValueError` for a frame that is too long."""
        rest = self._rest
        rest += data
        frames: list[Frame] = []
        start = 0
        while len(rest) - start >= _HEAD:
            length = int.from_bytes(rest[start : start + 3], "big")
            if length > _LONGEST:
                raise ValueError("a frame that is too long")
            end = start + _HEAD + length
            if end > len(rest):
                break
            stream_id = int.from_bytes(rest[start + 5 : start + 9], "big") & 0x7FFF_FFFF
            frames.append(Frame(rest[start + 3], rest[start + 4], stream_id, bytes(rest[start:end])))
            start = end
        del rest[:start]
        return frames
