"""A peer's farewell (GOAWAY), taken out of what comes: h2 would refuse the answers that are still on their way."""

from __future__ import annotations

import msgspec

_HEAD = 9
_GOAWAY = 7
_LONGEST = 64 * 1024
"""No frame is longer: we allow 16 KiB, the peer's settings cannot change that."""


class Goaway(msgspec.Struct, frozen=True):
    """The peer takes no more requests; what came on streams above `last_stream` it has not looked at."""

    last_stream: int


class GoawayFilter:
    """Cuts what comes into frames, keeps a farewell and passes on everything else."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> tuple[bytes, list[Goaway]]:
        """Give the whole frames that are no farewell, and the farewells. Raises `ValueError` for what are no frames."""
        rest = self._rest
        rest += data
        passed, farewells, start = bytearray(), list[Goaway](), 0
        while len(rest) - start >= _HEAD:
            length = int.from_bytes(rest[start : start + 3], "big")
            if length > _LONGEST:
                raise ValueError("a frame that is too long")
            end = start + _HEAD + length
            if end > len(rest):
                break
            if rest[start + 3] == _GOAWAY and length >= 8:
                farewells.append(Goaway(int.from_bytes(rest[start + 9 : start + 13], "big") & 0x7FFF_FFFF))
            else:
                passed += rest[start:end]
            start = end
        del rest[:start]
        return bytes(passed), farewells
