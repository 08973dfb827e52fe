"""Cuts what an HTTP/2 peer sends into frames (RFC 9113, section 4.1), so that each can be judged before h2 takes it.

h2 ends a whole connection for what concerns one stream, and refuses the answers that are still on their way after a
farewell (GOAWAY).
"""

from __future__ import annotations

import msgspec

_HEAD = 9
_LONGEST = 64 * 1024
"""No frame is longer: 16 KiB are allowed, and the peer cannot change that."""
HEADERS = 1
GOAWAY = 7
END_STREAM = 1


class Frame(msgspec.Struct, frozen=True):
    """One frame, whole."""

    kind: int
    flags: int
    stream_id: int
    data: bytes
    """Its nine bytes of head and its payload."""

    @property
    def last_stream(self) -> int:
        """Of a farewell: answers on streams above this one will not come."""
        return int.from_bytes(self.data[_HEAD : _HEAD + 4], "big") & 0x7FFF_FFFF

    def ending(self) -> bytes:
        """Return the frame's bytes with the mark that its stream ends there."""
        return self.data[:4] + bytes([self.flags | END_STREAM]) + self.data[5:]


class FrameCutter:
    """Cuts bytes into frames as they come."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are whole by now. Raises `ValueError` for what is no frame."""
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
